"""The side of a task family that its agents may know."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium


@dataclass(frozen=True)
class Interface:
    """The part of a task family that an agent may know: its spaces and its horizon, never a task."""

    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    episode_steps: int
