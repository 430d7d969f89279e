"""Errors of this package."""

from __future__ import annotations


class TaskError(ValueError):
    """A task, a task family or a task set is invalid; the message is one sentence for the user."""
