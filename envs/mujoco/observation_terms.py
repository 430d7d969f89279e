"""Observation terms of a described family: named functions of batched states.

Each term is made for a model once and then computed for whole batches.
"""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np

from envs.errors import TaskError
from envs.mujoco.robot_base import RobotBase, base_of, height, rotate_back
from envs.mujoco.state import SimulationState
from envs.mujoco.tracking import refuse_needless_of, require, tracked_body
from envs.validation import nearest

ObservationFunction = Callable[[SimulationState], np.ndarray]

OBSERVATIONS = (
    "joint_positions", "joint_velocities", "height", "pitch", "gravity_direction", "linear_velocity",
    "angular_velocity", "heading", "position", "sensors", "contact_forces",
)  # fmt: skip


def observation_term(term: str, model: mujoco.MjModel, of: str | None) -> tuple[ObservationFunction, tuple[str, ...]]:
    """Return an observation term, [n, k] of a state, and the arrays of MjData that it reads.

    Terms: joint_positions, joint_velocities (rad, m; of all joints but the base's), height (m, above the ground),
    pitch (rad, planar), gravity_direction (unit vector in the base's frame, free base), linear_velocity (m/s, in the
    base's frame where it is free), angular_velocity (rad/s), heading (cos, sin of yaw), position (m, of a site or body
    `of`, or x and y of the base), sensors (all sensors of the model file), contact_forces (clipped to +-1).

    Raises:
        TaskError: there is no such term, or the robot lacks what it needs.
    """
    base = base_of(model)
    positions, velocities = (np.array(entries, int) for entries in base.joints)
    refuse_needless_of(term, of)
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
    if term == "position":
        if of is not None:
            body = tracked_body(model, of)
            return body.place, (body.array,)
        require(base.x is not None, term, "a base that moves, or `of` a site or body")
        entries = [entry for entry in (base.x, base.y) if entry is not None]
        return (lambda state: state.qpos[:, entries]), ()
    return _base_term(term, base), ()


def _base_term(term: str, base: RobotBase) -> ObservationFunction:
    """A term of the base's orientation or velocity."""
    free = base.quaternion
    if term == "linear_velocity" and free is None and base.x is not None:
        moving = [base.velocity[name] for name in ("x", "y", "z") if name in base.velocity]
        return lambda state: state.qvel[:, moving]
    if term == "angular_velocity" and free is None and base.pitch is not None:
        lean = base.velocity["pitch"]
        return lambda state: state.qvel[:, [lean]]
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
