"""RLlib records our environments' own episodes: each first and last step as the environment gives it, none left out.

Each recorded episode is played again, action by action, in the family's single environment by itself, and compared bit
for bit. In all tests rows end at different times.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from envs.errors import TaskError
from envs.navigation.point_nav import PointNav
from envs.task import Choice, TaskFamily
from tests.helpers import LineFamily, LineWalk
from trainers.baselines.rllib_env import NextStepVectorEnv, make_rllib_env, register, row_seeds
from trainers.errors import RecipeError, UsageError

SEED, ROWS = 7, 4
NOISE = "ignore:.*Overriding environment rllib-single-agent-env-v0"  # RLlib's one name for every environment


class CartPole(TaskFamily):
    """Gymnasium's own, in which nothing varies."""

    name = "cart_pole-v1"
    parameters = {"unused": Choice((0,))}
    kind = "finite"
    episode_steps = 500

    def make_env(self, task):
        return gymnasium.make("CartPole-v1")


LINE_STEP = LineWalk.step
FAMILIES = [PointNav(), LineFamily(), CartPole()]


class Episode(NamedTuple):
    observations: np.ndarray  # [L + 1, ...]
    actions: np.ndarray  # [L, ...]
    rewards: np.ndarray  # [L]
    flags: tuple[bool, bool]  # terminated, truncated


def tasks_of(family):
    if isinstance(family, PointNav):  # goals on the way of `some_actions`, beside one out of its reach
        goals = [(0.1, 0.0), (0.0, 0.2), (0.1, 0.0), (-0.4, -0.4)]
        return [family.task(goal_m=goal) for goal in goals]
    return family.sample(ROWS, np.random.default_rng(3), "train")


def some_actions(family, steps):
    """[steps, ROWS, ...] random actions; those of a Box are often beyond its bounds."""
    rng = np.random.default_rng(4)
    if isinstance(family.action_space, gymnasium.spaces.Discrete):
        return rng.integers(family.action_space.n, size=(steps, ROWS))
    actions = rng.normal(size=(steps, ROWS, *family.action_space.shape))
    if isinstance(family, PointNav):  # rows 0 and 1 reach their goals in one step and in two
        actions[:, 0], actions[:, 1] = (1.3, 0.0), (0.0, 1.3)
    return actions


def played(env, actions):
    """Finished episodes of each row, recorded as RLlib does: what follows an end is a first observation."""
    finished, began = [[] for _ in range(ROWS)], [True] * ROWS
    first, _ = env.reset(seed=SEED)
    running = [([first[row]], [], []) for row in range(ROWS)]
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        for row, parts in enumerate(running):
            if not began[row]:
                running[row], began[row] = ([observation[row]], [], []), True
                continue
            for part, value in zip(parts, (observation[row], action[row], reward[row]), strict=True):
                part.append(value)
            if terminated[row] or truncated[row]:
                finished[row].append(Episode(*map(np.array, parts), (bool(terminated[row]), bool(truncated[row]))))
                began[row] = False
    return finished


def replayed(env, seed, episodes):
    """The outcome of the same actions in a single environment by itself, episode after episode."""
    twins = []
    for number, episode in enumerate(episodes):
        observation, _ = env.reset(seed=seed if number == 0 else None)
        observations, rewards, flags = [observation], [], (False, False)
        for action in episode.actions:
            if isinstance(env.action_space, gymnasium.spaces.Box):
                action = np.clip(action, env.action_space.low, env.action_space.high)
            observation, reward, terminated, truncated, _ = env.step(action)
            flags = (bool(terminated), bool(truncated and not terminated))
            observations.append(observation)
            rewards.append(reward)
            if any(flags):
                break
        twins.append(Episode(np.array(observations), episode.actions, np.array(rewards), flags))
    return twins


def difference(episodes, twins):
    """Where recorded episodes first differ from their replay; None if nowhere."""
    for number, (one, twin) in enumerate(zip(episodes, twins, strict=True)):
        for step, (mine, its) in enumerate(zip(one.observations, twin.observations, strict=False)):
            if not np.array_equal(mine, its):
                return f"episode {number}: observation {step} is {mine}, not {its}"
        if len(one.observations) != len(twin.observations):
            return f"episode {number}: {len(one.observations)} observations, not {len(twin.observations)}"
        if not np.array_equal(one.rewards, twin.rewards):
            return f"episode {number}: rewards {one.rewards}, not {twin.rewards}"
        if one.flags != twin.flags:
            return f"episode {number}: ends with {one.flags}, not {twin.flags}"
    return None


def differences(family, tasks, rows_episodes):
    """Of each row: the difference between its episodes and their replay in `make_env` of its task."""
    seeds = row_seeds(SEED, ROWS)
    envs = [gymnasium.wrappers.TimeLimit(family.make_env(task), family.episode_steps) for task in tasks]
    return [
        difference(episodes, replayed(env, seed, episodes))
        for env, seed, episodes in zip(envs, seeds, rows_episodes, strict=True)
    ]


def lengths(rows_episodes):
    return {tuple(len(episode.rewards) for episode in episodes) for episodes in rows_episodes}


# -- the adapter by itself


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_its_episodes_are_the_environments_own(family):
    tasks = tasks_of(family)
    episodes = played(NextStepVectorEnv(family, tasks), some_actions(family, 330))
    assert all(len(of_row) >= 3 for of_row in episodes)
    assert len(lengths(episodes)) > 1
    assert differences(family, tasks, episodes) == [None] * ROWS


class LosesTheFirst(NextStepVectorEnv):
    """As SAME_STEP: the reset comes in the step that ends; the next transition would be taken for the reset."""

    def step(self, actions):
        observation, *others = super().step(actions)
        if self._ended.any():
            fresh, _ = self.batched.reset(options={"reset_mask": self._ended})
            observation = self.last_observation(observation, fresh)
            self._ended = np.zeros(self.num_envs, bool)
        return observation, *others

    def last_observation(self, observation, fresh):
        return observation


class LosesFirstAndLast(LosesTheFirst):
    """SAME_STEP: the next episode's first observation stands for the last one too."""

    def last_observation(self, observation, fresh):
        return np.where(self._ended[:, None], fresh, observation)


class LosesTheReward(NextStepVectorEnv):
    """The last step of an episode is there, without its reward."""

    def step(self, actions):
        observation, reward, *others = super().step(actions)
        return observation, np.where(self._ended, 0.0, reward), *others


FAULTS = [
    (LosesTheFirst, "episode 1: observation 0 "),
    (LosesFirstAndLast, "episode 0: observation "),
    (LosesTheReward, "episode 0: rewards "),
]


@pytest.mark.parametrize(("fault", "says"), FAULTS)
def test_a_planted_fault_is_found(fault, says):
    family = CartPole()
    found = differences(family, tasks_of(family), played(fault(family, tasks_of(family)), some_actions(family, 330)))
    assert all(str(one).startswith(says) for one in found), found


def test_the_step_after_an_end_is_a_reset():
    """Row 0 reaches its goal with its first step, row 1 with its second: worked out by hand."""
    family = PointNav()
    env = NextStepVectorEnv(family, [family.task(goal_m=(0.1, 0.0)), family.task(goal_m=(0.2, 0.0))])
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    env.reset(seed=0)
    right = np.array([[1.0, 0.0], [5.0, 0.0]])  # clipped to 1: 0.1 m
    expected = [
        # x of both rows, terminated, rows that moved
        ([0.1, 0.1], [True, False], [True, True]),
        ([0.0, 0.2], [False, True], [False, True]),
        ([0.1, 0.0], [True, False], [True, False]),
        ([0.0, 0.1], [False, False], [False, True]),
    ]
    for x, ends, moved in expected:
        observation, reward, terminated, truncated, info = env.step(right)
        np.testing.assert_allclose(observation[:, 0], x, atol=1e-6)
        assert terminated.tolist() == ends
        assert not truncated.any()
        assert info["_success"].tolist() == moved
        assert (reward[~np.array(moved)] == 0.0).all()
        observation[:], terminated[:] = 9.0, True  # they are copies


def test_rows_have_seeds_of_their_own():
    env = NextStepVectorEnv(CartPole(), tasks_of(CartPole()))
    first, _ = env.reset(seed=SEED)
    assert len(np.unique(first, axis=0)) == ROWS
    assert np.array_equal(env.reset(seed=SEED)[0], first)
    assert not set(row_seeds(1, 100)) & set(row_seeds(2, 100))


def test_environments_get_actions_within_their_bounds(monkeypatch):
    heard = []
    monkeypatch.setattr(LineWalk, "step", lambda self, action: (heard.append(action), LINE_STEP(self, action))[1])
    rows = make_rllib_env("tests.helpers:LineFamily", {"num_envs": 3})
    rows.reset(seed=0)
    rows.step([[-7.0], [0.5], [7.0]])
    single = make_rllib_env("tests.helpers:LineFamily", {})
    single.reset(seed=0)
    single.step(np.array([7.0]))
    assert np.concatenate(heard).tolist() == [-1.0, 0.5, 1.0, 1.0]


# -- by name


def test_an_env_config_names_the_tasks_or_the_seed_of_their_draw():
    drawn = make_rllib_env("point_nav-v1", {"num_envs": 3, "seed": 1})
    assert drawn.tasks == tuple(PointNav().sample(3, np.random.default_rng(1), "train"))
    goals = [{"goal_m": (0.1, 0.2)}, {"goal_m": (0.3, 0.4)}]
    turns = make_rllib_env("point_nav-v1", {"num_envs": 4, "tasks": goals})
    assert [task["goal_m"] for task in turns.tasks] == [(0.1, 0.2), (0.3, 0.4)] * 2
    single = make_rllib_env("point_nav-v1", {"tasks": goals})
    assert isinstance(single, gymnasium.Env)
    single.reset(seed=0)
    np.testing.assert_allclose(single.step([7.0, 0.0])[0], [0.1, 0.0], atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"num_envs": 3, "tasks": [{"goal_m": (0, 0)}] * 2}, UsageError, "2 tasks cannot be shared evenly"),
        ({"num_envs": 3, "tasks": []}, UsageError, "0 tasks"),
        ({"num_envs": 3, "task": []}, UsageError, "did you mean tasks"),
        ({"num_envs": 1, "tasks": [{"goal_m": (9, 0)}]}, TaskError, "outside its space"),
    ],
)
def test_a_wrong_env_config_is_refused(settings, error, says):
    with pytest.raises(error, match=says):
        make_rllib_env("point_nav-v1", settings)


def test_an_unknown_family_is_refused_when_it_is_registered():
    with pytest.raises(RecipeError, match="point_nav-v1"):
        register("point_nav-v7")


# -- what RLlib records of it


def recorded(env_name, env_config, iterations):
    """Finished episodes of each row, from all that PPO's env runner sampled in some training iterations."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.callbacks.callbacks import RLlibCallback

    places, chunks = {}, defaultdict(list)

    class Recorder(RLlibCallback):
        def on_episode_created(self, *, episode, env_index, **_):
            places[episode.id_] = env_index

        def on_sample_end(self, *, samples, **_):
            for one in samples:  # copied, for the learner lengthens and renames them
                flags = bool(one.is_terminated), bool(one.is_truncated)
                arrays = map(np.array, (one.get_observations(), one.get_actions(), one.get_rewards()))
                chunks[one.id_].append((one.t_started, Episode(*arrays, flags)))

    config = (
        PPOConfig()
        .environment(env_name, env_config=env_config, normalize_actions=False, clip_actions=False)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=ROWS, gym_env_vectorize_mode="vector_entry_point")
        .learners(num_learners=0)
        .training(train_batch_size=300, minibatch_size=150, num_epochs=1)
        .callbacks(Recorder)
        .debugging(seed=SEED)
    )
    algorithm = config.build_algo()
    sampled = sum(algorithm.train()["env_runners"]["num_env_steps_sampled"] for _ in range(iterations))
    algorithm.stop()
    assert sampled == sum(len(chunk.rewards) for parts in chunks.values() for _, chunk in parts)
    rows = [[] for _ in range(ROWS)]
    for name, parts in chunks.items():  # in order of their creation
        rows[places[name]].append(joined(parts))
    return [[episode for episode in episodes if any(episode.flags)] for episodes in rows]


def joined(parts):
    """One episode of the chunks that RLlib cut it into; each begins with the last observation of the one before."""
    chunks = [chunk for _, chunk in parts]
    for (started, before), (goes_on, after) in pairwise(parts):
        assert goes_on == started + len(before.rewards)
        assert np.array_equal(before.observations[-1], after.observations[0])
    observations = [chunks[0].observations[:1], *(chunk.observations[1:] for chunk in chunks)]
    actions, rewards = (np.concatenate([chunk[which] for chunk in chunks]) for which in (1, 2))
    return Episode(np.concatenate(observations), actions, rewards, chunks[-1].flags)


@pytest.mark.ray
@pytest.mark.filterwarnings(NOISE)
@pytest.mark.parametrize("name", ["tests.helpers:LineFamily", f"{__name__}:CartPole"])
def test_rllib_leaves_no_step_out(name, shared_ray):
    family = LineFamily() if name.endswith("LineFamily") else CartPole()
    episodes = recorded(register(name), {"seed": 5}, iterations=3)
    tasks = family.sample(ROWS, np.random.default_rng(5), "train")
    assert all(len(of_row) >= 3 for of_row in episodes)
    assert len(lengths(episodes)) > 1
    assert differences(family, tasks, episodes) == [None] * ROWS


@pytest.mark.ray
@pytest.mark.filterwarnings(NOISE)
@pytest.mark.parametrize(("fault", "says"), FAULTS)
def test_a_fault_planted_under_rllib_is_found(fault, says, shared_ray):
    from ray.tune.registry import register_env

    register_env("faulty", lambda _: fault(CartPole(), tasks_of(CartPole())))
    found = differences(CartPole(), tasks_of(CartPole()), recorded("faulty", {}, iterations=2))
    assert all(str(one).startswith(says) for one in found), found
