"""Errors of this package."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any


class TaskError(ValueError):
    """A task, a task family or a task set is invalid; the message is one sentence for the user."""


class EnvironmentFailure(TaskError):
    """The user's own environment raised an exception, `__cause__`; the message says where and with which task.

    Attributes:
        frames: where that exception was raised, oldest first.
        raised: the exception itself, as text. Both survive a worker process, which `__cause__` does not.
    """

    def __init__(self, message: str, frames: Sequence[traceback.FrameSummary] = (), raised: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.frames, self.raised = tuple(frames), tuple(raised)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.frames, self.raised)

    @classmethod
    def of(cls, error: Exception | SystemExit, doing: str, where: str) -> EnvironmentFailure:
        """The failure of an exception: "X, in its reset, raised KeyError: 'goal' (task ...); mend the environment"."""
        said = " ".join(str(error).split())
        message = f"{doing} raised {type(error).__name__}{f': {said}' if said else ''}{where}; mend the environment"
        frames = traceback.extract_tb(error.__traceback__)
        for frame in frames:
            _ = frame.line  # read while the file is at hand
        return cls(message, frames, traceback.format_exception_only(error))
