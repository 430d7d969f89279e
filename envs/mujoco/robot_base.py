"""The base of a robot: its free joint, or the slides and the hinge of a planar robot; none for an arm.

It is the body that the actuators move through the world without holding it: not a ball or a puck beside the robot,
which no actuator moves, and not a gantry or a lift, whose slides are motors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from envs.errors import TaskError
from envs.mujoco.elements import find
from envs.mujoco.state import SimulationState

_NEXT, _LAST = [1, 2, 0], [2, 0, 1]
_INVERSE = np.array([1.0, -1.0, -1.0, -1.0])  # of a quaternion of unit length


@dataclass(frozen=True)
class RobotBase:
    """Entries of the state that belong to the part of a robot that moves through the world.

    Attributes:
        x, y, z: entries of qpos; None where the robot cannot move so.
        pitch: entry of qpos of a planar robot's lean.
        yaw: entry of qpos of the turn of a robot that moves in the plane of x and y.
        quaternion: first of four entries of qpos of a free base.
        velocity: entries of qvel, by "x", "y", "z", "pitch", "yaw"; of a free base "x" is the first of six.
        z_at_zero: height above the world's origin where the entry z of qpos is 0, m.
        upright: of a free base, the direction in its own frame that is up at the start, (3,).
        start_pitch: of a planar robot, rad.
        joints: entries of (qpos, qvel) of all joints that are not the base's.
        body: that it is; None where nothing moves through the world.
    """

    x: int | None
    y: int | None
    z: int | None
    pitch: int | None
    yaw: int | None
    quaternion: int | None
    velocity: Mapping[str, int]
    z_at_zero: float
    upright: tuple[float, float, float]
    start_pitch: float
    joints: tuple[tuple[int, ...], tuple[int, ...]]
    body: int | None

    @property
    def in_plane(self) -> tuple[int, int | None]:
        """The entries of qvel that are its velocity along x, and along y if it has one."""
        along = self.velocity["x"]
        return along, None if self.y is None else along + 1 if self.quaternion is not None else self.velocity["y"]

    @property
    def planar(self) -> bool:
        """Whether it stays in the plane of x and z."""
        return self.y is None


def base_of(model: mujoco.MjModel, name: str | None = None, start: np.ndarray | None = None) -> RobotBase:
    """Find the base.

    Args:
        name: of the body that it is; "none" for a robot that is fixed to the world. By default the first body that
            the actuators move and whose own joints, a free one or slides, have none.
        start: qpos at the start of an episode, [nq]; by default that of the model file.

    Raises:
        TaskError: there is no body of that name, or it has neither a free joint nor slides.
    """
    start = model.qpos0 if start is None else start
    own = _own_joints(model, name)
    entries: dict[str, int] = {}
    velocity: dict[str, int] = {}
    z_at_zero = 0.0
    for joint in own:
        address, dof = int(model.jnt_qposadr[joint]), int(model.jnt_dofadr[joint])
        if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE:
            entries = {"x": address, "y": address + 1, "z": address + 2, "quaternion": address + 3}
            velocity, z_at_zero = {"x": dof}, 0.0
            break
        along = int(np.argmax(np.abs(model.jnt_axis[joint])))
        hinge = model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE
        called = ("pitch" if along == 1 else "yaw") if hinge else "xyz"[along]
        entries[called], velocity[called] = address, dof
        if called == "z":
            z_at_zero = float(model.body_pos[model.jnt_bodyid[joint], 2] - model.qpos0[address])
    qpos = [e for j in range(model.njnt) if j not in own for e in qpos_entries(model, j)]
    qvel = [e for j in range(model.njnt) if j not in own for e in qvel_entries(model, j)]
    upright, pitch = np.array([[0.0, 0.0, 1.0]]), entries.get("pitch")
    if (turned := entries.get("quaternion")) is not None:
        upright = rotate_back(start[None, turned : turned + 4], upright)
    return RobotBase(
        entries.get("x"), entries.get("y"), entries.get("z"), pitch, entries.get("yaw"), entries.get("quaternion"),
        velocity, z_at_zero, tuple(upright[0].tolist()), 0.0 if pitch is None else float(start[pitch]),
        (tuple(qpos), tuple(qvel)), int(model.jnt_bodyid[own[-1]]) if own else None,
    )  # fmt: skip


def _own_joints(model: mujoco.MjModel, name: str | None) -> list[int]:
    """The joints by which the base moves through the world, in the model's order; none for an arm."""
    if name == "none":
        return []
    if name is not None:
        body = find(model, "body", name)
        found = _moving(model, [one for one in _ancestors(model, body) if one])
        if not found:
            raise TaskError(f"base is {name}, but that body has neither a free joint nor slides; name another, or none")
        return found
    driven = driven_joints(model)
    roots = sorted({_ancestors(model, body)[-1] for body in _moved_bodies(model) if body})
    candidates = [_moving(model, [root]) for root in roots]
    candidates = [joints for joints in candidates if joints and not driven & set(joints)]
    free = [one for one in candidates if model.jnt_type[one[0]] == mujoco.mjtJoint.mjJNT_FREE]
    return (free or candidates or [[]])[0]


def _ancestors(model: mujoco.MjModel, body: int) -> list[int]:
    """A body and those that it hangs from, up to the one that hangs from the world."""
    found = [body]
    while model.body_parentid[found[-1]] != 0:
        found.append(int(model.body_parentid[found[-1]]))
    return found


def _moving(model: mujoco.MjModel, bodies: list[int]) -> list[int]:
    """Of the bodies' joints those that move them through the world: a free one, or slides, and a hinge.

    The hinge is about y, of a robot that leans; about z of one that only moves in the plane of x and y.
    """
    joints = [joint for joint in range(model.njnt) if model.jnt_bodyid[joint] in bodies]
    kinds = [mujoco.mjtJoint(model.jnt_type[joint]) for joint in joints]
    free = [joint for joint, kind in zip(joints, kinds, strict=True) if kind == mujoco.mjtJoint.mjJNT_FREE]
    if free:
        return free
    if mujoco.mjtJoint.mjJNT_SLIDE not in kinds:
        return []
    slides = [joint for joint, kind in zip(joints, kinds, strict=True) if kind == mujoco.mjtJoint.mjJNT_SLIDE]
    along = {int(np.argmax(np.abs(model.jnt_axis[joint]))) for joint in slides}
    about = 2 if along == {0, 1} else 1
    leans = [
        joint
        for joint, kind in zip(joints, kinds, strict=True)
        if kind == mujoco.mjtJoint.mjJNT_HINGE
        and joint > slides[0]
        and int(np.argmax(np.abs(model.jnt_axis[joint]))) == about
    ]
    return sorted([*slides, *leans[:1]])


def _wrapped(model: mujoco.MjModel, tendon: int) -> list[tuple[int, int]]:
    """(kind, number) of what a tendon runs along."""
    first, count = int(model.tendon_adr[tendon]), int(model.tendon_num[tendon])
    return [(int(model.wrap_type[at]), int(model.wrap_objid[at])) for at in range(first, first + count)]


def driven_joints(model: mujoco.MjModel) -> set[int]:
    """Joints that an actuator acts on, by itself or by a tendon of joints."""
    found: set[int] = set()
    for kind, (target, _) in zip(model.actuator_trntype, model.actuator_trnid, strict=True):
        if kind in (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT):
            found.add(int(target))
        elif kind == mujoco.mjtTrn.mjTRN_TENDON:
            found |= {one for what, one in _wrapped(model, int(target)) if what == mujoco.mjtWrap.mjWRAP_JOINT}
    return found


def _moved_bodies(model: mujoco.MjModel) -> set[int]:
    """Bodies that the actuators pull or push at."""
    found = {int(model.jnt_bodyid[joint]) for joint in driven_joints(model)}
    for kind, (target, _) in zip(model.actuator_trntype, model.actuator_trnid, strict=True):
        if kind == mujoco.mjtTrn.mjTRN_BODY:
            found.add(int(target))
        elif kind in (mujoco.mjtTrn.mjTRN_SITE, mujoco.mjtTrn.mjTRN_SLIDERCRANK):
            found.add(int(model.site_bodyid[target]))
        elif kind == mujoco.mjtTrn.mjTRN_TENDON:
            for what, one in _wrapped(model, int(target)):
                if what == mujoco.mjtWrap.mjWRAP_SITE:
                    found.add(int(model.site_bodyid[one]))
    return found


def qpos_entries(model: mujoco.MjModel, joint: int) -> range:
    """A joint's entries of qpos."""
    sizes = {mujoco.mjtJoint.mjJNT_FREE: 7, mujoco.mjtJoint.mjJNT_BALL: 4}
    begin = int(model.jnt_qposadr[joint])
    return range(begin, begin + sizes.get(mujoco.mjtJoint(model.jnt_type[joint]), 1))


def qvel_entries(model: mujoco.MjModel, joint: int) -> range:
    """A joint's entries of qvel."""
    sizes = {mujoco.mjtJoint.mjJNT_FREE: 6, mujoco.mjtJoint.mjJNT_BALL: 3}
    begin = int(model.jnt_dofadr[joint])
    return range(begin, begin + sizes.get(mujoco.mjtJoint(model.jnt_type[joint]), 1))


def cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The cross product of vectors [n, 3]; NumPy's own takes five times as long for a batch of this size."""
    return one[:, _NEXT] * other[:, _LAST] - one[:, _LAST] * other[:, _NEXT]


def rotate(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Vectors [n, 3] as quaternions [n, 4] (w, x, y, z) turn them."""
    w, xyz = quaternion[:, :1], quaternion[:, 1:]
    twice = 2 * cross(xyz, vector)
    return vector + w * twice + cross(xyz, twice)


def rotate_back(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Vectors [n, 3] of the world in the frames that quaternions [n, 4] (w, x, y, z) turn it to."""
    return rotate(quaternion * _INVERSE, vector)


def up(base: RobotBase, state: SimulationState) -> np.ndarray:
    """[n] cosine of the base's tilt from how it stands at the start."""
    if base.quaternion is not None:
        upright = np.tile(base.upright, (len(state.qpos), 1))
        return rotate(state.qpos[:, base.quaternion : base.quaternion + 4], upright)[:, 2]
    if base.pitch is not None:
        return np.cos(state.qpos[:, base.pitch] - base.start_pitch)
    return np.ones(len(state.qpos))


def height(base: RobotBase, state: SimulationState) -> np.ndarray:
    """[n] of the base above the ground under it, m."""
    if base.z is None:
        raise TaskError("this robot's base does not move, so it has no height to observe or to fall from")
    return state.qpos[:, base.z] + base.z_at_zero - state.ground
