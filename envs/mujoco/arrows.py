"""Arrows in pictures of a robot: the velocity that is commanded, its own, pushes and forces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from envs.mujoco.observation_terms import Commands
from envs.mujoco.robot_base import RobotBase, rotate

if TYPE_CHECKING:
    from envs.mujoco.locomotion_env import LocomotionEnv

_COMMAND, _OWN, _DISTURBANCE = (0.1, 0.55, 0.35, 1.0), (0.45, 0.45, 0.5, 1.0), (0.85, 0.2, 0.15, 1.0)
_SHOWN_STEPS = 8  # that the arrow of a push is seen


@dataclass(frozen=True)
class Arrow:
    """From a place, m, along a vector, m, in a colour (red, green, blue, opacity)."""

    place: np.ndarray
    vector: np.ndarray
    rgba: tuple[float, float, float, float]


def arrows_of(env: LocomotionEnv, row: int, base: RobotBase, commands: Commands) -> list[Arrow]:
    """Of a row as it stands: above its base, of a length of 0.4 m for each m/s, rad/s or 50 N."""
    if base.x is None or base.body is None:
        return []
    model, qpos, qvel = env.simulations.models[row], env.simulations.qpos[row], env.simulations.qvel[row]
    own_geoms = np.flatnonzero(model.geom_bodyid == base.body)
    above = max((_top(model, geom) for geom in own_geoms.tolist()), default=0.0)
    z = float(model.body_pos[base.body, 2]) if base.z is None else qpos[base.z] + base.z_at_zero
    place = np.array([qpos[base.x], 0.0 if base.y is None else qpos[base.y], z + above + 0.05])
    values = {command: float(env.command(name)[row]) for command, (name, size) in commands.items() if size == 1}
    found = []
    along = np.array([values.get("velocity", 0.0), values.get("lateral_velocity", 0.0), 0.0])
    if "heading" in values:
        found.append((place, np.array([np.cos(values["heading"]), np.sin(values["heading"]), 0.0]), _COMMAND))
    elif along.any():
        found.append((place, _turned(along, qpos, base), _COMMAND))
    if "yaw_rate" in values:  # as the front swings
        front = _turned(np.array([0.3, 0.0, 0.0]), qpos, base)
        found.append((place + front, _turned(np.array([0.0, values["yaw_rate"], 0.0]), qpos, base), _COMMAND))
    if found:
        forward, sideways = base.in_plane
        own = [qvel[forward], 0.0 if sideways is None else qvel[sideways], 0.0]
        found.append((place + np.array([0.0, 0.0, 0.06]), np.array(own), _OWN))
    pushed, force = env.disturbances.seen(row, _SHOWN_STEPS)
    found += [(place, np.array([*vector, 0.0]), _DISTURBANCE) for vector in (pushed, force / 50.0) if vector.any()]
    return [Arrow(start, 0.4 * vector, rgba) for start, vector, rgba in found if np.linalg.norm(vector) > 0.1]


def _top(model: mujoco.MjModel, geom: int) -> float:
    """How far a geom reaches above its body's frame, m."""
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
    centre, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
    return float(model.geom_pos[geom, 2] + turn[6:] @ centre + np.abs(turn[6:]) @ half)


def _turned(vector: np.ndarray, qpos: np.ndarray, base: RobotBase) -> np.ndarray:
    """A vector of the base's frame in the world's plane."""
    if base.quaternion is None:
        return vector
    nose = rotate(qpos[None, base.quaternion : base.quaternion + 4], np.array([[1.0, 0.0, 0.0]]))[0]
    yaw = np.arctan2(nose[1], nose[0])
    return np.array([
        np.cos(yaw) * vector[0] - np.sin(yaw) * vector[1], np.sin(yaw) * vector[0] + np.cos(yaw) * vector[1], 0.0,
    ])  # fmt: skip
