"""The inner loop: gradient-based adaptation to one task. Callers add the task axis by `torch.func.vmap`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from agents.functional.parameters import Parameters

StepSize = float | Parameters


MAX_CHUNK_STEPS = 40_000  # of a round on the CPU: larger chunks are no faster there, and take more memory
# A chunk may take this share of a GPU's memory; a step took 9 to 24 kB on the CPU, with layers of 64 to 256.
GPU_SHARE, BYTES_PER_STEP = 0.25, 24_000


def max_chunk_steps(device: torch.device) -> int:
    """Steps of a round that are differentiated together, by the device's whole memory: the same on all of its model.

    Args:
        device: of the learner.

    Returns:
        at least `MAX_CHUNK_STEPS`.
    """
    if device.type != "cuda":
        return MAX_CHUNK_STEPS
    memory = torch.cuda.get_device_properties(device).total_memory
    return max(MAX_CHUNK_STEPS, int(memory * GPU_SHARE / BYTES_PER_STEP))


def task_chunk_size(configured: int | None, steps: int, device: torch.device) -> int:
    """Number of tasks to differentiate together: as configured, or as many as the device takes.

    Args:
        configured: a fixed number, or None.
        steps: of one task in one round.
        device: of the learner.

    Returns:
        at least 1.
    """
    return configured or max(1, max_chunk_steps(device) // steps)


def split_tasks(data: Any, tasks: int, size: int) -> list[Any]:
    """Split nested tuples and lists of tensors [tasks, ...] along their first axis.

    Args:
        data: tensors, or (named) tuples and lists of such.
        tasks: length of every first axis.
        size: tasks in a chunk at the most.

    Returns:
        the chunks in order, each nested as `data`.
    """

    def cut(node: Any, start: int) -> Any:
        if isinstance(node, Tensor):
            return node[start : start + size]
        children = [cut(child, start) for child in node]
        return type(node)(*children) if hasattr(node, "_fields") else type(node)(children)

    return [cut(data, start) for start in range(0, tasks, size)]


def adapt(
    parameters: Parameters,
    supports: Sequence[Any],
    inner_loss: Callable[[Parameters, Any], Tensor],
    step_sizes: Sequence[StepSize],
    *,
    first_order: bool = False,
) -> list[Parameters]:
    """Plain gradient descent, one step for each support set. Finn et al. 2017 (arXiv:1703.03400), eq. 1.

        theta_{k+1} = theta_k - step_size_k * grad inner_loss(theta_k, support_k)

    Differentiable: a transform around it gets the exact derivative through every step, or with `first_order` the
    derivative that takes each inner gradient for a constant (FOMAML: d theta_K / d theta_0 = I).

    Args:
        parameters: theta_0 by name, of one task.
        supports: K support sets, each as `inner_loss` takes it.
        inner_loss: (parameters, support) -> scalar.
        step_sizes: K step sizes, in units of parameter per gradient: each one number, or one for every entry of every
            parameter by name (Meta-SGD, Li et al. 2017, arXiv:1707.09835, eq. 2).
        first_order: whether inner gradients are constants.

    Returns:
        theta_0 ... theta_K.
    """
    chain = [parameters]
    for support, step_size in zip(supports, step_sizes, strict=True):
        gradient = torch.func.grad(inner_loss)(chain[-1], support)
        if first_order:
            gradient = {name: value.detach() for name, value in gradient.items()}
        chain.append(subtract(chain[-1], scale_step(gradient, step_size)))
    return chain


def scale_step(direction: Parameters, step_size: StepSize) -> Parameters:
    """Scale a direction by a step size.

    Args:
        direction: by name.
        step_size: one number, or one for every entry by name.

    Returns:
        step_size * direction, by name.
    """
    if isinstance(step_size, dict):
        return {name: step_size[name] * value for name, value in direction.items()}
    return {name: step_size * value for name, value in direction.items()}


def subtract(parameters: Parameters, step: Parameters) -> Parameters:
    """Subtract a step from parameters.

    Args:
        parameters: by name.
        step: by the same names.

    Returns:
        parameters - step, by name.
    """
    return {name: value - step[name] for name, value in parameters.items()}
