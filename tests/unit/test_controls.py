"""Another context than their own: what agents that infer their task are given as a control."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.common.ablations import ablate_context
from agents.contract import AgentError
from agents.maml import MAMLLearner
from agents.pearl import PEARLAgent, PEARLConfig, PEARLLearner
from agents.rl2 import RL2Agent, RL2Config, RL2Learner
from envs.navigation.point_robot import PointRobot
from envs.tabular.bandit import Bandit5Arms
from tests.helpers import sample, small_maml, some_tasks
from trainers.recipes.registry import interface_of

TASKS, TRIALS = 3, 2  # of each task, side by side


def far_from_its_start(learner):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in learner.parameters.values():
            value += 0.5 * torch.randn(value.shape, generator=generator)
    return learner.weights()


def test_in_a_row_every_step_is_the_first():
    family = Bandit5Arms()
    config = RL2Config(meta_batch_size=4, episodes_per_trial=5)
    agent = RL2Agent(config, interface_of(family))
    weights = far_from_its_start(RL2Learner(agent, config, 0, torch.device("cpu")))

    def log_probs_of_steps(agent):
        """Of the arm pulled at each step of a trial, without noise."""
        state, log_probs = agent.begin_trial(weights, 2), []
        for reward in (1.0, 0.0, 1.0):
            observation = np.zeros((2, 1), np.int64)
            action, log_prob, state = agent.act(weights, state, observation, None)
            log_probs.append(log_prob)
            step = {
                "observation": observation, "action": action, "reward": np.full((2, 1), reward, np.float32),
                "terminated": np.ones((2, 1), bool), "truncated": np.zeros((2, 1), bool),
            }  # fmt: skip
            state = agent.observe(weights, state, step)
        return log_probs

    own, none = log_probs_of_steps(ablate_context(agent, "own")), log_probs_of_steps(ablate_context(agent, "none"))
    assert np.array_equal(own[0], none[0])
    assert not np.allclose(own[1], own[0])
    assert not np.allclose(own[2], own[1])
    assert np.array_equal(none[1], none[0])
    assert np.array_equal(none[2], none[0])


@pytest.fixture
def pearl():
    """The agent, its weights, and a round of trials."""
    family = PointRobot()
    config = PEARLConfig(
        train_tasks=3, meta_batch_size=2, tasks_per_iteration=2, latent_size=2, hidden_sizes=(8,), encoder_sizes=(8,)
    )
    agent = PEARLAgent(config, interface_of(family))
    learner = PEARLLearner(agent, config, 0, torch.device("cpu"))
    weights = far_from_its_start(learner)
    tasks = [task for task in some_tasks(TASKS, family) for _ in range(TRIALS)]
    return agent, weights, sample(agent, learner, tasks, agent.trial_rounds(1, 1), family)[0].by_trial()


def posterior_means(agent, weights, batch):
    state = agent.adapt(weights, agent.begin_trial(weights, TASKS * TRIALS), batch)
    return agent.inspect(weights, state)["posterior_mean"]


def test_after_a_round_nothing_is_left(pearl):
    agent, weights, batch = pearl
    assert posterior_means(agent, weights, batch).all()
    assert not posterior_means(ablate_context(agent, "none"), weights, batch).any()


def test_every_trial_has_the_context_of_another_task(pearl):
    agent, weights, batch = pearl
    own = posterior_means(agent, weights, batch)
    exchanged = posterior_means(ablate_context(agent, "another"), weights, batch)
    assert np.array_equal(exchanged, np.roll(own, TRIALS, 0))
    of = np.roll(batch.task_id, TRIALS)
    assert (of != batch.task_id).all()


def test_adapted_parameters_are_exchanged_too():
    agent, learner = small_maml()
    assert isinstance(learner, MAMLLearner)
    tasks = [task for task in some_tasks(TASKS) for _ in range(TRIALS)]
    weights, batch = learner.weights(), sample(agent, learner, tasks)[0].by_trial()
    states = [
        one.adapt(weights, one.begin_trial(weights, TASKS * TRIALS), batch)
        for one in (agent, ablate_context(agent, "another"), ablate_context(agent, "none"))
    ]
    for name, value in weights.items():
        own, exchanged, none = (state.parameters[name] for state in states)
        assert torch.equal(exchanged, own.roll(TRIALS, 0))
        assert not torch.equal(own, exchanged)
        assert torch.equal(none, value.expand_as(none))


def test_a_context_that_cannot_be_given_is_a_sentence(pearl):
    agent, weights, batch = pearl
    with pytest.raises(AgentError, match="context is foreign; it is one of own, none, another"):
        ablate_context(agent, "foreign")
    alone = batch.map(lambda array: array[:TRIALS])
    swapped = ablate_context(agent, "another")
    with pytest.raises(AgentError, match="no other task's context"):
        swapped.adapt(weights, swapped.begin_trial(weights, TRIALS), alone)
    with pytest.raises(AgentError, match=r"adapts at every step, .*--context none"):
        ablate_context(RL2Agent(RL2Config(), interface_of(Bandit5Arms())), "another")
