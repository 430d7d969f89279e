"""The base of a robot: its free joint, or the slides and the hinge of a planar robot; none for an arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from envs.errors import TaskError
from envs.mujoco.state import SimulationState


@dataclass(frozen=True)
class RobotBase:
    """Entries of the state that belong to the part of a robot that moves through the world.

    Attributes:
        x, y, z: entries of qpos; None where the robot cannot move so.
        pitch: entry of qpos of a planar robot's lean.
        quaternion: first of four entries of qpos of a free base.
        velocity: entries of qvel, by "x", "y", "z", "pitch"; of a free base "x" is the first of six.
        z_at_zero: height above the world's origin where the entry z of qpos is 0, m.
        joints: entries of (qpos, qvel) of all joints that are not the base's.
    """

    x: int | None
    y: int | None
    z: int | None
    pitch: int | None
    quaternion: int | None
    velocity: Mapping[str, int]
    z_at_zero: float
    joints: tuple[tuple[int, ...], tuple[int, ...]]

    @property
    def planar(self) -> bool:
        """Whether it stays in the plane of x and z."""
        return self.y is None


def base_of(model: mujoco.MjModel) -> RobotBase:
    """Find the base: a free joint, or the slides and hinge of the first body; neither for an arm."""
    entries: dict[str, int] = {}
    velocity: dict[str, int] = {}
    own: set[int] = set()
    z_at_zero = 0.0
    for joint in range(model.njnt):
        if model.body_parentid[model.jnt_bodyid[joint]] != 0:
            continue
        address, kind, axis = int(model.jnt_qposadr[joint]), model.jnt_type[joint], model.jnt_axis[joint]
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            entries = {"x": address, "y": address + 1, "z": address + 2, "quaternion": address + 3}
            velocity = {"x": int(model.jnt_dofadr[joint])}
            z_at_zero = 0.0
            own = {joint}
            break
        along = int(np.argmax(np.abs(axis)))
        if kind == mujoco.mjtJoint.mjJNT_SLIDE:
            name = "xyz"[along]
            entries[name], velocity[name] = address, int(model.jnt_dofadr[joint])
            own.add(joint)
            if name == "z":
                z_at_zero = float(model.body_pos[model.jnt_bodyid[joint], 2] - model.qpos0[address])
        elif kind == mujoco.mjtJoint.mjJNT_HINGE and along == 1 and own:
            entries["pitch"], velocity["pitch"] = address, int(model.jnt_dofadr[joint])
            own.add(joint)
    qpos = [e for j in range(model.njnt) if j not in own for e in _qpos_entries(model, j)]
    qvel = [e for j in range(model.njnt) if j not in own for e in _qvel_entries(model, j)]
    return RobotBase(
        entries.get("x"), entries.get("y"), entries.get("z"), entries.get("pitch"), entries.get("quaternion"),
        velocity, z_at_zero, (tuple(qpos), tuple(qvel)),
    )  # fmt: skip


def _qpos_entries(model: mujoco.MjModel, joint: int) -> range:
    sizes = {mujoco.mjtJoint.mjJNT_FREE: 7, mujoco.mjtJoint.mjJNT_BALL: 4}
    begin = int(model.jnt_qposadr[joint])
    return range(begin, begin + sizes.get(mujoco.mjtJoint(model.jnt_type[joint]), 1))


def _qvel_entries(model: mujoco.MjModel, joint: int) -> range:
    sizes = {mujoco.mjtJoint.mjJNT_FREE: 6, mujoco.mjtJoint.mjJNT_BALL: 3}
    begin = int(model.jnt_dofadr[joint])
    return range(begin, begin + sizes.get(mujoco.mjtJoint(model.jnt_type[joint]), 1))


def rotate_back(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Vectors [n, 3] of the world in the frames that quaternions [n, 4] (w, x, y, z) turn it to."""
    w, xyz = quaternion[:, :1], -quaternion[:, 1:]
    twice = 2 * np.cross(xyz, vector)
    return vector + w * twice + np.cross(xyz, twice)


def up(base: RobotBase, state: SimulationState) -> np.ndarray:
    """[n] cosine of the base's tilt from the initial upright."""
    if base.quaternion is not None:
        x, y = state.qpos[:, base.quaternion + 1], state.qpos[:, base.quaternion + 2]
        return 1 - 2 * (x**2 + y**2)
    if base.pitch is not None:
        return np.cos(state.qpos[:, base.pitch])
    return np.ones(len(state.qpos))


def height(base: RobotBase, state: SimulationState) -> np.ndarray:
    """[n] of the base above the ground under it, m."""
    if base.z is None:
        raise TaskError("this robot's base does not move, so it has no height to observe or to fall from")
    return state.qpos[:, base.z] + base.z_at_zero - state.ground
