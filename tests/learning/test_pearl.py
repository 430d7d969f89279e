"""PEARL learns to infer a goal from one episode, on a half circle whose blind and oracle returns are exact; without its
context, or with another task's, it knows nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from agents.pearl import PEARLAgent, PEARLConfig, PEARLLearner
from envs.point_robot import SparsePointRobot
from tests.helpers import interface, sample
from trainers.process import keep_freed_memory
from trainers.sampling import make_shards, random_key, run_trials

pytestmark = pytest.mark.learning


class HalfCircle(SparsePointRobot):
    """Goals on the unit half circle, start at the origin, reward minus the distance."""

    name = "half_circle-v1"
    privileged_info = ()

    def reward(self, gap):
        return -gap

    def info(self, gap):
        return {}


FAMILY = HalfCircle()
HELD_OUT = FAMILY.task_set("held-out", 60, 0).tasks
TRAIN = FAMILY.task_set("train", 24, 0).tasks
# Staying at the origin is blind; not the best of that kind: the middle of the goals closes 0.22 of the gap.
BLIND, ORACLE = (np.mean([FAMILY.yardsticks(task)[name] for task in HELD_OUT]) for name in ("blind", "oracle"))
CONFIG = PEARLConfig(
    train_tasks=len(TRAIN),
    initial_episodes=5,
    tasks_per_iteration=12,
    prior_rounds=1,
    posterior_rounds=1,
    replay_capacity=2000,
    context_capacity=100,
    latent_size=2,
    hidden_sizes=(32, 32),
    encoder_sizes=(32, 32),
    gradient_steps=150,
    meta_batch_size=12,
    batch_size=16,
    context_size=20,
    learning_rate=3e-3,
    discount=0.9,
    target_rate=0.02,
    reward_scale=1.0,
    kl_weight=0.01,
    policy_regularisation=0.0,
    temperature={"name": "learned", "value": 0.1, "target_entropy": -2.0},
)
ITERATIONS = 8


class AnothersContext(PEARLAgent):
    """Sabotage: every trial is told what the next one found out."""

    def adapt(self, weights, state, batch):
        state = super().adapt(weights, state, batch)
        return replace(state, precision=state.precision.roll(20, 0), weighted_mean=state.weighted_mean.roll(20, 0))


class Wiped(PEARLAgent):
    """Sabotage: what was found out is forgotten."""

    def adapt(self, weights, state, batch):
        return replace(self.begin_trial(weights, len(batch.task_id)), rounds=state.rounds + 1)


def train(seed: int, iterations: int = ITERATIONS) -> dict[str, torch.Tensor]:
    keep_freed_memory()
    agent = PEARLAgent(CONFIG, interface(FAMILY))
    learner = PEARLLearner(agent, CONFIG, seed, torch.device("cpu"))
    for iteration in range(iterations):
        plan = learner.plan(iteration)
        tasks = [TRAIN[index] for index in plan.tasks for _ in range(plan.trials_per_task)]
        learner.update(sample(agent, learner, tasks, plan.rounds, FAMILY, seed, iteration, 24))
    return learner.weights()


def gap_closed(weights, agent_class=PEARLAgent) -> tuple[float, float]:
    """Share of the gap between staying and the oracle that is closed, (by an episode from the prior, by the next)."""
    agent = agent_class(CONFIG, interface(FAMILY))
    keys = [random_key(0, "evaluation", index) for index in range(len(HELD_OUT))]
    (shard,) = make_shards(HELD_OUT, agent.trial_rounds(1, 1), keys, len(HELD_OUT))
    returns = [one.row_returns().mean() for one in run_trials(agent, FAMILY, weights, shard)]
    prior, posterior = ((one - BLIND) / (ORACLE - BLIND) for one in returns)
    return float(prior), float(posterior)


@pytest.fixture(scope="module")
def trained():
    return [train(seed) for seed in (0, 1, 2)]


def test_one_episode_tells_the_goal_on_every_seed(trained):
    closed = [gap_closed(weights) for weights in trained]
    assert all(posterior > 0.75 for _, posterior in closed), closed
    assert all(prior < 0.3 for prior, _ in closed), closed


@pytest.mark.parametrize("sabotage", [AnothersContext, Wiped])
def test_without_its_own_context_it_fails(trained, sabotage):
    closed = [gap_closed(weights, sabotage)[1] for weights in trained]
    assert all(posterior < 0.3 for posterior in closed), closed


def test_an_untrained_start_fails():
    closed = [gap_closed(train(seed, iterations=0))[1] for seed in (0, 1, 2)]
    assert all(posterior < 0.1 for posterior in closed), closed
