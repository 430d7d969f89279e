"""Reward terms of a described family: named functions of a batched motion.

Each term is made for a model once and then computed for whole batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import mujoco
import numpy as np

from envs.errors import TaskError
from envs.mujoco.robot_base import RobotBase, base_of, height, up
from envs.mujoco.state import Motion
from envs.mujoco.tracking import TrackedBody, refuse_needless_of, require, tracked_body
from envs.validation import nearest

RewardFunction = Callable[[Motion], np.ndarray]
Commands = Mapping[str, tuple[str, int]]  # command -> the task parameter that gives it, and its number of entries

REWARDS = (
    "alive", "forward_velocity", "velocity_error", "heading_velocity", "goal_distance", "goal_reached",
    "action_squared", "joint_velocity_squared", "tilt", "height", "contact_forces",
)  # fmt: skip


def reward_term(
    term: str, model: mujoco.MjModel, of: str | None, commands: Commands, radius: float
) -> tuple[RewardFunction, tuple[str, ...]]:
    """Return a reward term, [n] of a motion before its weight, and the arrays of MjData that it reads.

    Terms: alive (1), forward_velocity (m/s along x), velocity_error (|x velocity - command|, m/s), heading_velocity
    (m/s along the commanded heading), goal_distance (m, Euclidean, from the base or `of`), goal_reached (1 within
    `radius` m), action_squared, joint_velocity_squared (rad^2/s^2), tilt (1 - cosine of the base's tilt), height (m),
    contact_forces (squared, each clipped to +-1).

    Raises:
        TaskError: there is no such term, the robot lacks what it needs, or no task parameter gives its command.
    """
    base = base_of(model)
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
    if term in ("goal_distance", "goal_reached"):
        body = tracked_body(model, of) if of is not None else None
        distance = _goal_distance(term, base, body, commands)
        reads = (body.array,) if body is not None else ()
        if term == "goal_distance":
            return distance, reads
        return (lambda motion: (distance(motion) <= radius).astype(float)), reads
    if term not in REWARDS:
        raise TaskError(f"there is no reward term {term}; {nearest(term, REWARDS)}")
    return _velocity_term(term, base, commands), ()


def _simple_terms(base: RobotBase) -> dict[str, RewardFunction]:
    """Terms that need neither a command nor an array of MjData."""
    velocities = np.array(base.joints[1], int)
    return {
        "alive": lambda motion: np.ones(len(motion.action)),
        "action_squared": lambda motion: motion.effort,
        "joint_velocity_squared": lambda motion: np.square(motion.after.qvel[:, velocities]).sum(1),
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
