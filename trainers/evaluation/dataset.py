"""The rows of a comparison on disk: a Parquet dataset, partitioned by contestant.

    DIR/rows/contestant=NAME/held-out-seed-0-00000-<key>.parquet      pandas.read_parquet("DIR/rows") reads all

A part is what a worker does as one. It is put in place as a whole, and its name holds a key of everything that its rows
depend on: a part that is there need not be measured again, one with another key is of another question.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainers.errors import RunFolderError, UsageError
from trainers.files import read_bytes, replace
from trainers.runs.rows import ROWS

_PROVENANCE = b"acclimate"
_LONGEST_NAME = 200  # bytes, of a partition's folder
_VERSION = 1  # of what rows mean: part of every key


class Dataset:
    """The rows of a comparison.

    Attributes:
        folder: of the parts, DIR/rows.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "rows"

    def part(self, contestant: str, split: str, first: int, identity: Mapping[str, Any]) -> Path:
        """The file of a part: of a contestant's rows on a split from the task `first` on."""
        text = json.dumps([_VERSION, identity], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self.folder / _folder_of(contestant) / f"{split}-{first:05d}-{key}.parquet"

    def holds(self, part: Path) -> bool:
        """Whether a whole part is there; what is left of one is taken away."""
        if not part.exists():
            return False
        if _table(part) is not None:
            return True
        part.unlink()
        return False

    def write(self, part: Path, table: pa.Table, provenance: Mapping[str, Any]) -> None:
        """Put a part in place."""
        part.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        marked = table.replace_schema_metadata({_PROVENANCE: json.dumps(provenance).encode()})
        others = [name for name in table.schema.names if name != "return"]
        pq.write_table(
            marked, content, compression="zstd", use_dictionary=others, use_byte_stream_split=["return"]
        )  # fmt: skip
        replace(part, content.getvalue())

    def parts(self) -> list[Path]:
        """All parts, in the order of their names."""
        return sorted(self.folder.glob("contestant=*/*.parquet"))

    def provenance(self, part: Path) -> dict[str, Any]:
        """The commit, versions and machine that a part was measured with."""
        metadata = pq.read_schema(io.BytesIO(read_bytes(part))).metadata or {}
        return json.loads(metadata.get(_PROVENANCE, b"{}"))

    def keep_only(self, wanted: set[Path]) -> None:
        """Take away the parts of contestants of today that are answers to other questions, such as of older weights."""
        for folder in {part.parent for part in wanted}:
            for part in folder.glob("*.parquet"):
                if part not in wanted:
                    part.unlink()

    def broken(self) -> list[Path]:
        """Parts that cannot be read: the benchmark measures them again when it goes on."""
        return [part for part in self.parts() if _table(part) is None]

    def frame(self) -> pd.DataFrame:
        """All rows that can be read, with the column `contestant`.

        Raises:
            RunFolderError: there are none.
        """
        tables = []
        for part in self.parts():
            if (table := _table(part)) is not None:
                label = pa.array([unquote(part.parent.name.partition("=")[2])] * len(table))
                tables.append(table.append_column("contestant", label))
        if not tables:
            raise RunFolderError(f"{self.folder} holds no rows yet; run acclimate benchmark with --out there")
        whole = pa.concat_tables(tables).unify_dictionaries()
        order = pc.sort_indices(
            whole, sort_keys=[(name, "ascending") for name in ("contestant", "training_seed", "task", "repeat")]
        )
        return whole.take(order).to_pandas()


def _table(part: Path) -> pa.Table | None:
    """The rows of a part; None if it is not whole, or holds none."""
    try:
        table = pq.read_table(io.BytesIO(read_bytes(part))).cast(ROWS)
    except (OSError, ValueError, pa.ArrowException):
        return None
    return table if len(table) else None


def _folder_of(label: str) -> str:
    """A label as the name of its partition, which reads back as itself: pandas and Arrow undo the quoting."""
    return f"contestant={quote(label, safe=' ()+,._-')}"


def check_label(label: str) -> None:
    """Raise UsageError for a label that no folder can have."""
    if not label.strip() or not label.isprintable() or len(_folder_of(label).encode()) > _LONGEST_NAME:
        raise UsageError(
            f"{label[:40]!r} cannot name a line of the comparison; give a shorter or a printable name: NAME=FOLDER"
        )
