"""Closed-loop sampling on PointNav: environment steps a second of one worker, and of one and two Ray workers.

Counted is everything that `run_trials` does for one round: noise, per-task 2x64 policies, log-probabilities, clipping,
physics, termination, storage, padding. Bar: 600,000 steps a second for one worker.

    python benchmarks/sampling.py
"""

from __future__ import annotations

import time

import numpy as np
import torch
from measure import record, spread

from agents.contract import Round
from agents.maml import MAMLAgent, MAMLConfig, MAMLLearner, MAMLState
from envs.navigation.point_nav import PointNav
from trainers.process import keep_freed_memory
from trainers.recipes.registry import interface_of
from trainers.sampling.random_streams import random_key
from trainers.sampling.ray_sampler import RaySampler
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials

REPEATS = 30


class Spread(MAMLAgent):
    """Every trial acts with parameters of its own, as after an inner step."""

    def begin_trial(self, weights, trials):
        state = super().begin_trial(weights, trials)
        generator = torch.Generator().manual_seed(0)
        own = {k: v + 0.05 * torch.randn(v.shape, generator=generator) for k, v in state.parameters.items()}
        return MAMLState(own, 1)


def main() -> None:
    keep_freed_memory()
    torch.set_num_threads(1)
    family = PointNav()
    config = MAMLConfig(hidden_sizes=(64, 64))
    agent = Spread(config, interface_of(family))
    weights = MAMLLearner(agent, config, 0, torch.device("cpu")).weights()
    figures = {}

    def shards(tasks: int, repeat: int, tasks_per_shard: int):
        keys = [random_key(0, "training", repeat, position) for position in range(tasks)]
        drawn = family.sample(tasks, np.random.default_rng(repeat), "train")
        return make_shards(drawn, (Round("support", 20),), keys, tasks_per_shard)

    for tasks in (10, 20, 40):
        rates = []
        for repeat in range(REPEATS):
            (shard,) = shards(tasks, repeat, tasks)
            began = time.perf_counter()
            (batch,) = run_trials(agent, family, weights, shard)
            rates.append(batch.steps / (time.perf_counter() - began))
        figures[f"one worker, in process, {tasks} tasks x 20 rollouts a shard (steps/s)"] = spread(rates[3:])
    for workers in (1, 2):
        sampler = RaySampler(workers)
        rates = []
        for repeat in range(REPEATS):
            parts = shards(40, repeat, 20)
            began = time.perf_counter()
            batches = sampler.run(agent, family, weights, parts)
            rates.append(sum(batch[0].steps for batch in batches) / (time.perf_counter() - began))
        sampler.close()
        figures[f"{workers} Ray worker(s), 2 shards of 20 tasks x 20 rollouts (steps/s)"] = spread(rates[3:])
    record("sampling", figures)


if __name__ == "__main__":
    main()
