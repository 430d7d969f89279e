"""MAML outside reinforcement learning: few-shot regression of sinusoids, on the platform's own inner loop.

    python examples/sinusoid.py --scale 0.1        # a taste: a tenth of the meta-updates
    python benchmarks/sinusoid.py                  # the whole experiment, three seeds and the control

Finn et al. 2017 (arXiv:1703.03400), section 5.1: amplitude U[0.1, 5], phase U[0, pi], inputs U[-5, 5], two layers of 40
ReLU units, inner steps of size 0.01, 25 tasks a meta-batch, tested on 5 points.

Differs: the paper meta-trains one inner step on 10 points, 70,000 times, Adam at 0.001. Trained so, the network becomes
so steep that further steps on 5 points that lie close together diverge, once in some thousand sinusoids. Here it trains
on 5 points as well, 25,000 times through one step, then 6,000 times through three with the error after each of them
counted; Adam's rate falls to zero in both.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from agents.functional.inner_loop import adapt
from agents.functional.parameters import Parameters
from agents.nets.mlp import init_mlp, mlp
from trainers.process import keep_freed_memory

LAYERS, INNER_RATE, SHOTS, META_BATCH_SIZE = (1, 40, 40, 1), 0.01, 5, 25


class Phase(NamedTuple):
    """A part of meta-training."""

    inner_steps: int
    updates: int
    learning_rate: float  # of Adam, at the start; it falls to zero along a cosine


PHASES = (Phase(1, 25_000, 2e-3), Phase(3, 6_000, 5e-4))


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


def adapted_error(parameters: Parameters, support: Points, query: Points, steps: int) -> Tensor:
    """The query error of one task, mean over the parameters after inner steps 1 ... `steps`: what MAML minimises."""
    chain = adapt(parameters, [support] * steps, squared_error, [INNER_RATE] * steps)
    return torch.stack([squared_error(theta, query) for theta in chain[1:]]).mean()


def meta_train(seeds: Sequence[int], scale: float = 1.0, *, adapting: bool = True) -> Parameters:
    """Meta-parameters of every training seed, [seeds, ...]; the seeds learn side by side and share nothing.

    `scale` shortens both phases. Without `adapting`, all sinusoids are fitted at once: pretraining, the control.
    """
    rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
    parameters = {name: value.requires_grad_() for name, value in stack([init_mlp(LAYERS, rng, 1.0) for rng in rngs])}
    optimiser = torch.optim.Adam(list(parameters.values()))
    for phase in PHASES:
        updates = round(scale * phase.updates)
        optimiser.param_groups[0].update(lr=phase.learning_rate, initial_lr=phase.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(updates, 1))

        def task_loss(theta: Parameters, support: Points, query: Points, steps: int = phase.inner_steps) -> Tensor:
            return adapted_error(theta, support, query, steps) if adapting else squared_error(theta, query)

        def loss(theta: Parameters, support: Points, query: Points, task_loss: Any = task_loss) -> Tensor:
            return torch.func.vmap(task_loss, in_dims=(None, 0, 0))(theta, support, query).mean()

        gradients_of = torch.func.vmap(torch.func.grad(loss))
        for _ in range(updates):
            drawn = [sample(META_BATCH_SIZE, SHOTS, 10, rng) for rng in rngs]
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
    arguments.add_argument("--scale", type=float, default=0.1, help="of the whole experiment's meta-updates")
    arguments.add_argument("--tasks", type=int, default=10_000, help="new sinusoids that are adapted to")
    arguments.add_argument("--seed", type=int, default=0)
    chosen = arguments.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    for name, adapting in (("MAML", True), ("pretrained", False)):
        parameters = of_seed(meta_train([chosen.seed], chosen.scale, adapting=adapting), 0)
        errors = errors_on_new(parameters, tasks=chosen.tasks)
        errors_by_step = ", ".join(f"{errors[step]:.2f} after {step}" for step in (0, 1, 5, 10))
        print(f"{name}: 5-shot mean squared error {errors_by_step} inner steps")


if __name__ == "__main__":
    main()
