"""Adaptation rows: the columns of adaptation.parquet, and reading the files of earlier versions.

A row is an episode of an evaluation: whose it is, on which task, at which step of the adaptation, what it cost and what
it returned. Everything else about adaptation is derived from the rows.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainers.errors import RunFolderError
from trainers.files import read_bytes, replace

_TEXT = pa.dictionary(pa.int32(), pa.string())
ROWS = pa.schema(
    [
        ("run_id", _TEXT),  # as in provenance.json; null where it is not known, or no run is measured
        ("agent", _TEXT),  # name of the algorithm, or of the baseline
        ("iteration", pa.int64()),
        ("training_seed", pa.int64()),
        ("family", _TEXT),
        ("split", _TEXT),
        ("task_set_hash", _TEXT),
        ("task", pa.int64()),
        ("parameters", _TEXT),
        ("repeat", pa.int64()),
        ("adaptation_step", pa.int64()),  # of the adaptation curve: adaptations made before
        ("rollout", pa.int64()),
        ("policy", _TEXT),
        ("charge", _TEXT),
        ("env_steps_before", pa.int64()),
        ("env_steps_after", pa.int64()),
        ("return", pa.float64()),
        ("length", pa.int64()),
        ("success", pa.bool_()),  # at any step of the episode; null where the family does not say
        ("segments", _TEXT),  # of the task's schedule: "0", or "0-1" if it switched
    ]
)
_RENAMED = {"point": "adaptation_step"}
_LATER = ("run_id", "agent", "segments")  # columns that the files of earlier versions lack


def read(path: Path, run_id: str | None = None, agent: str | None = None) -> pa.Table:
    """The rows in a file, as ROWS whatever version wrote it; the run's id and agent stand in where it has none.

    Raises:
        RunFolderError: the file cannot be read or holds something else.
    """
    try:
        table = pq.read_table(io.BytesIO(read_bytes(path)))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RunFolderError(
            f"{path} cannot be read ({' '.join(str(error).split())[:120]}); take it from a copy"
        ) from error
    table = table.rename_columns([_RENAMED.get(name, name) for name in table.schema.names])
    stand_ins: Mapping[str, str | None] = {"run_id": run_id, "agent": agent, "segments": "0"}
    for name in _LATER:
        if name not in table.schema.names:
            table = table.append_column(name, pa.array([stand_ins[name]] * len(table), pa.string()).cast(_TEXT))
    try:
        return table.select(ROWS.names if len(table.schema.names) == len(ROWS.names) else []).cast(ROWS)
    except (LookupError, ValueError, pa.ArrowException) as error:
        raise RunFolderError(f"{path} has other columns than adaptation rows; take it from a copy") from error


def write(path: Path, table: pa.Table) -> None:
    """A file of these rows, put in place as a whole: a reader never sees half of it."""
    content = io.BytesIO()
    # Doubles by the significance of their bytes: the same values, a fifth smaller.
    others = [name for name in table.schema.names if name != "return"]
    pq.write_table(
        table, content, compression="zstd", compression_level=9, use_dictionary=others,
        use_byte_stream_split=["return"],
    )  # fmt: skip
    replace(path, content.getvalue())


def of_evaluation(table: pa.Table, split: str, iteration: int) -> pa.Table:
    """The rows of one evaluation: a split at an iteration."""
    rows = of_split(table, split)
    return rows.filter(pc.equal(rows["iteration"], iteration))


def of_split(table: pa.Table, split: str) -> pa.Table:
    """The rows of all evaluations of a split."""
    return table.filter(pc.equal(table["split"].cast(pa.string()), split))


def measured(
    table: pa.Table, split: str, iteration: int | Literal["last", "all"] = "last", where: str = "the run"
) -> pa.Table:
    """The rows of evaluations of a split: of the last one, of all, or of that after so many meta-updates.

    Raises:
        RunFolderError: there is none; `where` names the run.
    """
    found = of_split(table, split)
    iterations = sorted(set(found["iteration"].to_pylist()))
    if not iterations:
        others = sorted({str(one) for one in table["split"].to_pylist()})
        raise RunFolderError(
            f"{where} has no rows of {split} tasks yet (it has {', '.join(others) or 'none at all'}); end the run with "
            "`acclimate resume`, or measure them with acclimate.evaluate"
        )
    if iteration == "all":
        return found
    chosen = iterations[-1] if iteration == "last" else iteration
    if chosen not in iterations:
        raise RunFolderError(
            f"{where} has no evaluation on {split} tasks after {iteration} meta-updates; it has some after "
            f"{', '.join(map(str, iterations))}"
        )
    return of_evaluation(found, split, chosen)


def up_to(table: pa.Table, iteration: int) -> pa.Table:
    """The rows of evaluations until an iteration."""
    return table.filter(pc.less_equal(table["iteration"], iteration))
