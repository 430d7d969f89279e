"""Statistics over training seeds and tasks: estimates with 95 % intervals that are right for few seeds.

Returns are a table [S, T, ...]: S training seeds by T tasks, each entry the mean over repeats; further axes (points of
a curve) are independent questions. Seeds are a random sample always. Tasks are one too where a family draws them from a
distribution; in a finite family the tasks are all there are, so they are fixed, and only seeds are random.

Every statistic is reduced to a mean by its influence values: a table of the same shape whose mean is the estimate and
whose spread is, to first order, how the estimate moves with each entry. Its variance is decomposed into seeds, tasks
and the rest (two-way layout without replication, Searle, Casella and McCulloch 1992, ch. 4):

    y_st = mu + a_s + b_t + e_st      Var(mean) = Var(a) / S + Var(b) / T + Var(e) / (S T)

and the half-width is the root of that times a quantile of Student's t between those of S - 1 and T - 1 degrees of
freedom, weighted on a logarithmic scale by how much of the variance is whose (after Cochran and Cox 1957, who weight
the quantiles themselves). `benchmarks/coverage.py` measures how often such intervals hold the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from envs.task import Kind

Tasks = Literal["random", "fixed"]  # whether the tasks are a sample of the family's, or all of them
LEVEL = 0.95
_TRIMMED = 0.25  # of each end, for the interquartile mean


def tasks_of_kind(kind: Kind) -> Tasks:
    """Whether the tasks of a family of this kind are a sample."""
    return "fixed" if kind == "finite" else "random"


@dataclass(frozen=True)
class Estimate:
    """An estimate with its 95 % interval; arrays of the same shape, or scalars.

    Attributes:
        value: the estimate.
        low, high: of the interval; NaN where the data cannot tell (one seed on fixed tasks).
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def bounds(self) -> np.ndarray:
        """[..., 2], low and high."""
        return np.stack([self.low, self.high], -1)


def mean(values_ST: np.ndarray, tasks: Tasks = "random") -> Estimate:
    """The mean over seeds and tasks of [S, T, ...]. With one seed the interval is over tasks alone, given that run."""
    return _estimate([values_ST], tasks)


def interquartile_mean(values_ST: np.ndarray) -> np.ndarray:
    """[...], the mean of the middle half of all (seed, task) entries of [S, T, ...].

    Agarwal et al. 2021 (arXiv:2108.13264).
    """
    return stats.trim_mean(values_ST.reshape(-1, *values_ST.shape[2:]), _TRIMMED)


def iqm(values_ST: np.ndarray, tasks: Tasks = "random") -> Estimate:
    """The interquartile mean of [S, T, ...] with its interval: that of its influence values."""
    return _estimate([_iqm_influence(values_ST)], tasks)


def worst_decile(values_ST: np.ndarray, tasks: Tasks = "random") -> Estimate:
    """The mean of the worst tenth of the tasks, each by its mean over seeds; of fewer than ten the worst one.

    The tasks are chosen by the data, so the interval is given that choice.
    """
    by_task = values_ST.mean(0)
    count = max(1, by_task.shape[0] // 10)
    worst = np.argsort(by_task, axis=0)[:count]
    chosen = np.take_along_axis(values_ST, np.broadcast_to(worst, (len(values_ST), *worst.shape)), axis=1)
    return _estimate([chosen], tasks)


def difference(one_ST: np.ndarray, other_ST: np.ndarray, tasks: Tasks = "random") -> Estimate:
    """Mean of one minus mean of the other, [S1, T, ...] and [S2, T, ...], paired by task and not by seed."""
    _same_tasks(one_ST, other_ST)
    return _estimate([one_ST, -other_ST], tasks)


def ratio(one_ST: np.ndarray, other_ST: np.ndarray, tasks: Tasks = "random") -> Estimate:
    """Ratio of the geometric means of one and the other, paired by task; entries are positive."""
    logs = difference(np.log(one_ST), np.log(other_ST), tasks)
    return Estimate(np.exp(logs.value), np.exp(logs.low), np.exp(logs.high))


def probability_of_improvement(one_ST: np.ndarray, other_ST: np.ndarray, tasks: Tasks = "random") -> Estimate:
    """P(a run of one is better than a run of the other on a task), averaged over tasks; a tie counts half.

    Agarwal et al. 2021, eq. 1; the interval is that of its placement values (DeLong et al. 1988).

    Args:
        one_ST, other_ST: [S1, T] and [S2, T].
    """
    _same_tasks(one_ST, other_ST)
    better = (one_ST[:, None] > other_ST[None]) + 0.5 * (one_ST[:, None] == other_ST[None])  # [S1, S2, T]
    won, lost = better.mean(1), better.mean(0)
    if len(won) > 1:
        # The two tables move the estimate separately, so each holds its deviations, and one of them the estimate.
        lost = lost - better.mean((0, 1))
        estimate = _estimate([won, lost], tasks)
    else:
        estimate = _estimate([lost], tasks)
    return Estimate(estimate.value, np.clip(estimate.low, 0.0, 1.0), np.clip(estimate.high, 0.0, 1.0))


def performance_profile(values_ST: np.ndarray, thresholds: np.ndarray, tasks: Tasks = "random") -> Estimate:
    """[P], the share of (seed, task) entries above each of P thresholds. Agarwal et al. 2021, section 4.3."""
    shares = _estimate([(values_ST[..., None] > thresholds).astype(float)], tasks)
    return Estimate(shares.value, np.clip(shares.low, 0.0, 1.0), np.clip(shares.high, 0.0, 1.0))


def variance_components(values_STR: np.ndarray) -> Mapping[str, float]:
    """How much seeds, tasks, their interaction and repeats vary: standard deviations, 0 where an estimate is negative.

    Moment estimates of the random-effects layout y_str = mu + a_s + b_t + c_st + e_str; NaN where an axis has length 1.

    Args:
        values_STR: [S, T, R] returns, R repeats of each.
    """
    seeds, tasks, repeats = values_STR.shape
    cells = values_STR.mean(2)
    by_seed, by_task = _square(cells.mean(1)), _square(cells.mean(0))
    rest = _interaction(cells)
    within = float(values_STR.var(2, ddof=1).mean()) if repeats > 1 else float("nan")
    parts = {
        "seeds": by_seed - (rest / tasks if seeds > 1 and tasks > 1 else 0.0),
        "tasks": by_task - (rest / seeds if seeds > 1 and tasks > 1 else within / repeats if repeats > 1 else 0.0),
        "seeds x tasks": rest - (within / repeats if repeats > 1 else 0.0),
        "repeats": within,
    }
    return {name: float(np.sqrt(max(part, 0.0))) if np.isfinite(part) else float("nan") for name, part in parts.items()}


def interval(values_ST: np.ndarray, tasks: Tasks = "random") -> np.ndarray:
    """[..., 2], 95 % interval of the mean of [S, T, ...]."""
    return mean(values_ST, tasks).bounds


def _same_tasks(one_ST: np.ndarray, other_ST: np.ndarray) -> None:
    if one_ST.shape[1:] != other_ST.shape[1:]:
        raise ValueError(f"paired tables differ in their tasks: {one_ST.shape[1:]} and {other_ST.shape[1:]}")


def _iqm_influence(values_ST: np.ndarray) -> np.ndarray:
    """Influence values of the trimmed mean: entries clipped at the trimmed order statistics, scaled about the mean.

    Huber 1981, section 3.3: the influence of an entry is its Winsorised value over the share that is kept.
    """
    flat = values_ST.reshape(-1, *values_ST.shape[2:])
    estimate = stats.trim_mean(flat, _TRIMMED)
    cut, ordered = int(_TRIMMED * len(flat)), np.sort(flat, axis=0)
    clipped = np.clip(values_ST, ordered[cut], ordered[-cut - 1])
    return estimate + (clipped - clipped.mean((0, 1))) / (1 - 2 * cut / len(flat))


def _estimate(tables: Sequence[np.ndarray], tasks: Tasks) -> Estimate:
    """The sum of the means of influence tables [S_i, T, ...] of independent runs on the same tasks."""
    value = np.asarray(sum(table.mean((0, 1)) for table in tables))
    count = tables[0].shape[1]
    sampled = tasks == "random" and count > 1
    several = [table for table in tables if len(table) > 1]
    rest = np.zeros_like(value)
    parts: list[tuple[np.ndarray, np.ndarray]] = []  # (variance, degrees of freedom)
    if several:
        of_seeds = [table.mean(1).var(0, ddof=1) / len(table) for table in several]
        if sampled:
            rest = np.asarray(sum(_interaction(table) / (len(table) * count) for table in several))
        parts.append((np.maximum(sum(of_seeds) - rest, 0.0), _welch(of_seeds, [len(table) - 1 for table in several])))
    if sampled:
        of_tasks = np.asarray(sum(table.mean(0) for table in tables)).var(0, ddof=1) / count
        parts.append((np.maximum(of_tasks, rest), np.full_like(value, count - 1)))
    if not parts:
        unknown = np.full_like(value, np.nan)
        return Estimate(value, unknown, unknown)
    variance = np.asarray(sum(part for part, _ in parts))
    share = [np.divide(part, variance, out=np.zeros_like(part), where=variance > 0) for part, _ in parts]
    quantiles = [np.log(stats.t.ppf((1 + LEVEL) / 2, freedom)) for _, freedom in parts]
    half = np.sqrt(variance) * np.exp(sum(one * quantile for one, quantile in zip(share, quantiles, strict=True)))
    return Estimate(value, value - half, value + half)


def _welch(variances: Sequence[np.ndarray], freedoms: Sequence[int]) -> np.ndarray:
    """Degrees of freedom of a sum of variances. Welch 1947, Satterthwaite 1946."""
    total = np.asarray(sum(variances))
    scale = np.asarray(sum(one**2 / freedom for one, freedom in zip(variances, freedoms, strict=True)))
    least = np.full_like(total, min(freedoms))
    return np.divide(total**2, scale, out=least, where=scale > 0)


def _square(values: np.ndarray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else float("nan")


def _interaction(table: np.ndarray) -> np.ndarray:
    """[...], mean square of what seeds and tasks do not explain in [S, T, ...]; NaN without two of each."""
    seeds, count = table.shape[:2]
    if seeds < 2 or count < 2:
        return np.full(table.shape[2:], np.nan)
    rest = table - table.mean(0, keepdims=True) - table.mean(1, keepdims=True) + table.mean((0, 1), keepdims=True)
    return (rest**2).sum((0, 1)) / ((seeds - 1) * (count - 1))
