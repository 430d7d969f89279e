"""RL^2 and PPO over trials, by hand and against themselves."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from agents.common.ppo import PPO, PPOConfig, ValueScale, explained_variance
from agents.contract import AgentError
from agents.rl2 import RL2Agent, RL2Config, RL2Learner
from envs.tabular.bandit import Bandit2Arms
from envs.tabular.grid_navi import GridNavi
from tests.conformance.test_families import TwoEnds
from tests.helpers import PLAIN_IN_CONTEXT, LineFamily, sample, some_tasks
from trainers.recipes.registry import interface_of
from trainers.sampling.random_streams import random_key
from trainers.sampling.shards import Shard
from trainers.sampling.trial_loop import run_trials

KINDS = [
    {"name": "gru", "size": 6},
    {"name": "lstm", "size": 6},
    {"name": "transformer", "size": 8, "heads": 2, "layers": 1},
    {"name": "snail", "filters": 4},
    {"name": "external", "size": 6, "slots": 4, "width": 3},
]
SMALL = PLAIN_IN_CONTEXT | {"meta_batch_size": 5, "episodes_per_trial": 3, "update_epochs": 1}


def build(family, seed=0, **config):
    settings = RL2Config.model_validate(SMALL | config)
    agent = RL2Agent(settings, interface_of(family))
    return agent, RL2Learner(agent, settings, seed, torch.device("cpu"))


def trials(agent, learner, family, iteration=0, count=5):
    return sample(agent, learner, some_tasks(count, family, iteration), family=family, iteration=iteration)


@pytest.mark.parametrize("memory", KINDS, ids=lambda one: one["name"])
@pytest.mark.parametrize("family", [LineFamily(), TwoEnds()], ids=["continuous, ends early", "discrete"])
def test_the_learner_sees_what_the_agent_saw(family, memory):
    """Step by step with a state, or as one sequence: at the first epoch the policy is the one that acted."""
    agent, learner = build(family, memory=memory)
    metrics = learner.update(trials(agent, learner, family))
    assert abs(metrics["policy_kl"]) < 1e-6
    assert metrics["clipped_share"] == 0


@pytest.mark.parametrize("options", [{"pair_inputs": True}, {"heads_per_observation": True}, {"head_sizes": (7,)}])
def test_so_it_does_with_every_option_of_discrete_problems(options):
    agent, learner = build(GridNavi(), **options)
    assert abs(learner.update(trials(agent, learner, GridNavi()))["policy_kl"]) < 1e-6


@pytest.mark.parametrize("scaled", [{}, {"normalise_rewards": True, "scale_actions": True}], ids=["alone", "all"])
def test_scaled_inputs_are_those_that_the_agent_saw_and_travel_with_the_weights(scaled):
    family = LineFamily()
    agent, learner = build(family, normalise_observations=True, **scaled)
    for iteration in range(3):
        assert abs(learner.update(trials(agent, learner, family, iteration))["policy_kl"]) < 1e-6
    weights = learner.weights()
    assert float(weights["observation/deviation"][0]) != 1.0
    _, other = build(family, seed=1, normalise_observations=True, **scaled)
    other.load_weights(weights)
    assert torch.equal(other.weights()["observation/mean"], weights["observation/mean"])


def test_the_memory_goes_on_from_episode_to_episode_and_is_new_with_each_trial():
    family = GridNavi()
    agent, learner = build(family)
    weights = learner.weights()
    tasks, keys = some_tasks(1, family), (random_key(0, "training", 0, 0),)

    def last_log_prob(episodes):
        (batch,) = run_trials(agent, family, weights, Shard(tuple(tasks), agent.trial_rounds(episodes - 1, 1), keys))
        return batch.log_prob[0, 0, 0]

    once = last_log_prob(1)
    twice = last_log_prob(2)
    assert np.array_equal(once, twice[: len(once)]), "a trial starts from nothing"
    begun = agent.begin_trial(weights, 1)
    seen = np.zeros((1, 1), np.int64)
    fresh = agent.act(weights, begun, seen, None)[2].memory["hidden"]
    step = {"observation": seen, "action": seen, "reward": np.ones((1, 1), np.float32)}
    ended = {"terminated": np.zeros((1, 1), bool), "truncated": np.ones((1, 1), bool)}
    after = agent.observe(weights, agent.act(weights, begun, seen, None)[2], step | ended)
    assert not torch.equal(agent.act(weights, after, seen, None)[2].memory["hidden"], fresh)


def test_the_explained_variance_of_the_critic_by_hand():
    # Steps that count: returns 1, 3, 5, values 1, 2, 3. Var(returns) = 8/3, residuals 0, 1, 2: Var = 2/3; 1 - 1/4.
    valid = torch.tensor([[True, True], [True, False]])
    value, returns = torch.tensor([[1.0, 2.0], [3.0, 99.0]]), torch.tensor([[1.0, 3.0], [5.0, 0.0]])
    assert explained_variance(value, returns, valid) == pytest.approx(0.75)
    assert explained_variance(value, torch.ones(2, 2), valid) == 0.0
    _, learner = build(LineFamily())
    metrics = learner.update(trials(learner.agent, learner, LineFamily()))
    assert metrics["explained_variance"] <= 1.0


def test_segments_give_the_same_values_and_another_gradient():
    """Truncated backpropagation: states go on over the cuts, gradients do not."""
    family = GridNavi()  # 45 steps a trial
    grown, metrics = [], []
    for pieces in (None, 45, 7):
        agent, learner = build(family, bptt_steps=pieces, max_grad_norm=1e9)
        metrics.append(learner.update(trials(agent, learner, family)))
        grown.append(learner.weights()["memory/hidden_weight"])
    assert metrics[2]["value_loss"] == pytest.approx(metrics[0]["value_loss"], rel=1e-5)
    assert metrics[2]["policy_loss"] == pytest.approx(metrics[0]["policy_loss"], abs=1e-6)
    assert torch.equal(grown[0], grown[1])
    assert not torch.allclose(grown[0], grown[2], atol=1e-6)


def test_advantages_cross_episodes_and_stop_with_the_trial():
    """Discount 0.5, trace 1, value 0: returns 1 + 0.5 * (0 + 0.5 * 4) = 2 and, of two steps, 1 + 0.5 * 0 = 1."""
    _, learner = build(LineFamily(), gamma=0.5, gae_lambda=1.0)
    ppo = learner._ppo
    reward = torch.tensor([[1.0, 1.0], [0.0, 0.0], [4.0, 9.0]])
    valid = torch.tensor([[True, True], [True, True], [True, False]])
    advantage, target = ppo.advantages(torch.zeros(3, 2), reward, valid)
    returns = torch.tensor([[2.0, 1.0], [2.0, 0.0], [4.0, 0.0]])
    centred = (returns - 9 / 5)[valid]
    assert torch.allclose(advantage[valid], centred / centred.square().mean().sqrt(), atol=1e-5)
    # The value head's units at step 0: mean 1.5, deviation 0.5 of the returns 2 and 1.
    assert target[0].tolist() == pytest.approx([1.0, -1.0], abs=5e-3)


def test_the_value_scale_follows_its_step_and_keeps_what_nobody_reached():
    scale = ValueScale(3, torch.device("cpu"))
    valid = torch.tensor([[True, True], [True, False]])
    scale.update(torch.tensor([[1.0, 3.0], [8.0, 99.0]]), valid, 0)
    assert scale.mean.tolist() == pytest.approx([2.0, 8.0, 0.0])
    assert scale.deviation.tolist() == pytest.approx([1.001, 0.001, 1.0], rel=1e-3)
    scale.update(torch.tensor([[12.0, 12.0], [8.0, 0.0]]), valid, 99)
    assert scale.mean.tolist() == pytest.approx([3.0, 8.0, 0.0]), "a tenth of the way"
    raw = scale.denormalise(torch.ones(2, 2))
    assert torch.allclose(scale.normalise(raw), torch.ones(2, 2), atol=1e-3)  # float32: 8.001 less 8, in units of 0.001


def test_schedules_reach_their_ends_and_stay():
    config = PPOConfig(
        learning_rate=1e-2, final_learning_rate=1e-4, gamma=0.9, final_gamma=0.99, decay_updates=10,
        ent_coef=0.02, final_ent_coef=0.0,
    )  # fmt: skip
    assert (config.learning_rate_at(0), config.gamma_at(0)) == pytest.approx((1e-2, 0.9))
    assert (config.learning_rate_at(99), config.gamma_at(99)) == pytest.approx((1e-4, 0.99))
    assert config.gamma_at(5) == pytest.approx(1 - math.sqrt(0.1 * 0.01))  # horizons 10 and 100: 31.6 between
    assert config.ent_coef_at(5) == pytest.approx(0.01)
    assert PPOConfig().gamma_at(7) == PPOConfig().gamma
    longer = config.model_copy(update={"learning_rate_updates": 40})
    assert longer.learning_rate_at(10) == pytest.approx(1e-2 - 0.25 * (1e-2 - 1e-4)), "a quarter of its own way"
    assert longer.ent_coef_at(10) == 0.0
    with pytest.raises(ValueError, match="there is no final_learning_rate; set both"):
        PPOConfig(learning_rate_updates=40)


@pytest.mark.parametrize(
    ("family", "config", "says"),
    [
        (GridNavi(), {"memory": {"name": "transformer"}, "bptt_steps": 5}, "attends to the whole trial"),
        (GridNavi(), {"memory": {"name": "snail"}, "bptt_steps": 5}, "set bptt_steps to null"),
        (LineFamily(), {"pair_inputs": True}, "Discrete observations and actions"),
        (LineFamily(), {"heads_per_observation": True}, "heads_per_observation is for Discrete"),
    ],
)
def test_what_does_not_go_together_is_refused(family, config, says):
    with pytest.raises(AgentError, match=says):
        build(family, **config)


def test_a_plan_that_it_cannot_follow_is_refused():
    agent, _ = build(LineFamily())
    with pytest.raises(AgentError, match=r"rollouts must be 1, not 40.*evaluation\.rollouts=1"):
        agent.trial_rounds(1, 40)


def test_a_checkpoint_of_another_memory_is_refused_and_nothing_is_lost():
    family = Bandit2Arms()
    agent, learner = build(family, memory={"name": "lstm", "size": 6})
    learner.update(trials(agent, learner, family))
    state = learner.state_dict()
    other = build(family, memory={"name": "gru", "size": 6})[1]
    before = other.weights()
    for broken in (state, copy.deepcopy(other.state_dict()) | {"ppo": state["ppo"] | {"updates": -1}}):
        with pytest.raises(AgentError):
            other.load_state_dict(broken)
    assert all(torch.equal(before[name], value) for name, value in other.weights().items())


def test_a_loss_that_is_not_finite_leaves_the_parameters_as_they_were():
    family = Bandit2Arms()
    agent, learner = build(family)
    before = learner.weights()
    batch = trials(agent, learner, family)
    batch[0].log_prob[...] = -1e30
    with pytest.raises(AgentError, match=r"meta-update 0.*not finite"):
        learner.update(batch)
    assert all(torch.equal(before[name], value) for name, value in learner.weights().items())


def test_the_update_is_a_function_of_state_and_batch():
    """Minibatches are drawn from (seed, update), not from a global generator."""
    family = Bandit2Arms()
    agent, learner = build(family, num_minibatches=2, update_epochs=2)
    batch = trials(agent, learner, family)
    twin = build(family, num_minibatches=2, update_epochs=2)[1]
    learner.update(batch)
    torch.rand(3)
    twin.update(batch)
    assert all(torch.equal(value, twin.weights()[name]) for name, value in learner.weights().items())
    assert isinstance(learner._ppo, PPO)


@pytest.mark.parametrize("bptt_steps", [None, 5])
def test_the_memory_runs_once_without_gradients_and_once_a_minibatch(bptt_steps):
    family = LineFamily()
    agent, learner = build(family, bptt_steps=bptt_steps, num_minibatches=2, update_epochs=3)
    batch = trials(agent, learner, family)
    real, calls = agent.network.memory.sequence, []

    def sequence(parameters, inputs, state):
        calls.append((torch.is_grad_enabled(), inputs.shape[0] * inputs.shape[1]))
        return real(parameters, inputs, state)

    agent.network.memory.sequence = sequence
    learner.update(batch)
    steps = sum(count for gradients, count in calls if not gradients)
    segments = -(-batch[0].valid.shape[-1] // (bptt_steps or batch[0].valid.shape[-1]))
    assert sum(not gradients for gradients, _ in calls) == segments
    assert steps == sum(count for gradients, count in calls if gradients) / 3, "each epoch is as much as that once"
