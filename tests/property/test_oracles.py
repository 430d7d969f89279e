"""Recipes whose observations tell the task: an oracle on the same tasks, in the same harness."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import call
from trainers import recipes, training
from trainers.results import evaluate_runs, evaluate_yardstick

SMALL = [
    "family=grid_navi-v1", "iterations=1", "device=cpu", "learner_threads=1", "workers=0",
    "agent={name: rl2, meta_batch_size: 5, episodes_per_trial: 2, memory: {name: gru, size: 6}}",
    "evaluation={validation_tasks: 3, held_out_tasks: 4, rounds: 1, rollouts: 1}",
]  # fmt: skip


def trained(folder, *more):
    return training.train(recipes.load(recipes.find("point_nav_maml"), [*SMALL, *more]), folder).run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return trained(folder / "blind"), trained(folder / "oracle", "tells_task=true")


def test_its_agent_reads_the_task_behind_the_observation(runs):
    blind, oracle = (run.load(run.family())[0] for run in runs)
    family = runs[1].family()
    told = family.task_vector(family.sample(1, np.random.default_rng(0), "train")[0])
    assert oracle.reader.observations == blind.reader.observations + len(told)


def test_its_tasks_are_those_of_the_family(runs):
    for split in ("validation", "held-out"):
        sets = [run.task_set(run.family(), split) for run in runs]
        assert sets[0] == sets[1]


def test_yardsticks_on_its_tasks_are_told_what_they_are_told_anywhere(runs):
    for name in ("belief", "oracle"):
        blind, oracle = (evaluate_yardstick(run.path, "held-out", name) for run in runs)
        assert blind == oracle


def test_it_is_evaluated_and_drawn_like_any_other(runs, tmp_path):
    told = evaluate_runs(runs[1].path, "held-out")
    assert len(told["mean"]) == 2
    assert call("evaluate", runs[1].path).exit_code == 0
    assert call("embed", runs[1].path, "--out", tmp_path / "inside").exit_code == 0
