"""Every listed family passes the public check; every way to break one is found by it, in a sentence."""

from __future__ import annotations

import re

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs
from envs.check import check_no_leak, check_task_family
from envs.task import Choice, TaskError, TaskFamily, Uniform
from tests.helpers import DiscreteWalk, LineFamily, LineWalk
from trainers.recipes import registry


class TwoEnds(TaskFamily):
    """A finite family with discrete spaces."""

    name = "two_ends-v1"
    parameters = {"pays_right": Choice((False, True))}
    episode_steps = 8
    kind = "finite"

    def make_env(self, task):
        return DiscreteWalk(task["pays_right"])


class Region(LineFamily):
    """Held-out tasks are a region cut out of the training distribution."""

    name = "region-v1"
    kind = "region"

    def in_held_out_region(self, parameters):
        return parameters["target_m"] > 1.0


@pytest.mark.parametrize("name", envs.FAMILIES)
def test_listed_families_conform(name):
    problems = [finding for finding in check_task_family(registry.family(name)) if finding.problem]
    assert not problems


@pytest.mark.parametrize("family", [LineFamily(), TwoEnds(), Region()], ids=lambda family: family.name)
def test_families_with_make_env_alone_conform(family):
    assert not [finding for finding in check_task_family(family) if finding.problem]


@pytest.mark.parametrize("name", envs.FAMILIES)
def test_single_environments_are_registered_and_pass_gymnasiums_checker(name):
    env = gymnasium.make(f"acclimate/{name}")
    check_env(env.unwrapped, skip_render_check=True)
    env.reset(seed=0)
    assert len(env.step(env.action_space.sample())) == 5


def test_a_registered_environment_takes_its_parameters():
    env = gymnasium.make("acclimate/point_nav-v1", goal_m=(0.1, 0.0))
    env.reset(seed=0)
    _, reward, terminated, *_ = env.step(np.array([1.0, 0.0], np.float32))
    assert terminated
    assert reward == pytest.approx(0, abs=1e-6)
    with pytest.raises(TaskError, match="outside its space"):
        gymnasium.make("acclimate/point_nav-v1", goal_m=(7.0, 0.0))


@pytest.mark.parametrize("name", envs.FAMILIES)
def test_the_docstrings_range_is_the_samples_range(name):
    """T9: the numbers in the docstring are read here and compared with ten thousand samples."""
    family = registry.family(name)
    text = re.sub(r"\bpi\b", str(np.pi), " ".join(type(family).__doc__.split()))
    tasks = family.sample(10_000 if len(family.parameters) == 1 else 2_000, np.random.default_rng(0), "train")
    for parameter, distribution in family.parameters.items():
        drawn = np.array([task[parameter] for task in tasks])
        if isinstance(distribution, Choice):
            assert f"{parameter} is {distribution}" in text
            assert set(drawn.tolist()) == set(distribution.values)
            continue
        found = re.search(rf"{parameter} ~ (?:log)?U\[(\S+), (\S+)\]", text) or re.search(r"~ U\[(\S+), (\S+)\]", text)
        low, high = map(float, found.groups())
        assert (low, high) == pytest.approx((distribution.low, distribution.high), rel=1e-5)
        if family.draw_schedule(np.random.default_rng(0), "train", tasks[0].parameters):
            continue  # what is drawn comes later in the trial
        assert low - 1e-5 <= drawn.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < drawn.max() <= high + 1e-5
    steps = re.search(r"truncated after (\d+) steps", text)
    assert int(steps.group(1)) == family.episode_steps


def test_region_splits_do_not_meet():
    family, rng = Region(), np.random.default_rng(0)
    assert all(task["target_m"] > 1 for task in family.sample(200, rng, "held-out"))
    for split in ("train", "validation"):
        assert all(task["target_m"] <= 1 for task in family.sample(200, rng, split))


def test_finite_families_hold_out_the_training_tasks():
    family, rng = TwoEnds(), np.random.default_rng(0)
    assert {task["pays_right"] for task in family.sample(50, rng, "train")} == {False, True}
    assert [task["pays_right"] for task in family.sample(2, rng, "held-out")] == [False, True]


# -- broken on purpose


class ShowsTarget(LineFamily):
    """The observation contains the task."""

    def shown(self, place, target):
        return target

    def make_env(self, task):
        shown = self.shown

        class Env(LineWalk):
            def __init__(self, target):
                super().__init__(target)
                self.observation_space = gymnasium.spaces.Box(-20, 20, (2,), np.float32)

            def _observation(self):
                return np.array([self._place, shown(self._place, self._target)], np.float32)

        return Env(task["target_m"])


class ShowsDistance(ShowsTarget):
    """The observation contains the distance to the goal, as garage's PointEnv does."""

    def shown(self, place, target):
        return abs(place - target)


class TellsInInfo(LineFamily):
    def make_env(self, task):
        env = LineWalk(task["target_m"])
        step = env.step
        env.step = lambda action: (*step(action)[:4], {"target": task["target_m"]})
        return env


class Deaf(LineFamily):
    def make_env(self, task):
        return LineWalk(1.5)


class Unrepeatable(LineFamily):
    def make_env(self, task):
        env = LineWalk(task["target_m"])
        step = env.step
        dice = np.random.default_rng()
        env.step = lambda action: step(action + dice.normal(size=1))
        return env


class GlobalDice(LineFamily):
    def make_env(self, task):
        np.random.uniform()  # noqa: NPY002
        return super().make_env(task)


class OwnDice(LineFamily):
    def draw(self, rng, split):
        return {"target_m": float(np.random.default_rng().uniform(-3, 3))}


class OutOfSpace(LineFamily):
    def draw(self, rng, split):
        return {"target_m": 99.0}


class NotFinite(LineFamily):
    def make_env(self, task):
        env = LineWalk(task["target_m"])
        step = env.step

        def bad(action):
            observation, _, *rest = step(action)
            return observation, float("inf"), *rest

        env.step = bad
        return env


class Endless(LineFamily):
    episode_steps = 5

    def make_vector_env(self, tasks, rows):
        env = super().make_vector_env(tasks, rows)
        env.episode_steps = 1000
        return env


class Swapped(LineFamily):
    def make_vector_env(self, tasks, rows):
        return super().make_vector_env(list(reversed(tasks)), rows)


class Unversioned(LineFamily):
    name = "line"


class WrongYardsticks(LineFamily):
    def reference_returns(self, task):
        return {"blind": 1.0, "oracle": 0.0}


@pytest.mark.parametrize(
    ("family", "says"),
    [
        (ShowsTarget, "entry 1 of the first observation differs between tasks"),
        (ShowsDistance, "entry 1 of the first observation differs between tasks"),
        (TellsInInfo, "'target' holds a parameter of the task"),
        (Deaf, "do the parameters reach the simulator"),
        (Unrepeatable, "went two ways"),
        (GlobalDice, "NumPy's global generator"),
        (OwnDice, "two generators with the same seed"),
        (OutOfSpace, "outside its space"),
        (NotFinite, "not finite at step 0"),
        (Endless, "still running after the 5 steps"),
        (Swapped, "part ways"),
        (Unversioned, "call it line-v1"),
        (WrongYardsticks, "out of order"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_broken_family_is_found_out(family, says):
    problems = [finding.problem for finding in check_task_family(family()) if finding.problem]
    assert any(says in problem for problem in problems), problems


@pytest.mark.parametrize("family", [ShowsTarget, ShowsDistance, TellsInInfo])
def test_a_leak_stops_training(family):
    with pytest.raises(TaskError, match="leaks its task"):
        check_no_leak(family())


def test_a_body_that_differs_may_be_declared():
    class Declared(ShowsDistance):
        reset_depends_on_task = True

    check_no_leak(Declared())


def test_ood_without_a_range_is_refused():
    with pytest.raises(TaskError, match="declares no ood range"):
        LineFamily().sample(1, np.random.default_rng(0), "ood")


def test_a_vector_distribution_moves_out_of_distribution_in_every_entry():
    distribution = Uniform(-1, 1, shape=(3,), ood=((-2, -1), (1, 3)))
    rng = np.random.default_rng(0)
    drawn = np.abs([distribution.draw(rng, ood=True) for _ in range(200)])
    assert drawn.min() >= 1
    assert drawn.max() > 2
