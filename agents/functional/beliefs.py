"""Gaussian beliefs over a latent task: products of Gaussians, and how far one is from the prior N(0, I).

A gradient is that of a scalar by the arguments of the same name, in closed form.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

LEAST_VARIANCE = 1e-7  # of one transition's Gaussian


class Factors(NamedTuple):
    """One Gaussian for each transition of a context."""

    mean: Tensor  # [..., C, Z]
    precision: Tensor  # [..., C, Z], 1 / variance; 0 for what does not count
    slope: Tensor  # [..., C, Z], of the precision by the encoder's output


def factors(outputs: Tensor, valid: Tensor | None = None) -> Factors:
    """What an encoder says of each transition: its mean, and its variance through a softplus.

    Args:
        outputs: [..., C, 2 Z] float.
        valid: [..., C] bool, the transitions that count; None means all.

    Returns:
        one Gaussian each.
    """
    mean, raw = outputs.chunk(2, -1)
    precision = 1.0 / (softplus(raw) + LEAST_VARIANCE)
    if valid is not None:
        precision = precision * valid.unsqueeze(-1)
    return Factors(mean, precision, -precision.square() * raw.sigmoid())


def natural_parameters(of: Factors) -> tuple[Tensor, Tensor]:
    """What a product of Gaussians is the sum of: precisions, and means weighted by them.

    Sums of two contexts add up to those of both together, so a belief needs to keep nothing else of what it saw.

    Args:
        of: one Gaussian for each of C transitions.

    Returns:
        precision [..., Z] and weighted mean [..., Z]; both are 0 for an empty context.
    """
    return of.precision.sum(-2), (of.precision * of.mean).sum(-2)


def posterior(precision: Tensor, weighted_mean: Tensor) -> tuple[Tensor, Tensor]:
    """The product of Gaussians with these natural parameters; of none, the prior. Rakelly et al. 2019, section 4.1.

        1 / variance = sum_n 1 / variance_n,   mean = variance * sum_n mean_n / variance_n

    Args:
        precision: [..., Z] float, sum over factors; 0 where there are none.
        weighted_mean: [..., Z] float, the same sum of means times precisions.

    Returns:
        mean [..., Z] and variance [..., Z].

    Notes:
        As published, the prior is no factor of the product: it is only what the KL pulls towards.
    """
    variance = 1.0 / torch.where(precision > 0, precision, 1.0)
    return variance * weighted_mean, variance


def posterior_gradient(of: Factors, mean: Tensor, variance: Tensor, of_mean: Tensor, of_variance: Tensor) -> Tensor:
    """The gradient of a scalar by the encoder's outputs, given that by the posterior's mean and variance.

    Args:
        of: what `factors` gave; at least one counts.
        mean: [..., Z] float, of the posterior.
        variance: [..., Z] float, of the posterior.
        of_mean: [..., Z] float, gradient by the posterior's mean.
        of_variance: [..., Z] float, and by its variance.

    Returns:
        [..., C, 2 Z] float.
    """
    of_weighted = of_mean * variance
    of_precision = -(of_weighted * mean + of_variance * variance.square())
    of_each = torch.addcmul(of_precision.unsqueeze(-2), of_weighted.unsqueeze(-2), of.mean)
    return torch.cat((of_weighted.unsqueeze(-2) * of.precision, of_each * of.slope), -1)


def kl_to_prior(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """KL(N(mean, variance) || N(0, I)), summed over the latent's entries.

        sum_z (variance + mean^2 - 1 - log variance) / 2

    Args:
        mean: [..., Z] float.
        variance: [..., Z] float, above 0.

    Returns:
        [...] nats, and their gradients [..., Z] by mean and variance.
    """
    nats = 0.5 * (variance + mean.square() - 1.0 - variance.log()).sum(-1)
    return nats, mean, 0.5 * (1.0 - 1.0 / variance)
