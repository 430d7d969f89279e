"""The consoles, and the display of a training run: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import codecs
import io
import os
import sys
import time
from collections.abc import Mapping
from enum import IntEnum
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text


class _Patient(Console):
    """A console whose reader may leave, as `head` does: a listing has said enough, a run goes on and says so once."""

    runs = False  # whether a run folder holds what nobody reads here

    def on_broken_pipe(self) -> None:
        """Write to nowhere from now on, so that nothing fails again, not even the last flush of the process."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, (sys.stderr if self.stderr else sys.stdout).fileno())
        os.close(nowhere)
        if self.runs:
            problem("nobody reads the output any more; the command goes on without it, and run folders hold all of it")


# Names of files and families are text, never markup or emoji: runs/[lr]first, my:Family:
console = _Patient(highlight=False, emoji=False, markup=False)
problems = _Patient(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=True)


class Verbosity(IntEnum):
    """How much the commands print."""

    QUIET = 0  # results and problems alone
    NORMAL = 1
    VERBOSE = 2  # details too: versions, where a recipe came from


_verbosity = Verbosity.NORMAL


def set_verbosity(verbosity: Verbosity) -> None:
    """Print as much as this from now on."""
    global _verbosity
    _verbosity = verbosity


def verbosity() -> Verbosity:
    """How much is printed."""
    return _verbosity


def note(text: str) -> None:
    """Print a line about what is being done, unless quiet."""
    if _verbosity >= Verbosity.NORMAL:
        console.print(text, soft_wrap=True)


def entry(name: str, *lines: str) -> None:
    """Print an entry of a list: its name, and lines about it; in a terminal each is cut to its width."""
    fits: dict[str, Any] = {"no_wrap": True, "overflow": "ellipsis"} if console.is_terminal else {"soft_wrap": True}
    console.print(Text(name, style="bold"), **fits)
    for line in lines:
        console.print(Text(f"  {line}"), **fits)


def detail(text: str) -> None:
    """Print a line that is wanted only with -v."""
    if _verbosity >= Verbosity.VERBOSE:
        console.print(text, soft_wrap=True)


def problem(text: str) -> None:
    """Print a problem as one line on stderr; what a user named may hold line breaks or codes of a terminal."""
    problems.print(f"acclimate: {''.join(_printable(one) for one in text)}")


def _printable(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


_ASCII = {"→": "->", "…": "...", "·": "-", "²": "2", "≥": ">=", "≤": "<=", "±": "+-"}


def replace_what_cannot_be_printed() -> None:
    """Where a stream's encoding lacks a character, print one like it instead of failing."""

    def similar(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        lacking = error.object[error.start : error.end]
        return "".join(_ASCII.get(one, "?") for one in lacking), error.end

    codecs.register_error("acclimate.similar", similar)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="acclimate.similar")


def say(sentence: str) -> None:
    """A sentence for the user while a command runs, above what is live."""
    console.print(sentence, soft_wrap=True)


_MOST_ARROWS = 6
_PLAIN_SECONDS = 10.0  # between lines where there is no terminal
# Columns of a terminal's line: of count and ETA without the numbers of the count, which every terminal shows; of the
# bar and the time so far, which like the title are left out where less than these remain for the state.
_COUNT_AND_ETA, _BAR_AND_TIME, _STATE = 14, 34, 40


class TrainingDisplay:
    """Progress with ETA, returns before and after adaptation, environment steps a second."""

    def __init__(self, console: Console, title: str, iterations: int) -> None:
        self._console, self._iterations = console, iterations
        self._last_line = 0.0
        room = console.width - 2 * len(str(iterations)) - _COUNT_AND_ETA
        wide = room >= len(title) + _BAR_AND_TIME + _STATE
        self._room = max(room - len(title) - _BAR_AND_TIME if wide else room, 0)
        beside: list[ProgressColumn] = [
            TextColumn("{task.description}", style="bold", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(24),
        ]
        counted: list[ProgressColumn] = [
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
        ]
        left: list[ProgressColumn] = [
            TextColumn("ETA", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
        ]
        state = TextColumn("{task.fields[state]}", markup=False, table_column=Column(no_wrap=True))
        self._progress = Progress(
            *(beside if wide else []),
            *(counted if wide else counted[:1]),
            *left,
            state,
            console=console,
            disable=not console.is_terminal or _verbosity == Verbosity.QUIET,
        )
        self._bar = self._progress.add_task(title, total=iterations, state="starting")

    def __enter__(self) -> TrainingDisplay:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def report(self, metrics: Mapping[str, float]) -> None:
        """Show one iteration's metrics; a validation is kept as a line of its own."""
        done = int(metrics["iteration"])
        returns = arrows(metrics, "return_round_") + totals(metrics, "trial_return")
        state = f"return {returns}   {metrics['steps_per_second']:,.0f} steps/s"
        self._progress.update(self._bar, completed=done, state=state[: self._room])
        if _verbosity == Verbosity.QUIET:
            return
        validation = arrows(metrics, "validation_return_round_")
        if validation:
            validation += totals(metrics, "validation_trial_return")
            self._console.print(f"  meta-update {done:>5}: validation return {validation}", soft_wrap=True)
        elif not self._console.is_terminal and time.monotonic() - self._last_line > _PLAIN_SECONDS:
            self._last_line = time.monotonic()
            self._console.print(f"  meta-update {done:>5} of {self._iterations}: {state}", soft_wrap=True)


def arrows(metrics: Mapping[str, float], prefix: str) -> str:
    """'-40.1 → -12.3': the metrics with this prefix in order of round, of many the first and last; "" without any."""
    rounds = sorted(int(name[len(prefix) :]) for name in metrics if name.startswith(prefix))
    if len(rounds) > _MOST_ARROWS:
        rounds = [rounds[0], rounds[-1]]
    return " → ".join(f"{metrics[f'{prefix}{one}']:.1f}" for one in rounds)


def totals(metrics: Mapping[str, float], name: str) -> str:
    """', trial 44.1': the return of whole trials; "" where that is not counted."""
    return f", trial {metrics[name]:.2f}" if name in metrics else ""
