"""Figures of a comparison: what the table, the report and CSV or LaTeX exports say, as plain data.

All are of online curves on held-out tasks unless their names say otherwise; intervals are those of
`trainers.evaluation.statistics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainers.evaluation import statistics
from trainers.evaluation.comparison import Comparison, Contender
from trainers.evaluation.statistics import Estimate, Tasks
from trainers.evaluation.task_curves import TaskCurves

SHARE = 0.8  # of the gap between random and oracle, whose price in environment steps is asked for
_PROFILE_POINTS = 60


@dataclass(frozen=True)
class References:
    """Returns of the held-out tasks that others are measured against.

    Attributes:
        random: by task, of the contestant or the known blind return that stands for no learning at all.
        oracle: by task, of the trained oracle or the known one.
        names: whose they are.
    """

    random: Mapping[int, float]
    oracle: Mapping[int, float]
    names: tuple[str, str]

    def known(self, tasks: np.ndarray) -> list[int]:
        """Those of the tasks that both references played."""
        return [task for task in tasks.tolist() if task in self.random and task in self.oracle]

    def of(self, tasks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """([T], [T]) of these tasks, which are known."""
        return (
            np.array([self.random[int(task)] for task in tasks]),
            np.array([self.oracle[int(task)] for task in tasks]),
        )


def references(comparison: Comparison) -> References | None:
    """The lower and the upper reference: the baseline `random`, and the oracle that was trained, or is known.

    None where one of them is lacking or does not lie above the other on average.
    """
    lower = next((one for one in comparison.contenders if one.agent == "random"), None)
    upper = next((one for one in comparison.contenders if one.kind == "oracle"), None)
    low = by_task(lower.curve()) if lower else {}
    high = by_task(upper.curve()) if upper else dict(comparison.reference.get("oracle", {}))
    shared = low.keys() & high.keys()
    if not shared or np.mean([high[task] - low[task] for task in shared]) <= 0:
        return None
    return References(low, high, (lower.label if lower else "", upper.label if upper else "the known optimum"))


def by_task(curve: TaskCurves | None) -> dict[int, float]:
    """The return after all adaptations of each task, mean over seeds and repeats."""
    if curve is None:
        return {}
    return dict(zip(curve.tasks.tolist(), curve.returns_STP[..., -1].mean(0).tolist(), strict=True))


def samples(contender: Contender, curve: TaskCurves, tasks: Tasks) -> np.ndarray:
    """[X, T], independent samples of the last point: seeds, or of one run on fixed tasks its repeats."""
    if tasks == "fixed" and len(curve.last_STR) == 1 and curve.last_STR.shape[-1] > 1:
        return np.moveaxis(curve.last_STR[0], -1, 0)
    return curve.returns_STP[..., -1]


def plain(estimate: Estimate, scale: float = 1.0) -> dict[str, float | None]:
    """An estimate as plain data: value, low, high; None where an end is not known."""
    parts = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: _number(float(part) * scale) for name, part in parts.items()}


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def table(comparison: Comparison, only: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """A row for each contestant, in their order; `only` some held-out tasks."""
    against = references(comparison)
    rows = []
    for one in comparison.contenders:
        curve = one.curve()
        if curve is None:
            continue
        rows.append(_row(comparison, one, curve if only is None else curve.on(only), against))
    return rows


def _row(comparison: Comparison, one: Contender, curve: TaskCurves, against: References | None) -> dict[str, Any]:
    kind = comparison.tasks
    last = samples(one, curve, kind)
    row: dict[str, Any] = {
        "contestant": one.label,
        "kind": one.kind,
        "seeds": 0 if one.untrained else len(one.seeds),
        "tasks": len(curve.tasks),
        "training_steps": one.about.get("training_steps"),
        "budget": curve.budget,
        "zero_shot": plain(statistics.mean(curve.returns_STP[..., 0], kind)),
        "few_shot": plain(statistics.mean(curve.returns_STP[..., few_shot(one, curve, comparison)], kind)),
        "last": plain(statistics.mean(last, kind)),
        "iqm": plain(statistics.iqm(last, kind)),
        "worst_decile": plain(statistics.worst_decile(last, kind)),
        "seed_means": [_number(value) for value in curve.returns_STP[..., -1].mean(1)],
        "area": plain(statistics.mean(area(curve), kind)),
        "gain": plain(statistics.mean(curve.returns_STP[..., -1] - curve.returns_STP[..., 0], kind)),
        "success": curve.success,
        "failures": _number(curve.failures),
        "spread": {
            name: _number(value) for name, value in statistics.variance_components(curve.last_STR).items()
        },
    }  # fmt: skip
    if against is not None and (known := against.known(curve.tasks)):
        row |= _against(curve.on(known), one, kind, against)
    return row


def _against(curve: TaskCurves, one: Contender, kind: Tasks, against: References) -> dict[str, Any]:
    """Figures that need the references: the share of the gap that is closed, and the price of 80 % of it."""
    found: dict[str, Any] = {"gap_closed": plain(gap_closed(curve, one, kind, against))}
    for charge, name in (("online", "steps_to_80"), ("probe", "steps_to_80_probe")):
        measured = curve if charge == "online" else one.curve("held-out", "probe")
        if measured is None:
            continue
        if charge == "probe":
            measured = measured.on(curve.tasks.tolist())
            if not len(measured.tasks):
                continue
        found[name] = steps_summary(*steps_to_share(measured, against))
    return found


def gap_closed(curve: TaskCurves, one: Contender, kind: Tasks, against: References) -> Estimate:
    """The share of the mean gap between the references that a contestant closes: a ratio of two means over tasks.

    Its interval is the delta method's: a task on which the gap is wide moves both means. The references' own returns
    are taken as they were measured; they themselves close 0 and 1 of it.
    """
    random, oracle = against.of(curve.tasks)
    gap = float((oracle - random).mean())
    closed = (samples(one, curve, kind) - random) / gap
    if one.label in against.names:
        value = float(one.label == against.names[1])
        return Estimate(np.array(value), np.array(value), np.array(value))
    share = float(closed.mean())
    return statistics.mean(closed - share * (oracle - random) / gap + share, kind)


def few_shot(one: Contender, curve: TaskCurves, comparison: Comparison) -> int:
    """The point of the curve at the budget that the run was trained for; of others the second one."""
    if not one.about.get("trained_episodes"):
        return min(1, len(curve.points) - 1)
    rounds = one.about["recipe"]["evaluation"]["rounds"]
    return max(int(np.searchsorted(curve.points, rounds, side="right")) - 1, 0)


def area(curve: TaskCurves) -> np.ndarray:
    """[S, T], the mean return over the budget: the area under the adaptation curve over environment steps, normalised.

    By trapezoids between points; of a curve of one point its return.
    """
    steps, returns = curve.steps_STP, curve.returns_STP
    span = steps[..., -1] - steps[..., 0]
    if returns.shape[-1] < 2 or not (span > 0).all():
        return returns.mean(-1)
    return np.trapezoid(returns, steps, axis=-1) / span


def steps_to_share(curve: TaskCurves, against: References, share: float = SHARE) -> tuple[np.ndarray, np.ndarray]:
    """([S, T] environment steps, [S, T] bool) to the first point at or above that share of a task's own gap.

    Where no point is, the steps are the whole budget and the second array is true: the run is censored, it needs at
    least as many. A point counts by the return over its repeats and rollouts, and by what was spent before it.
    """
    random, oracle = against.of(curve.tasks)
    threshold = random + share * (oracle - random)
    reached = curve.returns_STP >= threshold[None, :, None]
    ever = reached.any(-1)
    first = reached.argmax(-1)
    steps = np.take_along_axis(curve.steps_STP, first[..., None], -1)[..., 0]
    return np.where(ever, steps, curve.budget), ~ever


def steps_summary(steps: np.ndarray, censored: np.ndarray) -> dict[str, Any]:
    """Median with its quartiles, and how many runs never got there; a median of censored runs is a lower bound."""
    flat, cut = steps.reshape(-1), censored.reshape(-1)
    # A run that never gets there is worse than any that does, whatever its budget.
    ordered = np.where(cut, np.inf, flat)
    summary: dict[str, Any] = {"runs": len(flat), "censored": int(cut.sum())}
    for name, quantile in (("low", 0.25), ("median", 0.5), ("high", 0.75)):
        value = float(np.quantile(ordered, quantile, method="inverted_cdf"))
        summary[name] = _number(value) if np.isfinite(value) else None
    summary["budget"] = _number(float(flat[cut].max())) if cut.any() else None
    return summary


def pairs(comparison: Comparison, of: Sequence[Contender] | None = None) -> list[dict[str, Any]]:
    """Every ordered pair of contestants on the tasks that both played: paired difference, probability of
    improvement.
    """
    found = []
    contenders = [one for one in of or comparison.contenders if one.curve() is not None]
    for one in contenders:
        for other in contenders:
            if one is other:
                continue
            shared = sorted(set(one.curve().tasks) & set(other.curve().tasks))  # type: ignore[union-attr]
            if not shared:
                continue
            first, second = (
                samples(each, each.curve().on(shared), comparison.tasks)  # type: ignore[union-attr]
                for each in (one, other)
            )
            found.append(
                {
                    "one": one.label, "other": other.label, "tasks": len(shared),
                    "difference": plain(statistics.difference(first, second, comparison.tasks)),
                    "improvement": plain(statistics.probability_of_improvement(first, second, comparison.tasks)),
                }
            )  # fmt: skip
    return found


def profiles(comparison: Comparison) -> dict[str, Any]:
    """Performance profiles after all adaptations: the share of (seed, task) runs above each threshold."""
    curves = [(one, curve) for one in comparison.contenders if (curve := one.curve()) is not None]
    lasts = [samples(one, curve, comparison.tasks) for one, curve in curves]
    low, high = min(last.min() for last in lasts), max(last.max() for last in lasts)
    thresholds = np.linspace(low, high, _PROFILE_POINTS)
    lines = []
    for (one, _), last in zip(curves, lasts, strict=True):
        shares = statistics.performance_profile(last, thresholds, comparison.tasks)
        lines.append(
            {"contestant": one.label} | {name: _listed(getattr(shares, name)) for name in ("value", "low", "high")}
        )
    return {"thresholds": _listed(thresholds), "lines": lines}


def _listed(values: np.ndarray) -> list[float | None]:
    return [_number(float(value)) for value in values]


def generalisation(comparison: Comparison) -> list[dict[str, Any]]:
    """Return after all adaptations on training, held-out and out-of-distribution tasks, where there are several."""
    found = []
    for one in comparison.contenders:
        splits = {split: curve for (split, charge), curve in one.curves.items() if charge == "online"}
        if len(splits) < 2:
            continue
        row: dict[str, Any] = {"contestant": one.label}
        for split, curve in splits.items():
            row[split] = plain(statistics.mean(samples(one, curve, comparison.tasks), comparison.tasks))
        found.append(row)
    return found


def price(
    comparison: Comparison, one: Contender, other: Contender, tasks: Sequence[int] | None = None, share: float = SHARE
) -> dict[str, Any] | None:
    """How many times the environment steps of one contestant another needs to a share of the gap, task by task.

    The ratio of geometric means with its interval; steps count from one episode on, so that zero-shot is a number.
    Where runs of the other are censored it is a lower bound (`bound` is "≥ "), where those of the one are an upper one
    ("≤ "), where both are neither; they are named.
    """
    against = references(comparison)
    if against is None:
        return None
    curves = {each.label: curve for each in (one, other) if (curve := each.curve()) is not None}
    if len(curves) < 2:
        return None
    shared = set.intersection(*(set(against.known(curve.tasks)) for curve in curves.values()))
    if tasks is not None:
        shared &= set(tasks)
    if not shared:
        return None
    measured = {}
    for label, whole in curves.items():
        curve = whole.on(sorted(shared))
        measured[label] = (curve, *steps_to_share(curve, against, share))
    (curve, steps, cut), (_, other_steps, other_cut) = measured.values()
    floor, by_label = comparison.episode_steps, {one.label: one, other.label: other}
    ratio = statistics.ratio(np.maximum(other_steps, floor), np.maximum(steps, floor), comparison.tasks)
    censored = [
        {"contestant": label, "seed": by_label[label].seeds[int(index)], "task": int(found[0].tasks[task])}
        for label, found in measured.items()
        for index, task in zip(*np.nonzero(found[2]), strict=True)
    ]
    bound = {(False, False): "", (False, True): "≥ ", (True, False): "≤ ", (True, True): "about "}
    return {
        "one": one.label, "other": other.label, "share": share, "ratio": plain(ratio),
        "bound": bound[bool(cut.any()), bool(other_cut.any())], "tasks": len(curve.tasks),
        "steps": steps_summary(steps, cut), "other_steps": steps_summary(other_steps, other_cut), "censored": censored,
    }  # fmt: skip


def prices(comparison: Comparison) -> list[dict[str, Any]]:
    """The price of each run's adaptation for each learner from scratch: see `price`."""
    runs = [one for one in comparison.contenders if one.kind == "run"]
    scratch = [one for one in comparison.contenders if one.kind == "from scratch"]
    return [found for one in runs for other in scratch if (found := price(comparison, one, other)) is not None]


def cell(estimate: Mapping[str, float | None] | None, decimals: int = 1) -> str:
    """'-12.3 [-14.0, -10.6]'."""
    if not estimate or estimate["value"] is None:
        return "-"
    text = f"{estimate['value']:.{decimals}f}"
    if estimate["low"] is None:
        return text
    return f"{text} [{estimate['low']:.{decimals}f}, {estimate['high']:.{decimals}f}]"


def short_cell(estimate: Mapping[str, float | None] | None, decimals: int = 1) -> str:
    """'-12.3 ± 1.7'."""
    if not estimate or estimate["value"] is None or estimate["low"] is None or estimate["high"] is None:
        return cell(estimate, decimals)
    return f"{estimate['value']:.{decimals}f} ± {(estimate['high'] - estimate['low']) / 2:.{decimals}f}"


def steps_cell(summary: Mapping[str, Any] | None) -> str:
    """'2,400', or '≥ 100,000' where at least half of the runs never got there; in brackets how many did not."""
    if not summary:
        return "-"
    text = f"{summary['median']:,.0f}" if summary["median"] is not None else f"≥ {summary['budget']:,.0f}"
    return text + (f" ({summary['censored']} of {summary['runs']} never)" if summary["censored"] else "")
