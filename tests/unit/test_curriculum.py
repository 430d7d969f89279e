"""A curriculum by validation return: its share, its tasks, and the run that it is part of."""

from __future__ import annotations

import json

import numpy as np
import pytest

from envs.distributions import Box, Choice, LogUniform, Uniform
from envs.task import Task
from tests.helpers import LineFamily, call
from trainers.errors import RecipeError
from trainers.evaluation.leaks import training_tasks
from trainers.recipes.schema import Curriculum
from trainers.runs.run_folder import Run
from trainers.sampling.curriculum import narrowed, refuse_unfit, share_of


class Wide(LineFamily):
    name = "wide-v1"
    parameters = {
        "speed": Uniform(-1.0, 3.0),
        "grip": LogUniform(0.1, 10.0),
        "place": Box(((0.0, 1.0), (5.0, 9.0))),
        "side": Choice((-1, 1)),
    }


def curriculum(**changed):
    return Curriculum(**({"start": {"speed": 0.0}, "share": 0.25, "grow": 0.5, "above": 10.0} | changed))


def lines(*returns):
    return [
        {"iteration": number, "validation_return_round_0": 99.0, "validation_return_round_1": value}
        if value is not None
        else {"iteration": number}
        for number, value in enumerate(returns, 1)
    ]


def test_the_share_grows_with_each_validation_that_is_high_enough():
    history = lines(9.9, None, 10.0, None, 11.0, 50.0)
    shares = [share_of(curriculum(), history, iteration) for iteration in range(8)]
    assert shares == [0.25, 0.25, 0.25, 0.25, 0.75, 0.75, 1.0, 1.0]


def test_the_last_adaptation_counts_not_the_first():
    assert share_of(curriculum(), lines(1.0), 5) == 0.25


def test_tasks_move_towards_the_start():
    family = Wide()
    tasks = family.sample(50, np.random.default_rng(0), "train")
    some = curriculum(start={"speed": 1.0, "grip": 1.0, "place": (0.0, 5.0)})
    moved = narrowed(tasks, family, some, 0.5)
    for before, after in zip(tasks, moved, strict=True):
        family.check_task(after)
        assert after["speed"] == pytest.approx(1.0 + 0.5 * (before["speed"] - 1.0))
        assert after["grip"] == pytest.approx(np.sqrt(before["grip"]))
        assert after["place"] == pytest.approx((0.5 * before["place"][0], 5 + 0.5 * (before["place"][1] - 5)))
        assert after["side"] == before["side"]
        assert after.index == before.index
    assert narrowed(tasks, family, some, 1.0) == tasks


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        ({"sped": 0.0}, "did you mean speed"),
        ({"side": 1}, "leave it out"),
        ({"speed": 9.0}, "outside"),
        ({"grip": 0.0}, "outside"),
        ({"place": (0.0, 0.0)}, "outside"),
    ],
)
def test_what_cannot_be_moved_is_refused(start, sentence):
    with pytest.raises(RecipeError, match=sentence):
        refuse_unfit(curriculum(start=start), Wide(), None)
    with pytest.raises(RecipeError, match="train_tasks"):
        refuse_unfit(curriculum(), Wide(), 5)


TRAIN = (
    "train", "point_nav_maml", "workers=0", "agent.meta_batch_size=4", "agent.rollouts=2", "evaluation.every=1",
    "evaluation.validation_tasks=2", "evaluation.held_out_tasks=2", "evaluation.rollouts=2", "checkpoints.every=1",
    "curriculum.start={goal_m: 0.0}", "curriculum.share=0.1", "curriculum.grow=0.4",
)  # fmt: skip


def test_a_run_widens_resumes_exactly_and_is_checked_for_leaks_by_the_tasks_it_had(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    result = call(*TRAIN, "curriculum.above=-1000", "iterations=4", "--out", str(whole))
    assert result.exit_code == 0, result.output
    shares = Run.open(whole).metrics()["curriculum_share"].tolist()
    assert shares == pytest.approx([0.1, 0.1, 0.5, 0.9])
    assert call(*TRAIN, "curriculum.above=-1000", "iterations=2", "--out", str(broken)).exit_code == 0
    assert call("resume", str(broken), "iterations=4").exit_code == 0
    last = [json.loads((run / "metrics.jsonl").read_text().splitlines()[-1]) for run in (whole, broken)]
    assert last[0]["return_round_1"] == last[1]["return_round_1"]
    run = Run.open(whole)
    goals = np.abs([task["goal_m"] for task in training_tasks(run, run.family())])
    assert goals[:8].max() <= 0.05, "a tenth of the square of half-width 0.5 at first"
    assert goals[8:12].max() > 0.05


def test_a_curriculum_that_is_not_reached_stays_narrow(tmp_path):
    result = call(*TRAIN, "curriculum.above=1000", "iterations=3", "--out", str(tmp_path / "run"))
    assert result.exit_code == 0, result.output
    assert set(Run.open(tmp_path / "run").metrics()["curriculum_share"]) == {0.1}


class Cut(Wide):
    name = "cut-v1"
    kind = "region"

    def in_held_out_region(self, parameters):
        return parameters["speed"] > 2.0


def test_a_region_that_is_held_out_has_no_curriculum():
    with pytest.raises(RecipeError, match="into the held-out region"):
        refuse_unfit(curriculum(), Cut(), None)


def test_what_changes_within_a_trial_is_moved_too():
    family = Wide()
    values = {"speed": 2.0, "grip": 1.0, "place": (0.5, 7.0), "side": 1}
    task = Task.of(family.name, values, schedule=[{"episode": 0, "step": 3, "parameters": {"speed": -1.0, "side": -1}}])
    (moved,) = narrowed([task], family, curriculum(), 0.5)
    assert [part["speed"] for _, part in moved.segments] == [1.0, -0.5]
    assert [part["side"] for _, part in moved.segments] == [1, -1]


def test_a_start_is_of_the_distribution_and_of_its_shape():
    with pytest.raises(RecipeError, match="must be"):
        refuse_unfit(curriculum(start={"place": (0.0, 5.0, 6.0)}), Wide(), None)
    beyond = Wide()
    beyond.parameters = {**Wide.parameters, "speed": Uniform(-1.0, 3.0, ood=((4.0, 5.0),))}
    with pytest.raises(RecipeError, match="outside"):
        refuse_unfit(curriculum(start={"speed": 4.5}), beyond, None)


def test_boxes_beyond_are_drawn_by_their_volume():
    box = Box(((0.0, 1.0), (0.0, 1.0)), ood=(((2.0, 5.0), (0.0, 1.0)), ((-2.0, -1.0), (0.0, 1.0))))
    rng = np.random.default_rng(0)
    drawn = np.array([box.draw(rng, ood=True) for _ in range(2000)])
    assert (drawn[:, 0] > 0).mean() == pytest.approx(0.75, abs=0.04)
    assert box.corners == ((0, 0), (1, 1), (2, 0), (5, 1), (-2, 0), (-1, 1))
