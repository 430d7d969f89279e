"""Whole runs of the agents that adapt by inference: any number of workers, and any death, give the same bits."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import torch

from agents.contract import AgentError
from tests.helpers import call
from trainers.errors import RunFolderError
from trainers.evaluation.run_evaluation import EvaluationRequest, evaluate_runs
from trainers.recipes import registry
from trainers.recipes.schema import Recipe
from trainers.runs import checkpoints
from trainers.runs.metrics import read
from trainers.runs.publishing import copy_without_learner
from trainers.runs.run_folder import Run
from trainers.runs.selection import best_iteration
from trainers.training import running, setup

SMALL = [
    "family=grid_navi-v1", "iterations=3", "device=cpu", "learner_threads=1", "sampling.tasks_per_shard=2",
    "checkpoints.every=1",
    "evaluation={every: 2, validation_tasks: 3, held_out_tasks: 4, rounds: 2, rollouts: 1, repeats: 2}",
]  # fmt: skip
AGENTS = {
    "rl2": "{name: rl2, meta_batch_size: 5, episodes_per_trial: 3, memory: {name: gru, size: 6}, num_minibatches: 2}",
    "varibad": "{name: varibad, meta_batch_size: 5, episodes_per_trial: 3, encoder: {name: gru, size: 6}}",
}


def recipe(agent, *more):
    return Recipe.load("point_nav_maml", [*SMALL, f"agent={AGENTS[agent]}", "workers=0", *more])


def weights(folder):
    run = Run.open(folder)
    return run.load(run.family())[1]


def same(one, other):
    lines = [
        [
            {key: value for key, value in line.items() if not schema[key]["timing"]}
            for line in read(folder / "metrics.jsonl")
        ]
        for folder in (one, other)
        for schema in [json.loads((folder / "metrics.schema.json").read_text())]
    ]
    assert lines[0] == lines[1]
    rows = [pq.read_table(folder / "adaptation.parquet").drop_columns("run_id") for folder in (one, other)]
    assert rows[0] == rows[1]
    left, right = weights(one), weights(other)
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.ray
@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize("agent", AGENTS)
def test_workers_change_nothing(agent, tmp_path):
    running.train(recipe(agent), tmp_path / "0")
    running.train(recipe(agent, "workers=2"), tmp_path / "2")
    same(tmp_path / "0", tmp_path / "2")


KILLED = """
import os, signal, sys
from trainers.cli.app import entry
from trainers.training.loop import Loop

iterate = Loop.iterate

def dies(self, iteration):
    metrics = iterate(self, iteration)
    if iteration == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return metrics

Loop.iterate = dies
entry()
"""


@pytest.mark.parametrize("agent", AGENTS)
def test_a_killed_run_goes_on_to_the_same_bits(agent, tmp_path):
    """SIGKILL in the second iteration, after the first checkpoint and this update; then `acclimate resume`."""
    running.train(recipe(agent), tmp_path / "straight")
    (tmp_path / "recipe.yaml").write_text(recipe(agent).to_yaml())
    words = ["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "killed")]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], stdout=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL
    assert checkpoints.iterations(tmp_path / "killed" / "checkpoints") == [0, 1]
    result = call("resume", tmp_path / "killed")
    assert result.exit_code == 0, result.output
    same(tmp_path / "straight", tmp_path / "killed")


def test_episodes_of_a_trial_are_the_points_of_its_curve(tmp_path):
    running.train(recipe("rl2"), tmp_path / "run")
    lines = read(tmp_path / "run" / "metrics.jsonl")
    assert {"return_round_0", "return_round_2", "trial_return"} <= set(lines[0])
    for line in lines:
        assert line["trial_return"] == pytest.approx(sum(line[f"return_round_{one}"] for one in range(3)))
    summary = evaluate_runs(EvaluationRequest(tmp_path / "run", "held-out"))
    assert summary["env_steps"] == [0, 15, 30]
    assert summary["trial_total"]["mean"] == pytest.approx(sum(summary["mean"]))


def test_the_best_checkpoint_is_that_of_the_best_whole_trials():
    returns = {1: (5.0, 6.0), 2: (0.0, 9.0)}  # the second is better at the end, the first in all
    lines = [
        {"iteration": one, "validation_return_round_0": first, "validation_return_round_1": last}
        | {"validation_trial_return": first + last}
        for one, (first, last) in returns.items()
    ]
    assert best_iteration(lines, registry.algorithm("rl2")) == 1
    # PEARL's first episodes explore: its best is that of the best posterior, as the paper reports it.
    assert best_iteration(lines, registry.algorithm("pearl")) == 2


def test_rollouts_that_share_no_adaptation_are_refused_before_training(tmp_path):
    with pytest.raises(AgentError, match="rollouts must be 1"):
        running.train(recipe("rl2", "evaluation.rollouts=4"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("agent", AGENTS)
def test_a_copy_to_show_scores_the_same_and_is_not_gone_on_with(agent, tmp_path):
    running.train(recipe(agent), tmp_path / "run")
    run = Run.open(tmp_path / "run")
    copy_without_learner(run, tmp_path / "shown")
    shown = Run.open(tmp_path / "shown")
    assert evaluate_runs(EvaluationRequest(shown.path, "held-out")) == evaluate_runs(
        EvaluationRequest(run.path, "held-out")
    )
    assert set(shown.rows()["split"].to_pylist()) == {"held-out"}
    seed = Run.open(shutil.copytree(shown.path, tmp_path / "recipe" / "seed-0"))  # as it is published
    (seed.path / "tasks").rename(tmp_path / "recipe" / "tasks")
    for split in ("validation", "held-out"):
        assert seed.task_set(seed.family(), split) == run.task_set(run.family(), split)
        (tmp_path / "recipe" / "tasks" / f"{split}.json").unlink()
        with pytest.raises(RunFolderError, match=f"seed-0 has no tasks/{split}.json; take it from a copy"):
            seed.task_set(seed.family(), split)
    with pytest.raises(RunFolderError, match=r"holds weights alone.*init="):
        running.run(setup.open_for_resume(shown.path, ["iterations=9"]))
    setup.create_run(recipe(agent, f"init={shown.path}"), tmp_path / "next")
    assert all(torch.equal(value, weights(tmp_path / "next")[name]) for name, value in weights(shown.path).items())
