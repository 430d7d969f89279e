"""Reward terms of a described family: named functions of a batched motion.

Each term is made for a model once and then computed for whole batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np

from envs.errors import TaskError
from envs.mujoco.description import RewardTerm, Tolerance
from envs.mujoco.elements import choose, find
from envs.mujoco.engines.base import TOUCHED
from envs.mujoco.observation_terms import Commands, joint_entries, of_part
from envs.mujoco.robot_base import RobotBase, height, rotate_back, up
from envs.mujoco.state import Motion
from envs.mujoco.tracking import TrackedBody, names_of, one_name, refuse_needless_of, require, tracked_body
from envs.validation import nearest

RewardFunction = Callable[[Motion], np.ndarray]

REWARDS = (
    "alive", "forward_velocity", "velocity_error", "linear_velocity_error", "yaw_rate_error", "heading_velocity",
    "goal_distance", "goal_reached", "distance", "action_squared", "action_rate", "torque", "joint_velocity_squared",
    "joint_limits", "foot_air_time", "tilt", "height", "contact", "contact_forces", "speed", "sensor",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """Terms are made for it: a model, its base, the commands of its tasks, and the fields that tasks change."""

    model: mujoco.MjModel
    base: RobotBase
    commands: Commands
    changed: frozenset[str] = frozenset()


def reward_term(term: str, part: Part, settings: RewardTerm) -> tuple[RewardFunction, tuple[str, ...]]:
    """Return a reward term, [n] of a motion before its weight, and the arrays of MjData that it reads.

    Terms: alive (1), forward_velocity (m/s along x), velocity_error (|x velocity - command|, m/s),
    linear_velocity_error (m/s, Euclidean, between the commanded forward and lateral velocity and the base's own in its
    frame), yaw_rate_error (rad/s), heading_velocity (m/s along the commanded heading), goal_distance (m, Euclidean,
    from the base or `of`), goal_reached (1 within `radius` m), distance (m, `of` one site or body `to` another),
    action_squared, action_rate (squared change of the action), torque (squared forces of the actuators, or `of` some),
    joint_velocity_squared (rad^2/s^2), joint_limits (rad or m beyond the `soft` share of the joints' ranges),
    speed (m/s, of the base or `of` a site or body), sensor (the one value of a sensor `of` the model file),
    foot_air_time (s beyond `threshold_s` that feet, geoms `of`, flew before they touch down; Rudin et al. 2022,
    arXiv:2109.11978), tilt (1 - cosine of the base's tilt), height (m), contact (1 where geoms `of` touch something),
    contact_forces (squared, each clipped to +-1). A kernel turns a term x into exp(-(x / exp)^2), or a tolerance.

    Raises:
        TaskError: there is no such term, the robot lacks what it needs, or no task parameter gives its command.
    """
    function, reads = _plain_term(term, part, settings)
    if settings.exp is not None:
        width = settings.exp
        return (lambda motion: np.exp(-np.square(function(motion) / width))), reads
    if settings.tolerance is not None:
        bounds = settings.tolerance
        return (lambda motion: _tolerance(function(motion), bounds)), reads
    return function, reads


def _tolerance(value: np.ndarray, bounds: Tolerance) -> np.ndarray:
    beyond = np.maximum(np.maximum(bounds.low - value, value - bounds.high), 0.0)
    if not bounds.margin:
        return (beyond == 0).astype(float)
    return np.exp(np.log(0.1) * np.square(beyond / bounds.margin))


def _plain_term(term: str, part: Part, settings: RewardTerm) -> tuple[RewardFunction, tuple[str, ...]]:
    """The term without its kernel."""
    model, base, of = part.model, part.base, settings.of
    refuse_needless_of(term, of)
    if term == "height":
        require(base.z is not None, term, "a base that moves up and down")
    if term == "tilt":
        require(base.pitch is not None or base.quaternion is not None, term, "a base that can lean")
    simple = _simple_terms(base)
    if term in simple:
        return simple[term], ()
    if term == "contact_forces":
        return (lambda motion: np.square(np.clip(motion.after.sensed["cfrc_ext"], -1, 1)).sum((1, 2))), ("cfrc_ext",)
    if term in ("torque", "contact", "foot_air_time", "joint_limits", "distance"):
        return _of_parts(term, part, settings)
    if term in ("speed", "sensor"):
        return _measured(term, part, of)
    if term == "joint_velocity_squared":
        moving = base.joints[1] if of is None else joint_entries(model, of)[1]
        entries = np.array(moving, int)
        return (lambda motion: np.square(motion.after.qvel[:, entries]).sum(1)), ()
    if term in ("goal_distance", "goal_reached"):
        body = tracked_body(model, one_name(term, of)) if of is not None else None
        distance = _goal_distance(term, base, body, part.commands)
        reads = (body.array,) if body is not None else ()
        if term == "goal_distance":
            return distance, reads
        return (lambda motion: (distance(motion) <= settings.radius).astype(float)), reads
    if term not in REWARDS:
        raise TaskError(f"there is no reward term {term}; {nearest(term, REWARDS)}")
    if term in ("linear_velocity_error", "yaw_rate_error"):
        return _tracking_term(term, base, part.commands), ()
    return _velocity_term(term, base, part.commands), ()


def chosen_geoms(model: mujoco.MjModel, of: str | tuple[str, ...]) -> tuple[int, ...]:
    """Geoms by name or wildcard; TaskError where there is none."""
    return tuple(choose(model, "geom", names_of(of)).tolist())


def _of_parts(term: str, part: Part, settings: RewardTerm) -> tuple[RewardFunction, tuple[str, ...]]:
    """A term of joints, actuators, geoms or two places."""
    model, of = part.model, settings.of
    if term == "torque":
        which = choose(model, "actuator", names_of(of))
        return (lambda motion: np.square(motion.after.sensed["actuator_force"][:, which]).sum(1)), ("actuator_force",)
    if term == "joint_limits":
        if "joint_limits" in part.changed:
            raise TaskError("the term joint_limits reads the model file's ranges, which a task changes; leave out one")
        return _joint_limits(model, settings.soft), ()
    if of is None:
        raise TaskError(f"the term {term} needs `of`, names of {'a site or body' if term == 'distance' else 'geoms'}")
    if term == "distance":
        if settings.to is None:
            raise TaskError("the term distance needs `to`, the name of another site or body")
        one, other = tracked_body(model, one_name(term, of)), tracked_body(model, settings.to)

        def distance(motion: Motion) -> np.ndarray:
            return np.linalg.norm(one.place(motion.after) - other.place(motion.after), axis=1)

        return distance, (one.array, other.array)
    geoms = list(chosen_geoms(model, of))
    if term == "contact":
        return (lambda motion: motion.after.sensed[TOUCHED][:, geoms].any(1).astype(float)), (TOUCHED,)

    def landed(motion: Motion) -> np.ndarray:
        down = motion.after.sensed[TOUCHED][:, geoms] & (motion.air_time > 0)
        return ((motion.air_time - settings.threshold_s) * down).sum(1)

    return landed, (TOUCHED,)


def _measured(term: str, part: Part, of: str | tuple[str, ...] | None) -> tuple[RewardFunction, tuple[str, ...]]:
    """How fast a part or the base is, or a sensor's value."""
    if term == "speed" and of is None:
        base = part.base
        require(base.x is not None, term, "a base that moves, or `of` a site or body")
        first = base.velocity["x"]
        free = [first, first + 1, first + 2]
        entries = (
            free if base.quaternion is not None else [base.velocity[name] for name in "xyz" if name in base.velocity]
        )
        return (lambda motion: np.linalg.norm(motion.after.qvel[:, entries], axis=1)), ()
    if of is None:
        raise TaskError("the term sensor needs `of`, the name of a sensor")
    function, reads = of_part("linear_velocity" if term == "speed" else "sensor", part.model, one_name(term, of))
    if term == "speed":
        return (lambda motion: np.linalg.norm(function(motion.after), axis=1)), reads
    size = int(part.model.sensor_dim[find(part.model, "sensor", one_name(term, of))])
    if size != 1:
        raise TaskError(f"the term sensor is one value, and sensor {of} has {size}; name another")
    return (lambda motion: function(motion.after)[:, 0]), reads


def _joint_limits(model: mujoco.MjModel, soft: float) -> RewardFunction:
    plain = np.isin(model.jnt_type, [mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE])
    limited = np.flatnonzero(plain & model.jnt_limited.astype(bool))
    if not len(limited):
        raise TaskError("the term joint_limits needs joints with a range, which this robot has not; leave it out")
    entries, (low, high) = model.jnt_qposadr[limited], model.jnt_range[limited].T
    middle, half = (low + high) / 2, soft * (high - low) / 2
    return lambda motion: np.maximum(np.abs(motion.after.qpos[:, entries] - middle) - half, 0.0).sum(1)


def _tracking_term(term: str, base: RobotBase, commands: Commands) -> RewardFunction:
    """The error of a commanded velocity, in the frame of a free base."""
    require(base.quaternion is not None, term, "a free base")
    assert base.quaternion is not None
    first, moves = base.quaternion, base.velocity["x"]
    if term == "yaw_rate_error":
        wanted = _command(term, commands, "yaw_rate")
        return lambda motion: np.abs(motion.after.qvel[:, moves + 5] - motion.command[wanted])
    forward = _command(term, commands, "velocity")
    sideways = commands["lateral_velocity"][0] if "lateral_velocity" in commands else None

    def error(motion: Motion) -> np.ndarray:
        own = rotate_back(motion.after.qpos[:, first : first + 4], motion.after.qvel[:, moves : moves + 3])
        aside = 0.0 if sideways is None else motion.command[sideways]
        return np.hypot(own[:, 0] - motion.command[forward], own[:, 1] - aside)

    return error


def _simple_terms(base: RobotBase) -> dict[str, RewardFunction]:
    """Terms that need neither a command nor an array of MjData."""
    return {
        "alive": lambda motion: np.ones(len(motion.action)),
        "action_squared": lambda motion: motion.effort,
        "action_rate": lambda motion: np.square(motion.action - motion.before.last_action).sum(1),
        "tilt": lambda motion: 1 - up(base, motion.after),
        "height": lambda motion: height(base, motion.after),
    }


def _command(term: str, commands: Commands, command: str) -> str:
    """The name of the task parameter that gives this command."""
    if command not in commands:
        raise TaskError(f"the reward term {term} needs a task parameter with `command: {command}`; add one to tasks")
    return commands[command][0]


def _goal_distance(term: str, base: RobotBase, body: TrackedBody | None, commands: Commands) -> RewardFunction:
    """Distance [n], m, between the commanded goal and the tracked body or the base."""
    name = _command(term, commands, "goal")
    require(body is not None or base.x is not None, term, "a base that moves, or `of` a site or body")
    entries = [entry for entry in (base.x, base.y) if entry is not None]
    known = 3 if body is not None else len(entries)
    if commands["goal"][1] > known:
        raise TaskError(
            f"the reward term {term} compares a goal of {commands['goal'][1]} entries with a place of {known}; give "
            "`of` a site or body, or the goal another size"
        )

    def distance(motion: Motion) -> np.ndarray:
        goal = motion.command[name]
        place = body.place(motion.after) if body is not None else motion.after.qpos[:, entries]
        return np.linalg.norm(place[:, : goal.shape[1]] - goal, axis=1)

    return distance


def _velocity_term(term: str, base: RobotBase, commands: Commands) -> RewardFunction:
    """A term of the base's mean velocity over the control step."""
    require(base.x is not None, term, "a base that moves along x")

    def velocity(motion: Motion, entry: int | None) -> np.ndarray:
        assert entry is not None
        return (motion.after.qpos[:, entry] - motion.before.qpos[:, entry]) / motion.dt

    if term == "forward_velocity":
        return lambda motion: velocity(motion, base.x)
    if term == "velocity_error":
        wanted = _command(term, commands, "velocity")
        return lambda motion: np.abs(velocity(motion, base.x) - motion.command[wanted])
    require(base.y is not None, term, "a base that moves along y")
    heading = _command(term, commands, "heading")

    def along(motion: Motion) -> np.ndarray:
        angle = motion.command[heading]
        return velocity(motion, base.x) * np.cos(angle) + velocity(motion, base.y) * np.sin(angle)

    return along
