"""How often do 95 % intervals hold the truth? Simulated returns with known truth, as
docs/results/benchmarks/coverage.json.

    python benchmarks/coverage.py [--draws 20000]

Cells: 3, 5, 10 seeds; seeds dominate, mixed, tasks dominate; random or fixed tasks; mean, interquartile mean,
difference of two means, by 20 tasks of normal effects. Beside each the percentile bootstrap over seeds and tasks, as
tables had it before.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from measure import record

from trainers.evaluation import statistics
from trainers.evaluation.statistics import Estimate, Tasks

SPREADS = {"seeds dominate": (1.0, 0.2, 0.3), "mixed": (1.0, 1.0, 1.0), "tasks dominate": (0.1, 1.0, 0.5)}
TASKS = 20
Spread = tuple[float, float, float]  # standard deviations of seeds, tasks and the rest


def draw(
    rng: np.random.Generator,
    spread: Spread,
    seeds: int,
    fixed: np.ndarray | None,
    n: int,
    shared: np.ndarray | float = 0.0,
) -> np.ndarray:
    """[seeds, TASKS, n] returns of n experiments; the effects of `fixed` tasks are the same in all of them.

    `shared` is added to every task: what another agent finds hard on it too.
    """
    of_seeds, of_tasks, rest = spread
    tasks = rng.normal(0, of_tasks, (1, TASKS, n)) if fixed is None else fixed[None, :, None]
    return rng.normal(0, of_seeds, (seeds, 1, n)) + tasks + shared + rng.normal(0, rest, (seeds, TASKS, n))


def covered(estimate: Estimate, truth: float) -> float:
    """Share of experiments whose interval holds the truth."""
    return float(((estimate.low <= truth) & (truth <= estimate.high)).mean())


def bootstrap(values: np.ndarray, truth: float, draws: int = 400) -> float:
    """Coverage of the percentile bootstrap of whole seeds and tasks."""
    rng = np.random.default_rng(1)
    seeds, tasks, _ = values.shape
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), draws) / seeds
    of_tasks = rng.multinomial(tasks, np.full(tasks, 1 / tasks), draws) / tasks
    means = np.einsum("ds,dt,stn->dn", of_seeds, of_tasks, values, optimize=True)
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return float(((low <= truth) & (truth <= high)).mean())


def cell(name: str, seeds: int, tasks: Tasks, draws: int) -> dict[str, object]:
    """Coverage of every statistic in one cell."""
    rng = np.random.default_rng(np.random.SeedSequence([seeds, list(SPREADS).index(name), tasks == "fixed"]))
    fixed = rng.normal(0, SPREADS[name][1], TASKS) if tasks == "fixed" else None
    shared = rng.normal(0, 1, (1, TASKS, draws))
    values, other = (draw(rng, SPREADS[name], seeds, fixed, draws, shared) for _ in range(2))
    values_alone = draw(rng, SPREADS[name], seeds, fixed, draws)
    truth = 0.0 if fixed is None else float(fixed.mean())
    centre = 0.0 if fixed is None else _limit_of_iqm(rng, SPREADS[name], fixed)
    measured: dict[str, Callable[[], float]] = {
        "mean": lambda: covered(statistics.mean(values_alone, tasks), truth),
        "interquartile mean": lambda: covered(statistics.iqm(values_alone, tasks), centre),
        "difference": lambda: covered(statistics.difference(values, other, tasks), 0.0),
        "percentile bootstrap": lambda: bootstrap(values_alone[..., :2000], truth),
    }
    return {"spread": name, "seeds": seeds, "tasks": tasks} | {key: round(one(), 4) for key, one in measured.items()}


def _limit_of_iqm(rng: np.random.Generator, spread: Spread, fixed: np.ndarray) -> float:
    """The interquartile mean over fixed tasks of endlessly many seeds."""
    many = draw(rng, spread, 20_000, fixed, 1)
    return float(statistics.interquartile_mean(many)[0])


def main() -> None:
    """Measure all cells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=20_000, help="experiments of a cell")
    draws = parser.parse_args().draws
    cells = [
        cell(name, seeds, tasks, draws) for tasks in ("random", "fixed") for name in SPREADS for seeds in (3, 5, 10)
    ]
    for one in cells:
        print(one)
    record("coverage", {"experiments": draws, "tasks": TASKS, "cells": cells})


if __name__ == "__main__":
    main()
