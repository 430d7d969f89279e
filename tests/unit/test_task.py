import json

import numpy as np
import pytest

from envs.locomotion.half_cheetah import HalfCheetahVelU03
from envs.navigation.point_nav import PointNav
from envs.navigation.point_robot import SparsePointRobot
from envs.task import Choice, Integer, LogUniform, Task, TaskError, TaskSet, Uniform
from envs.task_sets import check_disjoint, load_task_set
from tests.helpers import LineFamily

FAMILY = PointNav()


def test_a_task_is_hashable_data_and_its_index_is_not_its_identity():
    task = Task.of("f-v1", {"b": np.float64(2), "a": np.array([1, 2])}, 7)
    assert task.parameters == {"a": (1.0, 2.0), "b": 2.0}
    assert task == Task.of("f-v1", {"a": [1.0, 2.0], "b": 2.0}, 0)
    assert len({task, Task.of("f-v1", {"a": (1, 2), "b": 2.0}, 3)}) == 1
    assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task
    assert Task.from_json(task.to_json()).index == 7
    assert task.digest != Task.of("f-v2", task.parameters).digest


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"goal_m": (0.2, 7.0)}, r"goal_m has 7 outside \[-1, -0.5\] or \[-0.5, 0.5\] or \[0.5, 1\] m"),
        ({"goal_m": 0.2}, "must be 2 numbers"),
        ({"goal_m": (0.2, float("nan"))}, "nan outside"),
        ({"goal_m": "home"}, "must be 2 numbers"),
        ({"target": (0, 0)}, "has the parameters goal_m; task 0 has target"),
        ({}, "has none"),
    ],
)
def test_a_task_outside_its_space_is_refused(parameters, says):
    with pytest.raises(TaskError, match=says):
        FAMILY.task(**parameters)


def test_a_task_of_another_family_is_refused():
    with pytest.raises(TaskError, match="line-v1 was given to point_nav-v1"):
        FAMILY.make_env(LineFamily().task(target_m=1.0))


def test_the_papers_held_out_goals():
    """numpy.random.seed(1); uniform(-0.5, 0.5, (40, 2)): the first goal is (u1 - 1/2, u2 - 1/2) of the well-known
    stream 0.417022, 0.720324; and staying at the origin scores -40.08, the best deterministic policy -0.54."""
    held_out = FAMILY.task_set("held-out", 40, 0)
    assert held_out.tasks[0]["goal_m"] == pytest.approx((-0.082978, 0.220324), abs=1e-6)
    known = [FAMILY.reference_returns(task) for task in held_out.tasks]
    assert np.mean([one["blind"] for one in known]) == pytest.approx(-40.08, abs=0.005)
    assert np.mean([one["oracle"] for one in known]) == pytest.approx(-0.54, abs=0.005)


def test_the_oracle_is_what_a_greedy_walk_earns():
    # Goal (0.25, 0.1): after steps 1, 2, 3 the point is at (0.1, 0.1), (0.2, 0.1), (0.25, 0.1): -0.15 - 0.05 - 0.
    assert FAMILY.reference_returns(FAMILY.task(goal_m=(0.25, 0.1)))["oracle"] == pytest.approx(-0.2)


def test_sparse_reward_by_hand():
    family = SparsePointRobot()
    assert family.reward(np.array([0.0, 0.15, 0.2, 0.21])).tolist() == pytest.approx([1.0, 0.85, 0.8, 0.0])


def test_task_sets_round_trip_and_name_what_changed(tmp_path):
    held_out = FAMILY.task_set("held-out", 5, 3)
    path = tmp_path / "held-out.json"
    path.write_text(json.dumps(held_out.to_json()))
    assert load_task_set(path, FAMILY) == held_out
    data = held_out.to_json()
    data["tasks"][0]["goal_m"] = [0.1, 0.1]
    path.write_text(json.dumps(data))
    with pytest.raises(TaskError, match=r"held-out\.json was changed"):
        load_task_set(path, FAMILY)
    data["tasks"][0]["goal_m"] = [9, 9]
    path.write_text(json.dumps(data))
    with pytest.raises(TaskError, match="task 0 of point_nav-v1 is outside its space"):
        load_task_set(path, FAMILY)


def test_a_large_set_is_kept_as_its_split_seed_and_count(tmp_path):
    large = FAMILY.task_set("train", 1500, 3)
    path = tmp_path / "train.json"
    path.write_text(json.dumps(large.to_json()))
    assert path.stat().st_size < 500
    assert load_task_set(path, FAMILY) == large
    for change, says in (
        ({"hash": "0" * 16}, "draws others from its seed now"),
        ({"count": 0}, "needs a split, a count and a seed"),
        ({"split": "all"}, "needs a split, a count and a seed"),
        ({"family": "other-v1"}, "is a task set of other-v1"),
    ):
        path.write_text(json.dumps(large.to_json() | change))
        with pytest.raises(TaskError, match=says):
            load_task_set(path, FAMILY)


@pytest.mark.parametrize("text", ["{", "[]", '{"tasks": []}', '{"tasks": 3}', '{"tasks": [[1, 2]]}'])
def test_a_file_that_is_no_task_set_is_refused(tmp_path, text):
    path = tmp_path / "tasks.json"
    path.write_text(text)
    with pytest.raises(TaskError):
        load_task_set(path, FAMILY)


def test_splits_are_different_draws_and_the_same_every_time():
    sets = [FAMILY.task_set(split, 10, 5) for split in ("train", "validation", "held-out")]
    check_disjoint("distribution", sets)
    assert FAMILY.task_set("validation", 10, 5) == sets[1]
    assert len({one.digest for one in sets}) == 3


def test_a_training_set_of_a_finite_family_holds_each_task_once():
    class Ways(LineFamily):
        name = "ways-v1"
        parameters = {"target_m": Choice((-1.0, 0.0, 1.0))}
        kind = "finite"

    sets = [Ways().task_set(split, 3, 0) for split in ("train", "held-out")]
    assert [[(task["target_m"], task.index) for task in one.tasks] for one in sets] == [
        [(-1.0, 0), (0.0, 1), (1.0, 2)]
    ] * 2


def test_a_leak_between_splits_is_refused():
    tasks = FAMILY.task_set("train", 4, 0).tasks
    sets = [TaskSet("point_nav-v1", "train", tasks), TaskSet("point_nav-v1", "held-out", tasks[:1])]
    with pytest.raises(TaskError, match="in both train and held-out"):
        check_disjoint("distribution", sets)
    check_disjoint("finite", sets)


def test_distributions():
    rng = np.random.default_rng(0)
    logs = np.log10([LogUniform(0.01, 100).draw(rng, ood=False) for _ in range(4000)])
    assert np.abs(logs).max() <= 2
    assert abs(logs.mean()) < 0.1
    assert np.std(logs) == pytest.approx(4 / np.sqrt(12), rel=0.05)
    choice = Choice(("a", "b"), ood=("c",))
    assert {choice.draw(rng, ood=False) for _ in range(50)} == {"a", "b"}
    assert choice.draw(rng, ood=True) == "c"
    assert choice.validate("d") == "is 'd' but must be one of 'a', 'b', 'c'"
    assert Uniform(0, 1, unit="m").validate(True) is not None


def test_no_blind_return_exceeds_that_of_the_middle_of_hidden_velocities():
    family = HalfCheetahVelU03()
    # 200 steps, 0.5 m/s off at 1 and at 2 m/s; over U[0, 3] on average 0.75 m/s.
    assert [family.reference_returns(family.task(velocity_m_per_s=one))["blind"] for one in (1.0, 2.0)] == [
        -100.0,
        -100.0,
    ]
    drawn = family.sample(4000, np.random.default_rng(0), "train")
    # standard error of |v - 1.5| ~ U[0, 1.5]: 0.433 / sqrt(4000) = 0.0068 m/s, over 200 steps 1.4
    assert np.mean([family.reference_returns(task)["blind"] for task in drawn]) == pytest.approx(-150.0, abs=5.0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Choice(-1, 1), r"write Choice\(\(-1, 1\)\)"),
        (lambda: Choice(()), "at least one"),
        (lambda: Uniform(2.0, 1.0), "no interval"),
        (lambda: Uniform("a", 1.0), "no interval"),
        (lambda: Uniform(0.0, float("inf")), "no interval"),
        (lambda: LogUniform(0.0, 1.0), "above 0"),
        (lambda: Integer(0, 1.5), "two whole numbers"),
    ],
)
def test_a_distribution_that_cannot_be_drawn_is_refused_where_it_is_written(make, says):
    with pytest.raises(TaskError, match=says):
        make()


def test_a_list_of_choices_is_taken_as_the_tuple_that_was_meant():
    assert Choice([0, 1]) == Choice((0, 1))
