"""`acclimate resume`: continue runs that were interrupted, or extend finished ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.options import Family
from trainers.cli.running import train_and_report


def resume(
    run: Annotated[Path, typer.Argument(help="a run folder, or a folder of seed-* run folders")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="such as iterations=90, to go further")
    ] = None,
    checkpoint: Annotated[
        int | None, typer.Option(min=0, help="go back to the checkpoint of this iteration; later ones are removed")
    ] = None,
    family: Family = None,
) -> None:
    """Go on with a run after any death, to the same bits; or extend a finished one."""
    from trainers.runs.run_folder import run_folders
    from trainers.training.setup import open_for_resume

    folders = run_folders(run)
    train_and_report([open_for_resume(one, overrides or [], checkpoint=checkpoint, family=family) for one in folders])
