"""Learner groups: the same bits with any number of learners, through the deaths of learners and of their nodes."""

from __future__ import annotations

import json
import os
import signal

import pyarrow.parquet as pq
import pytest
import torch

from agents.contract import AgentError
from tests.helpers import TINY_PEARL
from trainers.cluster import learner_group
from trainers.cluster.learner_group import LearnerGroup
from trainers.errors import ClusterError, DeviceError, LearnersLostError
from trainers.recipes.schema import Recipe
from trainers.runs import checkpoints
from trainers.runs.metrics import read
from trainers.sampling.ray_sampler import RaySampler
from trainers.training import running, setup

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("shared_ray")]

SMALL = [
    "iterations=3",
    "workers=0",
    "device=cpu",
    "learner_threads=1",
    "sampling.tasks_per_shard=2",
    "evaluation={every: 2, validation_tasks: 3, held_out_tasks: 4, rollouts: 1}",
]
MAML = ["agent.meta_batch_size=5", "agent.rollouts=4", "agent.hidden_sizes=[16, 16]", "agent.task_chunk=2"]
RECIPES = {
    "maml": ("point_nav_maml", MAML),
    "trpo": ("point_nav_maml_trpo", MAML),
    "pearl": ("point_nav_maml", [*TINY_PEARL, "agent.microbatches=2"]),
}


def recipe(name, *more):
    shipped, small = RECIPES[name]
    return Recipe.load(shipped, [*SMALL, *small, *more])


def train(name, folder, *more):
    running.train(recipe(name, *more), folder)
    return results(folder)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Results of the run that learns in this process."""
    return train("maml", tmp_path_factory.mktemp("alone") / "run")


def results(folder):
    """Metrics but times, the learner's last state, adaptation rows but whose they are."""
    schema = json.loads((folder / "metrics.schema.json").read_text())
    lines = [
        {key: value for key, value in line.items() if not schema[key]["timing"]}
        for line in read(folder / "metrics.jsonl")
    ]
    newest = checkpoints.newest(folder / "checkpoints")
    tensors = (newest / "tensors.safetensors").read_bytes()
    return lines, tensors, pq.read_table(folder / "adaptation.parquet").drop_columns("run_id").to_pylist()


def test_any_number_of_learners_gives_the_same_bits(tmp_path, alone):
    """Two of them are in the next test; all algorithms are in test_team.py."""
    for learners in (1, 3):
        assert train("maml", tmp_path / str(learners), f"learners={learners}") == alone


@pytest.mark.parametrize("name", ["maml", "trpo", "pearl"])
def test_trials_stay_in_rays_store_and_the_bits_are_the_same(tmp_path, monkeypatch, name):
    kept = []
    run = RaySampler.run

    def watched(self, *given, references=False, **named):
        found = run(self, *given, references=references, **named)
        if references:
            kept.extend(found)
        return found

    monkeypatch.setattr(RaySampler, "run", watched)
    alone = train(name, tmp_path / "0")
    assert train(name, tmp_path / "2", "learners=2", "workers=1") == alone
    import ray

    assert kept
    assert all(isinstance(one, ray.ObjectRef) for one in kept)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_learner_that_is_killed_costs_one_update_and_no_bit(tmp_path, monkeypatch, rank, alone):
    """Between two updates and amid one: the others' state is the checkpoint from which a new group goes on."""
    learn, said, updates = LearnerGroup.learn, [], []

    def killed_once(self, rounds):
        updates.append(1)
        if len(updates) == 2:
            import ray

            process = ray.get(self._actors[rank].describe.remote())["process"]
            os.kill(process, signal.SIGKILL)
        return learn(self, rounds)

    monkeypatch.setattr(LearnerGroup, "learn", killed_once)
    run = setup.create_run(recipe("maml", "learners=2", "checkpoints.every=100"), tmp_path / "2")
    stop = running.StopRequest(said.append)
    assert running.run(run, stop=stop).iteration == 3
    assert results(tmp_path / "2") == alone
    assert len(updates) == 4, "the lost update was repeated, and nothing else"
    (sentence,) = said
    assert sentence.startswith("of 2 learners 1 died (")
    assert "a new group goes on from the checkpoint of iteration 1" in sentence


@pytest.mark.parametrize(("rank", "asked"), [(1, "savepoint"), (0, "plan")])
def test_a_learner_that_dies_between_updates_costs_none(tmp_path, monkeypatch, rank, asked, alone):
    """Long after the last checkpoint: those that are left are where it was."""
    learn, ask, said, updates, moments = LearnerGroup.learn, getattr(LearnerGroup, asked), [], [], []

    def killed_once(self, *given):
        moments.append(1)
        if len(moments) == 3:
            import ray

            os.kill(ray.get(self._actors[rank].describe.remote())["process"], signal.SIGKILL)
        return ask(self, *given)

    monkeypatch.setattr(LearnerGroup, asked, killed_once)
    monkeypatch.setattr(LearnerGroup, "learn", lambda self, rounds: updates.append(1) or learn(self, rounds))
    run = setup.create_run(recipe("maml", "learners=2", "checkpoints.every=100"), tmp_path / "2")
    assert running.run(run, stop=running.StopRequest(said.append)).iteration == 3
    assert results(tmp_path / "2") == alone
    assert len(updates) == 3, "none was repeated"
    assert "goes on from the checkpoint of iteration 2" in said[0]


def test_a_lost_only_learner_goes_on_from_the_newest_checkpoint(tmp_path, monkeypatch, alone):
    learn, updates = LearnerGroup.learn, []

    def killed_once(self, rounds):
        updates.append(1)
        if len(updates) == 3:
            import ray

            os.kill(ray.get(self._actors[0].describe.remote())["process"], signal.SIGKILL)
        return learn(self, rounds)

    monkeypatch.setattr(LearnerGroup, "learn", killed_once)
    train("maml", tmp_path / "1", "learners=1", "checkpoints.every=1")
    assert results(tmp_path / "1") == alone
    assert len(updates) == 4


def test_learners_that_die_again_and_again_end_the_run_with_a_sentence(tmp_path, monkeypatch):
    learn = LearnerGroup.learn

    def killed(self, rounds):
        import ray

        os.kill(ray.get(self._actors[0].describe.remote())["process"], signal.SIGKILL)
        return learn(self, rounds)

    monkeypatch.setattr(LearnerGroup, "learn", killed)
    with pytest.raises(LearnersLostError, match=r"of 1 learners 1 died"):
        train("maml", tmp_path / "1", "learners=1")
    assert checkpoints.iterations(tmp_path / "1" / "checkpoints") == [0]


def test_trials_that_are_lost_are_sampled_again(tmp_path, monkeypatch, alone):
    """As where a node dies that held them: what the learners are told to get is not there any more."""
    import ray

    together, calls = LearnerGroup._all, []

    def losing(self, method, *given):
        if method == "receive":
            calls.append(len(given[0]))
            if len(calls) == 2:
                raise LearnersLostError("of 1 learners 1 failed") from ray.exceptions.ObjectLostError("00", b"", "")
        return together(self, method, *given)

    monkeypatch.setattr(LearnerGroup, "_all", losing)
    assert train("maml", tmp_path / "1", "learners=1", "workers=1") == alone
    assert calls == [3, 3, 3, 3], "the second meta-batch was sampled again"


def test_learners_whose_numbers_come_apart_are_found(tmp_path, monkeypatch):
    learn = LearnerGroup.learn

    def nudged(self, rounds):
        import ray

        def nudge(process):
            with torch.no_grad():
                next(iter(process._learner.parameters.values())).view(-1)[0] += 1e-7

        ray.get(self._actors[1].__ray_call__.remote(nudge))
        return learn(self, rounds)

    monkeypatch.setattr(LearnerGroup, "learn", nudged)
    with pytest.raises(LearnersLostError, match="different weights in update 0"):
        train("maml", tmp_path / "2", "learners=2")


def test_a_group_resumes_and_may_change_its_size(tmp_path, alone):
    running.train(recipe("maml", "iterations=2", "learners=2"), tmp_path / "2")
    running.run(setup.open_for_resume(tmp_path / "2", ["iterations=3", "learners=0"]))
    assert results(tmp_path / "2")[:2] == alone[:2]


@pytest.mark.parametrize(
    ("overrides", "error", "says"),
    [
        (
            ["learners=2", "device=cuda"],
            DeviceError,
            "cuda: 2 learners need a GPU each, and Ray has 0; use device=auto",
        ),
        (["learners=2", "device=cuda:1"], DeviceError, "learners take the GPUs that Ray gives them"),
    ],
)
def test_groups_that_cannot_be_are_refused_with_a_sentence(tmp_path, overrides, error, says):
    with pytest.raises(error, match=says):
        train("maml", tmp_path / "run", *overrides)
    assert checkpoints.iterations(tmp_path / "run" / "checkpoints") == [0]


def test_more_learners_than_parts_are_refused_before_a_run_is_made(tmp_path):
    cure = "3 parts; lower learners, or cut it finer by a smaller agent.task_chunk"
    with pytest.raises(ClusterError, match=cure):
        train("maml", tmp_path / "run", "learners=4")
    assert not (tmp_path / "run").exists()
    running.train(recipe("maml", "iterations=1"), tmp_path / "run")
    with pytest.raises(ClusterError, match=r"3 parts; lower learners$"):  # its chunks cannot change any more
        running.run(setup.open_for_resume(tmp_path / "run", ["iterations=2", "learners=4"]))


def test_a_group_without_room_says_what_it_waits_for_and_gives_up(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(learner_group, "NOTICE_S", 0.0)
    monkeypatch.setattr(learner_group, "START_S", 2.0)
    run = setup.create_run(recipe("maml", "learners=3", "learner_threads=2"), tmp_path / "run")
    with pytest.raises(
        ClusterError, match=r"3 learners need 2 CPUs each, and the cluster has 4 CPUs, 4 of them free; that was so"
    ):
        running.run(run, stop=running.StopRequest(said.append))
    assert "waiting for 2 s at most" in said[0]


def test_a_users_error_in_every_learner_is_its_sentence(tmp_path):
    with pytest.raises(AgentError, match="is not finite"):
        train("maml", tmp_path / "run", "learners=2", "agent.inner_learning_rates=[1e30]", "agent.outer={name: trpo}")
    assert checkpoints.iterations(tmp_path / "run" / "checkpoints") == [0]
