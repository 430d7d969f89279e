"""A curriculum of task parameters: training begins near easy tasks and widens as the validation return rises.

A task is drawn as always and then moved towards the start: to share s of the way from it, in logarithms where the
distribution is log-uniform. So the draws of a run are those that it would have without a curriculum, and share 1 is the
family's own distribution. The share follows from the validation returns that the run's metrics hold, and needs no state
of its own: a resumed run goes on with the same tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from envs.distributions import Box, LogUniform, Uniform, plain_value
from envs.task import Task, TaskFamily
from envs.validation import nearest
from trainers.errors import RecipeError
from trainers.recipes.schema import Curriculum


def share_of(curriculum: Curriculum, lines: Iterable[Mapping[str, float]], iteration: int) -> float:
    """The share of the way to the whole distribution at an iteration, counted from 0.

    Args:
        curriculum: the recipe's.
        lines: metrics of earlier iterations; those of the last one before it do not count, since a pipelined agent
            samples before they are known.
        iteration: whose tasks are drawn.
    """
    share = curriculum.share
    for line in lines:
        if line["iteration"] >= iteration:
            break
        reached = [value for name, value in line.items() if name.startswith("validation_return_round_")]
        if reached and reached[-1] >= curriculum.above:
            share += curriculum.grow
    return min(1.0, share)


def narrowed(tasks: Sequence[Task], family: TaskFamily, curriculum: Curriculum, share: float) -> list[Task]:
    """The tasks, moved towards the curriculum's start."""
    return [_narrowed(task, family, curriculum, share) for task in tasks]


def _narrowed(task: Task, family: TaskFamily, curriculum: Curriculum, share: float) -> Task:
    if share >= 1.0:
        return task
    schedule = [
        part | {"parameters": _moved(part["parameters"], family, curriculum, share)}
        for part in task.schedule_to_json().get("schedule", [])
    ]
    return Task.of(task.family, _moved(task.parameters, family, curriculum, share), task.index, schedule)


def _moved(values: Mapping[str, Any], family: TaskFamily, curriculum: Curriculum, share: float) -> dict[str, Any]:
    """Parameters, those of the curriculum moved; between two valid values, to the last bit."""
    moved = dict(values)
    for name in curriculum.start.keys() & values.keys():
        value, begin = np.asarray(values[name], float), np.asarray(curriculum.start[name], float)
        if isinstance(family.parameters[name], LogUniform):
            between = np.exp(np.log(begin) + share * (np.log(value) - np.log(begin)))
        else:
            between = begin + share * (value - begin)
        moved[name] = plain_value(np.clip(between, np.minimum(value, begin), np.maximum(value, begin)))
    return moved


def refuse_unfit(curriculum: Curriculum, family: TaskFamily, train_tasks: int | None) -> None:
    """RecipeError where the family has no such parameters, or none that can be moved."""
    if train_tasks is not None:
        raise RecipeError("curriculum moves tasks that are drawn, and train_tasks fixes them; leave out one of both")
    if family.kind == "region":
        raise RecipeError(
            f"curriculum would move tasks into the held-out region of {family.name}; leave it out for this family"
        )
    for name, start in curriculum.start.items():
        if name not in family.parameters:
            raise RecipeError(
                f"curriculum.start: {family.name} has no task parameter {name}; {nearest(name, family.parameters)}"
            )
        distribution = family.parameters[name]
        if not isinstance(distribution, (Uniform, Box)):
            raise RecipeError(
                f"curriculum.start: {name} ~ {distribution} has no values between two others; leave it out"
            )
        value = np.asarray(start, float)
        if distribution.shape and not value.ndim:
            value = np.broadcast_to(value, distribution.shape)
        plain: Any = replace(distribution, ood=())  # type: ignore[arg-type]
        if problem := plain.validate(plain_value(value)):
            raise RecipeError(f"curriculum.start: {name} {problem}")
