"""How episodes of a family are drawn from above."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PlanView:
    """How to draw an episode from above.

    Attributes:
        entries: the observation entries that are the position (x, y).
        goal: the task's goal (x, y), or None.
        unit: of both.
    """

    entries: tuple[int, int]
    goal: tuple[float, float] | None
    unit: str = "m"
