"""A robot: its model file, where its base stands in the state, and the range of its controls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gymnasium
import mujoco
import numpy as np

from envs.errors import TaskError
from envs.mujoco.elements import element_names

_LEVEL = np.cos(np.deg2rad(1.0))  # of a floor's normal, along z


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
        floor: height of the floor that it stands on, m.
        velocity_noise: of the first qvel, where it is not `reset_noise`.
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
    floor: float = 0.0
    velocity_noise: float | None = None

    @property
    def path(self) -> Path:
        """Of its model file."""
        own = Path(self.file)
        return own if own.parts[1:] else Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / self.file


@cache
def base_model(path: Path) -> mujoco.MjModel:
    """A robot as its file has it, shared by all rows: a task that changes the body changes a copy."""
    return load_mjcf(path)[1]


def load_mjcf(
    path: Path, prepare: Callable[[mujoco.MjSpec, mujoco.MjModel], None] | None = None
) -> tuple[mujoco.MjSpec, mujoco.MjModel]:
    """An MJCF file's description, and the model it compiles to; TaskError where it does not.

    `prepare` may change the description, which is compiled again then.
    """
    try:
        spec = mujoco.MjSpec.from_file(str(path))
        model = spec.compile()
        if prepare is not None:
            prepare(spec, model)
            model = spec.compile()
        return spec, model
    except TaskError:
        raise
    except ValueError as error:
        newer = f"; this is MuJoCo {mujoco.__version__}, and the file may be of a newer one" * ("Schema" in str(error))
        raise TaskError(f"{path} does not compile as MJCF: {' '.join(str(error).split())[:300]}{newer}") from error


def floors_of(model: mujoco.MjModel) -> list[int]:
    """Geoms that are a floor, in the model's order: planes of the world that face up and can be touched."""
    found = []
    for geom in np.flatnonzero((model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE) & (model.geom_bodyid == 0)).tolist():
        normal = np.zeros(3)
        mujoco.mju_rotVecQuat(normal, np.array([0.0, 0.0, 1.0]), model.geom_quat[geom])
        if normal[2] > _LEVEL and (model.geom_contype[geom] or model.geom_conaffinity[geom]):
            found.append(geom)
    return found


def standing_geoms(model: mujoco.MjModel) -> list[str]:
    """Names of what a terrain leaves in the way: fixed geoms that can be touched, but for the floor it replaces."""
    touched = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    fixed = np.flatnonzero((model.body_weldid[model.geom_bodyid] == 0) & touched).tolist()
    names, replaced = element_names(model, "geom"), floors_of(model)[:1]
    return [names[geom] for geom in fixed if geom not in replaced]


def floor_height(model: mujoco.MjModel) -> float:
    """Height of the floor, m; 0 where there is none."""
    floors = floors_of(model)
    return float(model.geom_pos[floors[0], 2]) if floors else 0.0


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
