"""Conjugate gradient and the backtracking line search of TRPO, on flat vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], target: Tensor, *, iterations: int, tolerance: float = 1e-10
) -> tuple[Tensor, Tensor]:
    """Solves A x = b for a symmetric positive definite A known by its products. Hestenes and Stiefel 1952.

    Args:
        product: v [P] -> A v [P].
        target: b [P].
        iterations: maximal number of products.
        tolerance: squared residual at which to stop.

    Returns:
        x [P], and A x [P] (b less the residual, so it costs no product).
    """
    solution = torch.zeros_like(target)
    residual = target.clone()
    direction = target.clone()
    squared = residual @ residual
    for _ in range(iterations):
        found = squared <= tolerance
        if found.device.type == "cpu" and found:
            break  # a GPU is not asked: the answer would wait for all that is queued there
        image = product(direction)
        length = torch.where(found, 0.0, squared / (direction @ image))
        solution = solution + length * direction
        residual = residual - length * image
        new_squared = residual @ residual
        direction = torch.where(found, direction, residual + (new_squared / squared) * direction)
        squared = new_squared
    return solution, target - residual


def full_step(product: Callable[[Tensor], Tensor], descent: Tensor, *, max_kl: float, iterations: int) -> Tensor:
    """The natural-gradient step to the border of the trust region. Schulman et al. 2015, appendix C.

        s = F^-1 g,   step = s * sqrt(2 max_kl / s^T F s)

    Args:
        product: v [P] -> F v [P], the (damped) Fisher information.
        descent: g [P], minus the gradient of the loss.
        max_kl: radius, nats.
        iterations: of conjugate gradient.

    Returns:
        step [P].
    """
    direction, image = conjugate_gradient(product, descent, iterations=iterations)
    return direction * (2 * max_kl / (direction @ image)).sqrt()


def line_search(
    evaluate: Callable[[Tensor], tuple[float, float]],
    start: Tensor,
    step: Tensor,
    *,
    loss_before: float,
    max_kl: float,
    backtracks: int,
    shrink: float,
) -> tuple[Tensor, int, float, float]:
    """The longest step start + shrink^j * step, j = 0 ... backtracks - 1, that lowers the loss within the trust region.

    Schulman et al. 2015 (arXiv:1502.05477), appendix C.

    Args:
        evaluate: x [P] -> (loss, mean KL divergence from the policy at `start`).
        start: x [P] now.
        step: the full step [P].
        loss_before: loss at `start`.
        max_kl: radius of the trust region, nats.
        backtracks: trials at the most.
        shrink: factor in (0, 1) from one trial to the next.

    Returns:
        the new x (`start` itself if no trial is good), the trials made, the new loss, the new KL.
    """
    for trial in range(backtracks):
        candidate = start + shrink**trial * step
        loss, divergence = evaluate(candidate)
        # A non-finite loss or divergence compares false and so is shrunk away like any other bad step.
        if loss < loss_before and divergence <= max_kl:
            return candidate, trial + 1, loss, divergence
    return start, backtracks, loss_before, 0.0
