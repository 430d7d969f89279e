import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.functional.advantages import (
    fit_linear_baseline,
    gae,
    normalise,
    sums_by_doubling,
    sums_step_by_step,
    time_features,
)
from tests.oracles.returns import gae_loop

HALF = {"gamma": 0.5, "gae_lambda": 0.5}


def test_gae_of_an_episode_that_terminates():
    # r = 1, 2, 4; V(s) = 1, 0, 2; V(s') = 0, 2, 9 (the last is never used: terminated); gamma = trace = 1/2.
    # d_2 = 4 + 0         - 2 = 2          A_2 = 2
    # d_1 = 2 + 1/2 * 2   - 0 = 3          A_1 = 3 + 1/4 * 2   = 3.5
    # d_0 = 1 + 1/2 * 0   - 1 = 0          A_0 = 0 + 1/4 * 3.5 = 0.875
    reward, value, following = (torch.tensor(x) for x in ([1.0, 2.0, 4.0], [1.0, 0.0, 2.0], [0.0, 2.0, 9.0]))
    end, never = torch.tensor([False, False, True]), torch.zeros(3, dtype=torch.bool)
    assert gae(reward, value, following, end, never, **HALF).tolist() == [0.875, 3.5, 2.0]


def test_gae_bootstraps_at_a_time_limit_and_cuts_the_trace():
    # The same rewards, but step 1 is a time limit: its V(s') = 2 counts, and nothing flows back from step 2.
    # d_2 = 4 + 1/2 * 9 - 2 = 6.5         A_2 = 6.5
    # d_1 = 2 + 1/2 * 2 - 0 = 3           A_1 = 3
    # d_0 = 1 + 1/2 * 0 - 1 = 0           A_0 = 0 + 1/4 * 3 = 0.75
    reward, value, following = (torch.tensor(x) for x in ([1.0, 2.0, 4.0], [1.0, 0.0, 2.0], [0.0, 2.0, 9.0]))
    limit, never = torch.tensor([False, True, False]), torch.zeros(3, dtype=torch.bool)
    assert gae(reward, value, following, never, limit, **HALF).tolist() == [0.75, 3.0, 6.5]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**31), st.floats(0, 1), st.floats(0, 1))
def test_gae_agrees_with_its_slow_twin(length, seed, gamma, gae_lambda):
    rng = np.random.default_rng(seed)
    reward, value, following = rng.normal(size=(3, 2, length))
    terminated, truncated = rng.random((2, 2, length)) < 0.2
    fast = gae(
        *(torch.tensor(x) for x in (reward, value, following, terminated, truncated)),
        gamma=gamma,
        gae_lambda=gae_lambda,
    )
    for row in range(2):
        slow = gae_loop(reward[row], value[row], following[row], terminated[row], truncated[row], gamma, gae_lambda)
        np.testing.assert_allclose(fast[row], slow, atol=1e-10)


def test_time_features_by_hand():
    # s = 2 and s = 30 (clipped to 10), at t = 0 and t = 1: [s, s^2, t/100, (t/100)^2, (t/100)^3, 1].
    features = time_features(torch.tensor([[2.0], [30.0]], dtype=torch.float64))
    np.testing.assert_allclose(features, [[2, 4, 0, 0, 0, 1], [10, 100, 0.01, 0.0001, 0.000001, 1]])


def test_the_baseline_fits_what_is_linear_in_its_features_task_by_task():
    rng = np.random.default_rng(0)
    observation = torch.tensor(rng.normal(size=(2, 3, 20, 2)))
    features = time_features(observation)
    coefficients = torch.tensor(rng.normal(size=(2, 1, features.shape[-1], 1)))
    target = (features @ coefficients).squeeze(-1)
    valid = torch.ones(2, 3, 20, dtype=torch.bool)
    valid[0, 0, 15:] = False
    garbage = torch.where(valid, target, 1e6)  # padding must not be fitted
    fitted = fit_linear_baseline(features, garbage, valid, ridge=1e-9)
    assert float((fitted - target)[valid].abs().max()) < 1e-5


def test_normalise_counts_valid_steps_only():
    # Valid entries 1, 3: mean 2, deviation 1, so -1, 1; the padded 100 becomes 0.
    valid = torch.tensor([[True, True, False]])
    result = normalise(torch.tensor([[1.0, 3.0, 100.0]]), valid)
    assert result[0].tolist() == pytest.approx([-1, 1, 0])


@pytest.mark.parametrize("steps", [1, 2, 3, 17, 64, 100])
def test_sums_by_doubling_are_those_step_by_step(steps):
    """As on a GPU, over random ends of episodes; carries of 1 too, where nothing decays."""
    generator = torch.Generator().manual_seed(steps)
    terms = torch.randn(4, 3, steps, generator=generator, dtype=torch.float64)
    for decay in (0.0, 0.9, 1.0):
        carry = decay * (torch.rand(4, 3, steps, generator=generator) > 0.2).double()
        torch.testing.assert_close(sums_by_doubling(terms, carry), sums_step_by_step(terms, carry))
