"""Share of the gap that each kind of memory closes on two-armed bandits with 10 pulls: three seeds, and memory wiped.

    python benchmarks/memories.py [--tasks 20000]

RL^2 with PPO, 60 meta-updates of 300 trials, one thread. Blind 5.0, Bayes-optimal 6.022: share of that gap on held-out
bandits, the same for all; standard errors are of one seed's mean over bandits.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from measure import record

from agents.common.ablations import ablate_context
from agents.contract import Agent, concatenate
from agents.rl2 import RL2Agent, RL2Config, RL2Learner
from envs.tabular.bandit import Bandit2Arms
from trainers.process import keep_freed_memory
from trainers.recipes.registry import interface_of
from trainers.sampling.random_streams import generator, random_key
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials

BLIND, BAYES, PULLS, UPDATES, TRIALS = 5.0, 6.022, 10, 60, 300
KINDS = {
    "gru": (1e-2, {"size": 32}),
    "lstm": (1e-2, {"size": 32}),
    "transformer": (3e-3, {"size": 32, "layers": 1}),
    "snail": (3e-3, {}),
    "external": (1e-2, {"size": 32, "slots": 8, "width": 8}),
}
FAMILY = Bandit2Arms()
INTERFACE = interface_of(FAMILY)


def train(config: RL2Config, seed: int) -> dict[str, torch.Tensor]:
    """The weights after all meta-updates."""
    agent = RL2Agent(config, INTERFACE)
    learner = RL2Learner(agent, config, seed, torch.device("cpu"))
    for iteration in range(UPDATES):
        plan = learner.plan(iteration)
        tasks = FAMILY.sample(TRIALS, generator(random_key(seed, "tasks", iteration)), "train")
        keys = [random_key(seed, "training", iteration, trial) for trial in range(TRIALS)]
        (shard,) = make_shards(tasks, plan.rounds, keys, TRIALS)
        learner.update(run_trials(agent, FAMILY, learner.weights(), shard))
    return learner.weights()


def closed(agent: Agent, weights: dict[str, torch.Tensor], count: int) -> tuple[float, float]:
    """Share of the gap that is closed on held-out bandits, and its standard error."""
    tasks = FAMILY.task_set("held-out", count, 0).tasks
    keys = [random_key(0, "evaluation", int(task.digest[:15], 16), 0) for task in tasks]
    shards = make_shards(tasks, agent.trial_rounds(PULLS - 1, 1), keys, 500)
    (batch,) = concatenate([run_trials(agent, FAMILY, weights, shard) for shard in shards])
    share = (batch.row_returns() - BLIND) / (BAYES - BLIND)
    return float(share.mean()), float(share.std() / np.sqrt(share.size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000)
    count = parser.parse_args().tasks
    keep_freed_memory()
    torch.set_num_threads(1)
    figures = {}
    for kind, (rate, memory) in KINDS.items():
        config = RL2Config(
            meta_batch_size=TRIALS, episodes_per_trial=PULLS, memory={"name": kind, **memory}, learning_rate=rate,
            final_learning_rate=1e-4, decay_updates=UPDATES, num_minibatches=4, reward_offset=0.5,
            gamma=0.99, update_epochs=2, normalise_observations=False, normalise_rewards=False,
        )  # fmt: skip
        measured: dict[str, list[float]] = {"closed": [], "standard error": [], "wiped": [], "seconds of training": []}
        for seed in (0, 1, 2):
            began = time.perf_counter()
            weights = train(config, seed)
            measured["seconds of training"].append(round(time.perf_counter() - began, 1))
            agent = RL2Agent(config, INTERFACE)
            share, error = closed(agent, weights, count)
            measured["closed"].append(round(share, 3))
            measured["standard error"].append(round(error, 3))
            measured["wiped"].append(round(closed(ablate_context(agent, "none"), weights, count)[0], 3))
        figures[kind] = measured
        print(kind, measured, flush=True)
    record("memories", {"tasks": count, "gap": [BLIND, BAYES], "kinds": figures})


if __name__ == "__main__":
    main()
