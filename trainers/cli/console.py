"""The consoles, and the display of a training run: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(highlight=False, emoji=False)  # my:Family: is a name
problems = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)

_MOST_ARROWS = 6
_PLAIN_SECONDS = 10.0  # between lines where there is no terminal


class TrainingDisplay:
    """Progress with ETA, returns before and after adaptation, environment steps a second."""

    def __init__(self, console: Console, title: str, iterations: int) -> None:
        self._console, self._iterations = console, iterations
        self._last_line = 0.0
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=console,
            disable=not console.is_terminal,
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
        self._progress.update(self._bar, completed=done, state=state)
        validation = arrows(metrics, "validation_return_round_")
        if validation:
            validation += totals(metrics, "validation_trial_return")
            self._console.print(f"  meta-update {done:>5}: validation return {validation}", highlight=False)
        elif not self._console.is_terminal and time.monotonic() - self._last_line > _PLAIN_SECONDS:
            self._last_line = time.monotonic()
            self._console.print(f"  meta-update {done:>5} of {self._iterations}: {state}", highlight=False)


def arrows(metrics: Mapping[str, float], prefix: str) -> str:
    """'-40.1 → -12.3': the metrics with this prefix in order of round, of many the first and last; "" without any."""
    rounds = sorted(int(name[len(prefix) :]) for name in metrics if name.startswith(prefix))
    if len(rounds) > _MOST_ARROWS:
        rounds = [rounds[0], rounds[-1]]
    return " → ".join(f"{metrics[f'{prefix}{one}']:.1f}" for one in rounds)


def totals(metrics: Mapping[str, float], name: str) -> str:
    """', trial 44.1': the return of whole trials; "" where that is not counted."""
    return f", trial {metrics[name]:.2f}" if name in metrics else ""
