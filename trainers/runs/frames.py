"""Data frames of a run: its adaptation rows with the task parameters as columns, and its metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from trainers.runs import rows


def adaptation(
    table: pa.Table, split: str, iteration: int | Literal["last", "all"] = "last", where: str = "the run"
) -> pd.DataFrame:
    """The rows of a split, one for each episode, a column for each number of the task parameters.

    A parameter that is a number or a word is a column of its name; a list has one for each entry (`goal_m_0`,
    `goal_m_1`). One that is called as a column of the rows is, `length` say, is `parameter_length`. The schedule of a
    task that has one stays JSON text, in `schedule`.

    Args:
        table: adaptation rows.
        split: of the tasks.
        iteration: of the evaluation: the last one of the split, all, or after so many meta-updates.
        where: names the run in errors.

    Raises:
        RunFolderError: there is no such evaluation.
    """
    frame = rows.measured(table, split, iteration, where).to_pandas()
    texts = frame.pop("parameters").astype(str)
    taken = {*rows.ROWS.names} - {"parameters"}
    of_text = {text: _columns(json.loads(text), taken) for text in texts.unique()}
    names = list(dict.fromkeys(name for columns in of_text.values() for name in columns))
    columns = {name: [of_text[text].get(name) for text in texts] for name in names}
    place = rows.ROWS.get_field_index("parameters")
    before, after = frame.iloc[:, :place], frame.iloc[:, place:]
    return pd.concat([before, pd.DataFrame(columns, index=frame.index), after], axis=1).reset_index(drop=True)


def metrics(lines: Sequence[Mapping[str, float]]) -> pd.DataFrame:
    """The lines of metrics.jsonl, one row for each iteration; a metric that a line lacks is NaN there."""
    return pd.DataFrame(list(lines)) if lines else pd.DataFrame({"iteration": pd.Series(dtype="int64")})


def _columns(parameters: Mapping[str, Any], taken: set[str]) -> dict[str, Any]:
    """A task's parameters as columns of a row."""
    columns: dict[str, Any] = {}
    for name, value in parameters.items():
        if name == "schedule" and isinstance(value, list):
            columns[name] = json.dumps(value)
            continue
        own = f"parameter_{name}" if name in taken else name
        columns |= (
            {f"{own}_{index}": entry for index, entry in enumerate(value)} if isinstance(value, list) else {own: value}
        )
    return columns
