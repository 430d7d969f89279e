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
