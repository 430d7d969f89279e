"""A comparison: everything that tables, plots and the report say of contestants, derived from their rows.

Axis letters: S training seeds, T tasks, P points of a curve.

A contestant's curve has its own points: an agent of ours one for each adaptation step, a learner from scratch one for
each part of a logarithmic scale of its budget. *Online* curves are of episodes whose steps were charged, *probe*
curves of test episodes that were not; no curve has both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import pandas as pd

from envs.task import Kind
from trainers.errors import USER_ERRORS, RunError, RunFolderError, UsageError
from trainers.evaluation.benchmark import RECORD, read_record
from trainers.evaluation.dataset import Dataset
from trainers.evaluation.statistics import Tasks, tasks_of_kind
from trainers.evaluation.task_curves import TaskCurves, curves_of
from trainers.recipes import registry
from trainers.runs import checkpoints
from trainers.runs.run_folder import Run, find_runs, named_folder

Charge = Literal["online", "probe"]


@dataclass(frozen=True)
class Contender:
    """A line of the comparison: the seeds of one label.

    Attributes:
        label, kind, agent: as of its entrants; `kind` is run, oracle, control, baseline or from scratch.
        seeds: training seeds.
        curves: by (split, charge).
        about: of its first seed, where it comes from.
        missing_seeds: sentences about seeds that lack rows.
    """

    label: str
    kind: str
    agent: str
    seeds: tuple[int, ...]
    curves: Mapping[tuple[str, Charge], TaskCurves] = field(repr=False)
    about: Mapping[str, Any] = field(repr=False)
    missing_seeds: tuple[str, ...] = ()

    @property
    def untrained(self) -> bool:
        """Whether there is no training behind it, so that its seeds are none: a baseline, an analytic oracle."""
        return self.kind == "baseline" or (self.kind == "oracle" and not self.about.get("run"))

    def curve(self, split: str = "held-out", charge: Charge = "online") -> TaskCurves | None:
        """Its curves; None where it was not measured so."""
        return self.curves.get((split, charge))


@dataclass(frozen=True)
class Comparison:
    """Contestants on the tasks of one family.

    Attributes:
        family, kind: its name, and how its held-out tasks differ from training tasks.
        title: what is compared.
        contenders: in the order in which they were named.
        parameters: of each held-out task, by index.
        reference: known returns of each held-out task by name, `blind` and `oracle` among them; {} where unknown.
        episode_steps: the horizon.
        task_set_hash: of the held-out tasks.
        record: the benchmark's record; of runs without a benchmark what stands in for it.
    """

    family: str
    kind: Kind
    title: str
    contenders: Sequence[Contender]
    parameters: Mapping[int, Mapping[str, Any]]
    reference: Mapping[str, Mapping[int, float]]
    episode_steps: int
    task_set_hash: str
    record: Mapping[str, Any] = field(repr=False)

    @property
    def tasks(self) -> Tasks:
        """Whether the tasks are a sample."""
        return tasks_of_kind(self.kind)

    def shared_tasks(self) -> list[int]:
        """Held-out tasks that every contestant played."""
        played = [set(curve.tasks.tolist()) for one in self.contenders if (curve := one.curve()) is not None]
        return sorted(set.intersection(*played)) if played else []


def comparisons_of(paths: Sequence[str | Path]) -> list[Comparison]:
    """The comparisons in a benchmark's folder, or the one of runs."""
    if len(paths) == 1 and (Path(paths[0]) / RECORD).exists():
        return compare_folder(Path(paths[0]))
    for path in paths:
        if (Path(path) / RECORD).exists():
            raise UsageError(f"{path} is a benchmark's folder, which stands alone; name it by itself, or name runs")
    return [compare_runs(paths)]


def compare_folder(folder: Path) -> list[Comparison]:
    """The comparisons in a benchmark's folder, one for each family."""
    record, dataset = read_record(folder), Dataset(folder)
    frame, found = dataset.frame(), []
    for part in dataset.broken():
        label = unquote(part.parent.name.partition("=")[2])
        why = f"{part.name} cannot be read; run the benchmark again, it measures that anew"
        record["missing"].append({"contestant": label, "why": why, "family": None})
    for name, rows in frame.groupby("family", observed=True):
        entrants = [one for one in record["entrants"] if one["family"] == name]
        suite = str(record["suite"]["name"])
        title = suite if suite == name else f"{suite}: {name}"
        found.append(_comparison(str(name), title, rows, entrants, record))
    return found


def compare_runs(paths: Sequence[str | Path]) -> Comparison:
    """The comparison of runs by the held-out rows that their training left; nothing is played.

    Raises:
        UsageError: the runs are of different families or task sets.
        RunFolderError: one of them lacks its rows.
    """
    frames: list[pd.DataFrame] = []
    entrants: list[dict[str, Any]] = []
    lacking: list[dict[str, Any]] = []
    known: set[Path] = set()
    for path in paths:
        named, folder = named_folder(str(path))
        runs = find_runs(folder)
        label = named or _label_of(folder, runs[0], {one["label"] for one in entrants})
        if runs[0].path.resolve() in known:
            raise UsageError(f"{folder} is named twice; name it once")
        known |= {run.path.resolve() for run in runs}
        for run in runs:
            try:
                if any((one["label"], one["seed"]) == (label, run.recipe.seed) for one in entrants):
                    raise UsageError(
                        f"{run.path} has the training seed {run.recipe.seed} of another run; a copy counts once"
                    )
                frames.append(_rows_of(run).assign(contestant=label))
                entrants.append(_entrant_of(run, label))
            except RunError as error:
                lacking.append({"contestant": f"{label}, {run.path.name}", "why": str(error), "family": None})
    if not frames:
        raise UsageError(f"none of these runs has rows to compare: {lacking[0]['why']}")
    rows = pd.concat(frames)
    families, sets = (sorted(map(str, rows[name].unique())) for name in ("family", "task_set_hash"))
    if len(families) > 1:
        raise UsageError(
            f"a comparison is of one family, and these runs are of {', '.join(families)}; name some of one"
        )
    if len(sets) > 1:
        raise UsageError(
            f"these runs were measured on different held-out tasks ({', '.join(sets)}); acclimate benchmark measures "
            "them on the same ones"
        )
    record = {"suite": None, "entrants": entrants, "missing": lacking, "provenance": None}
    return _comparison(families[0], families[0], rows, entrants, record)


def compare_run(run: Run) -> Comparison:
    """The comparison of a run with nothing, by its own held-out rows: what the report of a run shows."""
    label = run.recipe.learner
    rows = _rows_of(run).assign(contestant=label)
    entrants = [_entrant_of(run, label)]
    record = {"suite": None, "entrants": entrants, "missing": [], "provenance": None}
    return _comparison(str(rows["family"].iloc[0]), run.recipe.title, rows, entrants, record)


def _rows_of(run: Run) -> pd.DataFrame:
    known = checkpoints.iterations(run.checkpoints)
    if not known:
        raise RunFolderError(f"{run.path} has no checkpoint, so it was not measured; resume it")
    rows = run.held_out_rows(known[-1]).to_pandas()
    if not len(rows):
        raise RunFolderError(f"{run.path} holds no held-out rows; measure it with acclimate evaluate")
    return rows


def _label_of(path: str | Path, run: Run, taken: set[str]) -> str:
    place = Path(path)
    base = run.recipe.family.rpartition("-v")[0]
    label = place.name.removeprefix(f"{base}_") or run.recipe.learner
    while label in taken:
        place = place.parent
        label = f"{place.name}/{label}"
    return label


def _entrant_of(run: Run, label: str) -> dict[str, Any]:
    from trainers.evaluation.entering import about_run

    kind = "oracle" if run.recipe.task_in_observation else "run"
    about = about_run(run, checkpoints.iterations(run.checkpoints)[-1])
    return {"label": label, "kind": kind, "agent": run.recipe.agent_name, "seed": run.recipe.seed, "about": about}


def _comparison(
    family_name: str, title: str, rows: pd.DataFrame, entrants: Sequence[Mapping[str, Any]], record: Mapping[str, Any]
) -> Comparison:
    labels = list(dict.fromkeys(str(one["label"]) for one in entrants))
    contenders, lacking = [], []
    for label in labels:
        of_label = [one for one in entrants if one["label"] == label]
        expected = _expected_tasks(record["suite"], family_name, of_label)
        contender = _contender(label, of_label, rows[rows["contestant"] == label], expected)
        if contender is not None:
            contenders.append(contender)
        elif not any(one["contestant"].partition(",")[0] == label for one in record["missing"]):
            lacking.append({"contestant": label, "why": "it has no rows that can be compared", "family": family_name})
    held_out = rows[rows["split"] == "held-out"].drop_duplicates("task")
    parameters = {
        int(task): json.loads(text) for task, text in zip(held_out["task"], held_out["parameters"], strict=True)
    }
    kind, reference, steps = _of_family(family_name, parameters, rows)
    hashes = held_out["task_set_hash"].astype(str)
    return Comparison(
        family_name,
        kind,
        title,
        contenders,
        parameters,
        reference,
        steps,
        hashes.iloc[0] if len(hashes) else "",
        {**record, "missing": [*_about_family(record["missing"], family_name), *lacking]},
    )


def _about_family(missing: Sequence[Mapping[str, Any]], family: str) -> list[Mapping[str, Any]]:
    """Those that are missing on this family, or on all."""
    return [one for one in missing if one.get("family") in (None, family)]


def _of_family(
    name: str, parameters: Mapping[int, Mapping[str, Any]], rows: pd.DataFrame
) -> tuple[Kind, dict[str, dict[int, float]], int]:
    """(kind, reference returns by name and task, horizon) of a family; what can be told where it cannot be imported."""
    try:
        family = registry.family(name)
        known = {index: family.reference_returns(family.task(**_plain(values))) for index, values in parameters.items()}
    except (*USER_ERRORS, TypeError):  # a family of a script, or one whose tasks hold schedules
        return "distribution", {}, int(rows["length"].max())
    names = set.intersection(*map(set, known.values())) if known else set()
    return (
        family.kind,
        {one: {task: values[one] for task, values in known.items()} for one in names},
        family.episode_steps,
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _contender(
    label: str, entrants: Sequence[Mapping[str, Any]], rows: pd.DataFrame, expected: int | None
) -> Contender | None:
    """The line of this label; None if it has no curve. It was to play so many held-out tasks, if that is known."""
    curves: dict[tuple[str, Charge], TaskCurves] = {}
    kind = str(entrants[0]["kind"])
    for (split, charge), part in rows.groupby(["split", "charge"], observed=True):
        curve = curves_of(part, binned=kind == "from scratch" and charge == "online")
        if curve is not None:
            curves[str(split), charge] = curve
    if not curves:
        return None
    seeds = tuple(sorted({int(seed) for seed in rows["training_seed"]}))
    missing = sorted({int(one["seed"]) for one in entrants} - set(seeds))
    sentences = [f"{label}: seed {seed} has no rows" for seed in missing]
    main = curves.get(("held-out", "online"))
    played = 0 if main is None else len(main.tasks)
    expected = expected or rows[rows["split"] == "held-out"]["task"].nunique()
    if played < expected:
        sentences.append(f"{label}: {expected - played} of {expected} held-out tasks are left out, for rows lack there")
    return Contender(
        label, kind, str(entrants[0]["agent"]), seeds, curves, dict(entrants[0]["about"]), tuple(sentences)
    )  # fmt: skip


def _expected_tasks(suite: Mapping[str, Any] | None, family: str, entrants: Sequence[Mapping[str, Any]]) -> int | None:
    """How many held-out tasks the entrants of a label were to play; None without a suite."""
    of_family = [one for one in (suite or {}).get("families", []) if one["family"] == family]
    if not of_family:
        return None
    count = int(of_family[0]["held_out"]["count"])
    return min(count, int(of_family[0]["from_scratch"])) if entrants[0]["kind"] == "from scratch" else count
