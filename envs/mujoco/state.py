"""Batched states of a simulated robot, and the motion between two of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class SimulationState:
    """n rows at a moment.

    Attributes:
        qpos, qvel: [n, nq], [n, nv].
        sensed: by name, [n, ...], the arrays of MjData that the robot's `sensed` names.
        find_ground: computes `ground`, which most rewards never read.
        last_action: [n, nu], the agent's last one; 0 before the first.
        command: task parameters of the rows by name, [n] or [n, k].
    """

    qpos: np.ndarray
    qvel: np.ndarray
    sensed: Mapping[str, np.ndarray]
    find_ground: Callable[[], np.ndarray]
    last_action: np.ndarray
    command: Mapping[str, np.ndarray]

    @cached_property
    def ground(self) -> np.ndarray:
        """[n] height of the ground under the robot, m."""
        return self.find_ground()


@dataclass(frozen=True)
class Motion:
    """One control step of n rows.

    Attributes:
        before, after: its two ends.
        action: [n, nu], the agent's.
        dt: control step, s.
        air_time: [n, feet], s that each foot was in the air before this step; () where a family declares no feet.
    """

    before: SimulationState
    after: SimulationState
    action: np.ndarray
    dt: float
    air_time: np.ndarray

    @property
    def command(self) -> Mapping[str, np.ndarray]:
        """Task parameters of the rows by name, [n] or [n, k]."""
        return self.after.command

    @property
    def forward(self) -> np.ndarray:
        """[n] mean velocity along x, m/s."""
        return (self.after.qpos[:, 0] - self.before.qpos[:, 0]) / self.dt

    @property
    def planar(self) -> np.ndarray:
        """[n, 2] mean velocity along x and y, m/s, of a robot whose base is free."""
        return (self.after.qpos[:, :2] - self.before.qpos[:, :2]) / self.dt

    @property
    def effort(self) -> np.ndarray:
        """[n] squared Euclidean norm of the action."""
        return np.einsum("na,na->n", self.action, self.action)
