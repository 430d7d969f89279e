"""Gaussian posteriors over a latent task: products of Gaussians, and their KL divergence from the prior N(0, I).

Gradients are written out: `grad_x` is that of a scalar with respect to x.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

MIN_VARIANCE = 1e-7  # of one transition's Gaussian factor


class GaussianFactors(NamedTuple):
    """One Gaussian factor for each of the C transitions of a context."""

    mean: Tensor  # [..., C, Z]
    precision: Tensor  # [..., C, Z], 1 / variance; 0 for what does not count
    precision_slope: Tensor  # [..., C, Z], derivative of the precision with respect to the encoder's output


def gaussian_factors(outputs: Tensor, valid: Tensor | None = None) -> GaussianFactors:
    """The Gaussian factor of each transition: its mean, and its variance through a softplus.

    Args:
        outputs: [..., C, 2 Z] float, of the context encoder.
        valid: [..., C] bool, the transitions that count; None means all.

    Returns:
        one factor each.
    """
    mean, raw = outputs.chunk(2, -1)
    precision = 1.0 / (softplus(raw) + MIN_VARIANCE)
    if valid is not None:
        precision = precision * valid.unsqueeze(-1)
    return GaussianFactors(mean, precision, -precision.square() * raw.sigmoid())


def natural_parameters(factors: GaussianFactors) -> tuple[Tensor, Tensor]:
    """Natural parameters of the product of Gaussians: summed precisions, and summed means weighted by them.

    The sums of two contexts add up to those of both together, so a posterior needs no other record of its context.

    Args:
        factors: one Gaussian for each of C transitions.

    Returns:
        precision [..., Z] and weighted mean [..., Z]; both are 0 for an empty context.
    """
    return factors.precision.sum(-2), (factors.precision * factors.mean).sum(-2)


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


def posterior_gradient(
    factors: GaussianFactors, mean: Tensor, variance: Tensor, grad_mean: Tensor, grad_variance: Tensor
) -> Tensor:
    """Gradient of a scalar with respect to the encoder's outputs, given that with respect to the posterior.

    Args:
        factors: as `gaussian_factors` returned them; at least one counts.
        mean: [..., Z] float, of the posterior.
        variance: [..., Z] float, of the posterior.
        grad_mean: [..., Z] float, of the scalar with respect to the posterior's mean.
        grad_variance: [..., Z] float, and to its variance.

    Returns:
        [..., C, 2 Z] float.
    """
    grad_weighted = grad_mean * variance
    grad_precision = -(grad_weighted * mean + grad_variance * variance.square())
    grad_factor = torch.addcmul(grad_precision.unsqueeze(-2), grad_weighted.unsqueeze(-2), factors.mean)
    return torch.cat((grad_weighted.unsqueeze(-2) * factors.precision, grad_factor * factors.precision_slope), -1)


def kl_to_prior(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """KL(N(mean, variance) || N(0, I)), summed over the latent's entries.

        sum_z (variance + mean^2 - 1 - log variance) / 2

    Args:
        mean: [..., Z] float.
        variance: [..., Z] float, above 0.

    Returns:
        [...] nats, and their gradients [..., Z] with respect to mean and variance.
    """
    kl = 0.5 * (variance + mean.square() - 1.0 - variance.log()).sum(-1)
    return kl, mean, 0.5 * (1.0 - 1.0 / variance)
