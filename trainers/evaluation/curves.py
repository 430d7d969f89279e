"""Adaptation curves, derived from adaptation rows: return against experience on the task.

Axis letters: S training seeds, T tasks, P points of the curve (adaptation steps).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from envs.task import TaskSet
from trainers.errors import UsageError
from trainers.evaluation.statistics import interquartile_mean, interval

_MOST_LISTED = 20_000  # returns in a summary


@dataclass(frozen=True)
class Curve:
    """An adaptation curve: returns against experience on the task.

    Attributes:
        policy: stochastic or deterministic.
        env_steps: [P], spent on the task before each point, mean over tasks.
        returns_STP: mean over repeats and rollouts.
        parameters: of each task.
        rollouts: at each point.
        success_STP: share of episodes that succeeded, over repeats and rollouts; None where the family does not say.
    """

    policy: str
    env_steps: np.ndarray
    returns_STP: np.ndarray
    parameters: list[dict[str, Any]]
    rollouts: int = 1
    success_STP: np.ndarray | None = None

    @property
    def mean(self) -> np.ndarray:
        """[P], over seeds and tasks."""
        return self.returns_STP.mean((0, 1))

    @property
    def iqm(self) -> np.ndarray:
        """[P], interquartile mean over seeds and tasks."""
        return interquartile_mean(self.returns_STP)

    @property
    def totals_ST(self) -> np.ndarray | None:
        """The return of whole trials; None where the rollouts of an adaptation step share one trial."""
        return self.returns_STP.sum(-1) if self.rollouts == 1 else None

    @property
    def gains_ST(self) -> np.ndarray:
        """The last adaptation step minus the first: what adapting gained on each task."""
        return self.returns_STP[..., -1] - self.returns_STP[..., 0]

    def interval(self) -> np.ndarray:
        """[P, 2], 95 % interval of the mean at each point."""
        return interval(self.returns_STP)


def curve(tables: Sequence[pa.Table], policy: str) -> Curve:
    """The curve of one table of rows per training seed, all on the same task set."""
    charge, keys = "online" if policy == "stochastic" else "probe", ["task", "adaptation_step"]
    returns, steps, success = [], [], []
    digests, parameters, rollouts = set(), [], 0
    for table in tables:
        frame = table.to_pandas()
        frame = frame[(frame["charge"] == charge) & (frame["policy"] == policy)]
        digests |= set(frame["task_set_hash"])
        grouped = frame.groupby(keys, observed=True)
        returns.append(grouped["return"].mean().unstack().to_numpy())
        steps.append(grouped["env_steps_before"].mean().unstack().to_numpy())
        if frame["success"].notna().all():
            shares = frame.assign(success=frame["success"].astype(float)).groupby(keys, observed=True)["success"]
            success.append(shares.mean().unstack().to_numpy())
        rollouts = int(frame["rollout"].max()) + 1
        parameters = [json.loads(text) for text in frame.groupby("task", observed=True)["parameters"].first()]
    if len(digests) != 1:
        raise UsageError(
            f"these evaluations are of different task sets ({', '.join(sorted(digests))}); compare one set"
        )
    success_STP = np.stack(success) if len(success) == len(tables) else None
    return Curve(policy, np.mean(steps, axis=(0, 1)), np.stack(returns), parameters, rollouts, success_STP)


def summary(result: Curve, task_set: TaskSet) -> dict[str, Any]:
    """The data that `acclimate evaluate --json` writes; of very many returns it lists those of the first tasks."""
    optional: dict[str, Any] = {}
    if len(result.mean) > 1:
        optional["gain"] = _mean_and_interval(result.gains_ST)
        if result.totals_ST is not None:
            optional["trial_total"] = _mean_and_interval(result.totals_ST)
    if result.success_STP is not None:
        optional["success_rate"] = result.success_STP.mean((0, 1)).tolist()
    listed = max(1, _MOST_LISTED // len(result.mean))
    return optional | {
        "family": task_set.family,
        "split": task_set.split,
        "task_set_hash": task_set.digest,
        "policy": result.policy,
        "training_seeds": len(result.returns_STP),
        "adaptation_step": list(range(len(result.mean))),
        "env_steps": result.env_steps.tolist(),
        "mean": result.mean.tolist(),
        "iqm": result.iqm.tolist(),
        "ci95": result.interval().tolist(),
        "share_above_zero": (result.returns_STP > 0).mean((0, 1)).tolist(),
        "task_count": len(result.parameters),
        "tasks": [
            {"parameters": parameters, "returns": returns_P.tolist()}
            for parameters, returns_P in zip(
                result.parameters[:listed], result.returns_STP.mean(0)[:listed], strict=True
            )
        ],
    }


def _mean_and_interval(values_ST: np.ndarray) -> dict[str, Any]:
    return {"mean": float(values_ST.mean()), "ci95": interval(values_ST).tolist()}


@dataclass(frozen=True)
class Layers:
    """Per-task adaptation curves of a split, one layer for each evaluation so far.

    Attributes:
        split: of the tasks.
        frame: columns iteration, task, parameters, adaptations, env_steps (spent on the task before), return (mean
            over repeats and rollouts of the stochastic policy).
    """

    split: str
    frame: pd.DataFrame


def layers_of(split: str, rows: pa.Table) -> Layers:
    """The layers in adaptation rows."""
    frame = rows.to_pandas()
    frame = frame[(frame["charge"] == "online") & (frame["split"] == split)]
    keys = ["iteration", "task", "parameters", "adaptation_step"]
    means = frame.groupby(keys, observed=True)[["env_steps_before", "return"]].mean().reset_index()
    return Layers(split, means.rename(columns={"adaptation_step": "adaptations", "env_steps_before": "env_steps"}))
