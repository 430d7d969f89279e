"""PointNav whose validation tasks are the paper's 40 goals: for timing alone, where the watcher is the evaluation."""

from __future__ import annotations

from envs.navigation.point_nav import PointNav
from envs.task import Split, TaskSet


class PaperGoals(PointNav):
    """point_nav-v1 with its validation and held-out tasks exchanged."""

    def task_set(self, split: Split, count: int, seed: int) -> TaskSet:
        other: dict[Split, Split] = {"validation": "held-out", "held-out": "validation"}
        found = super().task_set(other.get(split, split), count, seed)
        return TaskSet(found.family, split, found.tasks, found.seed)
