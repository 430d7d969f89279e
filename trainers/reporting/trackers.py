"""Trackers: TensorBoard and Weights & Biases, sinks of the same described metrics and the same adaptation rows.

A tracker follows a run and is no part of it: what it gets is in the run folder already, so losing a tracker loses
nothing. After a resume it gets the repeated iterations again, with the same numbers.
"""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Literal, Protocol

import pandas as pd
import pyarrow as pa

from agents.contract import MetricInfo
from trainers.errors import TrackerError
from trainers.evaluation.curves import layers_of
from trainers.reporting import plots
from trainers.runs.metrics import selected_steps
from trainers.runs.run_folder import Run

Table = Mapping[str, MetricInfo]
_MOST_TASKS = 200  # in a table of a tracker


class Tracker(Protocol):
    """A sink of metrics and adaptation rows."""

    def log(self, values: Mapping[str, float]) -> None:
        """One iteration's metrics."""

    def evaluated(self, split: str, rows: pa.Table) -> None:
        """All adaptation rows of a split so far, those of a new evaluation among them."""

    def close(self, ended: bool) -> None:
        """Nothing more will come: the run has ended or was stopped in order, or it broke."""


@contextmanager
def tracking(run: Run, table: Table, iteration: int) -> Iterator[list[Tracker]]:
    """The trackers that the run's recipe asks for, which continues from `iteration`."""
    made: list[Tracker] = []
    ended = False
    try:
        if run.recipe.tensorboard:
            made.append(TensorBoard(run, table, iteration))
        if run.recipe.wandb != "off":
            made.append(WeightsAndBiases(run, table))
        yield made
        ended = True
    finally:
        for one in made:
            one.close(ended)


def label(name: str, info: MetricInfo) -> str:
    """'validation/validation_return_round_1 (reward)': a metric with its group and its unit."""
    group = (
        "timing" if info.timing else name.partition("_")[0] if name.startswith(("validation_", "return_")) else "run"
    )
    unit = f" ({info.unit.replace('/', ' per ')})" if info.unit else ""
    return f"{group}/{name}{unit}"


class TensorBoard:
    """Event files in RUN/tensorboard."""

    def __init__(self, run: Run, table: Table, iteration: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of tensorboard's own imports
            from torch.utils.tensorboard import SummaryWriter
        self._table, self._folder, self._lost = table, run.path / "tensorboard", False
        self._excepthook = threading.excepthook
        threading.excepthook = self._quiet_writer
        # What an earlier process wrote of iterations after the checkpoint is crossed out.
        self._writer = SummaryWriter(str(self._folder), purge_step=iteration + 1)
        meanings = "\n".join(f"| {name} | {info.unit} | {info.meaning} |" for name, info in table.items())
        self._writer.add_text("metrics", f"| metric | unit | meaning |\n|---|---|---|\n{meanings}", iteration)
        self._writer.add_text("recipe", _indented(run.recipe.to_yaml()), iteration)
        self._writer.add_text("provenance", _indented(json.dumps(run.provenance(), indent=2)), iteration)

    def log(self, values: Mapping[str, float]) -> None:
        with self._writable():
            for name, value in values.items():
                self._writer.add_scalar(label(name, self._table[name]), value, int(values["iteration"]))

    def evaluated(self, split: str, rows: pa.Table) -> None:
        layers = layers_of(split, rows)
        iteration = int(layers.frame["iteration"].max())
        newest = some_of(layers.frame[layers.frame["iteration"] == iteration])
        wide = newest.pivot(index=["task", "parameters"], columns="adaptations", values="return").round(2).reset_index()
        wide["parameters"] = [plots.short(one, most=80) for one in wide["parameters"]]
        lines = [wide.columns.tolist(), ["---"] * len(wide.columns), *wide.to_numpy().tolist()]
        text = "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
        with self._writable():
            self._writer.add_text(f"adaptation/{split} (return by adaptations)", text, iteration)
            self._writer.add_figure(f"adaptation/{split}", plots.adaptation_layers(layers), iteration)

    def close(self, ended: bool) -> None:
        try:
            with nullcontext() if self._lost else self._writable():  # said already
                self._writer.close()
        except OSError:
            pass
        finally:
            threading.excepthook = self._excepthook

    @contextmanager
    def _writable(self) -> Iterator[None]:
        """TrackerError where events cannot be written, which may be those of an earlier call."""
        try:
            yield
        except OSError as error:
            self._lost = True
            raise TrackerError(
                f"{self._folder}: events cannot be written ({error.strerror or error}); free some space, or resume "
                "with tensorboard=false"
            ) from error

    def _quiet_writer(self, failed: threading.ExceptHookArgs) -> None:
        """Not the traceback of the thread that writes events: its error comes back with the next call."""
        if type(failed.thread).__module__.startswith("tensorboard.") and isinstance(failed.exc_value, OSError):
            return
        self._excepthook(failed)


class WeightsAndBiases:
    """A run of the user's Weights & Biases project; offline ones lie in RUN/wandb until `wandb sync`.

    The key comes from the environment or from `wandb login`; no recipe, run folder or command line ever holds it.
    """

    def __init__(self, run: Run, table: Table) -> None:
        import wandb

        self._wandb, self._table = wandb, table
        origin = run.provenance()
        recipe = run.recipe
        mode: Literal["offline", "online"] = "offline" if recipe.wandb == "offline" else "online"
        settings = wandb.Settings(
            console="off", silent=True, symlink=False, save_code=False, disable_code=True, disable_git=True,
            x_disable_meta=True, init_timeout=30,
        )  # fmt: skip
        try:
            self._run = wandb.init(
                project=recipe.wandb_project,
                name=f"{run.path.parent.name}/{run.path.name}",
                id=origin.get("id"),
                group=recipe.title,
                dir=os.fspath(run.path.resolve()),
                mode=mode,
                resume="allow",
                config={**recipe.model_dump(mode="json"), "agent_name": recipe.agent_name, "provenance": origin},
                settings=settings,
            )
        except (wandb.Error, OSError, ValueError, TimeoutError) as error:
            reason = " ".join(str(error).split())[:200]
            raise TrackerError(
                f"wandb={recipe.wandb}: Weights & Biases cannot be used ({reason}); run `wandb login`, or set "
                "wandb=offline and send the run later with `wandb sync`"
            ) from error
        self._run.define_metric("iteration")
        for name, info in table.items():
            self._run.define_metric(label(name, info), step_metric="iteration")
        columns: list[str | int] = ["metric", "unit", "meaning"]
        described = [[name, info.unit, info.meaning] for name, info in table.items()]
        self._run.log({"metrics": wandb.Table(columns=columns, data=described), "iteration": 0})

    def log(self, values: Mapping[str, float]) -> None:
        named = {label(name, self._table[name]): value for name, value in values.items()}
        self._run.log({"iteration": values["iteration"], **named})

    def evaluated(self, split: str, rows: pa.Table) -> None:
        layers = layers_of(split, rows)
        figure = plots.adaptation_layers(layers)
        self._run.log(
            {
                "iteration": int(layers.frame["iteration"].max()),
                f"adaptation/{split} (table)": self._wandb.Table(dataframe=some_of(layers.frame)),
                f"adaptation/{split}": self._wandb.Image(plots.pixels(figure)),
            }
        )

    def close(self, ended: bool) -> None:
        self._run.finish(exit_code=0 if ended else 1)


def some_of(frame: pd.DataFrame) -> pd.DataFrame:
    """The first tasks of a layer at some adaptation steps: a table that a page can hold."""
    steps = selected_steps(int(frame["adaptations"].max()) + 1)
    return frame[(frame["task"] < _MOST_TASKS) & frame["adaptations"].isin(steps)]


def _indented(text: str) -> str:
    """Markdown that shows text as it is."""
    return "\n".join(f"    {line}" for line in text.splitlines())
