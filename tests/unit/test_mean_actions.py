"""Acting by means: actions without noise, a latent that is still sampled, in the rollouts that are adapted on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from agents.common.mean_actions import act_by_means
from agents.pearl import PEARLAgent, PEARLConfig, PEARLLearner
from agents.rl2 import RL2Agent, RL2Config, RL2Learner
from envs.navigation.point_nav import PointNav
from envs.navigation.point_robot import PointRobot
from tests.helpers import PLAIN_IN_CONTEXT, LineFamily, call, sample, some_tasks
from trainers.recipes.registry import interface_of

PEARL = {
    "train_tasks": 4,
    "meta_batch_size": 2,
    "tasks_per_iteration": 2,
    "latent_size": 2,
    "hidden_sizes": (8,),
    "encoder_sizes": (8,),
    "prior_rounds": 1,
}
SMALL = PLAIN_IN_CONTEXT | {
    "meta_batch_size": 2, "episodes_per_trial": 2, "update_epochs": 1, "memory": {"name": "gru", "size": 4},
}  # fmt: skip


def made(kind, config, learner, family):
    agent = kind(config, interface_of(family))
    return agent, learner(agent, config, 0, torch.device("cpu"))


def test_pearl_samples_its_latent_and_takes_mean_actions():
    family = PointRobot()
    agent, learner = made(PEARLAgent, PEARLConfig(**PEARL), PEARLLearner, family)
    means, weights = act_by_means(agent, interface_of(family)), learner.weights()
    rng = np.random.default_rng(0)
    noise, other = (means.draw_noise(rng, (1, 1, 1))[:, 0] for _ in range(2))
    full = agent.draw_noise(rng, (1, 1, 1))[:, 0]
    assert not noise[..., :2].any()
    assert noise[..., 2:].all()
    assert full.all()
    seen = np.zeros((1, 1, *family.observation_space.shape), np.float32)
    begun = means.begin_trial(weights, 1)
    one = means.act(weights, begun, seen, noise)[0]
    assert not np.array_equal(one, means.act(weights, begun, seen, other)[0]), "another latent acts otherwise"
    full[..., 2:] = noise[..., 2:]
    assert not np.array_equal(one, agent.act(weights, begun, seen, full)[0]), "the same latent, with action noise"


def test_its_context_comes_from_those_very_episodes():
    family = PointRobot()
    agent, learner = made(PEARLAgent, PEARLConfig(**PEARL), PEARLLearner, family)
    means = act_by_means(agent, interface_of(family))
    rounds = means.trial_rounds(2, 1)
    assert rounds == agent.trial_rounds(2, 1), "no probes: the same rounds"
    tasks = some_tasks(3, family)
    batch = sample(means, learner, tasks, rounds, family)
    again = sample(means, learner, tasks, rounds, family)
    noisy = sample(agent, learner, tasks, rounds, family)
    for one, same, other in zip(batch, again, noisy, strict=True):
        assert np.array_equal(one.action, same.action)
        assert not np.array_equal(one.action, other.action)


def test_an_agent_without_a_latent_plays_without_noise():
    family = PointNav()
    config = RL2Config(**SMALL)
    agent, learner = made(RL2Agent, config, RL2Learner, family)
    rounds = act_by_means(agent, interface_of(family)).trial_rounds(1, 1)
    assert all(one.deterministic for one in rounds)
    batch = sample(act_by_means(agent, interface_of(family)), learner, some_tasks(1), rounds, family)
    other = sample(act_by_means(agent, interface_of(family)), learner, some_tasks(1), rounds, family, seed=5)
    assert np.array_equal(batch[0].action, other[0].action)


def test_the_command_names_the_mode_and_refuses_two():
    run = "docs/results/point_nav_pearl/seed-0"
    with_means = json.loads(call("evaluate", run, "--mean-actions", "--json", "-").stdout)
    plain = json.loads(call("evaluate", run, "--json", "-").stdout)
    assert (with_means["policy"], plain["policy"]) == ("mean-action", "stochastic")
    assert with_means["mean"] != plain["mean"]
    refused = call("evaluate", run, "--mean-actions", "--deterministic")
    assert refused.exit_code == 2
    assert "ask for one of them" in refused.output


@pytest.mark.parametrize("family", [LineFamily()])
def test_without_a_memory_an_action_depends_on_the_observation_alone(family):
    config = RL2Config(**SMALL | {"meta_batch_size": 3, "memory": {"name": "none"}, "head_sizes": (8,)})
    agent, learner = made(RL2Agent, config, RL2Learner, family)
    assert abs(learner.update(sample(agent, learner, some_tasks(3, family), family=family))["policy_kl"]) < 1e-6
    weights = learner.weights()
    begun = agent.begin_trial(weights, 1)
    seen = np.full((1, 1, 1), 0.3, np.float32)
    action, _, acted = agent.act(weights, begun, seen, None)
    step = {"observation": seen, "action": action, "reward": np.full((1, 1), 7.0, np.float32)}
    ended = {"terminated": np.zeros((1, 1), bool), "truncated": np.ones((1, 1), bool)}
    later = agent.observe(weights, acted, step | ended)
    assert np.array_equal(agent.act(weights, later, seen, None)[0], action)
    assert not np.array_equal(agent.act(weights, later, seen + 1, None)[0], action)
