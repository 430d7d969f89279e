"""Which engine steps a robot."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco

from envs.mujoco.engines.base import Simulations
from envs.mujoco.engines.loop import LoopSimulations
from envs.mujoco.engines.rollout import RolloutSimulations


def simulate(models: Sequence[mujoco.MjModel], frame_skip: int, sensed: Sequence[str] = ()) -> Simulations:
    """Make one simulation of each model, by the fastest engine that serves.

    Args:
        models: of each row, of one robot.
        frame_skip: physics steps of a control step.
        sensed: arrays of MjData that are read after each step.
    """
    if sensed:
        return LoopSimulations(models, frame_skip, sensed)
    return RolloutSimulations(models, frame_skip)
