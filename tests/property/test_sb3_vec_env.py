"""Stable-Baselines3 sees our environments' own episodes: each first and last step as the environment gives it.

Each recorded episode is played again, action by action, in the family's single environment by itself, and compared bit
for bit. In all tests rows end at different times.
"""

from __future__ import annotations

import warnings
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecCheckNan

from envs.navigation.point_nav import PointNav
from tests.helpers import LineFamily, LineWalk
from tests.property.test_rllib_env import (
    FAMILIES,
    LINE_STEP,
    ROWS,
    SEED,
    CartPole,
    Episode,
    difference,
    lengths,
    replayed,
    some_actions,
    tasks_of,
)  # fmt: skip
from trainers.baselines.metering import Meter
from trainers.baselines.rllib_env import row_seeds
from trainers.baselines.sb3_vec_env import SB3VecEnv


def played(env, actions):
    """(Finished episodes of each row, (episode, info) of all), as a learner of Stable-Baselines3 sees them."""
    finished, ended = [[] for _ in range(ROWS)], []
    first = env.reset()
    running = [([first[row]], [], []) for row in range(ROWS)]
    for action in actions:
        observation, reward, done, info = env.step(action)
        for row, parts in enumerate(running):
            assert bool(info[row]) == done[row]
            last = info[row]["terminal_observation"] if done[row] else observation[row]
            for part, value in zip(parts, (last, action[row], reward[row]), strict=True):
                part.append(value)
            if done[row]:
                cut = info[row]["TimeLimit.truncated"]
                finished[row].append(Episode(*map(np.array, parts), (not cut, cut)))
                ended.append((finished[row][-1], info[row]))
                running[row] = ([observation[row]], [], [])
    return finished, ended


def differences(family, tasks, rows_episodes):
    """Of each row: the difference between its episodes and their replay; rewards have 32 bits, as everywhere in SB3."""
    envs = [gymnasium.wrappers.TimeLimit(family.make_env(task), family.episode_steps) for task in tasks]
    twins = map(replayed, envs, row_seeds(SEED, ROWS), rows_episodes)
    return [
        difference(episodes, [twin._replace(rewards=twin.rewards.astype(np.float32)) for twin in twins_of_row])
        for episodes, twins_of_row in zip(rows_episodes, twins, strict=True)
    ]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_its_episodes_are_the_environments_own(family):
    tasks = tasks_of(family)
    episodes, ended = played(SB3VecEnv(family, tasks, seed=SEED), some_actions(family, 330))
    assert all(len(of_row) >= 3 for of_row in episodes)
    assert len(lengths(episodes)) > 1
    assert differences(family, tasks, episodes) == [None] * ROWS
    for episode, info in ended:
        assert info["episode"]["l"] == len(episode.rewards)
        assert info["episode"]["r"] == pytest.approx(episode.rewards.sum(dtype=float), rel=1e-6)
        assert ("is_success" in info) == family.has_success
    times = [info["episode"]["t"] for _, info in ended]
    assert times == sorted(times)


class LosesTheLast(SB3VecEnv):
    """The next episode's first observation stands for the last one."""

    def step_wait(self):
        observation, reward, done, infos = super().step_wait()
        for row in np.flatnonzero(done):
            infos[row]["terminal_observation"] = observation[row]
        return observation, reward, done, infos


class LosesTheFirst(SB3VecEnv):
    """The last observation stands for the next episode's first one."""

    def step_wait(self):
        observation, reward, done, infos = super().step_wait()
        for row in np.flatnonzero(done):
            observation[row] = infos[row]["terminal_observation"]
        return observation, reward, done, infos


class CallsItCut(SB3VecEnv):
    """Every end is a time limit."""

    def step_wait(self):
        observation, reward, done, infos = super().step_wait()
        for row in np.flatnonzero(done):
            infos[row]["TimeLimit.truncated"] = True
        return observation, reward, done, infos


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (LosesTheLast, "episode 0: observation "),
        (LosesTheFirst, "episode 1: observation 0 "),
        (CallsItCut, "episode 0: ends with (False, True)"),
    ],
)
def test_a_planted_fault_is_found(fault, says):
    family = CartPole()
    episodes, _ = played(fault(family, tasks_of(family), seed=SEED), some_actions(family, 330))
    found = differences(family, tasks_of(family), episodes)
    assert all(str(one).startswith(says) for one in found), found


def test_a_reset_comes_with_the_last_step():
    """Row 0 reaches its goal with its first step, row 1 with its second: worked out by hand."""
    family = PointNav()
    env = SB3VecEnv(family, [family.task(goal_m=(0.1, 0.0)), family.task(goal_m=(0.2, 0.0))])
    env.reset()
    right = np.array([[1.0, 0.0], [5.0, 0.0]])  # clipped to 1: 0.1 m
    expected = [
        # x of both rows, done, true last x of the rows that are
        ([0.0, 0.1], [True, False], [0.1]),
        ([0.0, 0.0], [True, True], [0.1, 0.2]),
        ([0.0, 0.1], [True, False], [0.1]),
    ]
    for x, ends, last in expected:
        observation, reward, done, infos = env.step(right)
        np.testing.assert_allclose(observation[:, 0], x, atol=1e-6)
        assert done.tolist() == ends
        of_ended = [infos[row] for row in np.flatnonzero(done)]
        np.testing.assert_allclose([info["terminal_observation"][0] for info in of_ended], last, atol=1e-6)
        assert all(info["is_success"] and not info["TimeLimit.truncated"] for info in of_ended)
        assert reward.dtype == np.float32
        observation[:] = 9.0  # they are copies


def test_a_seed_is_of_one_reset_alone():
    env, twin = (SB3VecEnv(CartPole(), tasks_of(CartPole()), seed=SEED) for _ in range(2))
    first, second = env.reset(), env.reset()
    assert len(np.unique(first, axis=0)) == ROWS
    assert not np.array_equal(first, second)
    assert np.array_equal(twin.reset(), first)
    assert np.array_equal(twin.reset(), second)
    assert env.seed(SEED) == row_seeds(SEED, ROWS)
    assert np.array_equal(env.reset(), first)


def test_tasks_have_their_rows_task_by_task():
    family = PointNav()
    env = SB3VecEnv(family, family.sample(2, np.random.default_rng(0), "train"), rows=3)
    assert env.num_envs == 6
    assert [task.index for task in env.tasks] == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_step_is_charged_once(family):
    meter = Meter(10**6)
    env = SB3VecEnv(family, tasks_of(family), seed=SEED, meter=meter)
    rows, ended = played(env, some_actions(family, 130))
    assert meter.spent == 130 * ROWS
    assert [one["length"] for one in meter.episodes] == [len(episode.rewards) for episode, _ in ended]
    assert [one["return"] for one in meter.episodes] == [info["episode"]["r"] for _, info in ended]
    unfinished = meter.spent - sum(one["length"] for one in meter.episodes)
    assert 0 <= unfinished < ROWS * family.episode_steps
    for row, episodes in enumerate(rows):  # all rows are charged while one plays
        before = np.cumsum([0, *(len(episode.rewards) for episode in episodes)]) * ROWS
        own = [one for one in meter.episodes if one["rollout"] == row]
        assert [one["env_steps_before"] for one in own] == before[:-1].tolist()
        assert [one["env_steps_after"] for one in own] == before[1:].tolist()
    assert {one["charge"] for one in meter.episodes} == {"online"}


def test_environments_get_actions_within_their_bounds(monkeypatch):
    heard = []
    monkeypatch.setattr(LineWalk, "step", lambda self, action: (heard.append(action), LINE_STEP(self, action))[1])
    env = SB3VecEnv(LineFamily(), tasks_of(LineFamily())[:3])
    env.reset()
    env.step(np.array([[-7.0], [0.5], [7.0]]))
    assert np.concatenate(heard).tolist() == [-1.0, 0.5, 1.0]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_evaluate_policy_takes_it_as_it_is(family):
    meter = Meter(10**6)
    env = VecCheckNan(SB3VecEnv(family, tasks_of(family), seed=SEED, meter=meter), raise_exception=True)
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=8, n_epochs=1, seed=SEED, device="cpu")
    model.learn(8 * ROWS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it warns where episodes are not reported by the environment itself
        first = len(meter.episodes)
        returns, steps = evaluate_policy(model, env, n_eval_episodes=2 * ROWS, return_episode_rewards=True)
    # It counts episodes row by row, so of each row the first two that began with its reset.
    own = [[one for one in meter.episodes[first:] if one["rollout"] == row][:2] for row in range(ROWS)]
    assert sorted(steps) == sorted(one["length"] for of_row in own for one in of_row)
    assert sorted(returns) == sorted(one["return"] for of_row in own for one in of_row)


@pytest.mark.parametrize("family", [LineFamily(), CartPole()], ids=lambda family: family.name)
def test_a_learner_ends_with_the_same_weights_as_on_single_environments(family):
    """Bit for bit, where Stable-Baselines3 steps the family's single environments one by one."""
    tasks = tasks_of(family)
    singles = DummyVecEnv(
        [partial(gymnasium.wrappers.TimeLimit, family.make_env(task), family.episode_steps) for task in tasks]
    )
    models = [
        PPO("MlpPolicy", env, n_steps=64, batch_size=64, n_epochs=2, seed=SEED, device="cpu")
        for env in (singles, SB3VecEnv(family, tasks))
    ]
    singles._seeds = row_seeds(SEED, ROWS)
    weights = []
    for model in models:
        set_random_seed(SEED)
        model.learn(4 * 64 * ROWS)
        weights.append(model.get_parameters()["policy"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_rows_are_no_environments_of_their_own():
    env = SB3VecEnv(PointNav(), tasks_of(PointNav()))
    assert env.get_attr("render_mode") == [None] * ROWS
    assert env.has_attr("tasks")
    assert env.env_is_wrapped(Monitor) == [True] * ROWS
    assert env.env_is_wrapped(gymnasium.wrappers.TimeLimit, indices=[0]) == [False]
    with pytest.raises(AttributeError, match="goal cannot be set in one of them"):
        env.set_attr("goal", 1)
    with pytest.raises(AttributeError, match="render cannot be called in one of them"):
        env.env_method("render")
    env.close()
