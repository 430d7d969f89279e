"""MAML outside reinforcement learning: few-shot regression of sinusoids, on the platform's own inner loop.

    python examples/sinusoid.py --iterations 3000          # a taste: about half a minute
    python benchmarks/sinusoid.py                          # the paper's experiment, three seeds and the control

Finn et al. 2017 (arXiv:1703.03400), section 5.1: amplitude U[0.1, 5], phase U[0, pi], inputs U[-5, 5], two layers of 40
ReLU units, an inner step of size 0.01, 25 tasks a meta-batch, tested on 5 points. Differs: meta-trained on 5 points as
well, with Adam at 0.002 falling to zero (the paper: 10 points, 0.001 throughout). Meta-trained on 10 points for 70,000
meta-updates, the network is so steep that more than one step on 5 points that lie close together diverges now and then.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from agents.functional.inner_loop import Parameters, adapt
from agents.nets.policies import init_mlp, mlp
from trainers.process import keep_freed_memory

LAYERS, INNER_RATE, SHOTS = (1, 40, 40, 1), 0.01, 5


class Points(NamedTuple):
    """Inputs and targets, [tasks, points, 1], or [points, 1] of one task."""

    x: Tensor
    y: Tensor


def sample(tasks: int, shots: int, judged: int, rng: torch.Generator) -> tuple[Points, Points]:
    """`tasks` fresh sinusoids: (support of `shots` points, query of `judged` points) from each."""
    amplitude = 0.1 + 4.9 * torch.rand(tasks, 1, 1, generator=rng)
    phase = math.pi * torch.rand(tasks, 1, 1, generator=rng)
    x = 10 * torch.rand(tasks, shots + judged, 1, generator=rng) - 5
    y = amplitude * torch.sin(x - phase)
    return Points(x[:, :shots], y[:, :shots]), Points(x[:, shots:], y[:, shots:])


def squared_error(parameters: Parameters, points: Points) -> Tensor:
    """Mean squared error on the points of one task."""
    return (mlp(parameters, len(LAYERS) - 1, "relu", points.x) - points.y).square().mean()


def after_one_step(parameters: Parameters, support: Points, query: Points) -> Tensor:
    """The query loss of one task after one inner step: what MAML minimises."""
    return squared_error(adapt(parameters, [support], squared_error, [INNER_RATE])[-1], query)


def unadapted(parameters: Parameters, support: Points, query: Points) -> Tensor:
    """The query loss without adapting: what pretraining on all tasks minimises, the control."""
    return squared_error(parameters, query)


def meta_train(
    seeds: Sequence[int],
    iterations: int,
    *,
    adapting: bool = True,
    meta_batch_size: int = 25,
    learning_rate: float = 2e-3,
) -> Parameters:
    """Meta-parameters of every training seed, [seeds, ...]; the seeds learn side by side and share nothing.

    Adam's rate falls to zero along a cosine.
    """
    rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
    parameters = {name: value.requires_grad_() for name, value in stack([init_mlp(LAYERS, rng, 1.0) for rng in rngs])}
    optimiser = torch.optim.Adam(list(parameters.values()), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, iterations)
    task_loss = after_one_step if adapting else unadapted

    def loss(theta: Parameters, support: Points, query: Points) -> Tensor:
        return torch.func.vmap(task_loss, in_dims=(None, 0, 0))(theta, support, query).mean()

    gradients_of = torch.func.vmap(torch.func.grad(loss))
    for _ in range(iterations):
        drawn = [sample(meta_batch_size, SHOTS, 10, rng) for rng in rngs]
        support, query = (Points(*map(torch.stack, zip(*sets, strict=True))) for sets in zip(*drawn, strict=True))
        gradients = gradients_of({name: value.detach() for name, value in parameters.items()}, support, query)
        for name, value in parameters.items():
            value.grad = gradients[name]
        optimiser.step()
        schedule.step()
    return {name: value.detach() for name, value in parameters.items()}


def stack(of_seeds: Sequence[Parameters]) -> list[tuple[str, Tensor]]:
    """Parameters of several networks with a leading axis, by name."""
    return [(name, torch.stack([one[name] for one in of_seeds])) for name in of_seeds[0]]


def of_seed(parameters: Parameters, index: int) -> Parameters:
    """One seed's own."""
    return {name: value[index] for name, value in parameters.items()}


def errors_on_new(parameters: Parameters, *, steps: int = 10, tasks: int = 10_000, seed: int = 10**6) -> Tensor:
    """Mean squared error over fresh tasks after 0 ... `steps` inner steps on the same 5 points, [steps + 1]."""
    support, query = sample(tasks, SHOTS, 100, torch.Generator().manual_seed(seed))

    def one_task(few: Points, many: Points) -> Tensor:
        chain = adapt(parameters, [few] * steps, squared_error, [INNER_RATE] * steps)
        return torch.stack([squared_error(theta, many) for theta in chain])

    return torch.func.vmap(one_task, chunk_size=1000)(support, query).mean(0)


def main() -> None:
    arguments = argparse.ArgumentParser(description="meta-train on sinusoids, then adapt to new ones")
    arguments.add_argument("--iterations", type=int, default=3000)
    arguments.add_argument("--seed", type=int, default=0)
    chosen = arguments.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    for name, adapting in (("MAML", True), ("pretrained", False)):
        errors = errors_on_new(of_seed(meta_train([chosen.seed], chosen.iterations, adapting=adapting), 0))
        told = ", ".join(f"{errors[step]:.2f} after {step}" for step in (0, 1, 5, 10))
        print(f"{name}: 5-shot mean squared error {told} inner steps")


if __name__ == "__main__":
    main()
