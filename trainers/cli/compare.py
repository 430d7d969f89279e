"""`acclimate compare`: the table of a comparison, in the terminal, as CSV or LaTeX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from trainers.cli.console import console, note

if TYPE_CHECKING:
    from trainers.evaluation.comparison import Comparison

# Columns of a terminal from which on so much of the table is shown, intervals written out from the last on.
_MIDDLE, _WIDE, _WIDEST = 120, 172, 212
_ALWAYS = ("contestant", "few", "last")
_IN_THE_MIDDLE = (*_ALWAYS, "first", "gap", "steps")


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="runs, or folders of seed-* runs, NAME=FOLDER names one; or one folder that acclimate benchmark wrote"
        ),
    ],
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="also write every figure as CSV; - is stdout")
    ] = None,
    latex: Annotated[
        Path | None, typer.Option(metavar="FILE", help="also write the table as LaTeX; - is stdout")
    ] = None,
) -> None:
    """Compare runs on their held-out tasks, or print the table of a benchmark."""
    from trainers.errors import UsageError
    from trainers.evaluation.comparison import comparisons_of
    from trainers.evaluation.comparison_tables import as_csv, as_latex

    comparisons = comparisons_of(runs)
    if str(csv) == str(latex) == "-":
        raise UsageError("--csv and --latex cannot both be stdout; give one of them a file")
    piped = any(str(one) == "-" for one in (csv, latex) if one is not None)
    if not piped:
        for one in comparisons:
            print_comparison(one)
    for path, render in ((csv, as_csv), (latex, as_latex)):
        if path is None:
            continue
        text = render(comparisons)
        if str(path) == "-":
            typer.echo(text, nl=False)
        else:
            _write(path, text)
            note(f"  {path}")


def _write(path: Path, text: str) -> None:
    from trainers.errors import UsageError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); name another file") from error


def print_comparison(comparison: Comparison, to: Console = console) -> None:
    """Print the comparison: its answer in a sentence, a row for each contestant, and what is missing."""
    from trainers.evaluation.comparison_tables import answer, missing, notes, rows_of_text

    wide = to.width >= _WIDE
    header, rows = rows_of_text(comparison, short=to.width < _WIDEST)
    some = _IN_THE_MIDDLE if to.width >= _MIDDLE else _ALWAYS
    shown = [place for place, (key, _) in enumerate(header) if wide or key in some]
    table = Table(*(header[place][1] for place in shown), box=None, pad_edge=False)
    for place, column in enumerate(table.columns):
        column.justify = "right" if place else "left"
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(row[place] for place in shown))
    to.print(f"{comparison.title}: {answer(comparison)}", soft_wrap=True)
    to.print(table)
    if not wide:
        to.print("a wider terminal, --csv or acclimate report show the other columns", soft_wrap=True)
    for sentence in notes(comparison):
        to.print(sentence, soft_wrap=True)
    for sentence in missing(comparison):
        to.print(f"missing: {sentence}", soft_wrap=True)
