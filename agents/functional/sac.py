"""Soft actor-critic, without state: squashed Gaussian actions, the losses, and their gradients in closed form.

Haarnoja et al. 2018 (arXiv:1812.05905). Gradients are written out: `grad_x` is that of a scalar with respect to x.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

LOG_STD_RANGE = (-20.0, 2.0)  # of an action before it is squashed
_LOG_TWO_PI = math.log(2 * math.pi)


class SquashedActions(NamedTuple):
    """Actions tanh(u), u = mean + offset, and the logarithm of their density."""

    action: Tensor  # [..., A] in (-1, 1)
    log_prob: Tensor  # [...]
    offset: Tensor  # [..., A], std * noise
    in_range: Tensor  # [..., A] bool, where the log standard deviation was not clipped


def squash(outputs: Tensor, noise: Tensor) -> SquashedActions:
    """Squashed Gaussian: tanh of a Gaussian sample, in (-1, 1)^A. Appendix C there.

        log pi(a) = log N(u; mean, std) - sum log(1 - tanh(u)^2),   log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u))

    Args:
        outputs: [..., 2 A] float, means and then log standard deviations, which are clipped to LOG_STD_RANGE.
        noise: [..., A] float, standard normal; 0 for the deterministic action.

    Returns:
        the actions, their log-probabilities, and terms that `squash_gradient` needs.
    """
    mean, raw = outputs.chunk(2, -1)
    log_std = raw.clamp(*LOG_STD_RANGE)
    offset = log_std.exp() * noise
    before = mean + offset
    shrink = math.log(2.0) - before - softplus(-2.0 * before)
    density = log_std + 0.5 * (noise.square() + _LOG_TWO_PI) + 2.0 * shrink
    return SquashedActions(before.tanh(), -density.sum(-1), offset, log_std == raw)


def squash_gradient(squashed: SquashedActions, grad_action: Tensor, grad_log_prob: Tensor) -> Tensor:
    """Gradient of a scalar with respect to the network's outputs, given that with respect to actions and densities.

        da/du = 1 - a^2,   d log pi/du = 2 a,   d log pi/d log std = -1 + 2 a offset

    Args:
        squashed: as `squash` returned it.
        grad_action: [..., A] float, of the scalar with respect to the actions.
        grad_log_prob: [...] float, or a scalar for all; with respect to their log-probabilities.

    Returns:
        [..., 2 A] float.
    """
    action = squashed.action
    grad_log_prob = grad_log_prob.unsqueeze(-1)
    grad_mean = torch.addcmul(grad_action, action, 2.0 * grad_log_prob - grad_action * action)
    grad_log_std = torch.addcmul(-grad_log_prob, grad_mean, squashed.offset) * squashed.in_range
    return torch.cat((grad_mean, grad_log_std), -1)


def bootstrap_target(
    reward: Tensor, terminated: Tensor, next_value: Tensor, next_log_prob: Tensor, temperature: Tensor, gamma: float
) -> Tensor:
    """Soft Bellman backup, the critics' regression target, with the smaller of the target critics.

        y = r + gamma * (1 - terminated) * (min_k Q'_k(s', a') - temperature * log pi(a'|s')),   a' ~ pi

    Args:
        reward: [T] float, as scaled for learning.
        terminated: [T] float, 1 where the MDP ended (0 at a time limit: bootstrap).
        next_value: [K, T] float, of K target critics.
        next_log_prob: [T] float, of the next action.
        temperature: scalar float, above 0.
        gamma: in [0, 1].

    Returns:
        [T] float.
    """
    soft = torch.addcmul(next_value.amin(0), next_log_prob, temperature, value=-1.0)
    return torch.addcmul(reward, soft, 1.0 - terminated, value=gamma)


def critic_loss(value: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error of each critic, summed over critics.

    Args:
        value: [K, T] float, of K critics.
        target: [T] float, constants.

    Returns:
        scalar loss, and its gradient [K, T] with respect to value.
    """
    error = value - target
    rows = error.shape[-1]
    return error.square().sum() / rows, error * (2.0 / rows)


def actor_loss(value: Tensor, log_prob: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """E[temperature * log pi(a|s) - min_k Q_k(s, a)] over the policy's own (reparameterised) actions.

    Args:
        value: [K, T] float, of K critics at these actions.
        log_prob: [T] float, of these actions.
        temperature: scalar float, a constant here.

    Returns:
        scalar loss, and its gradients with respect to value [K, T] and to log_prob (a scalar, the same for each row).
    """
    smallest, argmin = value.min(0)
    rows = len(smallest)
    grad_value = torch.zeros_like(value).scatter_(0, argmin.unsqueeze(0), -1.0 / rows)
    return torch.addcmul(-smallest, log_prob, temperature).mean(), grad_value, temperature / rows


def temperature_gradient(log_prob: Tensor, target_entropy: float) -> Tensor:
    """Gradient of the temperature's loss -log_temperature * E[log pi + target entropy], section 5 there.

    It is below 0, so the temperature rises, while the policy's entropy is below its target.

    Args:
        log_prob: [T] float.
        target_entropy: nats, of actions in (-1, 1).

    Returns:
        scalar gradient with respect to the logarithm of the temperature.
    """
    return -(log_prob.mean() + target_entropy)
