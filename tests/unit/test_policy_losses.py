import math

import pytest
import torch

from agents.functional.policy_losses import clipped_surrogate, likelihood_ratio, log_likelihood

# Two steps of equal weight, probabilities 1/2 and 1/4 now, both 1/4 when acting; advantages 2 and -1.
NOW = torch.tensor([0.5, 0.25]).log()
ACTING = torch.tensor([0.25, 0.25]).log()
ADVANTAGE = torch.tensor([2.0, -1.0])
WEIGHT = torch.tensor([0.5, 0.5])


def test_log_likelihood():
    # -(1/2 * ln(1/2) * 2 + 1/2 * ln(1/4) * -1) = ln 2 - ln 2 = 0
    assert float(log_likelihood(NOW, ADVANTAGE, WEIGHT)) == pytest.approx(0.0, abs=1e-6)
    # The second step alone: -ln(1/4) * -1 = -ln 4.
    assert float(log_likelihood(NOW, ADVANTAGE, torch.tensor([0.0, 1.0]))) == pytest.approx(-math.log(4))


def test_likelihood_ratio():
    # Ratios 2 and 1: -(1/2 * 2 * 2 + 1/2 * 1 * -1) = -1.5
    assert float(likelihood_ratio(NOW, ACTING, ADVANTAGE, WEIGHT)) == pytest.approx(-1.5)


def test_clipped_surrogate():
    # epsilon 0.3 clips the first ratio to 1.3: -(1/2 * 1.3 * 2 + 1/2 * 1 * -1) = -0.8
    assert float(clipped_surrogate(NOW, ACTING, ADVANTAGE, WEIGHT, clip_range=0.3)) == pytest.approx(-0.8)
    # With the advantages' signs swapped the pessimistic side is the unclipped one: -(1/2 * 2 * -2 + 1/2) = 1.5
    assert float(clipped_surrogate(NOW, ACTING, -ADVANTAGE, WEIGHT, clip_range=0.3)) == pytest.approx(1.5)


def test_at_the_acting_policy_all_three_have_the_gradient_of_reinforce():
    slopes = []
    for loss in (
        lambda now: log_likelihood(now, ADVANTAGE, WEIGHT),
        lambda now: likelihood_ratio(now, ACTING, ADVANTAGE, WEIGHT),
        lambda now: clipped_surrogate(now, ACTING, ADVANTAGE, WEIGHT, clip_range=0.3),
    ):
        now = ACTING.clone().requires_grad_()
        loss(now).backward()
        slopes.append(now.grad.tolist())
    assert slopes == [pytest.approx([-1.0, 0.5])] * 3
