"""Padding behind the end of a row is a valid element of its space, for every agent that takes Discrete ones."""

import gymnasium
import numpy as np
import pytest
import torch

from agents.maml import MAMLAgent, MAMLConfig, MAMLLearner
from agents.reptile import ReptileConfig, ReptileLearner
from agents.rl2 import RL2Agent, RL2Config, RL2Learner
from agents.varibad import VariBADAgent, VariBADConfig, VariBADLearner
from envs.task import TaskFamily, Uniform
from tests.helpers import sample, some_tasks
from trainers.recipes.registry import interface_of

MAML = {"meta_batch_size": 3, "rollouts": 2, "hidden_sizes": (4,)}
IN_CONTEXT = {"meta_batch_size": 3, "episodes_per_trial": 2}
LEARNERS = {
    "maml": lambda spaces: (MAMLAgent(config := MAMLConfig(**MAML), spaces), config, MAMLLearner),
    "reptile": lambda spaces: (MAMLAgent(config := ReptileConfig(**MAML), spaces), config, ReptileLearner),
    "rl2": lambda spaces: (
        RL2Agent(config := RL2Config(**IN_CONTEXT, bptt_steps=5, pair_inputs=True, heads_per_observation=True), spaces),
        config,
        RL2Learner,
    ),
    "varibad": lambda spaces: (
        VariBADAgent(config := VariBADConfig(**IN_CONTEXT, state_coef=1.0, vae_batch=2), spaces),
        config,
        VariBADLearner,
    ),
}


class CountsFromOne(gymnasium.Env):
    """Observations 1 to 4 and actions 1 and 2; an episode ends at its third step, long before the horizon."""

    observation_space = gymnasium.spaces.Discrete(4, start=1)
    action_space = gymnasium.spaces.Discrete(2, start=1)

    def __init__(self, pays: float) -> None:
        self._pays = pays

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._cell = 1
        return self._cell, {}

    def step(self, action):
        self._cell += 1
        return self._cell, float(action) * self._pays, self._cell == 4, False, {}


class CountsFromOneFamily(TaskFamily):
    name = "counts_from_one-v1"
    parameters = {"pays": Uniform(0.5, 1.0, unit="1")}
    episode_steps = 10

    def make_env(self, task):
        return CountsFromOne(task["pays"])


@pytest.mark.parametrize("name", LEARNERS)
def test_spaces_that_start_at_one_may_end_early(name):
    family = CountsFromOneFamily()
    agent, config, make_learner = LEARNERS[name](interface_of(family))
    learner = make_learner(agent, config, 0, torch.device("cpu"))
    for iteration in range(2):
        batch = sample(agent, learner, some_tasks(3, family), family=family, iteration=iteration)
        assert not all(round_batch.valid.all() for round_batch in batch)
        for round_batch in batch:
            assert np.isin(round_batch.observation, [1, 2, 3, 4]).all()
            assert np.isin(round_batch.action, [1, 2]).all()
        assert np.isfinite(list(learner.update(batch).values())).all()
