"""What a described family can observe, reward and end an episode by: named terms over batched states.

Each term is made for a model once and then computed for whole batches. Positions and velocities of a base are those of
its free joint, or of the slides and the hinge of a planar robot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from envs.mujoco.changes import element_names
from envs.mujoco.state import Motion, State
from envs.task import TaskError
from envs.validation import nearest

Observe = Callable[[State], np.ndarray]
Reward = Callable[[Motion], np.ndarray]
Roles = Mapping[str, tuple[str, int]]  # command -> the task parameter that gives it, and its entries


@dataclass(frozen=True)
class Base:
    """The part of a robot that moves through the world.

    Attributes:
        x, y, z: entries of qpos; None where the robot cannot move so.
        pitch: entry of qpos of a planar robot's lean.
        quaternion: first of four entries of qpos of a free base.
        velocity: entries of qvel, by "x", "y", "z", "pitch"; of a free base "x" is the first of six.
        z_at_zero: what the entry z of qpos lacks to the height above the world's origin, m.
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


def base_of(model: mujoco.MjModel) -> Base:
    """Finds the base: a free joint, or the slides and hinge of the first body; neither for an arm."""
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
    return Base(
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


def up(base: Base, state: State) -> np.ndarray:
    """[n] cosine of the base's tilt from the initial upright."""
    if base.quaternion is not None:
        x, y = state.qpos[:, base.quaternion + 1], state.qpos[:, base.quaternion + 2]
        return 1 - 2 * (x**2 + y**2)
    if base.pitch is not None:
        return np.cos(state.qpos[:, base.pitch])
    return np.ones(len(state.qpos))


def height(base: Base, state: State) -> np.ndarray:
    """[n] of the base above the ground under it, m."""
    if base.z is None:
        raise TaskError("this robot's base does not move, so it has no height to observe or to fall from")
    return state.qpos[:, base.z] + base.z_at_zero - state.ground


# -- what is followed in space


@dataclass(frozen=True)
class Followed:
    """A body or a site whose place is followed.

    Attributes:
        array: of MjData, `xpos` or `site_xpos`.
        index: its number.
    """

    array: str
    index: int

    def place(self, state: State) -> np.ndarray:
        """[n, 3] m; as in MuJoCo, where it was at the start of the last physics step."""
        return state.sensed[self.array][:, self.index]


def followed(model: mujoco.MjModel, name: str) -> Followed:
    """The site or else the body of this name; TaskError with the nearest name where there is neither."""
    sites = [model.site(number).name for number in range(model.nsite)]
    if name in sites:
        return Followed("site_xpos", sites.index(name))
    bodies = element_names(model, "body")
    if name in bodies:
        return Followed("xpos", bodies.index(name))
    raise TaskError(f"there is no site or body {name}; {nearest(name, [*sites, *bodies[1:]])}")


FOLLOWING = ("position", "goal_distance", "goal_reached")  # terms that can follow a site or body, `of`


# -- observation terms


def observation(term: str, model: mujoco.MjModel, of: str | None) -> tuple[Observe, tuple[str, ...]]:
    """An observation term, [n, k] of a state, and the arrays of MjData that it reads.

    Terms: joint_positions, joint_velocities (rad, m; of all joints but the base's), height (m, above the ground),
    pitch (rad, planar), gravity_direction (unit vector in the base's frame, free base), linear_velocity (m/s, in the
    base's frame where it is free), angular_velocity (rad/s), heading (cos, sin of yaw), position (m, of a site or body
    `of`, or x and y of the base), sensors (all sensors of the model file), contact_forces (clipped to +-1).
    """
    base = base_of(model)
    positions, velocities = (np.array(entries, int) for entries in base.joints)
    _no_idle_of(term, of)
    if term == "joint_positions":
        return (lambda state: state.qpos[:, positions]), ()
    if term == "joint_velocities":
        return (lambda state: state.qvel[:, velocities]), ()
    if term == "height":
        _need(base.z is not None, term, "a base that moves up and down")
        return (lambda state: height(base, state)[:, None]), ()
    if term == "pitch":
        pitch = base.pitch
        _need(pitch is not None, term, "a planar robot's base")
        return (lambda state: state.qpos[:, [pitch]]), ()
    if term == "sensors":
        _need(model.nsensordata > 0, term, "sensors in the model file")
        return (lambda state: state.sensed["sensordata"]), ("sensordata",)
    if term == "contact_forces":
        return (lambda state: np.clip(state.sensed["cfrc_ext"][:, 1:], -1, 1).reshape(len(state.qpos), -1)), (
            "cfrc_ext",
        )
    if term == "position":
        if of is not None:
            place = followed(model, of)
            return place.place, (place.array,)
        _need(base.x is not None, term, "a base that moves, or `of` a site or body")
        entries = [entry for entry in (base.x, base.y) if entry is not None]
        return (lambda state: state.qpos[:, entries]), ()
    return _free_base_term(term, base), ()


def _free_base_term(term: str, base: Base) -> Observe:
    free = base.quaternion
    if term == "linear_velocity" and free is None and base.x is not None:
        moving = [base.velocity[name] for name in ("x", "y", "z") if name in base.velocity]
        return lambda state: state.qvel[:, moving]
    if term == "angular_velocity" and free is None and base.pitch is not None:
        lean = base.velocity["pitch"]
        return lambda state: state.qvel[:, [lean]]
    if term not in OBSERVATIONS:
        raise TaskError(f"there is no observation term {term}; {nearest(term, OBSERVATIONS)}")
    _need(free is not None, term, "a free base")
    assert free is not None
    moves = base.velocity["x"]

    def quaternion(state: State) -> np.ndarray:
        return state.qpos[:, free : free + 4]

    if term == "gravity_direction":
        return lambda state: rotate_back(quaternion(state), np.tile([0.0, 0.0, -1.0], (len(state.qpos), 1)))
    if term == "linear_velocity":
        return lambda state: rotate_back(quaternion(state), state.qvel[:, moves : moves + 3])
    if term == "angular_velocity":
        return lambda state: state.qvel[:, moves + 3 : moves + 6]

    def heading(state: State) -> np.ndarray:
        w, x, y, z = quaternion(state).T
        yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y**2 + z**2))
        return np.stack([np.cos(yaw), np.sin(yaw)], 1)

    return heading


OBSERVATIONS = (
    "joint_positions", "joint_velocities", "height", "pitch", "gravity_direction", "linear_velocity",
    "angular_velocity", "heading", "position", "sensors", "contact_forces",
)  # fmt: skip


# -- reward terms


def reward(
    term: str, model: mujoco.MjModel, of: str | None, roles: Roles, radius: float
) -> tuple[Reward, tuple[str, ...]]:
    """A reward term, [n] of a motion before its weight, and the arrays of MjData that it reads.

    Terms: alive (1), forward_velocity (m/s along x), velocity_error (|x velocity - command|, m/s), heading_velocity
    (m/s along the commanded heading), goal_distance (m, Euclidean, from the base or `of`), goal_reached (1 within
    `radius` m), action_squared, joint_velocity_squared (rad^2/s^2), tilt (1 - cosine of the base's tilt), height (m),
    contact_forces (squared, each clipped to +-1).
    """
    base = base_of(model)

    def command(role: str) -> str:
        if role not in roles:
            raise TaskError(f"the reward term {term} needs a task parameter with `command: {role}`; add one to tasks")
        return roles[role][0]

    _no_idle_of(term, of)
    velocities = np.array(base.joints[1], int)
    simple: dict[str, Reward] = {
        "alive": lambda motion: np.ones(len(motion.action)),
        "action_squared": lambda motion: motion.effort,
        "joint_velocity_squared": lambda motion: np.square(motion.after.qvel[:, velocities]).sum(1),
        "tilt": lambda motion: 1 - up(base, motion.after),
        "height": lambda motion: height(base, motion.after),
    }
    if term == "height":
        _need(base.z is not None, term, "a base that moves up and down")
    if term == "tilt":
        _need(base.pitch is not None or base.quaternion is not None, term, "a base that can lean")
    if term in simple:
        return simple[term], ()
    if term == "contact_forces":
        return (lambda motion: np.square(np.clip(motion.after.sensed["cfrc_ext"], -1, 1)).sum((1, 2))), ("cfrc_ext",)
    if term in ("goal_distance", "goal_reached"):
        name, place = command("goal"), followed(model, of) if of is not None else None
        _need(place is not None or base.x is not None, term, "a base that moves, or `of` a site or body")
        known = 3 if place is not None else sum(entry is not None for entry in (base.x, base.y))
        if roles["goal"][1] > known:
            raise TaskError(
                f"the reward term {term} compares a goal of {roles['goal'][1]} entries with a place of {known}; give "
                "`of` a site or body, or the goal another size"
            )

        def distance(motion: Motion) -> np.ndarray:
            goal = motion.command[name]
            if place is not None:
                here = place.place(motion.after)
            else:
                here = motion.after.qpos[:, [entry for entry in (base.x, base.y) if entry is not None]]
            return np.linalg.norm(here[:, : goal.shape[1]] - goal, axis=1)

        reads = (place.array,) if place is not None else ()
        if term == "goal_distance":
            return distance, reads
        return (lambda motion: (distance(motion) <= radius).astype(float)), reads
    if term not in REWARDS:
        raise TaskError(f"there is no reward term {term}; {nearest(term, REWARDS)}")
    _need(base.x is not None, term, "a base that moves along x")

    def velocity(motion: Motion, entry: int | None) -> np.ndarray:
        assert entry is not None
        return (motion.after.qpos[:, entry] - motion.before.qpos[:, entry]) / motion.dt

    if term == "forward_velocity":
        return (lambda motion: velocity(motion, base.x)), ()
    if term == "velocity_error":
        wanted = command("velocity")
        return (lambda motion: np.abs(velocity(motion, base.x) - motion.command[wanted])), ()
    _need(base.y is not None, term, "a base that moves along y")
    heading = command("heading")

    def along(motion: Motion) -> np.ndarray:
        angle = motion.command[heading]
        return velocity(motion, base.x) * np.cos(angle) + velocity(motion, base.y) * np.sin(angle)

    return along, ()


REWARDS = (
    "alive", "forward_velocity", "velocity_error", "heading_velocity", "goal_distance", "goal_reached",
    "action_squared", "joint_velocity_squared", "tilt", "height", "contact_forces",
)  # fmt: skip


def _need(fine: bool, term: str, what: str) -> None:
    if not fine:
        raise TaskError(f"the term {term} needs {what}, which this robot has not; leave it out")


def _no_idle_of(term: str, of: str | None) -> None:
    if of is not None and term not in FOLLOWING:
        raise TaskError(f"the term {term} follows nothing, so `of: {of}` has no meaning; leave it out")
