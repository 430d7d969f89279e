"""Advantage estimation: GAE, and the linear feature baseline of MAML; batched over leading axes."""

from __future__ import annotations

import torch
from torch import Tensor


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    *,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Generalised advantage estimate of each step. Schulman et al. 2016 (arXiv:1506.02438), eq. 16.

        A_t = d_t + gamma * gae_lambda * (1 - end_t) * A_{t+1}
        d_t = r_t + gamma * (1 - terminated_t) * V(s_{t+1}) - V(s_t)

    Args:
        reward: [..., L] float, reward units of the family (unnormalised).
        value: [..., L] float, V of the observation that was acted on.
        next_value: [..., L] float, V of the true next observation, also at a time limit.
        terminated: [..., L] bool, the MDP ended: no bootstrap.
        truncated: [..., L] bool, time limit: bootstrap, trace cut.
        gamma: in [0, 1].
        gae_lambda: in [0, 1].

    Returns:
        [..., L] advantages.

    Notes:
        Which boundary counts as `terminated` is the caller's choice: see docs/glossary.md, "What ends".
    """
    delta = reward + gamma * torch.where(terminated, 0.0, next_value) - value
    carry = gamma * gae_lambda * (~(terminated | truncated)).to(delta.dtype)
    return discounted_sums(delta, carry)


def discounted_sums(terms: Tensor, carry: Tensor) -> Tensor:
    """Sums from each step on, A_t = terms_t + carry_t * A_{t+1}.

    Args:
        terms: [..., L] float.
        carry: [..., L] float, what is kept of the sum behind each step.

    Returns:
        [..., L].

    Notes:
        Step by step on the CPU. Elsewhere by doubling, in log2 L operations on all steps (Blelloch 1990, "Prefix sums
        and their applications", section 1.4.1): a launch for every step would keep a GPU waiting. Both agree but for
        rounding.
    """
    return sums_step_by_step(terms, carry) if terms.device.type == "cpu" else sums_by_doubling(terms, carry)


def sums_step_by_step(terms: Tensor, carry: Tensor) -> Tensor:
    """`discounted_sums`, from the last step to the first.

    Args:
        terms: [..., L] float.
        carry: [..., L] float.

    Returns:
        [..., L].
    """
    sums = torch.empty_like(terms)
    running = torch.zeros_like(terms[..., 0])
    for step in range(terms.shape[-1] - 1, -1, -1):
        running = terms[..., step] + carry[..., step] * running
        sums[..., step] = running
    return sums


def sums_by_doubling(terms: Tensor, carry: Tensor) -> Tensor:
    """`discounted_sums`: after k rounds a step's sum reaches over the 2^k steps from it on.

    Args:
        terms: [..., L] float.
        carry: [..., L] float.

    Returns:
        [..., L].
    """
    span = 1
    while span < terms.shape[-1]:
        behind = torch.nn.functional.pad(terms[..., span:], (0, span))
        terms = terms + carry * behind
        carry = carry * torch.nn.functional.pad(carry[..., span:], (0, span))
        span *= 2
    return terms


def time_features(observation: Tensor) -> Tensor:
    """Features of the linear baseline: [s, s^2, t/100, (t/100)^2, (t/100)^3, 1]. Duan et al. 2016 (arXiv:1604.06778).

    Args:
        observation: [..., L, O] float; the step t counts from 0 along L. Entries are clipped to +-10.

    Returns:
        [..., L, 2 O + 4] float.
    """
    clipped = observation.clamp(-10.0, 10.0)
    time = torch.arange(observation.shape[-2], dtype=observation.dtype, device=observation.device) / 100.0
    powers = torch.stack([time, time**2, time**3, torch.ones_like(time)], -1)
    return torch.cat([clipped, clipped**2, powers.expand(*observation.shape[:-1], 4)], -1)


def fit_linear_baseline(features: Tensor, target: Tensor, valid: Tensor, *, ridge: float) -> Tensor:
    """Ridge regression of returns on features, one fit per task, solved in float64.

    Args:
        features: [B, R, L, F] float.
        target: [B, R, L] float, the returns to predict.
        valid: [B, R, L] bool, the steps that count.
        ridge: penalty on every coefficient, at least 0.

    Returns:
        [B, R, L] float, the fitted values (of padded steps too, where they mean nothing).
    """
    rows = features.flatten(1, 2).double() * valid.flatten(1, 2).unsqueeze(-1)
    returns = (target.flatten(1, 2) * valid.flatten(1, 2)).double().unsqueeze(-1)
    gram = rows.mT @ rows
    gram = gram + ridge * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    coefficients = torch.linalg.solve(gram, rows.mT @ returns)
    return (features.double() @ coefficients.unsqueeze(1)).squeeze(-1).to(target.dtype)


def normalise(advantage: Tensor, valid: Tensor) -> Tensor:
    """Advantages of each task shifted and scaled to mean 0 and standard deviation 1 over its valid steps.

    Args:
        advantage: [B, ...] float.
        valid: [B, ...] bool.

    Returns:
        [B, ...] float, 0 at padded steps.
    """
    axes = tuple(range(1, advantage.ndim))
    count = valid.sum(axes, keepdim=True)
    mean = torch.where(valid, advantage, 0.0).sum(axes, keepdim=True) / count
    centred = torch.where(valid, advantage - mean, 0.0)
    deviation = (centred.square().sum(axes, keepdim=True) / count).sqrt()
    return centred / (deviation + 1e-8)
