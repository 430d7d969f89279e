"""`acclimate check`: does a task family keep its contract?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from trainers.cli.completing import family_names
from trainers.cli.console import console

if TYPE_CHECKING:
    from envs.task import TaskFamily


def check(
    family: Annotated[
        str,
        typer.Argument(help="a family's name, or package.module:Class of your own", autocompletion=family_names),
    ],
) -> None:
    """Check a task family; every finding is a sentence. Then: which agents serve it, and why the others do not."""
    from envs.check import check_task_family, without_gymnasiums_warnings
    from trainers.recipes import registry
    from trainers.recipes.loading import is_recipe
    from trainers.recipes.schema import Recipe

    if is_recipe(family):
        family = Recipe.load(family, quiet=True).family
        console.print(f"the recipe's family: {family}", soft_wrap=True)
    with without_gymnasiums_warnings():
        made = registry.family(family)
    for line in (made.__doc__ or "").splitlines() if made.digest is not None else ():
        console.print(line, soft_wrap=True)  # what was found in the files
    findings = check_task_family(made)
    for finding in findings:
        mark = ("ok  ", "green") if finding.problem is None else ("FAIL", "red")
        console.print(Text.assemble(mark, f" {finding.check}"), soft_wrap=True)
        if finding.problem is not None:
            console.print(f"     {finding.problem}", soft_wrap=True)
    _print_agents(made)
    failed = sum(finding.problem is not None for finding in findings)
    console.print(f"{family}: {len(findings) - failed} of {len(findings)} checks passed", soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _print_agents(family: TaskFamily) -> None:
    """Which agents serve the family, one a line; nothing where its spaces cannot be known."""
    from envs.check import without_gymnasiums_warnings
    from trainers.errors import USER_ERRORS
    from trainers.recipes import registry
    from trainers.recipes.registry import interface_of

    try:
        with without_gymnasiums_warnings():
            interface = interface_of(family)
    except USER_ERRORS:
        return  # a finding above says why
    console.print("agents that serve it:")
    served = registry.who_serves(interface)
    for reason in dict.fromkeys(served.values()):  # each reason once
        names = ", ".join(name for name, why in served.items() if why == reason)
        console.print(f"  {names}: {'yes' if reason is None else f'no, {reason}'}", soft_wrap=True)
