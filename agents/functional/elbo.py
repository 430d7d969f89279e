"""Terms of VariBAD's evidence lower bound. Zintgraf et al. 2020 (arXiv:1910.08348), section 3.1."""

from __future__ import annotations

import torch
from torch import Tensor


def kl_to_previous(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of each posterior from that of the step before; of the first from N(0, 1).

    Args:
        mean: [L, B, D] float, of the posterior after each step of a trial.
        log_variance: [L, B, D] float.

    Returns:
        [L, B] nats; gradients flow into both posteriors, as in the paper's filtering prior.
    """
    previous_mean = torch.cat([torch.zeros_like(mean[:1]), mean[:-1]])
    previous_log_variance = torch.cat([torch.zeros_like(log_variance[:1]), log_variance[:-1]])
    ratio = (log_variance - previous_log_variance).exp()
    shift = (mean - previous_mean).square() * (-previous_log_variance).exp()
    return 0.5 * (previous_log_variance - log_variance + ratio + shift - 1).sum(-1)


def reparameterise(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Reparameterised sample of a diagonal Gaussian. Kingma and Welling 2014 (arXiv:1312.6114).

    Args:
        mean: [..., D].
        log_variance: [..., D].
        noise: [..., D], standard normal.

    Returns:
        [..., D].
    """
    return mean + (0.5 * log_variance).exp() * noise


def decoding_weights(valid: Tensor, posterior_steps: Tensor, decoded_steps: Tensor) -> Tensor:
    """Weights of the terms of a lower bound in which each of some posteriors decodes the same steps of its trial.

    A posterior counts while its trial goes on, a decoded step if it was taken; sums over the decoded steps stand for
    those of the whole trial; means over trials and posteriors.

    Args:
        valid: [L, B] bool, of all steps of the trials.
        posterior_steps: [P] indices of steps.
        decoded_steps: [S] indices of steps.

    Returns:
        [P, S, B].
    """
    steps, trials = valid.shape
    valid_PB, valid_SB = valid[posterior_steps], valid[decoded_steps]
    weight = (valid_PB[:, None] & valid_SB[None]).float() * (steps / len(decoded_steps))
    return weight / (trials * valid_PB.float().mean(1).sum().clamp(min=1e-6))


def scaled_changes(observation: Tensor, following: Tensor, valid: Tensor, limit: float) -> Tensor:
    """Changes of observations in standard deviations of those of the valid steps, clipped.

    Args:
        observation: [L, B, E] float.
        following: [L, B, E] float, the next ones.
        valid: [L, B] bool.
        limit: largest size.

    Returns:
        [L, B, E].
    """
    change = following - observation
    return (change / (change[valid].std(0) + 1e-3)).clamp(-limit, limit)
