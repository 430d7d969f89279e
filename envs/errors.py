"""Errors of this package."""

from __future__ import annotations

import traceback
from typing import Any


class TaskError(ValueError):
    """A task, a task family or a task set is invalid; the message is one sentence for the user."""


class EnvironmentFailure(TaskError):
    """The user's own environment raised an exception, `__cause__`; the message says where and with which task.

    Attributes:
        user_traceback: the traceback of that exception as text. It survives a worker process, which `__cause__`
            does not.
    """

    def __init__(self, message: str, user_traceback: str = "") -> None:
        super().__init__(message)
        self.user_traceback = user_traceback

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.user_traceback)

    @classmethod
    def of(cls, error: Exception, doing: str, where: str) -> EnvironmentFailure:
        """The failure of an exception: "X raised KeyError: 'goal' in its reset (task ...); mend ..."."""
        said = " ".join(str(error).split())
        message = f"{doing} raised {type(error).__name__}{f': {said}' if said else ''}{where}; mend the environment"
        # The first frame is ours, which called the environment.
        frames = traceback.format_exception(type(error), error, error.__traceback__ and error.__traceback__.tb_next)
        return cls(message, "".join(frames))
