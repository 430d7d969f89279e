"""Does an environment reveal the task that an agent is to find out?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.task import Task, TaskFamily
from envs.trajectories import Trajectory, some_tasks, trajectories


def leak(family: TaskFamily) -> str | None:
    """Return how observation or info reveals the task, or None.

    With one seed, first observations may not depend on the task; an entry that stays constant within every episode
    may not differ between tasks; and no info value may be one of the task's parameters or differ at the first step
    of equal states (keys declared in `privileged_info` are left out). The signal `success` passes: it depends on the
    task as the reward does.
    """
    tasks = some_tasks(family)
    return leak_of(family, tasks, trajectories(family, tasks))


def leak_of(family: TaskFamily, tasks: Sequence[Task], played: Sequence[Trajectory]) -> str | None:
    """`leak` of these tasks, given one trajectory of each."""
    shown = family.observed_entries
    first = np.stack([_without(trajectory.observation[:1], shown)[0] for trajectory in played])
    if not family.reset_depends_on_task and (moved := np.flatnonzero(np.ptp(first, axis=0) > 0)).size:
        return (
            f"with one seed, entry {moved[0]} of the first observation differs between tasks; remove it, or declare "
            "reset_depends_on_task if the body itself differs"
        )
    constant = np.all([np.ptp(_without(trajectory.observation, shown), axis=0) == 0 for trajectory in played], axis=0)
    revealing = np.flatnonzero(constant & (np.ptp(first, axis=0) > 0))
    if revealing.size:
        return f"entry {revealing[0]} of the observation is constant in every episode and differs between tasks"
    for task, trajectory in zip(tasks, played, strict=True):
        hidden = [value for name, value in task.parameters.items() if name not in family.observed_parameters]
        entries = {float(entry) for value in hidden for entry in _numbers(value)} - {0.0, 1.0, -1.0}
        for info in trajectory.infos:
            for key, value in info.items():
                if key not in family.privileged_info and entries & {float(entry) for entry in _numbers(value)}:
                    return f"the step info {key!r} holds a parameter of the task; remove it or declare it privileged"
        flat = _without(trajectory.observation, shown)
        seen = [entry for entry in entries if (flat == np.float32(entry)).all(axis=0).any()]
        if seen:
            return f"an entry of the observation is the task parameter {seen[0]:g} throughout"
    return None


def _without(observation: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """[steps, entries] of observations [steps, ...], without what tells the task by declaration."""
    return np.delete(observation.reshape(len(observation), -1), shown, axis=1)


def _numbers(value: Any) -> list[float]:
    try:
        array = np.asarray(value, float).reshape(-1)
    except (TypeError, ValueError):
        return []
    return [float(entry) for entry in array]
