"""Environments are held to what they declare; every refusal is one sentence."""

from __future__ import annotations

import pickle
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Sequence, Text, Tuple

from envs.check import check_no_leak, check_task_family
from envs.errors import EnvironmentFailure, TaskError
from envs.spaces import ObservationReader, stored_space
from envs.task import Choice, TaskFamily, Uniform
from envs.vector import LoopVectorEnv
from tests.helpers import call, sample, small_maml, some_tasks
from tests.spaces import OBSERVATIONS, Walk, family_of, filled
from trainers.cli.own_code import own_cause


class Plain(gymnasium.Env):
    """Gives what it is told to."""

    observation_space = Box(-9, 9, (2,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)
    observation = np.zeros(2, np.float32)
    reward: object = 0.0
    ends: tuple[object, ...] = (False, False, {})

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation, {}

    def step(self, action):
        return (self.observation, self.reward, *self.ends)


def variant(**attributes):
    return type("Strange", (Plain,), attributes)


class NoSeed(Plain):
    def reset(self):
        return self.observation, {}


class NoInfo(Plain):
    def reset(self, *, seed=None, options=None):
        return self.observation


def of(env, observation_steps=4):
    class Family(TaskFamily):
        name = "strange-v1"
        parameters = {"goal": Uniform(-1.0, 1.0)}
        episode_steps = observation_steps

        def make_env(self, task):
            return env() if isinstance(env, type) else env(task)

    return Family()


DICT, DISCRETE = Dict(a=Box(-1, 1, (1,)), b=Discrete(3)), Discrete(3, start=1)
A = np.zeros(1, np.float32)
STRANGE = [
    (variant(observation=np.zeros(3)), r"has the shape \(3,\), but it is declared as float32 of shape \(2,\)"),
    (variant(observation=np.zeros(1, np.float32)), r"has the shape \(1,\)"),
    (variant(observation=np.float32(0)), r"has the shape \(\)"),
    (variant(observation=np.zeros((1, 2), np.float32)), r"has the shape \(1, 2\)"),
    (variant(observation=None), "observation is None"),
    (variant(observation=["a", "b"]), "observation is a list of 2"),
    (variant(observation=[[1.0], [1.0, 2.0]]), "observation is a list of 2"),
    (variant(observation={"x": 1}), "observation is a dict"),
    (variant(observation=np.zeros(2, np.complex64)), "complex64 of shape"),
    (variant(observation_space=Box(0, 255, (2,), np.uint8)), "holds numbers of type float32, but .* uint8"),
    (variant(observation_space=Box(0, 255, (2,), np.uint8), observation=np.array([1, 300])), "holds 300, but"),
    (variant(observation_space=Box(0, 255, (2,), np.uint8), observation=np.array([1, -3])), "holds -3, but"),
    (variant(observation_space=DISCRETE, observation=0), r"observation is 0, which lies outside its Discrete\(3"),
    (variant(observation_space=DISCRETE, observation=1.0), "observation is 1.0, but .* integer"),
    (variant(observation_space=DISCRETE, observation=np.zeros(1, int)), r"int64 of shape \(1,\), but .* integer"),
    (variant(observation_space=DICT, observation=np.zeros(2)), "declared as a Dict of a, b"),
    (variant(observation_space=DICT, observation={"a": A}), "observation lacks 'b', but the keys declared"),
    (variant(observation_space=DICT, observation={"a": A, "b": 1, "c": 2}), "observation holds 'c' too"),
    (variant(observation_space=DICT, observation={"a": np.zeros(4), "b": 1}), r"observation\['a'\] has the shape"),
    (variant(observation_space=DICT, observation={"a": A, "b": 7}), r"observation\['b'\] is 7"),
    (variant(observation_space=Tuple([DISCRETE, DICT]), observation=(1,)), "a tuple of 1, but .* Tuple of 2 parts"),
    (variant(observation_space=MultiDiscrete([2, 3]), observation=np.array([1, 3])), "lies outside its Multi"),
    (variant(reward=None), "gave None for a reward"),
    (variant(reward=np.zeros(1)), r"gave float64 of shape \(1,\) for a reward"),
    (variant(reward="1"), "gave str '1' for a reward"),
    (variant(reward=[0.0]), "gave a list of 1 for a reward"),
    (variant(ends=(np.zeros(1, bool), False, {})), r"gave bool of shape \(1,\) for `terminated`"),
    (variant(ends=(False, None, {})), "gave None for `truncated`"),
    (variant(ends=(False, False, None)), "gave None for info"),
    (variant(ends=(False, {})), "returned 4 values from its step, as the earlier Gym did"),
    (variant(ends=(False,)), "returned a tuple of 3 from its step"),
    (variant(step=lambda self, action: None), "returned None from its step"),
    (NoSeed, "takes no seed or no options in its reset"),
    (NoInfo, "returned float32 of shape .* from its reset, but a reset returns observation and info"),
    (lambda task: None, "make_env returned None, not a gymnasium.Env"),
    (lambda task: gymnasium.Env(), "has no observation_space; set self.observation_space"),
    (variant(observation_space=Sequence(Discrete(2))), "observations of a Sequence space have no fixed size"),
    (variant(observation_space=Dict(a=Text(3))), r"observations\['a'\] of a Text space"),
    (variant(observation_space=Graph(Discrete(2), None)), "of a Graph space have no fixed size"),
    (variant(observation_space=Box(0, 1, (0,))), "is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("env", "sentence"), STRANGE, ids=[sentence[:40] for _, sentence in STRANGE])
def test_what_is_not_as_declared_is_refused_in_a_sentence(env, sentence):
    with pytest.raises(TaskError, match=sentence) as raised:
        check_no_leak(of(env))
    assert not isinstance(raised.value, EnvironmentFailure)
    assert "\n" not in str(raised.value)
    with pytest.raises(TaskError, match=sentence):
        one_step(of(env))


def one_step(family):
    rows = family.make_vector_env(family.sample(2, np.random.default_rng(0), "train"), 2)
    rows.reset(seed=[0, 1, 2, 3])
    rows.step(np.zeros((4, 1), np.float32))


FINE = [
    variant(observation=np.zeros(2)),  # another width of the same kind
    variant(observation=[0.0, 1]),
    variant(observation=np.zeros(2, int)),
    variant(observation_space=Box(0, 255, (2,), np.uint8), observation=np.array([1, 255])),
    variant(observation_space=Discrete(3), observation=np.array(2)),
    variant(observation_space=Discrete(3), observation=np.int32(2)),
    variant(observation_space=Box(0, 1, (), np.float32), observation=0.5),
    variant(reward=1),
    variant(reward=np.float32(1)),
    variant(reward=np.array(1.0)),
    variant(ends=(np.bool_(False), 0, {})),
]


@pytest.mark.parametrize("env", FINE)
def test_what_can_be_meant_in_one_way_only_is_taken(env):
    family = of(env)
    rows = family.make_vector_env(family.sample(1, np.random.default_rng(0), "train"), 2)
    first, _ = rows.reset(seed=[0, 1])
    observation, reward, *_ = rows.step(np.zeros((2, 1), np.float32))
    expected = np.asarray(env.observation, env.observation_space.dtype)
    for given in (first, observation):
        assert given.dtype == env.observation_space.dtype
        np.testing.assert_array_equal(given, [expected, expected])
    assert reward.tolist() == [float(env.reward)] * 2


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_what_is_stored_is_gymnasiums_flattening_or_the_array_itself(name):
    space = OBSERVATIONS[name]
    observation = filled(space, 0.37, 3)
    stored = ObservationReader(space).read(observation)
    if isinstance(space, (Box, Discrete)):
        assert stored_space(space) is space
        np.testing.assert_array_equal(stored, observation)
    elif name == "multi_discrete":  # starts at [1, 0]: 1 + 3 % 3 is the first of three, 3 % 4 the last of four
        assert stored.tolist() == [1, 0, 0, 0, 0, 0, 1]
    else:
        starts = {"dict": {**observation, "clock": observation["clock"]}} if name == "dict" else {}
        expected = gymnasium.spaces.utils.flatten(space, starts.get(name, observation))
        np.testing.assert_allclose(stored, expected, rtol=1e-6)
        assert stored_space(space).shape == stored.shape


def test_images_alone_stay_bytes():
    camera = Box(0, 255, (4, 4, 3), np.uint8)
    assert stored_space(Dict(left=camera, right=camera)) == Box(0, 255, (96,), np.uint8)
    assert stored_space(Dict(left=camera, touch=MultiBinary(2))).dtype == np.float32


def test_a_buffer_that_is_handed_out_again_is_copied_at_once():
    shared = np.zeros(1, np.float32)

    class Same(Plain):
        observation_space = Box(-9, 9, (1,), np.float32)

        def __init__(self, place):
            self.place = place

        def reset(self, *, seed=None, options=None):
            shared[:] = self.place
            return shared, {}

        def step(self, action):
            shared[:] = -self.place
            return shared, 0.0, False, False, {}

    rows = LoopVectorEnv([Same(1), Same(2), Same(3)], 5)
    assert rows.reset(seed=0)[0].tolist() == [[1], [2], [3]]
    assert rows.step(np.zeros((3, 1)))[0].tolist() == [[-1], [-2], [-3]]


def test_tasks_whose_spaces_differ_are_refused():
    with pytest.raises(TaskError, match=r"declares other spaces .* all tasks of a family share their spaces"):
        LoopVectorEnv([Plain(), variant(observation_space=Box(-9, 9, (3,)))()], 5)


def test_tasks_whose_spaces_depend_on_a_parameter_are_refused_in_training_too():
    def make_env(task):
        return variant(observation_space=Box(-9, 9, (2 + (task["goal"] > 0),)))()

    family = of(make_env)
    positive = next(task for task in family.sample(20, np.random.default_rng(1), "train") if task["goal"] > 0)
    negative = next(task for task in family.sample(20, np.random.default_rng(1), "train") if task["goal"] < 0)
    family_shape = family.observation_space.shape[0]
    other = positive if family_shape == 2 else negative
    with pytest.raises(TaskError, match="all tasks of a family share their spaces"):
        family.make_vector_env([other], 1)


def test_one_environment_for_two_rows_is_refused():
    shared = Plain()
    family = of(lambda task: gymnasium.wrappers.TimeLimit(shared, 3))
    with pytest.raises(TaskError, match=r"given for two rows, .* make a new environment at each call of make_env"):
        family.make_vector_env(family.sample(2, np.random.default_rng(0), "train"), 1)


@pytest.mark.parametrize(("given", "said"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_numbers_that_are_not_finite_are_refused_before_anything_is_made(given, said):
    with pytest.raises(TaskError, match=rf"strange-v1: the reward of task \{{.*\}} is {said} at step 0 of the episode"):
        check_no_leak(of(variant(reward=given)))
    with pytest.raises(TaskError, match=rf"the observation of task .* is {said} at step 0"):
        check_no_leak(of(variant(observation=np.full(2, given, np.float32))))


# -- the user's own exceptions


class Breaks(Walk):
    def step(self, action):
        if self.elapsed == 2:
            raise KeyError("goal")
        return super().step(action)


def breaks(task):
    return Breaks(task["goal"], OBSERVATIONS["dict"], Plain.action_space)


def test_an_exception_of_the_environment_names_family_step_and_task_and_keeps_its_frames():
    with pytest.raises(EnvironmentFailure) as raised:
        check_no_leak(of(breaks))
    error = raised.value
    said = str(error)
    assert said.startswith("strange-v1: the environment Breaks, in its step, raised KeyError: 'goal'")
    assert "(step 3 of the episode, task {'goal': " in said
    assert isinstance(error.__cause__, KeyError)
    again = pickle.loads(pickle.dumps(error))  # as from a worker, which loses the cause
    assert str(again) == said
    assert own_cause(again) == own_cause(error)
    frames = own_cause(again)
    assert frames[-2].strip() == 'raise KeyError("goal")'
    assert frames[-1] == "KeyError: 'goal'"
    assert not any("checked.py" in frame for frame in frames)


def test_an_exception_of_make_env_names_the_task():
    def nothing(task):
        return task["mass"] and 1 / 0

    class Family(TaskFamily):
        name = "gone-v1"
        parameters = {"goal": Choice((1.0,))}
        episode_steps = 3

        def make_env(self, task):
            return nothing({"mass": 1})

    with pytest.raises(EnvironmentFailure, match=r"gone-v1: its make_env raised ZeroDivisionError.*task \{'goal': 1.0"):
        _ = Family().observation_space


class Leaves(Plain):
    def step(self, action):
        sys.exit("no licence")


def test_an_environment_that_leaves_does_not_take_the_process_along():
    family = of(Leaves)
    with pytest.raises(EnvironmentFailure, match=r"Leaves, in its step, raised SystemExit: no licence \(step 1"):
        check_no_leak(family)


class OwnRows(gymnasium.vector.VectorEnv):
    """A batched environment of somebody's own."""

    def __init__(self, rows, fault):
        self.num_envs, self.fault = rows, fault
        self.single_observation_space, self.single_action_space = Plain.observation_space, Plain.action_space
        self.metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.DISABLED}

    def reset(self, *, seed=None, options=None):
        return np.zeros((self.num_envs, 2), np.float32), {}

    def step(self, actions):
        if self.fault == "raises":
            raise IndexError("row 7")
        rows = self.num_envs
        observation, ends = np.zeros((rows, 2), np.float32), np.ones(rows, bool)
        reward = np.zeros((rows, 1)) if self.fault == "reward" else np.zeros(rows)
        observation = observation[:, :1] if self.fault == "observation" else observation
        return (observation, reward, ends, ~ends, {})[: 4 if self.fault == "four" else 5]


@pytest.mark.parametrize(
    ("fault", "error", "sentence"),
    [
        (
            "raises",
            EnvironmentFailure,
            "the batched environment OwnRows, in its step, raised IndexError: row 7",
        ),
        ("reward", TaskError, r"gave float64 of shape \(4, 1\) for `reward`, which is an array of shape \(4,\)"),
        ("observation", TaskError, r"gave float32 of shape \(4, 1\) for `observation`, .* shape \(4, 2\)"),
        ("four", TaskError, "returned a tuple of 4 from its step"),
        (None, None, ""),
    ],
)
def test_rows_of_ones_own_are_compared_too(fault, error, sentence):
    class Family(of(Plain).__class__):
        name = "own-v1"

        def make_vector_env(self, tasks, rows):
            return OwnRows(len(tasks) * rows, fault)

    family = Family()
    agent, learner = small_maml(family=family, rollouts=2)
    if error is None:
        assert sample(agent, learner, some_tasks(2, family), family=family)[0].steps == 4
        return
    with pytest.raises(error, match=sentence):
        sample(agent, learner, some_tasks(2, family), family=family)


# -- acclimate check


class Uncountable(TaskFamily):
    """A finite family with a parameter that has no end of values."""

    name = "uncountable-v1"
    parameters = {"goal": Uniform(-1.0, 1.0)}
    episode_steps = 3
    kind = "finite"

    def make_env(self, task):
        return Plain()


def test_one_fault_is_one_finding():
    findings = check_task_family(Uncountable())
    problems = [finding.problem for finding in findings if finding.problem]
    assert len(problems) == 1, problems
    assert "every parameter must be a Choice" in problems[0]
    assert "more checks stopped at the same" in problems[0]
    assert len([one for one in check_task_family(of(breaks)) if "KeyError" in (one.problem or "")]) == 1


def test_check_says_which_agents_serve_the_family_and_why_the_others_do_not():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = call("check", "tests.unit.test_edge:Pictures")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    said = lines[lines.index("agents that serve it:") + 1 :]
    assert said[0] == "  maml, reptile, rl2, varibad: yes"
    assert said[1].startswith("  pearl: no, this agent's networks read no images")
    assert "WARN" not in result.output


class Pictures(TaskFamily):
    """Pictures of an unknown place."""

    name = "pictures-v1"
    parameters = {"target": Uniform(-1.0, 1.0)}
    episode_steps = 6

    def make_env(self, task):
        walk = family_of("image_last", "box")
        return Walk(task["target"], walk.observation_space, walk.action_space)
