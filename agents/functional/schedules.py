"""Schedules of hyperparameters over meta-updates."""

from __future__ import annotations


def linear_schedule(start: float, end: float | None, updates: int, length: int) -> float:
    """A value that goes from `start` to `end` linearly and stays there.

    Args:
        start: the value of update 0.
        end: the value from update `length` on; None keeps it at `start`.
        updates: meta-updates done, from 0.
        length: meta-updates until `end`, at least 1.

    Returns:
        the value of this meta-update.
    """
    return start if end is None else start + min(1.0, updates / length) * (end - start)
