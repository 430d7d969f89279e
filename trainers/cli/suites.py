"""`acclimate suites`: the suites that come with Acclimate, or one for a family."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.completing import family_names
from trainers.cli.console import console, entry, note


def suites(
    family: Annotated[
        str | None,
        typer.Argument(
            help="write one for this family: a listed one, my_module:MyFamily or a YAML file",
            autocompletion=family_names,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="the file to write (default: print it)")] = None,
    held_out: Annotated[int, typer.Option(min=1, max=100_000, help="held-out tasks")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="of the draw of its tasks")] = 0,
) -> None:
    """List the suites, or write one for a family, its tasks drawn and frozen."""
    from trainers.errors import UsageError
    from trainers.evaluation.suites import shipped_suites, suite_of
    from trainers.recipes import registry
    from trainers.recipes.loading import header

    if family is None:
        for name, path in shipped_suites().items():
            entry(name, header(path)[0])
        note("compare on one: acclimate benchmark NAME --runs ...; write one: acclimate suites FAMILY -o mine.yaml")
        return
    text = suite_of(family, registry.family(family), held_out, seed)
    if out is None:
        typer.echo(text, nl=False)
        return
    if out.exists():
        raise UsageError(f"{out} exists already and stays as it is; name another file, or remove it")
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror}); name another file") from error
    console.print(str(out), soft_wrap=True)
    note(f"compare on it: acclimate benchmark {out} --out FOLDER --runs ... --baselines random")
