"""`acclimate render`: a video of one task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.console import console
from trainers.cli.headless import draw_without_a_screen
from trainers.cli.options import Family


def render(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    task: Annotated[int, typer.Option(min=0, help="its number in the set")] = 0,
    split: Annotated[str, typer.Option(help="validation, held-out, ood, or a file of tasks")] = "held-out",
    rounds: Annotated[int | None, typer.Option(min=1, help="adaptations shown (default: the recipe's)")] = None,
    checkpoint: Annotated[str, typer.Option(help="last, best (on the validation tasks), or an iteration")] = "last",
    out: Annotated[Path | None, typer.Option(help="the .mp4 or .gif to make (default: in the run folder)")] = None,
    family: Family = None,
) -> None:
    """Make a video of one task, before adaptation and after each round, side by side."""
    draw_without_a_screen()
    from trainers.reporting.videos import make_video
    from trainers.runs.run_folder import Run

    target = out if out is not None else run / f"{split}-task-{task}.mp4"
    video = make_video(Run.open(run, family=family), task, split, rounds, checkpoint, target)
    for panel in video["panels"]:
        console.print(f"{panel['panel']}: return {panel['return']:.2f} (mean of its round {panel['mean_return']:.2f})")
    console.print(f"video: {target}", soft_wrap=True)
