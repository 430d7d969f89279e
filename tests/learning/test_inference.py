"""RL^2 with every memory and VariBAD learn to learn on two-armed bandits; without their memory they know nothing.

In 10 pulls: blind 5.0, Bayes-optimal 6.022 (exact, `agents.functional.planning`). Measured is the share of that gap.
"""

from __future__ import annotations

import pytest
import torch

from agents.common.ablations import ablate_context
from agents.common.ppo import PPO
from agents.rl2 import RL2Agent, RL2Config, RL2Learner
from agents.varibad import VariBADAgent, VariBADConfig, VariBADLearner
from envs.tabular.bandit import Bandit2Arms
from tests.helpers import sample, some_tasks
from trainers.recipes.registry import interface_of
from trainers.sampling.random_streams import random_key
from trainers.sampling.shards import Shard
from trainers.sampling.trial_loop import run_trials

FAMILY = Bandit2Arms()
BLIND, BAYES = 5.0, 6.022
PULLS, UPDATES = 10, 40
HELD_OUT = FAMILY.task_set("held-out", 2000, 0).tasks
COMMON = {
    "gamma": 0.99, "update_epochs": 2, "normalise_observations": False, "normalise_rewards": False,
    "meta_batch_size": 300, "episodes_per_trial": PULLS, "final_learning_rate": 1e-4, "decay_updates": UPDATES,
    "num_minibatches": 4, "reward_offset": 0.5,
}  # fmt: skip
MEMORIES = {
    "gru": (1e-2, {"size": 32}),
    "lstm": (1e-2, {"size": 32}),
    "transformer": (3e-3, {"size": 32, "layers": 1}),
    "snail": (3e-3, {}),
    "external": (1e-2, {"size": 32, "slots": 8, "width": 8}),
}


def rl2(kind: str) -> RL2Config:
    rate, memory = MEMORIES[kind]
    return RL2Config(**COMMON, learning_rate=rate, memory={"name": kind, **memory})


def varibad() -> VariBADConfig:
    return VariBADConfig(
        **COMMON,
        learning_rate=1e-2,
        encoder={"name": "gru", "size": 32},
        latent_size=4,
        reward_decoder={"name": "bernoulli", "above": 0.5},
        kl_coef=0.05,
        state_coef=0.0,
        policy_sizes=(32,),
        decoder_sizes=(32, 32),
        posteriors=None,
        decoded=None,
        max_grad_norm=0.5,
        normalise_beliefs=False,
        vae_learning_rate=1e-2,
        vae_updates=4,
        vae_batch=100,
    )


def train(agent_class, learner_class, config, seed, updates=UPDATES):
    torch.set_num_threads(1)
    agent = agent_class(config, interface_of(FAMILY))
    learner = learner_class(agent, config, seed, torch.device("cpu"))
    for iteration in range(updates):
        tasks = some_tasks(config.meta_batch_size, FAMILY, seed=1000 * seed + iteration)
        learner.update(
            sample(agent, learner, tasks, family=FAMILY, seed=seed, iteration=iteration, tasks_per_shard=300)
        )
    return learner.weights()


def closed(agent_class, config, weights, context="own") -> float:
    """Share of the gap between blind and Bayes-optimal that held-out trials close."""
    agent = ablate_context(agent_class(config, interface_of(FAMILY)), context)
    keys = tuple(random_key(0, "evaluation", index) for index in range(len(HELD_OUT)))
    (batch,) = run_trials(agent, FAMILY, weights, Shard(HELD_OUT, agent.trial_rounds(PULLS - 1, 1), keys))
    return float((batch.row_returns().mean() - BLIND) / (BAYES - BLIND))


@pytest.mark.parametrize("kind", MEMORIES)
def test_every_memory_learns_and_wiped_knows_nothing(kind):
    """One seed here, three in benchmarks/memories.py; the noise of 2,000 trials is 0.06 of the gap."""
    config = rl2(kind)
    weights = train(RL2Agent, RL2Learner, config, 0)
    assert 0.6 < closed(RL2Agent, config, weights) < 1.2
    assert closed(RL2Agent, config, weights, "none") < 0.15
    if kind == "gru":
        assert closed(RL2Agent, config, train(RL2Agent, RL2Learner, config, 0, updates=0)) < 0.15


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_varibad_learns_and_without_its_belief_knows_nothing(seed):
    config = varibad()
    weights = train(VariBADAgent, VariBADLearner, config, seed)
    assert closed(VariBADAgent, config, weights) > 0.5
    assert closed(VariBADAgent, config, weights, "none") < 0.15


def test_with_the_sign_of_the_advantage_flipped_it_fails(monkeypatch):
    true = PPO.advantages

    def flipped(self, *arguments):
        advantage, target = true(self, *arguments)
        return -advantage, target

    monkeypatch.setattr(PPO, "advantages", flipped)
    config = rl2("gru")
    assert closed(RL2Agent, config, train(RL2Agent, RL2Learner, config, 0)) < 0.0
