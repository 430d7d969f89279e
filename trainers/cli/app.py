"""The command line: every command of `trainers.cli.COMMANDS`, its errors as sentences."""

from __future__ import annotations

import errno
import functools
import inspect
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperGroup

from trainers.cli import COMMANDS
from trainers.cli.console import (
    Verbosity,
    console,
    problem,
    problems,
    replace_what_cannot_be_printed,
    set_verbosity,
    verbosity,
)
from trainers.cli.own_code import own_cause, own_frames
from trainers.cli.usage import ClickException, usage_sentence, with_lists

FAULT = 70  # exit code of a fault that is ours (sysexits.h: EX_SOFTWARE)

Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="print results and problems alone")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="print details too")]


class Commands(TyperGroup):
    """All commands; a command line that cannot be read is one sentence, as any other mistake is."""

    def main(self, args: Any = None, standalone_mode: bool = True, **options: Any) -> Any:  # type: ignore[override]
        """Run a command; see click.Command.main."""
        replace_what_cannot_be_printed()
        args = with_lists(list(sys.argv[1:] if args is None else args))
        options["prog_name"] = "acclimate"  # however it was started
        try:
            with user_errors():
                code = super().main(args, standalone_mode=False, **options) or 0
        except typer.Exit as error:
            code = error.exit_code
        except typer.Abort:
            problem("aborted")
            code = 1
        except ClickException as error:
            code = 2
            if type(error).__name__ == "NoArgsIsHelpError":
                typer.echo(error.ctx.get_help())
            else:
                problem(usage_sentence(error))
        if standalone_mode:
            sys.exit(code)
        return code


app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


@contextmanager
def user_errors() -> Iterator[None]:
    """Print an error as one sentence: one that is the user's to mend exits with code 2, a fault of ours with 70.

    Of an error in the user's own code the frames there follow the sentence.
    """
    from trainers.errors import USER_ERRORS

    try:
        yield
    except (typer.Exit, typer.Abort, ClickException):
        raise
    except USER_ERRORS as error:
        problem(str(error))
        _print_frames(own_cause(error))
        raise typer.Exit(2) from None
    except OSError as error:  # a full disk, a folder taken away: the system's own words name the file
        if error.errno == errno.EPIPE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        problem(f"{where}{error.strerror or error}; mend that and start again: earlier files are as they were")
        raise typer.Exit(2) from None
    except MemoryError:
        problem("there is not enough memory for this; ask for less at once, such as fewer tasks, rollouts or rows")
        raise typer.Exit(2) from None
    except Exception as error:
        if frames := own_frames(error):
            problem(f"your own code failed: {_named(error)}; mend what these lines show")
            _print_frames(frames)
            raise typer.Exit(2) from None
        _report_fault(error)
        raise typer.Exit(FAULT) from None


def _print_frames(lines: list[str]) -> None:
    for line in lines:
        problems.print(line)


def _named(error: BaseException) -> str:
    """An exception's kind and message, its first 200 characters."""
    message = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _report_fault(error: BaseException) -> None:
    """Say that Acclimate failed, and where the details are."""
    details = "".join(traceback.format_exception(error))
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}, line {last.lineno}"
    if verbosity() >= Verbosity.VERBOSE:
        problems.print(details)
        details_at = "the details are above"
    else:
        try:
            with tempfile.NamedTemporaryFile("w", prefix="acclimate-fault-", suffix=".txt", delete=False) as file:
                file.write(f"{' '.join(sys.argv)}\n\n{details}")
            details_at = f"the details are in {file.name}"
        except OSError:
            details_at = "-v shows the details"
    problem(f"this is a fault of Acclimate, not yours: {_named(error)} ({where}); {details_at}, please report them")


def with_user_errors(command: Callable[..., None]) -> Callable[..., None]:
    """The command within `user_errors`, with -q and -v; its other options, which Typer reads, stay."""

    @functools.wraps(command)
    def guarded(*arguments: Any, quiet: bool = False, verbose: bool = False, **options: Any) -> None:
        if quiet or verbose:
            set_verbosity(Verbosity.QUIET if quiet else Verbosity.VERBOSE)
        with user_errors():
            command(*arguments, **options)

    hints = get_type_hints(command, include_extras=True) | {"quiet": Quiet, "verbose": Verbose}
    own = [one.replace(annotation=hints[one.name]) for one in inspect.signature(command).parameters.values()]
    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=hints[name])
        for name in ("quiet", "verbose")
    ]
    guarded.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
    guarded.__annotations__ = hints
    return guarded


# Commands import their heavy packages (torch, ray, scipy) inside, so that --help answers at once.
for _name, _place in COMMANDS.items():
    _module, _, _function = _place.partition(":")
    app.command(_name)(with_user_errors(getattr(import_module(_module), _function)))


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            console.print(f"acclimate {version('acclimate')}")
        except PackageNotFoundError:  # run from its sources, not installed
            console.print("acclimate, not installed: its sources are in " + str(Path(__file__).resolve().parents[2]))
        raise typer.Exit


@app.callback()
def main(
    quiet: Quiet = False,
    verbose: Verbose = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Meta-reinforcement learning: train agents that adapt, measure how fast they do."""
    set_verbosity(Verbosity.QUIET if quiet else Verbosity.VERBOSE if verbose else Verbosity.NORMAL)


def entry() -> None:
    """The console script. A second Ctrl-C is no crash of ours."""
    try:
        app()
    except KeyboardInterrupt:
        problem("interrupted; the last checkpoint is whole")
        sys.exit(130)


if __name__ == "__main__":
    entry()
