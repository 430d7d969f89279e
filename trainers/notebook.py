"""The display of a training run in a notebook: a bar that is redrawn in the cell's output, by IPython alone."""

from __future__ import annotations

import html
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from trainers.cli.console import arrows, totals

_SECONDS = 0.25  # between two drawings: a notebook keeps up with that


class NotebookDisplay:
    """Progress with the time that is left, and the returns of each validation so far."""

    def __init__(self, title: str, iterations: int) -> None:
        self._title, self._iterations = title, iterations
        self._done, self._state, self._validations = 0, "starting", list[str]()
        self._first: tuple[int, float] | None = None  # (meta-updates done, time) at the first report
        self._drawn = 0.0
        self._handle: Any = None

    def __enter__(self) -> NotebookDisplay:
        from IPython.display import display

        self._handle = display(self._bundle(), raw=True, display_id=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draw()

    def report(self, metrics: Mapping[str, float]) -> None:
        """Show one iteration's metrics; a validation stays as a line of its own."""
        self._done, now = int(metrics["iteration"]), time.monotonic()
        self._first = self._first or (self._done, now)
        returns = arrows(metrics, "return_round_") + totals(metrics, "trial_return")
        self._state = f"return {returns}   {metrics['steps_per_second']:,.0f} steps/s   {self._left(now)}".rstrip()
        if validation := arrows(metrics, "validation_return_round_"):
            validation += totals(metrics, "validation_trial_return")
            self._validations.append(f"meta-update {self._done:>5}: validation return {validation}")
        if validation or now - self._drawn > _SECONDS or self._done == self._iterations:
            self._draw()

    def _left(self, now: float) -> str:
        assert self._first is not None
        done, since = self._first
        if self._done == done:
            return ""
        seconds = round((now - since) / (self._done - done) * (self._iterations - self._done))
        return f"{seconds // 60}:{seconds % 60:02d} left"

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        """The text and the HTML that are shown, by MIME type."""
        line = f"{self._done} of {self._iterations} meta-updates   {self._state}"
        bar = f'<progress value="{self._done}" max="{self._iterations}" style="width: 20em"></progress>'
        lines = "\n".join([line, *self._validations])
        return {
            "text/plain": f"{self._title}\n{lines}",
            "text/html": f"<b>{html.escape(self._title)}</b><br>{bar}<pre>{html.escape(lines)}</pre>",
        }
