"""A comparison in words and tables: the answer in a sentence, text rows, CSV, LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from trainers.evaluation.comparison import Comparison
from trainers.evaluation.comparison_metrics import SHARE, cell, references, short_cell, steps_cell, table

# (key of a column, its header); `first` is zero-shot, at no experience of the task
_HEADERS = (
    ("contestant", "contestant"), ("kind", "kind"), ("seeds", "seeds"), ("tasks", "tasks"), ("first", "first episode"),
    ("few", "trained budget"), ("last", "last"), ("iqm", "IQM"), ("worst", "worst decile"),
    ("gap", "gap closed"), ("steps", f"steps to {SHARE:.0%}"),
)  # fmt: skip


def rows_of_text(comparison: Comparison, *, short: bool = False) -> tuple[list[tuple[str, str]], list[list[str]]]:
    """(columns as key and header, rows of text); columns that nobody has a figure for are left out.

    Where space is `short`, an interval is half of its width behind a plus-minus sign.
    """
    rows, text_of = [], short_cell if short else cell
    for row in table(comparison):
        gap = row.get("gap_closed")
        rows.append(
            {
                "contestant": row["contestant"], "kind": row["kind"],
                "seeds": str(row["seeds"]) if row["seeds"] else "-", "tasks": str(row["tasks"]),
                "first": text_of(row["zero_shot"]), "few": text_of(row["few_shot"]), "last": text_of(row["last"]),
                "iqm": text_of(row["iqm"]), "worst": text_of(row["worst_decile"]),
                "gap": cell(_percent(gap), 0) if gap else "-", "steps": steps_cell(row.get("steps_to_80")),
            }
        )  # fmt: skip
    header = [(key, text) for key, text in _HEADERS if any(row[key] != "-" for row in rows)]
    return header, [[row[key] for key, _ in header] for row in rows]


def _percent(estimate: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else 100 * value for name, value in estimate.items()}


def answer(comparison: Comparison) -> str:
    """How fast the best agent adapts, beside what is simpler, in a sentence."""
    rows = [row for row in table(comparison) if row["last"]["value"] is not None]
    learned = [row for row in rows if row["kind"] == "run"] or rows
    if not learned:
        return "no contestant has rows on held-out tasks."
    best = max(learned, key=lambda row: row["few_shot"]["value"])
    seeds = f"{best['seeds']} training seed{'' if best['seeds'] == 1 else 's'}"
    trained = f"{cell(best['few_shot'])} (first episode {cell(best['zero_shot'])}; {seeds}, {best['tasks']} tasks)"
    if not best["seeds"]:  # nothing that was trained
        sentence = f"{best['contestant']}: {cell(best['last'])} in its last episodes on held-out tasks"
    elif sum(row["kind"] == "run" for row in rows) > 1:
        sentence = (
            f"At the budget that each run was trained for, {best['contestant']} is best on held-out tasks: {trained}"
        )
    else:
        sentence = f"{best['contestant']} at the budget that it was trained for, on held-out tasks: {trained}"
    against = references(comparison)
    if against is not None and best.get("gap_closed"):
        closed = best["gap_closed"]["value"]
        sentence += f", {closed:.0%} of the gap from {against.names[0]} to {against.names[1]} in the end"
    scratch = [row for row in rows if row["kind"] == "from scratch"]
    if scratch and best.get("steps_to_80"):
        costs = "; ".join(f"{row['contestant']} {steps_cell(row.get('steps_to_80'))}" for row in scratch)
        sentence += (
            f". Environment steps on a task to {SHARE:.0%} of it: {steps_cell(best['steps_to_80'])}; from scratch: "
            f"{costs}"
        )
    return sentence + "."


def missing(comparison: Comparison) -> list[str]:
    """A sentence for everything that the comparison lacks."""
    found = [missing_sentence(one) for one in comparison.record["missing"]]
    return found + [sentence for one in comparison.contenders for sentence in one.missing_seeds]


def missing_sentence(one: Mapping[str, Any]) -> str:
    """Who lacks, and why."""
    alike = f" (and {one['alike']} more like it)" if one.get("alike") else ""
    return f"{one['contestant']}: {one['why']}{alike}"


def notes(comparison: Comparison) -> list[str]:
    """Sentences that a reader of the table should know."""
    rows = table(comparison)
    found = []
    if len({row["tasks"] for row in rows}) > 1:
        found.append(
            "means are over the tasks that each contestant played (column tasks); the report has those that all played"
        )
    if references(comparison) is None:
        found.append(
            "for the share of the gap and steps to 80 % of it add the baseline random, and an oracle: a run with "
            "task_in_observation, unless the family knows its optimum"
        )
    return found


def as_csv(comparisons: Sequence[Comparison]) -> str:
    """Every figure of the tables, one column each."""
    return pd.DataFrame([row for one in comparisons for row in _flat_rows(one)]).to_csv(index=False)


def _flat_rows(comparison: Comparison) -> list[dict[str, Any]]:
    rows = []
    for row in table(comparison):
        flat: dict[str, Any] = {"family": comparison.family}
        for name, value in row.items():
            if isinstance(value, Mapping):
                flat |= {f"{name}_{key}": part for key, part in value.items()}
            else:
                flat[name] = " ".join(map(str, value)) if isinstance(value, list) else value
        rows.append(flat)
    return rows


def as_latex(comparisons: Sequence[Comparison]) -> str:
    """A booktabs table for each comparison, with its caption."""
    return "\n".join(_latex(one) for one in comparisons)


def _latex(comparison: Comparison) -> str:
    header, rows = rows_of_text(comparison)
    kind = "seeds and tasks" if comparison.tasks == "random" else "seeds, on all tasks of the family"
    caption = f"{comparison.title}. Mean return on held-out tasks with 95 % intervals over {kind}."
    lines = [
        r"\begin{table}", r"\centering", rf"\caption{{{_escaped(caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"\toprule",
        " & ".join(_escaped(text) for _, text in header) + r" \\", r"\midrule",
        *(" & ".join(_escaped(text) for text in row) + r" \\" for row in rows),
        r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
    ]  # fmt: skip
    return "\n".join(lines)


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "≥": r"$\geq$", "²": r"$^2$",
}  # fmt: skip


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(one, one) for one in text)
