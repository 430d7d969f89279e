"""Recipes whose observations tell the task: an oracle on the same tasks, in the same harness."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.locomotion.half_cheetah import HalfCheetahVelU03
from envs.oracle import OracleWrapper
from envs.task import TaskError
from tests.helpers import call
from trainers.errors import DrawingError, RunFolderError
from trainers.evaluation.run_evaluation import EvaluationRequest, evaluate_runs
from trainers.recipes import registry
from trainers.recipes.schema import Recipe
from trainers.reporting.videos import camera_of
from trainers.runs.run_folder import Run
from trainers.training import running, setup

SMALL = [
    "family=grid_navi-v1", "iterations=1", "device=cpu", "learner_threads=1", "workers=0",
    "agent={name: rl2, meta_batch_size: 5, episodes_per_trial: 2, memory: {name: gru, size: 6}}",
    "evaluation={validation_tasks: 3, held_out_tasks: 4, rounds: 1, rollouts: 1}",
]  # fmt: skip


def trained(folder, *more):
    return running.train(Recipe.load("point_nav_maml", [*SMALL, *more]), folder).run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return trained(folder / "blind"), trained(folder / "oracle", "task_in_observation=true")


def test_its_agent_reads_the_task_behind_the_observation(runs):
    blind, oracle = (run.load(run.family())[0] for run in runs)
    family = runs[1].family()
    vector = family.task_vector(family.sample(1, np.random.default_rng(0), "train")[0])
    assert oracle.trial_inputs.observation_size == blind.trial_inputs.observation_size + len(vector)


def test_its_tasks_are_those_of_the_family(runs):
    for split in ("validation", "held-out"):
        sets = [run.task_set(run.family(), split) for run in runs]
        assert sets[0] == sets[1]


def test_yardsticks_on_its_tasks_are_told_what_they_are_told_anywhere(runs):
    for name in ("belief", "oracle"):
        blind, oracle = (evaluate_runs(EvaluationRequest(run.path, "held-out", baseline=name)) for run in runs)
        assert blind == oracle


def test_it_is_evaluated_and_drawn_like_any_other(runs, tmp_path):
    summary = evaluate_runs(EvaluationRequest(runs[1].path, "held-out"))
    assert len(summary["mean"]) == 2
    assert call("evaluate", runs[1].path).exit_code == 0
    assert call("embed", runs[1].path, "--out", tmp_path / "inside").exit_code == 0


def test_a_robot_that_is_told_is_drawn_as_it_is():
    family = HalfCheetahVelU03()
    with pytest.raises(DrawingError, match="says nothing of how it is drawn"):
        camera_of(OracleWrapper(family), family.task(velocity_m_per_s=1.0))
    oracle = Run(Path("nowhere"), Recipe.load("half_cheetah_vel_u03_pearl", ["task_in_observation=true"]))
    assert isinstance(oracle.family(task_in_observation=False), HalfCheetahVelU03)
    assert isinstance(oracle.family(), OracleWrapper)


def test_a_task_that_switches_cannot_be_told():
    family = registry.family("half_cheetah_motor_fails-v1", task_in_observation=True)
    with pytest.raises(TaskError, match="would be wrong once it switches"):
        family.check_task(family.sample(1, np.random.default_rng(0), "train")[0])


def test_an_oracle_and_a_learner_are_not_pooled(runs):
    with pytest.raises(RunFolderError, match="are runs of different recipes"):
        evaluate_runs(EvaluationRequest(pooled(runs), "held-out"))
    assert runs[1].recipe.title.startswith("oracle ")
    assert "oracle" not in runs[0].recipe.title


def pooled(runs):
    folder = runs[0].path.parent / "pooled"
    for number, run in enumerate(runs):
        shutil.copytree(run.path, folder / f"seed-{number}", dirs_exist_ok=True)
    return folder


@pytest.mark.ray
@pytest.mark.usefixtures("shared_ray")
def test_it_goes_on_with_workers_to_the_same_bits(runs, tmp_path):
    straight = trained(tmp_path / "straight", "task_in_observation=true", "iterations=2")
    shutil.copytree(runs[1].path, tmp_path / "resumed")
    running.run(setup.open_for_resume(tmp_path / "resumed", ["iterations=2", "workers=1"]))
    one, other = (run.load(run.family())[1] for run in (straight, Run.open(tmp_path / "resumed")))
    assert all(torch.equal(one[name], other[name]) for name in one)
