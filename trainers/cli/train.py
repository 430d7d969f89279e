"""`acclimate train`: meta-train a recipe."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.running import train_and_report


def train(
    recipe: Annotated[str, typer.Argument(help="a recipe's name or path")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="such as iterations=50")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the run folder to make")] = None,
) -> None:
    """Meta-train a recipe; `seeds=0,1,2` trains one folder for each seed."""
    from trainers.errors import UsageError
    from trainers.training.setup import create_runs

    folder = out or Path("runs") / f"{Path(recipe).name.removesuffix('.yaml')}-{datetime.now():%Y%m%d-%H%M%S}"
    of_recipe = [override for override in overrides or [] if not override.startswith("seeds=")]
    of_seeds = [override.removeprefix("seeds=") for override in overrides or [] if override.startswith("seeds=")]
    try:
        seeds = sorted({int(seed) for seed in of_seeds[-1].split(",")}) if of_seeds else []
    except ValueError:
        raise UsageError(f"seeds={of_seeds[-1]} is no list of seeds; write seeds=0,1,2") from None
    train_and_report(create_runs(recipe, folder, of_recipe, seeds))
