"""Statistics against rliable, textbook intervals by hand, and coverage where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from rliable import metrics
from scipy import stats

from trainers.evaluation import statistics

RNG = np.random.default_rng(0)


def test_point_estimates_are_those_of_rliable():
    one, other = RNG.normal(size=(5, 12)), RNG.normal(size=(4, 12)).round(1)
    assert float(statistics.mean(one).value) == pytest.approx(metrics.aggregate_mean(one), abs=1e-6)
    assert float(statistics.iqm(one).value) == pytest.approx(metrics.aggregate_iqm(one), abs=1e-6)
    one = one.round(1)  # with ties
    expected = metrics.probability_of_improvement(one, other)
    assert float(statistics.probability_of_improvement(one, other).value) == pytest.approx(expected, abs=1e-6)


def test_fixed_tasks_are_the_t_interval_of_seed_means():
    """Seed means 1, 2, 6: mean 3, sd sqrt(7) = 2.6458, over sqrt(3) 1.5275; t of 2 degrees 4.3027, so 3 +- 6.572."""
    values = np.array([[0.0, 2.0], [1.0, 3.0], [5.0, 7.0]])
    estimate = statistics.mean(values, "fixed")
    assert (float(estimate.low), float(estimate.high)) == pytest.approx((3 - 6.572, 3 + 6.572), abs=1e-3)


def test_one_seed_has_the_interval_of_its_tasks_and_none_on_fixed_ones():
    values = np.array([[1.0, 2.0, 6.0]])
    assert float(statistics.mean(values).high) == pytest.approx(3 + 6.572, abs=1e-3)
    assert np.isnan(statistics.mean(values, "fixed").low)


def simulated(spread, seeds, fixed, count=2000, tasks=20):
    of_seeds, of_tasks, rest = spread
    effects = RNG.normal(0, of_tasks, (1, tasks, 1 if fixed else count))
    truth = float(effects.mean()) if fixed else 0.0
    values = RNG.normal(0, of_seeds, (seeds, 1, count)) + effects + RNG.normal(0, rest, (seeds, tasks, count))
    return values, truth


@pytest.mark.parametrize("tasks", ["random", "fixed"])
@pytest.mark.parametrize("spread", [(1.0, 0.2, 0.3), (1.0, 1.0, 1.0), (0.1, 1.0, 0.5)])
def test_three_seeds_are_enough_for_honest_intervals(spread, tasks):
    values, truth = simulated(spread, 3, tasks == "fixed")
    estimate = statistics.mean(values, tasks)
    assert 0.915 < ((estimate.low <= truth) & (truth <= estimate.high)).mean() < 0.985


def test_normal_quantiles_would_not_do():
    """The same variance with 1.96 in the place of Student's quantile: what the test above would catch."""
    values, truth = simulated((1.0, 0.2, 0.3), 3, False)
    estimate = statistics.mean(values)
    narrow = (estimate.value - estimate.low) * stats.norm.ppf(0.975) / stats.t.ppf(0.975, 2)
    assert (np.abs(estimate.value - truth) <= narrow).mean() < 0.9


def test_differences_are_paired_by_task():
    hard = RNG.normal(0, 10, (1, 30))
    one, other = (hard + RNG.normal(0, 0.1, (3, 30)) + shift for shift in (1.0, 0.0))
    found = statistics.difference(one, other)
    assert float(found.low) > 0.8
    assert float(found.high) < 1.2


def test_a_profile_falls_from_all_to_none():
    values = RNG.normal(size=(3, 10))
    shares = statistics.performance_profile(values, np.linspace(values.min() - 1, values.max() + 1, 30)).value
    assert shares[0] == 1
    assert shares[-1] == 0
    assert (np.diff(shares) <= 0).all()


def test_components_of_the_variance_are_found_again():
    seeds, tasks, repeats = 300, 300, 5
    values = (
        RNG.normal(0, 2, (seeds, 1, 1)) + RNG.normal(0, 3, (1, tasks, 1)) + RNG.normal(0, 1, (seeds, tasks, 1))
        + RNG.normal(0, 4, (seeds, tasks, repeats))
    )  # fmt: skip
    found = statistics.variance_components(values)
    expected = {"seeds": 2, "tasks": 3, "seeds x tasks": 1, "repeats": 4}
    assert {name: pytest.approx(value, rel=0.15) for name, value in expected.items()} == found
    assert np.isnan(statistics.variance_components(values[:, :, :1])["repeats"])
