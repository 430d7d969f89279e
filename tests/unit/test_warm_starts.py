"""A warm start carries over what the loaded networks are scaled by: the value scale and the input statistics."""

import numpy as np
import pytest
import torch

from agents.common.ppo import ValueScale
from agents.nets.statistics import RunningStatistics
from agents.pearl import PEARLAgent, PEARLConfig, PEARLLearner
from agents.rl2 import RL2Agent, RL2Config, RL2Learner
from agents.varibad import VariBADAgent, VariBADConfig, VariBADLearner
from envs.navigation.point_robot import PointRobot
from tests.helpers import PLAIN_IN_CONTEXT, PLAIN_VARIBAD, LineFamily, sample, some_tasks
from trainers.recipes.registry import interface_of

IN_CONTEXT = {"meta_batch_size": 5, "episodes_per_trial": 2, "update_epochs": 1, "normalise_observations": True}


def rl2(seed, **changed):
    config = RL2Config(**(PLAIN_IN_CONTEXT | IN_CONTEXT | changed))
    agent = RL2Agent(config, interface_of(LineFamily()))
    return agent, RL2Learner(agent, config, seed, torch.device("cpu"))


def varibad(seed, **changed):
    config = VariBADConfig(**(PLAIN_VARIBAD | IN_CONTEXT | {"vae_batch": 2, "normalise_beliefs": True} | changed))
    agent = VariBADAgent(config, interface_of(LineFamily()))
    return agent, VariBADLearner(agent, config, seed, torch.device("cpu"))


MAKERS = {"rl2": rl2, "varibad": varibad}


def trained(make, updates=2):
    agent, learner = make(0)
    for iteration in range(updates):
        learner.update(sample(agent, learner, some_tasks(5, LineFamily()), family=LineFamily(), iteration=iteration))
    return learner


def moved(before, after, name):
    """How far a tensor moved, in its own size."""
    return float((after[name] - before[name]).norm() / before[name].norm())


@pytest.mark.parametrize("name", MAKERS)
def test_in_context_learners_take_scales_along_and_count_them_as_settled(name):
    source = trained(MAKERS[name])
    weights = source.weights()
    names = [key for key in weights if key.endswith(("/mean", "/deviation"))]
    assert {key.partition("/")[0] for key in names} >= {"observation", "value_scale"}
    agent, learner = MAKERS[name](1)
    learner.load_weights(weights)
    assert all(torch.equal(value, weights[key]) for key, value in learner.weights().items())
    outputs = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(learner._ppo.scale.denormalise(outputs), source._ppo.scale.denormalise(outputs))
    family = LineFamily()
    batch = sample(agent, learner, some_tasks(5, family, seed=3), family=family, iteration=9)
    resumed = MAKERS[name](2)[1]
    resumed.load_state_dict(learner.state_dict())
    learner.update(batch)
    after = learner.weights()
    fresh = ValueScale(len(outputs), torch.device("cpu"))
    assert not fresh.settled
    returns, valid = np.random.default_rng(0).normal(size=(2, 7, 3)), torch.ones(7, 3, dtype=torch.bool)
    fresh.update(torch.as_tensor(returns[0]).float(), valid, 0)
    assert torch.allclose(fresh.mean, torch.as_tensor(returns[0]).float().mean(1)), "a fresh scale is the first batch's"
    for key in names:  # a tenth or a twentieth of the way to the batch, not all of it
        rate = ValueScale.MIN_RATE if key.startswith("value_scale") else RunningStatistics.MIN_RATE
        assert 0 < moved(weights, after, key) < 10 * rate, key
    resumed.update(batch)
    assert all(torch.equal(value, after[key]) for key, value in resumed.weights().items()), "resumed at once: the same"


@pytest.mark.parametrize("name", MAKERS)
def test_weights_without_a_value_scale_still_load(name):
    weights = {key: value for key, value in trained(MAKERS[name]).weights().items() if "value_scale" not in key}
    agent, learner = MAKERS[name](1)
    learner.load_weights(weights)
    assert not learner._ppo.scale.settled
    assert learner.weights().keys() == weights.keys(), "a scale that is not known is not handed on"
    assert all(torch.equal(learner.weights()[key], value) for key, value in weights.items())
    learner.update(sample(agent, learner, some_tasks(5, LineFamily()), family=LineFamily()))
    longer = MAKERS[name](1, episodes_per_trial=3)[1]
    longer.load_weights(trained(MAKERS[name]).weights())
    assert not longer._ppo.scale.settled, "of trials of another length"


def test_checkpoints_of_the_first_version_are_not_settled():
    learner = trained(rl2)
    state = learner.state_dict()
    del state["statistics_settled"], state["ppo"]["value_scale_settled"]
    other = rl2(1)[1]
    other.load_state_dict(state)
    assert not other.statistics.settled
    assert not other._ppo.scale.settled


def test_pearl_keeps_the_observation_statistics_of_its_source():
    family = PointRobot()
    settings = {
        "train_tasks": 3, "initial_episodes": 1, "tasks_per_iteration": 2, "hidden_sizes": (4,), "encoder_sizes": (4,),
        "gradient_steps": 1, "meta_batch_size": 2, "batch_size": 4, "context_size": 4, "normalise_observations": True,
    }  # fmt: skip
    learners = []
    for seed in range(3):
        config = PEARLConfig(**settings)
        agent = PEARLAgent(config, interface_of(family))
        learners.append(PEARLLearner(agent, config, seed, torch.device("cpu")))
    source, learner, resumed = learners
    batch = sample(agent, source, some_tasks(3, family), source.plan(0).rounds, family)
    source.update(batch)
    statistics = {key: value for key, value in source.weights().items() if key.startswith("observation/")}
    assert float(statistics["observation/mean"].abs().sum()) > 0
    learner.load_weights(source.weights())
    resumed.load_state_dict(learner.state_dict())
    for other in (learner, resumed):
        other.update(sample(agent, other, some_tasks(3, family, seed=4), other.plan(0).rounds, family))
        assert all(torch.equal(other.weights()[key], value) for key, value in statistics.items())
