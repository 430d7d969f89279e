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
    from trainers.errors import RecipeError
    from trainers.recipes import loading
    from trainers.recipes.schema import Recipe
    from trainers.training.setup import create_run

    path = loading.find(recipe)
    others = [override for override in overrides or [] if not override.startswith("seeds=")]
    folder = out or Path("runs") / f"{path.stem}-{datetime.now():%Y%m%d-%H%M%S}"
    many = [override.removeprefix("seeds=") for override in overrides or [] if override.startswith("seeds=")]
    if not many:
        train_and_report([create_run(Recipe.load(path, others), folder)])
        return
    try:
        seeds = sorted({int(seed) for seed in many[-1].split(",")})
    except ValueError:
        raise RecipeError(f"seeds={many[-1]} is no list of seeds; write seeds=0,1,2") from None
    recipes = [Recipe.load(path, [*others, f"seed={seed}"], quiet=seed != seeds[0]) for seed in seeds]
    # All folders before the first update: `acclimate resume` knows what is left after any death.
    train_and_report([create_run(of_seed, folder / f"seed-{of_seed.seed}") for of_seed in recipes])
