"""The command line: every command of `trainers.cli.COMMANDS`, its errors as sentences."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from trainers.cli import COMMANDS
from trainers.cli.console import problems

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@contextmanager
def user_errors() -> Iterator[None]:
    """Print an error that is the user's to mend as one sentence and exit with code 2."""
    from trainers.errors import USER_ERRORS

    try:
        yield
    except USER_ERRORS as error:
        problems.print(f"acclimate: {error}", markup=False)
        raise typer.Exit(2) from None
    except OSError as error:  # a full disk, a folder taken away: the system's own words name the file
        where = f"{error.filename}: " if error.filename else ""
        problems.print(
            f"acclimate: {where}{error.strerror or error}; mend that and start again: earlier files are as they were",
            markup=False,
        )
        raise typer.Exit(2) from None


def with_user_errors(command: Callable[..., None]) -> Callable[..., None]:
    """The command within `user_errors`; its signature, which Typer reads, stays."""

    @functools.wraps(command)
    def guarded(*arguments: Any, **options: Any) -> None:
        with user_errors():
            command(*arguments, **options)

    return guarded


# Commands import their heavy packages (torch, ray, scipy) inside, so that --help answers at once.
for _name, _place in COMMANDS.items():
    _module, _, _function = _place.partition(":")
    app.command(_name)(with_user_errors(getattr(import_module(_module), _function)))


@app.callback()
def main() -> None:
    """Meta-reinforcement learning: train agents that adapt, measure how fast they do."""
    refuse_shadowed_packages()


def refuse_shadowed_packages() -> None:
    """`agents`, `envs`, `trainers` are common names: another distribution's must not answer for ours (ADR 1)."""
    import agents
    import envs

    here = Path(__file__).resolve().parents[2]
    for package in (agents, envs):
        found = Path(package.__file__ or "").resolve()
        if found.parents[1] != here:
            problems.print(
                f"acclimate: the package {package.__name__} is imported from {found.parent}, not from {here}; "
                "another package of that name comes first: leave its folder or uninstall it",
                markup=False,
            )
            raise typer.Exit(2)


def entry() -> None:
    """The console script. A closed pipe or a second Ctrl-C is no crash of ours."""
    try:
        app()
    except KeyboardInterrupt:
        problems.print("acclimate: interrupted; the last checkpoint is whole")
        sys.exit(130)


if __name__ == "__main__":
    entry()
