"""Policy-gradient losses of one task's steps, to be minimised: means over valid steps.

The behaviour policy is the one that took the actions; its log-probabilities are `acting_log_prob`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def log_likelihood(log_prob: Tensor, advantage: Tensor, weight: Tensor) -> Tensor:
    """REINFORCE: -E[log pi(a|s) A]. Williams 1992.

    Its second derivative holds only E[grad^2 log pi * A]: the term grad log pi grad log pi^T is missing,
    so meta-gradients through it use a biased estimate of the Hessian of the expected return.

    Args:
        log_prob: [T] float, under the parameters being differentiated.
        advantage: [T] float, constants.
        weight: [T] float, non-negative, summing to 1 (0 for padded steps).

    Returns:
        scalar loss.
    """
    return -(weight * log_prob * advantage).sum()


def likelihood_ratio(log_prob: Tensor, acting_log_prob: Tensor, advantage: Tensor, weight: Tensor) -> Tensor:
    """Importance-weighted return: -E[pi(a|s) / pi_acting(a|s) A]; at the acting policy its gradient is REINFORCE's.

    Its second derivative holds both E[grad^2 log pi * A] and E[grad log pi grad log pi^T * A], step by step:
    the low-variance curvature estimate of ProMP (Rothfuss et al. 2019, arXiv:1810.06784, eq. 11).

    Args:
        log_prob: [T] float, under the parameters being differentiated.
        acting_log_prob: [T] float, of the policy that took the actions, constants.
        advantage: [T] float, constants.
        weight: [T] float, non-negative, summing to 1 (0 for padded steps).

    Returns:
        scalar loss.
    """
    return -(weight * (log_prob - acting_log_prob).exp() * advantage).sum()


def clipped_surrogate(
    log_prob: Tensor, acting_log_prob: Tensor, advantage: Tensor, weight: Tensor, *, clip_range: float
) -> Tensor:
    """PPO's pessimistic surrogate. Schulman et al. 2017 (arXiv:1707.06347), eq. 7.

    Args:
        log_prob: [T] float, under the parameters being differentiated.
        acting_log_prob: [T] float, of the policy that took the actions, constants.
        advantage: [T] float, constants.
        weight: [T] float, non-negative, summing to 1 (0 for padded steps).
        clip_range: epsilon > 0; the ratio earns nothing beyond 1 +- epsilon.

    Returns:
        scalar loss.
    """
    ratio = (log_prob - acting_log_prob).exp()
    pessimistic = torch.minimum(ratio * advantage, ratio.clamp(1 - clip_range, 1 + clip_range) * advantage)
    return -(weight * pessimistic).sum()
