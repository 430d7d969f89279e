"""The terms of a description, made for its model: observation, reward, success and what ends an episode."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mujoco
import numpy as np

from envs.errors import TaskError
from envs.mujoco.description import Condition, Description, RewardTerm
from envs.mujoco.engines.base import TOUCHED
from envs.mujoco.observation_terms import Commands, ObservationFunction, observation_term
from envs.mujoco.reward_terms import Part, RewardFunction, chosen_geoms, reward_term
from envs.mujoco.robot_base import height, up
from envs.mujoco.state import Motion
from envs.mujoco.tracking import one_name

ConditionFunction = Callable[[Motion], np.ndarray]  # [n] bool
Reads = set[str]  # arrays of MjData


def observation(description: Description, part: Part) -> tuple[list[ObservationFunction], Reads]:
    """The terms of the observation in order, and what they read."""
    functions, reads = [], set()
    for entry in description.observe:
        function, arrays = observation_term(entry.term, part.model, part.base, entry.of, part.commands)
        functions.append(function)
        reads |= set(arrays)
    return functions, reads


def reward(description: Description, part: Part) -> tuple[list[tuple[float, RewardFunction]], Reads]:
    """The weights and terms of the reward in order, and what they read."""
    weighted, reads = [], set()
    for name, term in description.reward.items():
        function, arrays = reward_term(term.term or name, part, term)
        weighted.append((term.weight, function))
        reads |= set(arrays)
    return weighted, reads


def success(
    description: Description, part: Part, rewarded: Sequence[RewardFunction]
) -> tuple[list[ConditionFunction], Reads]:
    """Conditions of success: those that are named, else every `goal_reached` of the reward; [] if none."""
    if description.success:
        conditions = [_condition(spec, part) for spec in description.success]
        return [condition for condition, _ in conditions], set().union(*(reads for _, reads in conditions))
    names = [term.term or name for name, term in description.reward.items()]
    reached = [function for name, function in zip(names, rewarded, strict=True) if name == "goal_reached"]
    return [lambda motion, one=one: one(motion) > 0 for one in reached], set()  # type: ignore[misc]


def _condition(spec: Condition, part: Part) -> tuple[ConditionFunction, Reads]:
    if spec.term == "foot_air_time":
        raise TaskError("success: foot_air_time is a reward of landing, not a condition; use contact")
    function, reads = reward_term(spec.term, part, RewardTerm(weight=1.0, of=spec.of, to=spec.to))
    if spec.below is not None:
        return (lambda motion: function(motion) < spec.below), set(reads)
    return (lambda motion: function(motion) > spec.above), set(reads)


def endings(description: Description, part: Part, has_success: bool) -> tuple[list[ConditionFunction | None], Reads]:
    """Conditions that end an episode, in any order; None stands for success."""
    spec, base = description.terminate, part.base
    found: list[ConditionFunction | None] = []
    if spec.tilt_above_deg is not None:
        if base.pitch is None and base.quaternion is None:
            raise TaskError("terminate names a tilt, but this robot's base cannot lean")
        least = np.cos(np.deg2rad(spec.tilt_above_deg))
        found.append(lambda motion: up(base, motion.after) < least)
    lowest, highest = spec.height_below_m, spec.height_above_m
    if (lowest is not None or highest is not None) and base.z is None:
        raise TaskError("terminate names a height, but this robot's base does not move")
    if lowest is not None:
        found.append(lambda motion: height(base, motion.after) < lowest)
    if highest is not None:
        found.append(lambda motion: height(base, motion.after) > highest)
    if spec.success:
        if not has_success:
            raise TaskError("terminate names success, but nothing says when there is one; add success")
        found.append(None)
    if not spec.contact:
        return found, set()
    geoms = list(chosen_geoms(part.model, spec.contact))
    found.append(lambda motion: np.asarray(motion.after.sensed[TOUCHED][:, geoms].any(1)))
    return found, {TOUCHED}


def feet_of(description: Description, model: mujoco.MjModel) -> tuple[tuple[int, ...], ...]:
    """The geoms whose time in the air is counted, each a foot."""
    lists = {
        chosen_geoms(model, term.of)
        for name, term in description.reward.items()
        if (term.term or name) == "foot_air_time" and term.of is not None
    }
    if len(lists) > 1:
        raise TaskError("two terms foot_air_time name other feet; name the same ones in both")
    return tuple((geom,) for geom in next(iter(lists), ()))


def of_entries(description: Description, name: str, widths: Sequence[int]) -> np.ndarray | None:
    """The `noise` or `delay` of each entry of the observation, whose terms are so wide; None where all are 0."""
    values = [getattr(entry, name) for entry in description.observe]
    return np.repeat(values, widths) if any(values) else None


def observed_parameters(description: Description, commands: Commands) -> tuple[str, ...]:
    """Task parameters that the observation tells."""
    found: list[str] = []
    for entry in description.observe:
        if entry.term == "command":
            found += (
                [one_name(entry.term, entry.of)] if entry.of is not None else [name for name, _ in commands.values()]
            )
    return tuple(name for name in dict.fromkeys(found) if name in (description.tasks or {}))
