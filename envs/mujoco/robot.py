"""A robot: its model file, where its base stands in the state, and the range of its controls."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gymnasium
import mujoco
import numpy as np

from envs.errors import TaskError
from envs.mujoco.changes import element_names


@dataclass(frozen=True)
class Robot:
    """A robot, and how its simulation is read.

    Attributes:
        file: its MJCF file: a path, or a name among Gymnasium's assets.
        frame_skip: physics steps of a control step.
        hidden: leading entries of qpos that are not observed: where it stands in the plane.
        height, x, y: the entries of qpos that are its height and its place; y is None for a planar robot.
        reset_noise: the first qpos is uniform in +- this around the initial pose.
        normal_velocity: whether the first qvel is normal with deviation `reset_noise`, or uniform in +- it.
        largest_velocity: observed velocities are clipped to +- this.
        sensed: arrays of MjData that rewards or observations need.
    """

    file: str
    frame_skip: int
    hidden: int
    height: int
    reset_noise: float
    normal_velocity: bool = True
    largest_velocity: float = np.inf
    sensed: tuple[str, ...] = ()
    x: int = 0
    y: int | None = None

    @property
    def path(self) -> Path:
        """Of its model file."""
        own = Path(self.file)
        return own if own.parts[1:] else Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / self.file


@cache
def base_model(path: Path) -> mujoco.MjModel:
    """A robot as its file has it, shared by all rows: a task that changes the body changes a copy."""
    return load_mjcf(path)[1]


def load_mjcf(path: Path) -> tuple[mujoco.MjSpec, mujoco.MjModel]:
    """An MJCF file's description, and the model it compiles to; TaskError where it does not."""
    try:
        spec = mujoco.MjSpec.from_file(str(path))
        return spec, spec.compile()
    except ValueError as error:
        raise TaskError(f"{path} does not compile as MJCF: {' '.join(str(error).split())[:300]}") from error


def control_range(model: mujoco.MjModel, family: str) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the action space, [nu] float32 each; TaskError for a motor that has none."""
    low, high = model.actuator_ctrlrange.T
    free = np.flatnonzero(~model.actuator_ctrllimited.astype(bool) | (low >= high))
    if not model.nu:
        raise TaskError(f"{family}: its model has no actuators, so there is nothing to learn; add motors")
    if free.size:
        name = element_names(model, "actuator")[free[0]]
        raise TaskError(f"{family}: actuator {name} has no control range; give it ctrllimited and ctrlrange")
    return low.astype(np.float32), high.astype(np.float32)
