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

from envs.task import Kind, TaskSet
from trainers.errors import UsageError
from trainers.evaluation import statistics
from trainers.evaluation.statistics import Tasks, tasks_of_kind

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
        tasks: whether the tasks are a sample, or all that their finite family has.
        samples_XTP: what intervals are computed from, X independent samples: seeds, or of one run on fixed tasks its
            repeats. None stands for `returns_STP`.
    """

    policy: str
    env_steps: np.ndarray
    returns_STP: np.ndarray
    parameters: list[dict[str, Any]]
    rollouts: int = 1
    success_STP: np.ndarray | None = None
    tasks: Tasks = "random"
    samples_XTP: np.ndarray | None = None

    @property
    def samples(self) -> np.ndarray:
        """[X, T, P], what intervals are computed from."""
        return self.returns_STP if self.samples_XTP is None else self.samples_XTP

    @property
    def mean(self) -> np.ndarray:
        """[P], over seeds and tasks."""
        return self.returns_STP.mean((0, 1))

    @property
    def iqm(self) -> np.ndarray:
        """[P], interquartile mean over seeds and tasks."""
        return statistics.interquartile_mean(self.returns_STP)

    @property
    def totals_ST(self) -> np.ndarray | None:
        """The return of whole trials; None where the rollouts of an adaptation step share one trial."""
        return self.returns_STP.sum(-1) if self.rollouts == 1 else None

    @property
    def gains_ST(self) -> np.ndarray:
        """The last adaptation step minus the first: what adapting gained on each task."""
        return self.returns_STP[..., -1] - self.returns_STP[..., 0]

    def interval(self) -> np.ndarray:
        """[P, 2], 95 % interval of the mean at each point; NaN where one run on fixed tasks has no repeats."""
        return statistics.mean(self.samples, self.tasks).bounds


def curve(tables: Sequence[pa.Table], policy: str, kind: Kind = "distribution") -> Curve:
    """The curve of one table of rows per training seed, all on the same task set of a family of this kind."""
    charge, keys = "probe" if policy == "deterministic" else "online", ["task", "adaptation_step"]
    returns, steps, success = [], [], []
    digests, parameters, rollouts = set(), [], 0
    tasks, samples = tasks_of_kind(kind), None
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
        if tasks == "fixed" and len(tables) == 1 and frame["repeat"].nunique() > 1:
            by_repeat = frame.groupby(["repeat", *keys], observed=True)["return"].mean().unstack()
            samples = np.stack([one.to_numpy() for _, one in by_repeat.groupby("repeat")])
        parameters = [json.loads(text) for text in frame.groupby("task", observed=True)["parameters"].first()]
    if len(digests) != 1:
        raise UsageError(
            f"these evaluations are of different task sets ({', '.join(sorted(digests))}); compare one set"
        )
    success_STP = np.stack(success) if len(success) == len(tables) else None
    return Curve(
        policy, np.mean(steps, axis=(0, 1)), np.stack(returns), parameters, rollouts, success_STP, tasks, samples
    )


def summary(result: Curve, task_set: TaskSet) -> dict[str, Any]:
    """The data that `acclimate evaluate --json` writes; of very many returns it lists those of the first tasks."""
    optional: dict[str, Any] = {}
    if len(result.mean) > 1:
        optional["gain"] = _mean_and_interval(result.samples[..., -1] - result.samples[..., 0], result.tasks)
        if result.totals_ST is not None:
            optional["trial_total"] = _mean_and_interval(result.samples.sum(-1), result.tasks)
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
        "ci95": [_known(bounds) for bounds in result.interval()],
        "share_above_zero": (result.returns_STP > 0).mean((0, 1)).tolist(),
        "task_count": len(result.parameters),
        "tasks": [
            {"parameters": parameters, "returns": returns_P.tolist()}
            for parameters, returns_P in zip(
                result.parameters[:listed], result.returns_STP.mean(0)[:listed], strict=True
            )
        ],
    }


def _mean_and_interval(values: np.ndarray, tasks: Tasks) -> dict[str, Any]:
    estimate = statistics.mean(values, tasks)
    return {"mean": float(estimate.value), "ci95": _known(estimate.bounds)}


def _known(bounds: np.ndarray) -> list[float] | None:
    """An interval as plain data; None where one run on fixed tasks has no repeats."""
    return bounds.tolist() if np.isfinite(bounds).all() else None


def interval_text(bounds: Sequence[float] | None, decimals: int = 2) -> str:
    """'-2.15 … -1.28', or '-' where it is not known."""
    return "-" if bounds is None else f"{bounds[0]:.{decimals}f} … {bounds[1]:.{decimals}f}"


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
