"""The oracle's wrapper: everything that a family declares reaches who asks the wrapper."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from envs.locomotion.faults import HalfCheetahWeakMotor
from envs.navigation.point_robot import SparsePointRobot
from envs.oracle import OracleWrapper
from envs.tabular.grid_navi import GridNavi
from envs.task import PlanView, Task, TaskFamily, TaskSet, Uniform
from tests.helpers import LineFamily

DECLARED = sorted(TaskFamily.__annotations__)
PUBLIC = sorted(name for name in vars(TaskFamily) if not name.startswith("_") and name not in DECLARED)


class Unlike(LineFamily):
    """A family in which no attribute and no method is the default."""

    name = "unlike-v1"
    parameters = {"target_m": Uniform(0.0, 1.0)}
    episode_steps = 7
    kind = "region"
    privileged_info = ("secret",)
    observed_parameters = ("target_m",)
    has_success = True
    reset_depends_on_task = True
    differs_at_once = False
    can_switch = True
    reward_terms = ("one", "two")
    digest = "0" * 64
    files = ("robot.yaml",)
    has_ood = True
    observation_space = gymnasium.spaces.Box(-1, 1, (2, 3), np.float32)
    action_space = gymnasium.spaces.Discrete(4)
    observed_entries = (1,)

    def reference_returns(self, task):
        return {"oracle": 5.0}

    def own_checks(self):
        return (("it checks", len),)

    def task_vector(self, task):
        return np.array([1.0, 2.0, 3.0])

    def plan_view(self, task):
        return PlanView((0, 1), (3.0, 4.0))

    def in_held_out_region(self, parameters):
        return "in the region"

    def draw(self, rng, split):
        return {"target_m": 0.25}

    def draw_schedule(self, rng, split, parameters):
        return ({"episode": 1, "step": 2, "parameters": {"target_m": 0.75}},)

    def sample(self, n, rng, split):
        return [Task.of(self.name, {"target_m": 0.5}, index) for index in range(n)]

    def task(self, **parameters):
        return Task.of(self.name, {"target_m": 0.125})

    def check_task(self, task):
        return "checked"

    def task_set(self, split, count, seed):
        return TaskSet(self.name, split, (), seed)


ARGUMENTS = {
    "reference_returns": (None,),
    "own_checks": (),
    "task_vector": (None,),
    "plan_view": (None,),
    "in_held_out_region": ({},),
    "draw": (None, "train"),
    "draw_schedule": (None, "train", {}),
    "sample": (2, None, "train"),
    "task": (),
    "check_task": (Task.of("unlike-v1", {}),),
    "task_set": ("train", 1, 2),
}
OWN = {"make_env", "make_vector_env", "observation_space"}  # here the task comes in


@pytest.mark.parametrize("name", DECLARED)
def test_every_declared_attribute_is_passed_on(name):
    assert getattr(Unlike, name) != getattr(TaskFamily, name, None), f"Unlike.{name} must not be the default"
    assert getattr(OracleWrapper(Unlike()), name) == getattr(Unlike(), name)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in OWN])
def test_every_public_method_is_passed_on(name):
    assert name in vars(Unlike), f"Unlike.{name} must not be the default"
    wrapped, inner = getattr(OracleWrapper(Unlike()), name), getattr(Unlike(), name)
    if name in ARGUMENTS:
        wrapped, inner = wrapped(*ARGUMENTS[name]), inner(*ARGUMENTS[name])
    assert np.array_equal(wrapped, inner) if isinstance(inner, np.ndarray) else wrapped == inner


def test_its_space_is_known_without_an_environment():
    class Costly(GridNavi):
        observation_space = gymnasium.spaces.Discrete(25)

        def make_vector_env(self, tasks, rows):
            raise AssertionError("an environment was built")

    # 25 cells one-hot, and 25 entries of the goal one-hot.
    assert OracleWrapper(Costly()).observation_space.shape == (50,)
    assert OracleWrapper(Unlike()).observation_space.shape == (2 * 3 + 3,)


@pytest.mark.parametrize("family", [GridNavi(), SparsePointRobot(), HalfCheetahWeakMotor()])
def test_its_space_is_that_of_its_environments(family):
    wrapper = OracleWrapper(family)
    task = wrapper.sample(1, np.random.default_rng(3), "train")[0]
    env = wrapper.make_vector_env([task], 2)
    assert env.single_observation_space == wrapper.observation_space == wrapper.make_env(task).observation_space
    observation, _ = env.reset(seed=[0, 1])
    assert observation.shape == (2, *wrapper.observation_space.shape)
    assert np.allclose(observation[:, -len(family.task_vector(task)) :], family.task_vector(task))


def test_out_of_distribution_tasks_that_a_family_declares_by_has_ood():
    assert OracleWrapper(HalfCheetahWeakMotor()).has_ood


def test_a_discrete_space_that_starts_at_one():
    class Wide(GridNavi):
        def make_vector_env(self, tasks, rows):
            env = super().make_vector_env(tasks, rows)
            env.single_observation_space = gymnasium.spaces.Discrete(25, start=1)
            env._reset_rows = lambda rows: np.ones(len(rows), np.int64)
            return env

    family = Wide()
    task = family.task(goal=2)
    observation, _ = OracleWrapper(family).make_vector_env([task], 1).reset(seed=[0])
    assert observation[0, :25].tolist() == [1.0] + [0.0] * 24
