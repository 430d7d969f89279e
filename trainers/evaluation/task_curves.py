"""Curves of a contestant, task by task and seed by seed, from its rows.

Axis letters: S training seeds, T tasks, P points of a curve, R repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

_BINS = 24  # points of an online curve from scratch


@dataclass(frozen=True)
class TaskCurves:
    """Curves of one contestant on one split.

    Attributes:
        tasks: [T], indices of the tasks in their set.
        points: [P], adaptation steps, or parts of the scale of a learner from scratch.
        env_steps: [P], spent on the task before each point, mean over seeds and tasks.
        returns_STP: mean over repeats and rollouts.
        steps_STP: spent before each point, of each seed and task.
        last_STR: returns at the last point, by repeat.
        budget: environment steps spent on a task in all, at most.
        success: share of episodes at the last point that succeeded; None where the family does not say.
        failures: share of episodes at the last point that fell far below what is usual on their task (`_failures`).
    """

    tasks: np.ndarray
    points: np.ndarray
    env_steps: np.ndarray
    returns_STP: np.ndarray
    steps_STP: np.ndarray
    last_STR: np.ndarray
    budget: int
    success: float | None
    failures: float

    def on(self, tasks: Sequence[int]) -> TaskCurves:
        """The same of some of the tasks."""
        chosen = np.flatnonzero(np.isin(self.tasks, tasks))
        picked = {name: getattr(self, name)[:, chosen] for name in ("returns_STP", "steps_STP", "last_STR")}
        return replace(self, tasks=self.tasks[chosen], env_steps=picked["steps_STP"].mean((0, 1)), **picked)


def curves_of(rows: pd.DataFrame, *, binned: bool) -> TaskCurves | None:
    """Curves of a contestant's rows on a split, on the tasks that all of its seeds played; None if there is none."""
    rows = rows.assign(point=_bins(rows) if binned else rows["adaptation_step"])
    keys = ["training_seed", "task", "point"]
    grouped = rows.groupby(keys, observed=True)
    mean = grouped[["return", "env_steps_before"]].mean()
    wide_returns = mean["return"].unstack()
    wide_steps = mean["env_steps_before"].unstack()
    if binned:  # a part of the scale in which no episode began: the one before it goes on
        wide_returns, wide_steps = wide_returns.ffill(axis=1).bfill(axis=1), wide_steps.ffill(axis=1).bfill(axis=1)
    seeds = sorted(rows["training_seed"].unique())
    by_task = wide_returns.groupby("task").size()
    whole = sorted(by_task.index[by_task == len(seeds)])
    index = pd.MultiIndex.from_product([seeds, whole])
    shape = (len(seeds), len(whole), wide_returns.shape[1])
    returns = wide_returns.reindex(index).to_numpy().reshape(shape)
    steps = wide_steps.reindex(index).to_numpy().reshape(shape)
    points = np.flatnonzero(np.isfinite(returns).all((0, 1)))
    if not whole or not points.size:
        return None
    last = rows[rows["point"] == wide_returns.columns[points[-1]]]
    by_repeat = last.groupby(["training_seed", "task", "repeat"], observed=True)["return"].mean().unstack()
    last_STR = by_repeat.reindex(index).to_numpy().reshape(*shape[:2], -1)
    success = float(last["success"].astype(float).mean()) if last["success"].notna().all() else None
    return TaskCurves(
        np.array(whole, int), wide_returns.columns[points].to_numpy(), steps[..., points].mean((0, 1)),
        returns[..., points], steps[..., points], last_STR, int(rows["env_steps_after"].max()), success,
        _failures(last),
    )  # fmt: skip


def _bins(rows: pd.DataFrame) -> np.ndarray:
    """Which part of a logarithmic scale each online episode of a learner from scratch began in."""
    first, last = int(rows["length"].max()), int(rows["env_steps_after"].max())
    edges = np.geomspace(first, max(last, first + 1), _BINS)
    return np.searchsorted(edges, rows["env_steps_before"].to_numpy(), side="right")


def _failures(last: pd.DataFrame) -> float:
    """The share of episodes that fell far below what is usual on their task: tumbles, of a robot.

    Far is five times the typical deviation of an episode from the median of its task (over seeds, repeats and
    rollouts).
    """
    median = last.groupby("task", observed=True)["return"].transform("median")
    deviation = last["return"] - median
    typical = float(deviation.abs().median()) * 1.4826
    return float((deviation < -5 * typical).mean()) if typical > 0 else 0.0
