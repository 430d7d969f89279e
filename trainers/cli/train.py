"""`acclimate train`: meta-train a recipe."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.completing import recipe_names
from trainers.cli.console import detail
from trainers.cli.running import train_and_report


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="[RECIPE]",
            help="a recipe's name or path; none with family=... agent=...",
            autocompletion=recipe_names,
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="such as iterations=50 or agent.gamma=0.9")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the run folder to make")] = None,
) -> None:
    """Meta-train a recipe, or an agent on a family: `train family=my_module:MyFamily agent=NAME`.

    `seeds=0,1,2` trains one folder for each seed.
    """
    from trainers.errors import UsageError
    from trainers.recipes.loading import find, run_name
    from trainers.training.setup import create_runs

    if recipe is not None and "=" in recipe and not Path(recipe).exists():
        overrides, recipe = [recipe, *(overrides or [])], None  # no recipe was named: these are all keys
    of_recipe = [override for override in overrides or [] if not override.startswith("seeds=")]
    of_seeds = [override.removeprefix("seeds=") for override in overrides or [] if override.startswith("seeds=")]
    try:
        seeds = sorted({int(seed) for seed in of_seeds[-1].split(",")}) if of_seeds else []
    except ValueError:
        raise UsageError(f"seeds={of_seeds[-1]} is no list of seeds; write seeds=0,1,2") from None
    folder = out or Path("runs") / f"{run_name(recipe, of_recipe)}-{datetime.now():%Y%m%d-%H%M%S}"
    if recipe is not None:
        detail(f"The recipe is {find(recipe)}")
    train_and_report(create_runs(recipe, folder, of_recipe, seeds))
