"""The trial loop and the shard: pure functions, whoever runs them."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import torch

from agents.contract import Round, concatenate
from envs.locomotion.faults import HalfCheetahGravity
from envs.navigation.point_nav import PointNav
from envs.task import Uniform
from tests.helpers import LineFamily, sample, small_maml, some_tasks
from trainers.errors import SamplingError
from trainers.recipes.registry import interface_of
from trainers.sampling.random_streams import random_key
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials

ROUNDS = (Round("support", 3), Round("query", 2))


def equal(one, other) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for a, b in zip(one, other, strict=True)
        for name in a.arrays()
    )


def test_shapes_and_padding():
    family = LineFamily()
    agent, learner = small_maml(family=family, initial_std=2.0)
    tasks = some_tasks(5, family)
    keys = [random_key(0, "training", 0, position) for position in range(10)]
    (shard,) = make_shards(tasks, ROUNDS, keys, 10)
    support, query = run_trials(agent, family, learner.weights(), shard)
    assert support.observation.shape == (5, 2, 3, 12, 1)
    assert query.reward.shape == (5, 2, 2, 12)
    assert support.task_id.tolist() == [[index] * 2 for index in range(5)]
    lengths = support.valid.sum(-1)
    assert lengths.min() < 12, "some episodes must end early, or this test says nothing"
    assert np.array_equal(support.valid, np.arange(12) < lengths[..., None]), "padding only at the end"
    ends = (support.terminated | support.truncated) & support.valid
    assert (ends.sum(-1) == 1).all()
    assert np.array_equal(ends.argmax(-1), lengths - 1)
    for name in ("reward", "log_prob", "terminated", "truncated"):
        assert not getattr(support, name)[~support.valid].any()
    inner = support.valid[..., 1:]
    assert np.array_equal(support.next_observation[..., :-1, :][inner], support.observation[..., 1:, :][inner])


def test_several_episodes_in_a_row():
    family = LineFamily()
    agent, learner = small_maml(family=family)
    tasks = some_tasks(3, family)
    (batch,) = sample(agent, learner, tasks, rounds=(Round("only", 2, episodes=3),), family=family)
    assert batch.reward.shape[-1] == 36
    ends = (batch.terminated | batch.truncated) & batch.valid
    assert (ends.sum(-1) == 3).all()
    assert np.array_equal(batch.valid, np.arange(36) < batch.valid.sum(-1)[..., None])
    counted = np.concatenate([np.zeros_like(ends[..., :1]), np.cumsum(ends, -1)[..., :-1]], -1)
    assert np.array_equal(batch.episode[batch.valid], counted[batch.valid])
    starts = batch.observation[..., 0][batch.valid & (batch.episode > 0) & np.roll(ends, 1, -1)]
    assert (np.abs(starts) <= 0.1).all(), "an episode starts where the environment's reset says"
    assert len(np.unique(starts)) > 3, "and each at a place of its own"


def test_the_recorded_log_probability_is_the_acting_policys():
    agent, learner = small_maml()
    batch = sample(agent, learner, some_tasks(3), rounds=ROUNDS[:1])[0]
    features = agent.policy.encode(batch.observation[:, 0].reshape(3, -1, 2))
    weights = learner.weights()
    distribution = agent.policy.distribution(weights, features)
    expected = agent.policy.log_prob(distribution, torch.as_tensor(batch.action[:, 0].reshape(3, -1, 2)))
    valid = batch.valid[:, 0].reshape(3, -1)
    np.testing.assert_allclose(batch.log_prob[:, 0].reshape(3, -1)[valid], expected.numpy()[valid], rtol=1e-4)


def test_a_shard_is_a_pure_function_of_its_arguments():
    agent, learner = small_maml()
    first = sample(agent, learner, some_tasks(4))
    sample(agent, learner, some_tasks(6, seed=3))  # whatever ran before
    torch.manual_seed(77)
    np.random.seed(77)  # noqa: NPY002
    assert equal(first, sample(pickle.loads(pickle.dumps(agent)), learner, some_tasks(4)))


def test_shards_of_any_size_hold_the_same_trials():
    agent, learner = small_maml()
    whole = sample(agent, learner, some_tasks(6), tasks_per_shard=6)
    cut = sample(agent, learner, some_tasks(6), tasks_per_shard=4)
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_allclose(a.action, b.action, atol=1e-4)


def test_another_seed_iteration_or_position_is_another_trial():
    agent, learner = small_maml()
    task = some_tasks(1)[0]
    twins = [task, dataclasses.replace(task)]
    batch = sample(agent, learner, twins, rounds=ROUNDS[:1])[0]
    assert not np.array_equal(batch.action[0], batch.action[1])
    for changed in ({"seed": 1}, {"iteration": 1}):
        other = sample(agent, learner, twins, rounds=ROUNDS[:1], **changed)[0]
        assert not np.array_equal(batch.action, other.action)


def test_a_probe_is_forgotten_and_changes_nothing():
    agent, learner = small_maml()
    probe = Round("probe", 2, deterministic=True, probe=True)
    tasks = some_tasks(3)
    with_probe = sample(agent, learner, tasks, rounds=(probe, Round("support", 3), Round("query", 2)))
    again = sample(agent, learner, tasks, rounds=(probe, Round("support", 3), probe, Round("query", 2)))
    assert np.array_equal(with_probe[1].action, again[1].action)
    assert np.array_equal(with_probe[0].action, again[0].action)
    assert np.array_equal(with_probe[0].action[:, :, 0], with_probe[0].action[:, :, 1]), "no noise in a probe"
    before, after = again[0].action[:, 0, 0, 0], again[2].action[:, 0, 0, 0]
    assert not np.array_equal(before, after), "the second probe sees the adapted policy"


def test_T4_no_task_inherits_anothers_adaptation():
    """Permuting the tasks, keys with them, permutes the results bit for bit."""
    agent, learner = small_maml()
    tasks = some_tasks(6)
    keys = [random_key(0, "training", 0, position) for position in range(6)]
    order = np.array([3, 1, 5, 0, 2, 4])
    (straight,) = make_shards(tasks, ROUNDS, keys, 6)
    (permuted,) = make_shards([tasks[i] for i in order], ROUNDS, [keys[i] for i in order], 6)
    first = run_trials(agent, PointNav(), learner.weights(), straight)
    second = run_trials(agent, PointNav(), learner.weights(), permuted)
    for a, b in zip(first, second, strict=True):
        assert all(np.array_equal(getattr(a, name)[order], getattr(b, name)) for name in a.arrays())


def test_adaptation_changes_the_policy_and_step_size_zero_does_not():
    for rate, moves in ((0.5, True), (0.0, False)):
        agent, learner = small_maml(inner_learning_rates=(rate,))
        tasks = some_tasks(3)
        keys = [random_key(0, "training", 0, position) for position in range(3)]
        weights = learner.weights()
        (shard,) = make_shards(tasks, ROUNDS[:1], keys, 3)
        (support,) = run_trials(agent, PointNav(), weights, shard)
        flat = support.map(lambda array: array.reshape(3, *array.shape[2:]))
        adapted = agent.adapt(weights, agent.begin_trial(weights, 3), flat)
        shift = agent.inspect(weights, adapted)["parameter_shift"]
        assert (np.abs(shift).max(1) > 0).all() == moves


@pytest.mark.parametrize("broken", ["reward", "observation"])
def test_what_is_not_finite_is_refused_and_the_task_named(broken):
    class Broken(LineFamily):
        def make_env(self, task):
            env = super().make_env(task)
            step = env.step

            def bad(action):
                observation, reward, *rest = step(action)
                if broken == "reward":
                    return observation, float("nan"), *rest
                return observation * np.float32("inf"), reward, *rest

            env.step = bad
            return env

    family = Broken()
    agent, learner = small_maml(family=family)
    with pytest.raises(SamplingError, match=rf"line-v1.*{broken}.*step 0 of rollout 0.*target_m"):
        sample(agent, learner, some_tasks(2, family), family=family)


def test_concatenate_joins_shards_in_order():
    agent, learner = small_maml()
    tasks = some_tasks(4)
    keys = [random_key(0, "training", 0, position) for position in range(4)]
    parts = [run_trials(agent, PointNav(), learner.weights(), s) for s in make_shards(tasks, ROUNDS, keys, 2)]
    joined = concatenate(parts)
    assert np.array_equal(joined[1].reward[2:], parts[1][1].reward)
    assert joined[0].label == "support"


def test_interface_holds_no_task():
    assert "goal" not in repr(interface_of(PointNav()))


def test_an_unstable_simulation_ends_its_episode_is_counted_and_feeds_nothing_odd():
    """One task's gravity throws its robot out of what floats can hold; its neighbours do not notice."""

    class Wild(HalfCheetahGravity):
        name = "wild-v1"
        parameters = {"gravity_m_per_s2": Uniform(5.0, 1e13)}
        episode_steps = 5

    family = Wild()
    tasks = [family.task(gravity_m_per_s2=value) for value in (9.81, 1e13, 9.81)]
    agent, learner = small_maml(family=family)
    (support, query) = sample(agent, learner, tasks, rounds=ROUNDS, family=family)
    assert not support.unstable[[0, 2]].any()
    assert support.unstable[1].any(-1).all(), "every rollout of the wild task"
    ended = support.valid[1].sum(-1)
    assert ended.max() < 5
    for one in (support, query):
        assert np.isfinite(one.observation).all()
        assert np.isfinite(one.reward).all()
        assert (one.reward[one.unstable] == 0).all(), "a step that was not computed is worth nothing"
        assert (one.unstable <= one.terminated).all()
    calm = sample(agent, learner, [tasks[0]], rounds=ROUNDS, family=family)
    assert np.array_equal(support.observation[0], calm[0].observation[0])
