"""`acclimate check`: does a task family keep its contract?"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from trainers.cli.console import console


def check(family: Annotated[str, typer.Argument(help="a family's name, or package.module:Class of your own")]) -> None:
    """Check a task family; every finding is a sentence."""
    from envs.check import check_task_family
    from trainers.recipes import registry

    findings = check_task_family(registry.family(family))
    for finding in findings:
        mark = ("ok  ", "green") if finding.problem is None else ("FAIL", "red")
        console.print(Text.assemble(mark, f" {finding.check}"), soft_wrap=True)
        if finding.problem is not None:
            console.print(f"     {finding.problem}", soft_wrap=True)
    failed = sum(finding.problem is not None for finding in findings)
    console.print(f"{family}: {len(findings) - failed} of {len(findings)} checks passed", soft_wrap=True)
    if failed:
        raise typer.Exit(1)
