"""PEARL learns to infer from one episode which of two ways pays; without its context, or with another task's, it knows
nothing. The returns of the best blind policy and of the oracle are exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.common.ablations import ablate_context
from agents.pearl import PEARLAgent, PEARLConfig, PEARLLearner
from envs.navigation.point_env import PointFamily
from envs.task import Choice
from tests.helpers import sample
from trainers.process import keep_freed_memory
from trainers.recipes.registry import interface_of
from trainers.sampling.random_streams import random_key
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials

pytestmark = pytest.mark.learning


class TwoWays(PointFamily):
    """A goal 2 m to the right or to the left of the start; the reward is how much nearer than the start it is, metres.

    Not knowing the side nothing is better than nothing: what is nearer to one goal is as far or farther from the other.
    """

    name = "two_ways-v1"
    parameters = {"side": Choice((-1, 1))}
    episode_steps = 20
    kind = "closed"

    def goal(self, task):
        return np.array([2.0 * task["side"], 0.0])

    def reward(self, gap):
        return 2.0 - gap


FAMILY = TwoWays()
BOTH = FAMILY.task_set("train", 2, 0).tasks
BLIND, ORACLE = 0.0, 21.0  # 0.1 m nearer after each of 20 steps: 0.1 + 0.2 + ... + 2.0
CONFIG = PEARLConfig(
    train_tasks=2,
    initial_episodes=10,
    tasks_per_iteration=2,
    prior_rounds=1,
    posterior_rounds=1,
    buffer_size=2000,
    context_capacity=100,
    latent_size=2,
    hidden_sizes=(32, 32),
    encoder_sizes=(32, 32),
    gradient_steps=100,
    meta_batch_size=2,
    batch_size=64,
    context_size=20,
    learning_rate=3e-3,
    gamma=0.9,
    tau=0.05,
    reward_scale=2.0,
    kl_coef=0.05,
    policy_regularisation=0.0,
    next_observation_in_context=False,
    normalise_observations=False,
    normalise_rewards=False,
    temperature={"name": "learned", "value": 0.1, "target_entropy": -2.0},
)
ITERATIONS = 14
TRIALS = 40  # of each task


def train(seed: int, iterations: int = ITERATIONS) -> dict[str, torch.Tensor]:
    keep_freed_memory()
    agent = PEARLAgent(CONFIG, interface_of(FAMILY))
    learner = PEARLLearner(agent, CONFIG, seed, torch.device("cpu"))
    for iteration in range(iterations):
        plan = learner.plan(iteration)
        tasks = [BOTH[index] for index in plan.tasks for _ in range(plan.trials_per_task)]
        learner.update(sample(agent, learner, tasks, plan.rounds, FAMILY, seed, iteration, 24))
    return learner.weights()


def gap_closed(weights, context="own") -> tuple[float, float]:
    """Share of the gap between blind and oracle that is closed, (by an episode from the prior, by the next)."""
    agent = ablate_context(PEARLAgent(CONFIG, interface_of(FAMILY)), context)
    keys = [random_key(0, "evaluation", index) for index in range(2 * TRIALS)]
    (shard,) = make_shards(BOTH, agent.trial_rounds(1, 1), keys, 2)
    returns = [one.row_returns().mean() for one in run_trials(agent, FAMILY, weights, shard)]
    prior, posterior = ((one - BLIND) / (ORACLE - BLIND) for one in returns)
    return float(prior), float(posterior)


@pytest.fixture(scope="module")
def trained():
    return [train(seed) for seed in (0, 1, 2)]


def test_one_episode_tells_the_way_on_every_seed(trained):
    closed = [gap_closed(weights) for weights in trained]
    assert all(posterior > 0.6 for _, posterior in closed), closed
    assert all(abs(prior) < 0.25 for prior, _ in closed), closed


def test_with_the_other_tasks_context_it_goes_the_wrong_way(trained):
    closed = [gap_closed(weights, "another")[1] for weights in trained]
    assert all(posterior < -0.4 for posterior in closed), closed


def test_without_its_context_it_fails(trained):
    closed = [gap_closed(weights, "none")[1] for weights in trained]
    assert all(abs(posterior) < 0.25 for posterior in closed), closed


def test_an_untrained_start_fails():
    closed = [gap_closed(train(seed, iterations=0))[1] for seed in (0, 1, 2)]
    assert all(abs(posterior) < 0.1 for posterior in closed), closed
