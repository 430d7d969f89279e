"""Families, agents and recipes that several tests build."""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from click.testing import Result
from typer.testing import CliRunner

from agents.contract import TrialBatch, concatenate
from agents.maml import MAMLAgent, MAMLConfig, MAMLLearner
from envs.navigation.point_nav import PointNav
from envs.task import TaskFamily, Uniform
from trainers.cli.app import app
from trainers.recipes.registry import interface_of
from trainers.sampling.random_streams import random_key
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials

# Overrides that make a shipped recipe run in a second, in this process, with the same bits everywhere.
TINY = [
    "iterations=2",
    "workers=0",
    "device=cpu",
    "learner_threads=1",
    "agent.meta_batch_size=2",
    "agent.rollouts=2",
    "agent.hidden_sizes=[8]",
    "evaluation={every: 1, validation_tasks: 2, held_out_tasks: 2, rollouts: 2}",
]

# Overrides that make any recipe one of PEARL on four tasks: sampling and learning overlap.
TINY_PEARL = [
    "family=point_robot-v1",
    "train_tasks=4",
    "agent={name: pearl, train_tasks: 4, initial_episodes: 2, tasks_per_iteration: 3, prior_rounds: 1,"
    " posterior_rounds: 1, hidden_sizes: [8], encoder_sizes: [8], gradient_steps: 3, meta_batch_size: 2, batch_size: 8,"
    " context_size: 8, context_capacity: 50, held_exploration: true, temperature: {name: learned}}",
    "evaluation={every: 2, validation_tasks: 3, held_out_tasks: 4, rounds: 2, rollouts: 1}",
]


def call(*words: object) -> Result:
    """Run the command `acclimate` with these words, in this process."""
    return CliRunner().invoke(app, [str(word) for word in words])


# Settings that tests are written for, where defaults are others: nothing is scaled, and updates are single ones.
PLAIN_INNER_LOOP = {
    "inner_learning_rates": (0.1,), "gamma": 0.99, "gae_lambda": 1.0, "initial_std": 1.0, "min_std": 1e-3,
    "normalise_observations": False, "scale_actions": False, "outer": {"name": "trpo"},
}  # fmt: skip
PLAIN_IN_CONTEXT = {
    "learning_rate": 1e-3, "gamma": 0.99, "update_epochs": 2, "num_minibatches": 1, "initial_std": 1.0, "min_std": 1e-3,
    "normalise_observations": False, "normalise_rewards": False, "scale_actions": False,
}  # fmt: skip
PLAIN_VARIBAD = PLAIN_IN_CONTEXT | {
    "state_coef": 0.0, "kl_coef": 0.1, "vae_updates": 3, "posteriors": None, "decoded": None,
    "normalise_beliefs": False, "decode_changes": False, "final_learning_rate": None, "max_grad_norm": 0.5,
    "least_belief_scale": 0.0, "final_vae_learning_rate": None,
}  # fmt: skip
PLAIN_PEARL = {
    "learning_rate": 3e-4, "gamma": 0.99, "reward_scale": 5.0, "kl_coef": 1.6, "policy_regularisation": 1e-3,
    "temperature": {"name": "fixed"}, "next_observation_in_context": False, "normalise_observations": False,
    "normalise_rewards": False,
}  # fmt: skip


def small_maml(seed: int = 0, family: TaskFamily | None = None, **config) -> tuple[MAMLAgent, MAMLLearner]:
    """A MAML agent and learner small enough for a test."""
    settings = MAMLConfig(**(PLAIN_INNER_LOOP | {"meta_batch_size": 4, "rollouts": 3, "hidden_sizes": (8,)} | config))
    agent = MAMLAgent(settings, interface_of(family or PointNav()))
    return agent, MAMLLearner(agent, settings, seed, torch.device("cpu"))


def sample(agent, learner, tasks, rounds=None, family=None, seed=0, iteration=0, tasks_per_shard=10) -> TrialBatch:
    """The trial batch of these tasks, in process."""
    keys = [random_key(seed, "training", iteration, position) for position in range(len(tasks))]
    rounds = rounds or learner.plan(iteration).rounds
    shards = make_shards(tasks, rounds, keys, tasks_per_shard)
    weights = learner.weights()
    return concatenate([run_trials(agent, family or PointNav(), weights, shard) for shard in shards])


def some_tasks(count: int, family: TaskFamily | None = None, seed: int = 0):
    return (family or PointNav()).sample(count, np.random.default_rng(seed), "train")


class LineWalk(gymnasium.Env):
    """A user's own single environment: walk on a line towards an unknown point; ends early at the point."""

    def __init__(self, target: float) -> None:
        self.observation_space = gymnasium.spaces.Box(-20.0, 20.0, (1,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._target = target

    def _observation(self) -> np.ndarray:
        return np.array([self._place], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._place = float(self.np_random.uniform(-0.1, 0.1))
        return self._observation(), {}

    def step(self, action):
        self._place += float(np.clip(action[0], -1, 1))
        gap = abs(self._place - self._target)
        return self._observation(), -gap, gap < 0.2, False, {}


class LineFamily(TaskFamily):
    """A user's family that only has make_env."""

    name = "line-v1"
    parameters = {"target_m": Uniform(-3.0, 3.0, unit="m")}
    episode_steps = 12

    def make_env(self, task):
        return LineWalk(task["target_m"])


class DiscreteWalk(gymnasium.Env):
    """Discrete observations and actions: walk on five cells; one of two ends pays."""

    observation_space = gymnasium.spaces.Discrete(5)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, pays_right: bool) -> None:
        self._pays_right = pays_right

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._cell = 2
        return self._cell, {}

    def step(self, action):
        self._cell = int(np.clip(self._cell + (1 if action == 1 else -1), 0, 4))
        reward = float(self._cell == (4 if self._pays_right else 0))
        return self._cell, reward, False, False, {}
