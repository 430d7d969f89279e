"""`acclimate families`: the task families, and previews of their tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from trainers.cli.completing import family_names
from trainers.cli.console import console
from trainers.cli.headless import draw_without_a_screen

if TYPE_CHECKING:
    from envs.task import TaskFamily

HELD_OUT = {
    "distribution": "fresh draws of the same distribution",
    "region": "a region cut out of the distribution",
    "finite": "the training tasks themselves",
}


def families(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="only these; a described family's YAML file too", autocompletion=family_names),
    ] = None,
    preview: Annotated[Path | None, typer.Option(help="draw a contact sheet of each into this folder")] = None,
) -> None:
    """List the task families, or draw some of their tasks."""
    from envs import FAMILIES
    from trainers.recipes import registry

    if preview is not None:
        draw_previews(names or list(FAMILIES), preview)
        return
    for name in names or FAMILIES:
        family = registry.family(name)
        tasks = "; ".join(f"{key} ~ {distribution}" for key, distribution in family.parameters.items())
        console.print(Text.assemble((name, "bold"), f"  {_first_sentence(family)}"), soft_wrap=True)
        console.print(f"  tasks: {tasks}   held-out: {HELD_OUT[family.kind]}", soft_wrap=True)
        console.print(
            f"  steps: {family.episode_steps}   observation: {family.observation_space}   "
            f"action: {family.action_space}",
            soft_wrap=True,
        )


def draw_previews(names: list[str], folder: Path) -> None:
    """A contact sheet of each family, FOLDER/<family>.png."""
    draw_without_a_screen()
    from trainers.recipes import registry
    from trainers.reporting.videos import preview

    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        family = registry.family(name)
        target = folder / f"{family.name}.png"
        preview(family, target)
        console.print(str(target), soft_wrap=True)


def _first_sentence(family: TaskFamily) -> str:
    """Its docstring's first line, after the name; "" without one."""
    line = (family.__doc__ or "").strip().partition("\n")[0]
    return line.partition(": ")[2] or line
