"""The plots of a finished run: what a plot is given, and drawing all that are listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, overload

from matplotlib.figure import Figure

from agents.contract import Agent, Weights
from envs.task import TaskFamily, TaskSet
from envs.validation import nearest
from trainers.errors import DrawingError, UsageError
from trainers.evaluation.curves import Curve, curve
from trainers.reporting import COMPARISON, PLOTS
from trainers.runs import checkpoints
from trainers.runs.run_folder import Run, find_runs


@dataclass(frozen=True)
class FinishedRun:
    """Everything that a plot may draw.

    Attributes:
        run: the folder, with its metrics and rows.
        family, task_set: of the held-out tasks.
        agent, weights, iteration: of the last checkpoint.
        curve: adaptation on the held-out tasks.
    """

    run: Run
    family: TaskFamily
    task_set: TaskSet
    agent: Agent
    weights: Weights
    iteration: int
    curve: Curve

    @classmethod
    def read(cls, run: Run) -> FinishedRun:
        """The run's last checkpoint and its held-out rows.

        Raises:
            RunFolderError: the folder lacks one of them.
        """
        family = run.family()
        agent, weights, iteration = run.load(family)
        rows = run.held_out_rows(iteration)
        return cls(
            run,
            family,
            run.task_set(family, "held-out"),
            agent,
            weights,
            iteration,
            curve([rows], "stochastic", family.kind),
        )


@overload
def plot(runs: Run | str | Path, kind: None = None) -> list[Path]: ...  # type: ignore[overload-overlap]
@overload
def plot(runs: Run | str | Path, kind: str) -> Figure: ...
@overload
def plot(runs: Sequence[Run | str | Path], kind: None = None) -> Figure: ...
def plot(runs: Run | str | Path | Sequence[Run | str | Path], kind: str | None = None) -> list[Path] | Figure:
    """Draw a finished run, or compare several.

        plot("runs/first")                              every listed plot, into its folder: the files made
        plot("runs/first", "adaptation_curve")          one of them, as a Matplotlib figure; nothing is written
        plot(["runs/first", "runs/three"])              their adaptation curves in one figure

    Args:
        runs: a run or its folder; or several, of which each may be a folder of `seed-*` runs that are pooled.
        kind: of one run: adaptation_curve, learning_curve, adaptation_during_training or trajectories.

    Returns:
        the files made, or a figure: a notebook shows it, `figure.savefig("curve.png")` writes it.

    Raises:
        RunFolderError: a folder is no run folder, or lacks a checkpoint or held-out rows.
        UsageError: there is no such kind, or it is asked for of several runs.
        DrawingError: this kind shows nothing of this run.
    """
    if not isinstance(runs, (Run, str, Path)):
        if kind is not None:
            raise UsageError(f"plot draws {kind} of one run; leave kind out to compare the adaptation of several")
        return _listed(COMPARISON)(_curves(runs))
    if kind is None:
        return _draw_all(FinishedRun.read(Run.of(runs)))
    if kind not in PLOTS:
        raise UsageError(f"there is no plot {kind}; {nearest(kind, PLOTS)}")
    figure = _listed(PLOTS[kind])(FinishedRun.read(Run.of(runs)))
    if figure is None:
        raise DrawingError(f"{kind} shows nothing of this run; the kinds are {', '.join(PLOTS)}")
    return figure


def _draw_all(finished: FinishedRun) -> list[Path]:
    made = []
    for name, place in PLOTS.items():
        figure = _listed(place)(finished)
        if figure is not None:
            made.append(finished.run.path / f"{name}.png")
            figure.savefig(made[-1], dpi=150)
    return made


def _listed(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _curves(given: Sequence[Run | str | Path]) -> dict[str, Curve]:
    """The last held-out curve of each run, or of several seeds pooled, by a label; all of one family."""
    curves: dict[str, Curve] = {}
    families = set()
    for one in given:
        runs = [one] if isinstance(one, Run) else find_runs(one)
        tables = [run.held_out_rows(checkpoints.iterations(run.checkpoints)[-1]) for run in runs]
        families |= {table["family"][0].as_py() for table in tables if len(table)}
        path = Path(one.path if isinstance(one, Run) else one)
        label = f"{path.name}: {runs[0].recipe.learner}"
        while label in curves:
            path = path.parent
            label = f"{path.name}/{label}"
        curves[label] = curve(tables, "stochastic", runs[0].family().kind)
    if len(families) != 1:
        raise UsageError(f"plot compares runs of one family, not of {', '.join(sorted(families)) or 'none'}")
    return curves
