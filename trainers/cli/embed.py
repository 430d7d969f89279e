"""`acclimate embed`: plots of what an agent has learned of its tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.console import console
from trainers.cli.options import Family


def embed(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    split: Annotated[str, typer.Option(help="validation, held-out, ood, or a file of tasks")] = "held-out",
    checkpoint: Annotated[str, typer.Option(help="last, best (on the validation tasks), or an iteration")] = "last",
    out: Annotated[Path | None, typer.Option(help="the folder of the plots (default: RUN/embeddings)")] = None,
    tasks: Annotated[int, typer.Option(min=1, max=2000, help="at most so many, the first of the set")] = 200,
    family: Family = None,
) -> None:
    """Draw what the agent has learned of its tasks: embeddings, beliefs along the trial, attention."""
    from trainers.reporting.inspection_plots import draw
    from trainers.runs.run_folder import Run

    files, notes = draw(
        Run.open(run, family=family), split, checkpoint, run / "embeddings" if out is None else out, tasks
    )
    for file in files:
        console.print(str(file), soft_wrap=True)
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True)
