"""Observation terms of a described family: named functions of batched states.

Each term is made for a model once and then computed for whole batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import mujoco
import numpy as np

from envs.errors import TaskError
from envs.mujoco.elements import choose, find
from envs.mujoco.robot_base import RobotBase, cross, height, qpos_entries, qvel_entries, rotate_back
from envs.mujoco.state import SimulationState
from envs.mujoco.tracking import names_of, one_name, refuse_needless_of, require, tracked_body
from envs.validation import nearest

Commands = Mapping[str, tuple[str, int]]  # command -> the task parameter that gives it, and its number of entries
ObservationFunction = Callable[[SimulationState], np.ndarray]

OBSERVATIONS = (
    "joint_positions", "joint_velocities", "height", "pitch", "gravity_direction", "linear_velocity",
    "angular_velocity", "heading", "position", "orientation", "sensor", "sensors", "contact_forces", "last_action",
    "command",
)  # fmt: skip


def observation_term(
    term: str, model: mujoco.MjModel, base: RobotBase, of: str | tuple[str, ...] | None, commands: Commands
) -> tuple[ObservationFunction, tuple[str, ...]]:
    """Return an observation term, [n, k] of a state, and the arrays of MjData that it reads.

    Terms: joint_positions, joint_velocities (rad, m; of all joints but the base's, or `of` some), height (m, above the
    ground), pitch (rad, planar), gravity_direction (unit vector in the base's frame, free base), linear_velocity
    (m/s, in the base's frame where it is free, else in the world's), angular_velocity (rad/s), heading (cos, sin of
    yaw), position (m, of a site or body
    `of`, or x and y of the base), orientation (of a site or body: the first two columns of its rotation matrix; Zhou et
    al. 2019, arXiv:1812.07035), linear_velocity and angular_velocity `of` a body (in the world's axes), sensor (one
    `of` the model file), sensors (all of them), contact_forces (clipped to +-1), last_action, command (what the task
    commands, for the agent to follow; of all commands, or `of` one task parameter).

    Raises:
        TaskError: there is no such term, or the robot lacks what it needs.
    """
    refuse_needless_of(term, of)
    found = joint_entries(model, of) if of is not None and term.startswith("joint") else base.joints
    positions, velocities = (np.array(entries, int) for entries in found)
    if term == "joint_positions":
        return (lambda state: state.qpos[:, positions]), ()
    if term == "joint_velocities":
        return (lambda state: state.qvel[:, velocities]), ()
    if term == "height":
        require(base.z is not None, term, "a base that moves up and down")
        return (lambda state: height(base, state)[:, None]), ()
    if term == "pitch":
        pitch = base.pitch
        require(pitch is not None, term, "a planar robot's base")
        return (lambda state: state.qpos[:, [pitch]]), ()
    if term == "sensors":
        require(model.nsensordata > 0, term, "sensors in the model file")
        return (lambda state: state.sensed["sensordata"]), ("sensordata",)
    if term == "contact_forces":
        return (lambda state: np.clip(state.sensed["cfrc_ext"][:, 1:], -1, 1).reshape(len(state.qpos), -1)), (
            "cfrc_ext",
        )
    if term == "last_action":
        return (lambda state: state.last_action), ()
    if term == "command":
        return _told(commands, None if of is None else one_name(term, of)), ()
    if of is not None and term in ("orientation", "linear_velocity", "angular_velocity", "sensor"):
        return of_part(term, model, one_name(term, of))
    if term in ("orientation", "sensor"):
        raise TaskError(f"the term {term} needs `of`: {'a sensor' if term == 'sensor' else 'a site or body'}")
    if term == "position":
        if of is not None:
            body = tracked_body(model, one_name(term, of))
            return body.place, (body.array,)
        require(base.x is not None, term, "a base that moves, or `of` a site or body")
        entries = [entry for entry in (base.x, base.y) if entry is not None]
        return (lambda state: state.qpos[:, entries]), ()
    return _base_term(term, base), ()


def joint_entries(model: mujoco.MjModel, of: str | tuple[str, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Entries of (qpos, qvel) of joints by name or wildcard."""
    chosen = choose(model, "joint", names_of(of)).tolist()
    return (
        tuple(entry for joint in chosen for entry in qpos_entries(model, joint)),
        tuple(entry for joint in chosen for entry in qvel_entries(model, joint)),
    )


def _told(commands: Commands, of: str | None) -> ObservationFunction:
    """The commands of the task, [n, k]."""
    names = [name for name, _ in commands.values()]
    if not names:
        raise TaskError("the term command tells commands, and no task parameter is one; add one to tasks")
    if of is not None and of not in names:
        raise TaskError(f"the term command tells {of}, which is no command; {nearest(of, names)}")
    shown = [of] if of is not None else names

    def of_task(state: SimulationState) -> np.ndarray:
        return np.concatenate([state.command[name].reshape(len(state.qpos), -1) for name in shown], 1)

    return of_task


def of_part(term: str, model: mujoco.MjModel, of: str) -> tuple[ObservationFunction, tuple[str, ...]]:
    """A term of a sensor, or of a site's or body's orientation or velocity."""
    if term == "sensor":
        number = find(model, "sensor", of)
        first = int(model.sensor_adr[number])
        last = first + int(model.sensor_dim[number])
        return (lambda state: state.sensed["sensordata"][:, first:last]), ("sensordata",)
    body = tracked_body(model, of)
    if term == "orientation":
        array, index = ("site_xmat" if body.array == "site_xpos" else "xmat"), body.index
        return (lambda state: state.sensed[array][:, index].reshape(-1, 3, 3)[:, :, :2].reshape(-1, 6)), (array,)
    number = body.index if body.array == "xpos" else int(model.site_bodyid[body.index])
    root = int(model.body_rootid[number])
    if term == "angular_velocity":
        return (lambda state: state.sensed["cvel"][:, number, :3]), ("cvel",)

    def velocity(state: SimulationState) -> np.ndarray:
        # MuJoCo gives the velocity at the centre of mass of the whole tree; the part itself turns about that.
        turning, moving = state.sensed["cvel"][:, number, :3], state.sensed["cvel"][:, number, 3:]
        return moving + cross(turning, body.place(state) - state.sensed["subtree_com"][:, root])

    return velocity, ("cvel", "subtree_com", body.array)


def _base_term(term: str, base: RobotBase) -> ObservationFunction:
    """A term of the base's orientation or velocity."""
    free = base.quaternion
    if term == "linear_velocity" and free is None and base.x is not None:
        moving = [base.velocity[name] for name in ("x", "y", "z") if name in base.velocity]
        return lambda state: state.qvel[:, moving]
    turning = next((name for name in ("pitch", "yaw") if name in base.velocity), None)
    if term == "angular_velocity" and turning is not None:
        lean = base.velocity[turning]
        return lambda state: state.qvel[:, [lean]]
    if term == "heading" and base.yaw is not None:
        yaw_entry = base.yaw
        return lambda state: np.stack([np.cos(state.qpos[:, yaw_entry]), np.sin(state.qpos[:, yaw_entry])], 1)
    if term not in OBSERVATIONS:
        raise TaskError(f"there is no observation term {term}; {nearest(term, OBSERVATIONS)}")
    require(free is not None, term, "a free base")
    assert free is not None
    moves = base.velocity["x"]

    def quaternion(state: SimulationState) -> np.ndarray:
        return state.qpos[:, free : free + 4]

    if term == "gravity_direction":
        return lambda state: rotate_back(quaternion(state), np.tile([0.0, 0.0, -1.0], (len(state.qpos), 1)))
    if term == "linear_velocity":
        return lambda state: rotate_back(quaternion(state), state.qvel[:, moves : moves + 3])
    if term == "angular_velocity":
        return lambda state: state.qvel[:, moves + 3 : moves + 6]

    def heading(state: SimulationState) -> np.ndarray:
        w, x, y, z = quaternion(state).T
        yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y**2 + z**2))
        return np.stack([np.cos(yaw), np.sin(yaw)], 1)

    return heading
