"""Leaks: does a run know the tasks that it is compared on?

A task set leaks into a run if one of its tasks is a training task, or so near to one that chance does not bring it so
near, or a validation task, by which the run's checkpoints were selected. Training tasks that a run drew afresh are
drawn again here, from its own seed. In a finite family held-out tasks are training tasks by declaration.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy import stats

from envs.task import Task, TaskFamily, TaskSet
from trainers.errors import UsageError
from trainers.recipes.assembling import build
from trainers.runs import checkpoints, metrics
from trainers.runs.run_folder import Run
from trainers.sampling.planned_tasks import drawn_tasks

_COARSE = 1e-2  # share of each parameter's range within which neighbours are counted, to know how many chance brings
_SCALES = np.logspace(-2, -12, 11)  # at which near repeats are looked for
_CONTROLS = 20  # independent sets of as many tasks
_MOST = 50_000  # training tasks that are looked at, the first of the run


def refuse_leaks(run: Run, family: TaskFamily, task_set: TaskSet, max_chance: float) -> None:
    """Raises UsageError if the set shares tasks with the run's training or validation, exactly or nearly.

    Args:
        max_chance: the chance, that so many tasks of the set lie so near to training tasks, below which it is no
        chance.
    """
    if family.kind == "finite" or task_set.split == "train":
        return
    trained = training_tasks(run, family)
    for name, used in (("training", trained), ("validation", validation_tasks(run, family))):
        known = set(used)
        if shared := [task for task in task_set.tasks if task in known]:
            why = "it was trained on" if name == "training" else "its checkpoints were selected by"
            raise UsageError(
                f"{run.path}: {len(shared)} of the {len(task_set.tasks)} {task_set.split} tasks are tasks that {why}, "
                f"such as {shared[0].parameters}; compare it on a suite with other tasks"
            )
    if found := near_repeats(family, trained, task_set, max_chance):
        count, scale, chance = found
        raise UsageError(
            f"{run.path}: {count} of the {len(task_set.tasks)} {task_set.split} tasks lie within {scale:.0e} of the "
            f"parameters' ranges of tasks that it was trained on, which has a chance of {chance:.0e}: they are copies; "
            "compare it on a suite with other tasks"
        )


def training_tasks(run: Run, family: TaskFamily) -> list[Task]:
    """Every task that the run was trained on so far, drawn again from its seed; at most the first 50,000."""
    recipe = run.recipe
    fixed = run.task_set(family, "train") if recipe.train_tasks is not None else None
    if fixed is not None:
        return list(fixed.tasks)
    _, learner = build(recipe, family, torch.device("cpu"))
    lines = metrics.read(run.metrics_file) if recipe.curriculum.start else []
    tasks: dict[Task, None] = {}
    for iteration in range(max(checkpoints.iterations(run.checkpoints), default=0)):
        drawn = drawn_tasks(learner.plan(iteration), recipe, family, None, iteration, lines)
        tasks.update(dict.fromkeys(drawn))
        if len(tasks) >= _MOST:
            break
    return list(tasks)


def validation_tasks(run: Run, family: TaskFamily) -> list[Task]:
    """The tasks that the run's checkpoints were selected by."""
    return list(run.task_set(family, "validation").tasks)


def near_repeats(
    family: TaskFamily, trained: list[Task], task_set: TaskSet, max_chance: float
) -> tuple[int, float, float] | None:
    """(how many, within which share of the parameters' ranges, at which chance) of near repeats; None if chance does.

    How many training tasks lie near an independent draw of the split at a coarse scale tells how many do at a finer
    one: they fall with the power of the number of continuous parameters. So the chance that a task has one near it is
    known, and the number of tasks that have one is binomial.
    """
    held = numbers(task_set.tasks)
    if not trained or held is None or (known := numbers(trained)) is None or known.shape[1] != held.shape[1]:
        return None
    span = np.ptp(np.concatenate([known, held]), axis=0)
    varied = span > 0
    if not varied.any():
        return None
    known, held, span = known[:, varied], held[:, varied], span[varied]
    rng = np.random.default_rng(0)
    drawn = numbers(family.sample(_CONTROLS * len(held), rng, task_set.split))  # type: ignore[arg-type]
    assert drawn is not None
    controls = drawn[:, varied] / span
    near = sum(int((part <= _COARSE).sum()) for part in _distances(controls, known / span))
    usual = max(near, 1) / len(controls)  # training tasks near one; 1: seen in none of the controls
    nearest = np.min([part.min(1) for part in _distances(held / span, known / span)], axis=0)
    for scale in _SCALES:
        count = int((nearest <= scale).sum())
        has_one = -np.expm1(-usual * (scale / _COARSE) ** int(varied.sum()))
        chance = float(stats.binom.sf(count - 1, len(held), has_one)) if count else 1.0
        if chance < max_chance:
            return count, float(scale), chance
    return None


def numbers(tasks: list[Task] | tuple[Task, ...]) -> np.ndarray | None:
    """[tasks, parameters] of those that are real numbers; None where there are none."""
    rows = []
    for task in tasks:
        parts = [np.asarray(value, float).reshape(-1) for _, value in task.items if _is_real(value)]
        rows.append(np.concatenate(parts) if parts else np.zeros(0))
    table = np.array(rows)
    return table if table.ndim == 2 and table.shape[1] else None


def _is_real(value: object) -> bool:
    values = value if isinstance(value, tuple) else (value,)
    return all(isinstance(one, float) for one in values)


def _distances(of: np.ndarray, to: np.ndarray) -> Iterator[np.ndarray]:
    """[len(of), some of `to`], part by part: the largest difference of a parameter."""
    for start in range(0, len(to), 2000):
        yield np.abs(of[:, None] - to[None, start : start + 2000]).max(-1)
