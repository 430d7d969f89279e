"""A benchmark: all entrants of a suite measured, row by row resumable, on one sampler.

DIR/rows/           the dataset (`dataset.Dataset`)
DIR/benchmark.json  the suite, the entrants and where they come from, and what is missing and why
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from trainers.errors import USER_ERRORS, ClusterError, UsageError
from trainers.evaluation.dataset import Dataset
from trainers.evaluation.entering import Entries, Missing, enter
from trainers.evaluation.entrants import Cell, Entrant
from trainers.evaluation.suites import Suite, load_suite
from trainers.files import held, json_bytes, read_text, replace
from trainers.process import keep_freed_memory
from trainers.runs.provenance import provenance
from trainers.sampling.samplers import Sampler, make_sampler
from trainers.stopping import StopRequest

RECORD = "benchmark.json"
# Called with the label of an entrant, and the environment steps of a cell of it that is done; 0 as it begins.
Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class BenchmarkRequest:
    """A benchmark as `acclimate benchmark` is asked for it.

    Attributes:
        suite: name or file.
        out: the folder of the comparison; what it holds already is not measured again.
        runs: folders of runs or of `seed-*` runs, each may be `label=folder`.
        baselines: names of baselines, controls and learners from scratch.
        workers: Ray workers; 0 computes in this process.
    """

    suite: str
    out: Path
    runs: Sequence[str] = ()
    baselines: Sequence[str] = ()
    workers: int = 0


@dataclass(frozen=True)
class Benchmark:
    """A benchmark whose entrants are known.

    Attributes:
        request, suite: what is asked for.
        entries: who plays, and what could not enter.
        dataset: of the rows.
        todo: cells that are still to be done, by place of their entrant.
    """

    request: BenchmarkRequest
    suite: Suite
    entries: Entries
    dataset: Dataset
    todo: dict[int, list[Cell]]

    @property
    def env_steps(self) -> int:
        """About how many environment steps are still to be taken."""
        return sum(cell.env_steps for cells in self.todo.values() for cell in cells)


def prepare(request: BenchmarkRequest) -> Benchmark:
    """Load everything and see what is left to do; nothing is written but the folder.

    Raises:
        UsageError, RunFolderError: what is asked for does not go together, or the folder is of another suite.
    """
    suite = load_suite(request.suite)
    if not request.runs and not request.baselines:
        raise UsageError("nothing to compare: name folders of runs with --runs, baselines with --baselines, or both")
    _make_folder(request.out)
    _refuse_another_suite(request.out, suite)
    entries = enter(suite, request.runs, request.baselines)
    dataset = Dataset(request.out)
    todo, wanted = {}, set()
    for place, entrant in enumerate(entries.entrants):
        cells = entrant.cells(suite, dataset)
        wanted |= {cell.part for cell in cells}
        todo[place] = [cell for cell in cells if not dataset.holds(cell.part)]
    dataset.keep_only(wanted)
    return Benchmark(request, suite, entries, dataset, todo)


def _make_folder(out: Path) -> None:
    """Make the folder, and see that it can be written, before anything is played."""
    try:
        (out / "rows").mkdir(parents=True, exist_ok=True)
        replace(out / "rows" / ".writable", b"")
        (out / "rows" / ".writable").unlink()
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written ({error.strerror}); name another folder") from error


def _refuse_another_suite(out: Path, suite: Suite) -> None:
    if not (out / RECORD).exists():
        return
    try:
        other = (read_record(out)["suite"] or {}).get("digest")
    except UsageError as error:
        raise UsageError(
            f"{out / RECORD} cannot be read; delete it and start again: the rows beside it are not measured again"
        ) from error
    if other != suite.digest:
        raise UsageError(
            f"{out} holds a comparison on another suite, or another version of it ({other}, not "
            f"{suite.digest}); name another folder with --out"
        )


def _held(out: Path) -> AbstractContextManager[None]:
    """Nobody else measures into this folder meanwhile; UsageError if somebody does."""
    return held(
        out,
        UsageError(
            f"another acclimate benchmark is measuring into {out}; wait for it, or name another folder with --out"
        ),
    )


def measure(benchmark: Benchmark, progress: Progress, stop: StopRequest | None = None) -> dict[str, Any]:
    """Do what is left, each entrant after the other on one sampler; returns the record, which is written too."""
    keep_freed_memory()
    request, missing = benchmark.request, list(benchmark.entries.missing)
    sampler: Sampler | None = None
    with _held(request.out):
        write_record(benchmark, missing)
        try:
            for place, entrant in enumerate(benchmark.entries.entrants):
                if cells := benchmark.todo[place]:
                    sampler = sampler or make_sampler(request.workers, stop)
                    progress(entrant.label, 0)
                    try:
                        missing += _play(entrant, cells, sampler, benchmark.dataset, progress)
                    except ClusterError:
                        raise
                    except USER_ERRORS as error:
                        missing.append(
                            Missing(f"{entrant.label}, seed {entrant.seed}", str(error), entrant.family.name)
                        )
                write_record(benchmark, missing)
        finally:
            if sampler is not None:
                sampler.close()
        return write_record(benchmark, missing)


def _play(
    entrant: Entrant, cells: Sequence[Cell], sampler: Sampler, dataset: Dataset, progress: Progress
) -> list[Missing]:
    """Do the cells of an entrant; returns what failed."""
    failures: list[Missing] = []
    here = provenance()
    made = {name: here[name] for name in ("commit", "versions", "machine")}

    def done(place: int, result: Any) -> None:
        cell = cells[place]
        rows = entrant.rows(cell, result)
        if isinstance(rows, str):
            _note(failures, Missing(entrant.label, rows, entrant.family.name))
        else:
            dataset.write(cell.part, rows, made)
        progress(entrant.label, cell.env_steps)

    agent, weights = entrant.acting
    sampler.run(agent, entrant.family, weights, [cell.work for cell in cells], done)  # type: ignore[arg-type, misc]
    return failures


def _note(failures: list[Missing], one: Missing) -> None:
    """Add what failed; cells that failed alike, but for seed and task, are one entry."""
    for place, other in enumerate(failures):
        if other.why.partition(": ")[2] == one.why.partition(": ")[2]:
            failures[place] = dataclasses.replace(other, alike=other.alike + 1)
            return
    failures.append(one)


def write_record(benchmark: Benchmark, missing: Sequence[Missing]) -> dict[str, Any]:
    """Write benchmark.json; returns what is in it."""
    suite = benchmark.suite
    record = {
        "suite": suite.model_dump(mode="json") | {"digest": suite.digest},
        "entrants": [
            {
                "label": one.label, "kind": one.kind, "agent": one.agent, "seed": one.seed, "family": one.family.name,
                "about": dict(one.about),
            }
            for one in benchmark.entries.entrants
        ],
        "missing": [asdict(one) for one in missing],
        "provenance": provenance(),
    }  # fmt: skip
    replace(benchmark.request.out / RECORD, json_bytes(record))
    return record


class _Entrant(BaseModel):
    """A line of the record's entrants."""

    label: str
    kind: str
    agent: str
    seed: int
    family: str
    about: dict[str, Any]


class _Record(BaseModel):
    """benchmark.json, as far as readers depend on it."""

    suite: dict[str, Any]
    entrants: list[_Entrant]
    missing: list[Missing]
    provenance: dict[str, Any]


def read_record(folder: Path) -> dict[str, Any]:
    """The record in a comparison's folder, or UsageError."""
    try:
        record = _Record.model_validate_json(read_text(folder / RECORD)).model_dump()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{folder} is no comparison: it has no {RECORD} that can be read; name the --out of acclimate benchmark"
        ) from error
    return record
