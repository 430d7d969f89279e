"""The contract of every listed algorithm."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from agents import ALGORITHMS
from agents.contract import AgentError
from tests.conformance.test_families import TwoEnds
from tests.helpers import LineFamily, sample, small_maml, some_tasks
from trainers.recipes import registry
from trainers.recipes.registry import interface_of
from trainers.runs import checkpoints
from trainers.sampling.random_streams import random_key
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials

FEW = {
    "train_tasks": 3,
    "tasks_per_iteration": 3,
    "meta_batch_size": 2,
    "initial_episodes": 1,
    "hidden_sizes": (8,),
    "encoder_sizes": (8,),
    "gradient_steps": 2,
    "batch_size": 4,
    "context_size": 4,
}
SMALL = {
    "maml": [
        {"meta_batch_size": 3, "rollouts": 4, "hidden_sizes": (8,), "outer": {"name": "clip"}},
        {"meta_batch_size": 3, "rollouts": 4, "hidden_sizes": (8,), "inner_steps": 2, "outer_weights": (2, 1)},
        {"meta_batch_size": 3, "rollouts": 4, "hidden_sizes": (8,), "first_order": True, "learn_step_sizes": True},
    ],
    "reptile": [{"meta_batch_size": 3, "rollouts": 4, "hidden_sizes": (8,), "inner_steps": 2}],
    "pearl": [
        FEW | {"prior_rounds": 1, "posterior_rounds": 1, "normalise_observations": True},
        FEW | {"temperature": {"name": "learned"}, "next_observation_in_context": True},
    ],
    "rl2": [
        {"meta_batch_size": 3, "memory": {"name": "gru", "size": 6}, "bptt_steps": 5, "num_minibatches": 2},
        {"meta_batch_size": 3, "memory": {"name": "lstm", "size": 6, "chrono_steps": 24}, "head_sizes": (5,)},
        {"meta_batch_size": 3, "memory": {"name": "transformer", "size": 8, "heads": 2, "layers": 1}},
        {"meta_batch_size": 3, "memory": {"name": "snail", "filters": 3, "key_size": 3, "value_size": 3}},
        {"meta_batch_size": 3, "memory": {"name": "external", "size": 6, "slots": 4, "width": 3}},
    ],
    "varibad": [
        {"meta_batch_size": 3, "encoder": {"name": "gru", "size": 6}, "vae_batch": 2, "policy_into_encoder": True},
        {"meta_batch_size": 3, "encoder": {"name": "lstm", "size": 6}, "state_coef": 1.0, "decoded": 4},
    ],
}
CASES = [(name, index) for name in ALGORITHMS for index in range(len(SMALL[name]))]


SHARES_ROLLOUTS = ("maml", "reptile")  # the others adapt within a row
INFERS = ("rl2", "varibad")
CONTINUOUS = ("pearl",)


def build(name, index, family, seed=0):
    algorithm = registry.algorithm(name)
    config = algorithm.config.model_validate(SMALL[name][index])
    agent = algorithm.make_agent(config, interface_of(family))
    return agent, algorithm.make_learner(agent, config, seed, torch.device("cpu"))


def updated(agent, learner, family, iterations):
    for iteration in iterations:
        tasks = some_tasks(3, family, seed=iteration)
        metrics = learner.update(sample(agent, learner, tasks, family=family, iteration=iteration))
        assert set(metrics) == set(learner.metrics), "every metric is described, every description is used"
        assert all(math.isfinite(value) for value in metrics.values())
    return learner.weights()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("name", "index"), CASES)
@pytest.mark.parametrize("family", [LineFamily(), TwoEnds()], ids=["continuous", "discrete"])
def test_it_learns_from_what_it_plans(name, index, family):
    if name in CONTINUOUS and isinstance(family, TwoEnds):
        with pytest.raises(AgentError, match="takes flat Box"):
            build(name, index, family)
        return
    agent, learner = build(name, index, family)
    before = learner.weights()
    assert not same(before, updated(agent, learner, family, range(2)))


@pytest.mark.parametrize(("name", "index"), CASES)
def test_T5_a_checkpoint_goes_on_to_the_same_bits_and_acts_the_same(name, index, tmp_path):
    family = LineFamily()
    agent, learner = build(name, index, family)
    updated(agent, learner, family, range(2))
    path = checkpoints.save(tmp_path, 2, name, learner.state_dict())
    straight = updated(agent, learner, family, range(2, 4))

    again_agent, again = build(name, index, family, seed=99)
    again.load_state_dict(checkpoints.load(path, name)[1])
    resumed = updated(again_agent, again, family, range(2, 4))
    assert same(straight, resumed)
    rounds = agent.trial_rounds(1, 2 if name in SHARES_ROLLOUTS else 1)
    (shard,) = make_shards(some_tasks(2, family), rounds, [random_key(0, "evaluation", i) for i in range(2)], 2)
    for one, other in zip(
        run_trials(agent, family, straight, shard), run_trials(again_agent, family, resumed, shard), strict=True
    ):
        assert np.array_equal(one.action, other.action)


@pytest.mark.parametrize(("name", "index"), CASES)
def test_weights_are_a_copy_and_the_seed_decides_them(name, index):
    family = LineFamily()
    _, learner = build(name, index, family)
    weights = learner.weights()
    for value in weights.values():
        value.zero_()
    assert not same(weights, learner.weights())
    assert same(learner.weights(), build(name, index, family)[1].weights())
    assert not same(learner.weights(), build(name, index, family, seed=1)[1].weights())


@pytest.mark.parametrize(("name", "index"), CASES)
def test_weights_of_another_run_are_taken_and_those_of_another_policy_refused(name, index):
    family = LineFamily()
    _, learner = build(name, index, family)
    other = build(name, index, family, seed=1)[1].weights()
    learner.load_weights(other)
    assert same(learner.weights(), other)
    first = next(iter(other))
    for wrong in ({}, other | {first: other[first].double()}, other | {"more": other[first]}):
        with pytest.raises(AgentError, match="another policy"):
            learner.load_weights(wrong)
    assert same(learner.weights(), other)


def test_a_checkpoint_of_another_shape_or_outer_loop_is_refused():
    state = small_maml(hidden_sizes=(8,))[1].state_dict()
    with pytest.raises(AgentError, match="another policy"):
        small_maml(hidden_sizes=(16,))[1].load_state_dict(state)
    clip = small_maml(outer={"name": "clip"})[1]
    with pytest.raises(AgentError, match="another outer loop"):
        clip.load_state_dict(state)
    broken = copy.deepcopy(clip.state_dict())
    broken["updates"] = "many"
    with pytest.raises(AgentError):
        clip.load_state_dict(broken)


def test_a_loss_that_is_not_finite_leaves_the_parameters_as_they_were():
    agent, learner = small_maml()
    before = learner.weights()
    batch = sample(agent, learner, some_tasks(4))
    batch[1].log_prob[...] = -1e30
    with pytest.raises(AgentError, match="not finite"):
        learner.update(batch)
    assert same(before, learner.weights())


def test_an_update_that_explodes_on_the_way_is_taken_back():
    agent, learner = small_maml(outer={"name": "clip", "learning_rate": 1e30}, activation="relu")
    before = learner.weights()
    with pytest.raises(AgentError, match=r"meta-update 0.*not finite"):
        learner.update(sample(agent, learner, some_tasks(4)))
    assert same(before, learner.weights())


@pytest.mark.parametrize("name", INFERS)
def test_a_checkpoint_of_another_size_is_refused(name):
    family = LineFamily()
    _, learner = build(name, 0, family)
    state = build(name, 1, family)[1].state_dict()
    before = learner.weights()
    with pytest.raises(AgentError):
        learner.load_state_dict(state)
    assert same(before, learner.weights())
