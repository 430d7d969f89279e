import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from envs.navigation.point_nav import PointNav
from envs.navigation.point_robot import PointRobot, SparsePointRobot
from tests.helpers import LineFamily
from tests.oracles.point import episode

FAMILIES = [PointNav(), PointRobot(), SparsePointRobot(), LineFamily()]


def rollout(family, tasks, rows, seeds, actions):
    env = family.make_vector_env(tasks, rows)
    first, _ = env.reset(seed=seeds)
    steps = [env.step(action)[:4] for action in actions]
    return first, [np.array(parts) for parts in zip(*steps, strict=True)]


def test_point_nav_is_its_plain_python_twin():
    family = PointNav()
    tasks = family.sample(8, np.random.default_rng(0), "train")
    rng = np.random.default_rng(1)
    actions = rng.normal(size=(100, 8, 2))
    for row, task in enumerate(tasks[:4]):  # half of the rows walk home, so that some episodes end early
        actions[:, row] = 0.0
        actions[:5, row] = np.array(task["goal_m"]) / 0.1 / 5
    _, (observation, reward, terminated, truncated) = rollout(family, tasks, 1, list(range(8)), actions)
    for row, task in enumerate(tasks):
        positions, rewards, arrived = episode(task["goal_m"], actions[:, row].tolist(), 100)
        length = len(rewards)
        np.testing.assert_allclose(observation[:length, row], positions, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(reward[:length, row], rewards, rtol=1e-9)
        assert terminated[length - 1, row] == arrived
        assert truncated[length - 1, row] == (not arrived)
        assert not (terminated | truncated)[: length - 1, row].any()
        assert arrived == (row < 4)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_row_does_not_depend_on_its_neighbours(family):
    tasks = family.sample(3, np.random.default_rng(0), "train")
    actions = np.random.default_rng(1).uniform(-1, 1, (family.episode_steps, 6, *family.action_space.shape))
    seeds = [11, 12, 13, 14, 15, 16]
    first, together = rollout(family, tasks, 2, seeds, actions)
    for task in range(3):
        alone_first, alone = rollout(family, [tasks[task]], 1, [seeds[2 * task]], actions[:, [2 * task]])
        assert np.array_equal(first[2 * task], alone_first[0])
        for one, other in zip(together, alone, strict=True):
            assert np.array_equal(one[:, 2 * task], other[:, 0])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_finished_rows_stand_still_until_reset_by_mask(family):
    tasks = family.sample(2, np.random.default_rng(0), "train")
    env = family.make_vector_env(tasks, 2)
    assert env.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    env.reset(seed=[1, 2, 3, 4])
    action = np.zeros((4, *family.action_space.shape))
    for _ in range(family.episode_steps):
        observation, reward, terminated, truncated, _ = env.step(action)
    assert (terminated ^ truncated).all()
    again, reward, *flags, _ = env.step(np.ones_like(action))
    assert np.array_equal(again, observation)
    assert np.array_equal(reward, np.zeros(4))
    assert np.array_equal(flags, [terminated, truncated])
    mask = np.array([True, False, False, True])
    fresh, _ = env.reset(options={"reset_mask": mask})
    assert np.array_equal(fresh[~mask], observation[~mask])
    _, reward, terminated, truncated, _ = env.step(action)
    assert not (terminated | truncated)[mask].any()
    assert (terminated | truncated)[~mask].all()


def test_an_environments_own_time_limit_is_a_truncation():
    class Short(LineFamily):
        name = "short_line-v1"

        def make_env(self, task):
            from gymnasium.wrappers import TimeLimit

            return TimeLimit(super().make_env(task), 5)

    family = Short()
    env = family.make_vector_env([family.task(target_m=3.0)], 1)
    env.reset(seed=[0])
    flags = [env.step(np.zeros((1, 1)))[2:4] for _ in range(6)]
    assert [bool(truncated[0]) for _, truncated in flags] == [False] * 4 + [True] * 2
    assert not any(terminated[0] for terminated, _ in flags)


def test_the_final_observation_is_the_true_one():
    family = PointNav()
    env = family.make_vector_env([family.task(goal_m=(0.1, 0.0))], 1)
    env.reset(seed=[0])
    observation, reward, terminated, *_ = env.step(np.array([[1.0, 0.0]]))
    assert terminated[0]
    np.testing.assert_allclose(observation[0], [0.1, 0.0], atol=1e-7)
    assert reward[0] == pytest.approx(0.0, abs=1e-12)


def test_single_environments_get_the_episode_and_give_failures_and_terms():
    """A family with `make_env` alone can have schedules, unstable simulations and named rewards."""

    class Scheduled(LineFamily):
        name = "scheduled-v1"
        can_switch = True
        reward_terms = ("near", "far")
        heard: list = []

        def make_env(self, task):
            env = super().make_env(task)
            reset, step, heard = env.reset, env.step, self.heard

            def listening(*, seed=None, options=None):
                heard.append(options)
                return reset(seed=seed)

            def telling(action):
                return *step(action)[:4], {"unstable": True, "reward_terms": np.array([1.0, 2.0]), "other": 3}

            env.reset, env.step = listening, telling
            return env

    family = Scheduled()
    env = family.make_vector_env([family.task(target_m=1.0)], 2)
    env.reset(seed=[0, 1], options={"episode": 3})
    *_, info = env.step(np.zeros((2, 1)))
    assert set(info) == {"unstable", "reward_terms"}
    assert info["unstable"].tolist() == [True, True]
    assert info["reward_terms"].tolist() == [[1.0, 2.0], [1.0, 2.0]]
    env.reset(options={"reset_mask": np.array([False, True])})
    assert family.heard == [{"episode": 3}, {"episode": 3}, {"episode": 4}]
