"""Reference returns of a task set: those that its family knows for every task."""

from __future__ import annotations

import numpy as np

from envs.task import TaskFamily, TaskSet


def mean_reference_returns(family: TaskFamily, task_set: TaskSet) -> dict[str, float]:
    """Each reference return that every task of the set has, averaged over them."""
    known = [family.reference_returns(task) for task in task_set.tasks]
    names = [name for name in known[0] if all(name in returns for returns in known)]
    return {name: float(np.mean([returns[name] for returns in known])) for name in names}
