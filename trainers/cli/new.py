"""`acclimate new`: a commented recipe to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.console import console, note


def new(
    file: Annotated[Path, typer.Argument(help="the recipe to write, such as mine.yaml")],
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="family=... agent=..., and whatever else shall differ"),
    ] = None,
) -> None:
    """Write a recipe: the given keys, and every other one with its default, commented out, and its meaning."""
    from trainers.errors import UsageError
    from trainers.recipes.writing import commented_recipe

    if "=" in file.name:
        raise UsageError(f"acclimate new needs the FILE to write before its keys: acclimate new mine.yaml {file} ...")
    if file.exists():
        raise UsageError(f"{file} exists already and stays as it is; name another file, or remove it")
    text = commented_recipe(keys or [])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as target:
            target.write(text)
    except OSError as error:
        raise UsageError(f"{file} cannot be written ({error.strerror}); name another file") from error
    console.print(str(file), soft_wrap=True)
    note(f"train it: acclimate train {file}; every key has its default and its meaning there")
