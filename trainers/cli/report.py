"""`acclimate report`: a comparison as one self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.console import console


def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="runs, or folders of seed-* runs, NAME=FOLDER names one; or one folder that acclimate benchmark wrote"
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="the page to write")] = Path("report.html"),
) -> None:
    """Write a comparison of runs, or of a benchmark, as one page that needs no network."""
    from trainers.evaluation.comparison import comparisons_of
    from trainers.reporting.page import write_page

    comparisons = comparisons_of(runs)
    path = write_page(comparisons, out)
    console.print(f"report: {path}", soft_wrap=True)
