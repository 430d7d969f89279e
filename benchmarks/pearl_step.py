"""PEARL's gradient step against its bare matrix products, and how many fit into a second; one core.

The products are those that the step cannot do without, on the same shapes, thin ones the faster way round, forward and
backward: encoder, critics, target critics, policy on observations and on next observations, critics on the policy's own
actions (no gradients of weights). Both are timed in turn, so that a busy machine slows both alike.

    python benchmarks/pearl_step.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
import torch
from measure import record, spread

from agents.contract import Interface
from agents.functional import ensembles
from agents.pearl import PEARLAgent, PEARLConfig, PEARLLearner
from trainers.process import keep_freed_memory, torch_threads

CHEETAH = Interface(
    gymnasium.spaces.Box(-np.inf, np.inf, (17,), np.float32), gymnasium.spaces.Box(-1.0, 1.0, (6,), np.float32), 200
)
SETTINGS: dict[str, dict[str, Any]] = {
    "published nets, 16 x 256": {},
    "2 x 128, 16 x 32": {
        "hidden_sizes": (128, 128),
        "encoder_sizes": (128, 128),
        "batch_size": 32,
        "context_size": 64,
        "next_observation_in_context": True,
        "temperature": {"name": "learned"},
        "policy_regularisation": 0.0,
    },
}


def make_learner(settings: dict[str, Any]) -> PEARLLearner:
    """A learner with something to learn from."""
    config = PEARLConfig(**settings)
    learner = PEARLLearner(PEARLAgent(config, CHEETAH), config, 0, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    for replay in (learner.replay, learner.contexts):
        for task in range(config.train_tasks):
            replay.add(task, torch.randn(1000, replay.width, generator=generator))
    return learner


def bare_products(config: PEARLConfig) -> Callable[[], None]:
    """Multiply the same matrices and do nothing else: the lower bound."""
    observations, actions, latents = 17, 6, config.latent_size
    rows, contexts = config.meta_batch_size * config.batch_size, config.meta_batch_size * config.context_size
    shown = observations + actions + 1 + (observations if config.next_observation_in_context else 0)
    policy = (observations + latents, *config.hidden_sizes, 2 * actions)
    critic = (observations + actions + latents, *config.hidden_sizes, 1)
    encoder = (shown, *config.encoder_sizes, 2 * latents)
    # (layer sizes, networks side by side, rows, passes): forward; of weights; of inputs, the first layer's included
    passes = [
        (encoder, 1, contexts, (True, True, False)),
        (critic, 2, rows, (True, True, True)),
        (critic, 2, rows, (True, False, False)),
        (policy, 1, rows, (True, False, False)),
        (policy, 1, rows, (True, True, False)),
        (critic, 2, rows, (True, False, True)),
    ]
    products: list[tuple[torch.Tensor, torch.Tensor]] = []
    for sizes, members, count, (forward, of_weights, of_first_input) in passes:
        for layer, (before, after) in enumerate(pairwise(sizes)):
            inputs = torch.randn(members, count, before)
            weight = torch.randn(members, before, after)
            gradient = torch.randn(members, count, after)
            if forward:
                products.append((inputs, weight))
            if of_weights:
                products.append((inputs.mT, gradient))
            backward = of_weights or of_first_input
            if backward and (layer > 0 or of_first_input):
                products.append((gradient, weight.mT))

    def multiply() -> None:
        for left, right in products:
            product(left, right)

    return multiply


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """left @ right, or its transpose: whichever way is faster."""
    if left.shape[-1] == 1:
        return left * right
    if right.shape[-1] < ensembles.NARROW:
        return torch.bmm(right.mT, left.mT)
    return torch.bmm(left, right)


def compare(settings: dict[str, Any], steps: int, repeats: int = 9) -> dict[str, Any]:
    """Seconds of both, in turn."""
    learner = make_learner(settings)
    multiply = bare_products(learner.config)
    rng = np.random.default_rng(0)
    whole, bare = [], []
    for _ in range(repeats + 1):  # the first one warms up
        for seconds, act in ((whole, lambda: learner.gradient_step(*learner.batches.draw(rng, 1))), (bare, multiply)):
            began = time.perf_counter()
            for _ in range(steps):
                act()
            seconds.append((time.perf_counter() - began) / steps)
    whole, bare = whole[1:], bare[1:]
    return {
        "step (ms)": spread([1e3 * one for one in whole]),
        "bare products (ms)": spread([1e3 * one for one in bare]),
        "ratio": spread([one / other for one, other in zip(whole, bare, strict=True)]),
        "steps a second": spread([1 / one for one in whole]),
    }


def main() -> None:
    keep_freed_memory()
    with torch_threads(1):
        figures = {name: compare(one, 3 if name.startswith("published") else 30) for name, one in SETTINGS.items()}
    record("pearl_step", figures)


if __name__ == "__main__":
    main()
