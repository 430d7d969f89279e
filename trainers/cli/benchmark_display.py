"""Progress of a benchmark: environment steps taken of those to take, with ETA, and who plays."""

from __future__ import annotations

import math
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from trainers.cli.console import Verbosity, verbosity

_PLAIN_SECONDS = 10.0  # between lines where there is no terminal


class BenchmarkDisplay:
    """A live line in a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, env_steps: int) -> None:
        self._console, self._total, self._done = console, max(env_steps, 1), 0
        self._started, self._last_line = time.monotonic(), -math.inf
        quiet = verbosity() == Verbosity.QUIET
        self._plain = not console.is_terminal and not quiet
        self._progress = Progress(
            BarColumn(16),
            TaskProgressColumn(),
            TextColumn("ETA", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console,
            disable=not console.is_terminal or quiet,
        )
        self._bar = self._progress.add_task("starting", total=self._total)

    def __enter__(self) -> BenchmarkDisplay:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, label: str, env_steps: int) -> None:
        """This contestant begins, or a cell of it, of so many environment steps, is done."""
        self._done += env_steps
        self._progress.update(self._bar, advance=env_steps, description=label)
        now = time.monotonic()
        if self._plain and now - self._last_line > _PLAIN_SECONDS:
            self._last_line = now
            to_go = ""
            if self._done:
                to_go = f", about {_span((self._total - self._done) * (now - self._started) / self._done)} to go"
            self._console.print(f"  {self._done / self._total:4.0%}{to_go}: {label}", soft_wrap=True)


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
