"""The choice of the engine that steps a robot."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco

from envs.mujoco.engines.base import Simulations
from envs.mujoco.engines.loop import LoopSimulations


def simulate(
    models: Sequence[mujoco.MjModel], frame_skip: int, sensed: Sequence[str] = (), *, forced: bool = False
) -> Simulations:
    """Make one simulation of each model, by the fastest engine that moves exactly as MuJoCo's `mj_step`.

    Args:
        models: of each row, of one robot.
        frame_skip: physics steps of a control step.
        sensed: arrays of MjData that rewards or observations read after each step.
        forced: whether forces from outside act on bodies.
    """
    return LoopSimulations(models, frame_skip, sensed, forced=forced)
