"""A run that dies at any moment goes on to the same bits; a finished one can be extended; nothing else is touched."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from agents.pearl import PEARLLearner
from tests.helpers import TINY_PEARL
from trainers.errors import RecipeError, RunFolderError
from trainers.recipes import registry
from trainers.recipes.schema import Recipe
from trainers.runs import checkpoints
from trainers.runs.metrics import read
from trainers.runs.run_folder import Run
from trainers.runs.selection import best_iteration
from trainers.training import running, setup
from trainers.training.loop import Loop

SMALL = [
    "iterations=6",
    "workers=0",
    "device=cpu",
    "learner_threads=1",
    "agent.meta_batch_size=3",
    "agent.rollouts=3",
    "agent.hidden_sizes=[8]",
    "evaluation={every: 2, validation_tasks: 3, held_out_tasks: 4, rollouts: 3}",
    "checkpoints={every: 2, keep: 2}",
]
RECIPES = ["point_nav_maml", "point_nav_maml_trpo", "point_nav_metasgd", "point_nav_reptile", "pearl"]


def recipe(*more, name="point_nav_maml"):
    if name == "pearl":
        return Recipe.load("point_nav_maml", [*SMALL, *TINY_PEARL, *more])
    return Recipe.load(name, [*SMALL, *more])


def common(folder):
    """Metrics but times, adaptation rows but whose they are, the last state: equal in two runs that are the same."""
    schema = json.loads((folder / "metrics.schema.json").read_text())
    lines = [{key: value for key, value in line.items() if not schema[key]["timing"]} for line in lines_of(folder)]
    state = (checkpoints.newest(folder / "checkpoints") / "state.json").read_bytes()
    return lines, pq.read_table(folder / "adaptation.parquet").drop_columns("run_id").to_pylist(), state


def lines_of(folder):
    return read(folder / "metrics.jsonl")


class Death(BaseException):
    """Caught by no handler of the platform, like a power cut."""


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    out = tmp_path_factory.mktemp("straight")
    for name in RECIPES:
        running.train(recipe(name=name), out / name)
    return out


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("moment", ["iterate", "validate", "checkpoint", "prune", "held-out"])
def test_death_at_any_moment_then_resume_is_the_same_run(tmp_path, straight, monkeypatch, name, moment):
    """Death before, between and after the writes of iteration 4, and before the last evaluation."""
    calls = []

    def dies(original, when):
        def wrapped(*args, **kwargs):
            calls.append(args)
            if when(*args):
                raise Death
            return original(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patch:
        if moment == "iterate":
            patch.setattr(Loop, "iterate", dies(Loop.iterate, lambda self, iteration: iteration == 3))
        elif moment == "validate":
            patch.setattr(Loop, "validate", dies(Loop.validate, lambda self: self.progress.iteration == 4))
        elif moment == "checkpoint":  # its metrics and rows are written already
            patch.setattr(Loop, "checkpoint", dies(Loop.checkpoint, lambda self: self.progress.iteration == 4))
        elif moment == "prune":
            patch.setattr(checkpoints, "prune", dies(checkpoints.prune, lambda *_: len(calls) > 2))
        else:
            patch.setattr(Loop, "measure", dies(Loop.measure, lambda self, split: split == "held-out"))
        with pytest.raises(Death):
            running.train(recipe(name=name), tmp_path / "run")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 5, "environm')  # the line that death cut
    (tmp_path / "run" / "checkpoints" / ".writing-000004-1").mkdir()
    outcome = running.run(setup.open_for_resume(tmp_path / "run"))
    assert outcome.iteration == 6
    assert common(tmp_path / "run") == common(straight / name)
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))
    assert len(Run.open(tmp_path / "run").provenance()["resumed"]) == 1


@pytest.mark.parametrize("name", ["point_nav_maml", "pearl"])
def test_a_finished_run_is_extended_to_the_bits_of_a_longer_one(tmp_path, straight, name):
    running.train(recipe("iterations=4", name=name), tmp_path / "run")
    running.run(setup.open_for_resume(tmp_path / "run", ["iterations=6"]))
    mine, whole = common(tmp_path / "run"), common(straight / name)
    assert (mine[0], mine[2]) == (whole[0], whole[2])
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["iterations"] == 6
    at_the_first_end = [row for row in mine[1] if row["split"] == "held-out" and row["iteration"] == 4]
    assert len(at_the_first_end) == 4 * 3 * (2 if name == "point_nav_maml" else 1), "what was measured stays"


def test_the_next_iteration_is_sampled_with_the_weights_from_before_this_update(tmp_path, monkeypatch):
    """The lag is one: iterations 0 and 1 with the first weights, iteration 2 with those after one update."""
    used, after = [], []
    sample, update = Loop.sample, PEARLLearner.update

    def watched_sample(self, plan, iteration, weights):
        used.append((iteration, weights["policy/weight_0"].clone()))
        return sample(self, plan, iteration, weights)

    def watched_update(self, batch):
        after.append(self.weights()["policy/weight_0"])
        return update(self, batch)

    monkeypatch.setattr(Loop, "sample", watched_sample)
    monkeypatch.setattr(PEARLLearner, "update", watched_update)
    running.train(recipe("iterations=3", name="pearl"), tmp_path / "run")
    running.run(setup.open_for_resume(tmp_path / "run", ["iterations=4"]))
    assert [iteration for iteration, _ in used] == [0, 1, 2, 3]
    for (_, weights), lagging in zip(used, (0, 0, 1, 2), strict=True):
        assert torch.equal(weights, after[lagging])
        assert sum(torch.equal(weights, one) for one in after) == 1


def test_a_checkpoint_without_the_weights_of_what_is_pending_is_refused(tmp_path):
    running.train(recipe("iterations=2", name="pearl"), tmp_path / "run")
    newest = checkpoints.newest(tmp_path / "run" / "checkpoints")
    iteration, state = checkpoints.load(newest, "pearl")
    del state["behaviour_weights"]
    checkpoints.save(newest.parent, iteration, "pearl", state)
    with pytest.raises(RunFolderError, match="the weights that its pending iteration is sampled with are not those"):
        running.run(setup.open_for_resume(tmp_path / "run", ["iterations=3"]))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["train_tasks=null"], "trains on fixed tasks; set train_tasks"),
        (["evaluation.rollouts=5"], "a round is 1 rollout, not 5"),
    ],
)
def test_a_plan_that_the_agent_cannot_follow_is_refused_before_anything_is_written(tmp_path, overrides, sentence):
    with pytest.raises(ValueError, match=sentence):
        setup.create_run(recipe(*overrides, name="pearl"), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_two_numbers_of_fixed_training_tasks_are_refused(tmp_path):
    data = recipe(name="pearl").to_data() | {"train_tasks": 3}
    with pytest.raises(ValueError, match="trains on 4 fixed tasks, but train_tasks is 3"):
        setup.create_run(Recipe.of(data), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_complete_run_stays_as_it_is(tmp_path, straight):
    shutil.copytree(straight / "point_nav_maml", tmp_path / "run")
    before = common(tmp_path / "run")
    assert running.run(setup.open_for_resume(tmp_path / "run")).iteration == 6
    assert common(tmp_path / "run") == before


def test_wall_time_goes_on_where_it_stood(tmp_path):
    running.train(recipe("iterations=2"), tmp_path / "run")
    path = tmp_path / "run" / "metrics.jsonl"
    lines = read(path)
    lines[-1]["seconds_elapsed"] = 1000.0
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    running.run(setup.open_for_resume(tmp_path / "run", ["iterations=3"]))
    assert 1000 < read(path)[-1]["seconds_elapsed"] < 1100


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["agent.rollouts=5"], "agent.rollouts cannot change in a run that is resumed.*init=RUN"),
        (["seed=3"], "seed cannot change"),
        (["iterations=2"], "has done 6 meta-updates already"),
        (["iterations=many"], "iterations is 'many'"),
    ],
)
def test_what_would_make_another_run_is_refused(tmp_path, straight, overrides, sentence):
    shutil.copytree(straight / "point_nav_maml", tmp_path / "run")
    before = common(tmp_path / "run")
    with pytest.raises(RecipeError, match=sentence):
        running.run(setup.open_for_resume(tmp_path / "run", overrides))
    assert common(tmp_path / "run") == before


def test_two_processes_never_train_in_one_folder(straight):
    with (
        Run.open(straight / "point_nav_maml").held(),
        pytest.raises(RunFolderError, match="another process is training"),
    ):
        running.run(setup.open_for_resume(straight / "point_nav_maml"))


def test_the_best_on_validation_is_kept_beside_the_last(tmp_path, monkeypatch):
    returns = iter([-5.0, -1.0, -3.0, -4.0, -2.0])

    def validate(self):
        self.measure("validation")
        return {"validation_return_round_0": 0.0, "validation_return_round_1": next(returns)}

    monkeypatch.setattr(Loop, "validate", validate)
    running.train(recipe("iterations=10", "checkpoints.every=5"), tmp_path / "run")
    assert checkpoints.iterations(tmp_path / "run" / "checkpoints") == [4, 5, 10]
    run = Run.open(tmp_path / "run")
    assert run.load(run.family(), "best")[2] == 4
    assert run.load(run.family(), "last")[2] == 10
    assert run.load(run.family(), "5")[2] == 5
    with pytest.raises(RunFolderError, match="holds no checkpoint 7; it holds last and the iterations 4, 5, 10"):
        run.load(run.family(), "7")


def test_a_run_keeps_the_checkpoint_that_its_algorithm_is_selected_by(tmp_path, monkeypatch):
    """PEARL's last episode is best at iteration 2, its whole trial at iteration 1; beside the best one is kept."""
    returns = {1: (0.0, -5.0), 2: (-9.0, -1.0), 3: (-9.0, -8.0)}

    def validate(self):
        first, last = returns[self.progress.iteration]
        self.measure("validation")
        metrics = {"validation_return_round_0": first, "validation_return_round_2": last}
        return metrics | {"validation_trial_return": first + last}

    monkeypatch.setattr(Loop, "validate", validate)
    few = ["iterations=3", "evaluation.every=1", "checkpoints={every: 1, keep: 1}"]
    run = running.train(recipe(*few, name="pearl"), tmp_path / "run").run
    assert checkpoints.iterations(run.checkpoints) == [2, 3]
    assert run.load(run.family(), "best")[2] == 2


def test_the_best_is_chosen_by_validation_alone():
    lines = [
        {"iteration": 1, "return_round_1": 99.0, "validation_return_round_0": 9.0, "validation_return_round_1": -2.0},
        {"iteration": 2, "validation_return_round_0": 0.0, "validation_return_round_1": -1.0},
        {"iteration": 3, "validation_return_round_0": 0.0, "validation_return_round_1": -1.0},
    ]
    assert best_iteration(lines, registry.algorithm("maml")) == 2
    assert best_iteration([{"iteration": 1, "return_round_1": 1.0}], registry.algorithm("maml")) is None


def test_init_starts_from_another_runs_weights(tmp_path, straight):
    source = straight / "point_nav_maml"
    running.train(recipe(f"init={source}", "seed=9", "iterations=1"), tmp_path / "run")
    run, parent = Run.open(tmp_path / "run"), Run.open(source)
    _, state = checkpoints.load(tmp_path / "run" / "checkpoints" / "iteration-000000", "maml")
    weights = parent.load(parent.family())[1]
    assert all(torch.equal(state["learner"]["parameters"][name], weights[name]) for name in weights)
    assert state["learner"]["updates"] == 0, "the optimiser and the counters are fresh"
    assert run.provenance()["init"]["iteration"] == 6
    assert run.provenance()["init"]["run"] == str(source.resolve())


def test_init_from_another_network_is_refused_and_leaves_nothing(tmp_path, straight):
    with pytest.raises(ValueError, match="belong to another policy"):
        setup.create_run(recipe(f"init={straight / 'point_nav_maml'}", "agent.hidden_sizes=[9]"), tmp_path / "run")
    with pytest.raises(RunFolderError, match="is not a run folder"):
        setup.create_run(recipe("init=/nowhere"), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_death_while_the_folder_was_made_leaves_nothing_in_the_way(tmp_path):
    (tmp_path / ".run.making-1" / "tasks").mkdir(parents=True)
    setup.create_run(recipe(), tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert checkpoints.iterations(tmp_path / "run" / "checkpoints") == [0]


# -- full disks and folders that cannot be written


def limited(folder: Path, most_bytes: int, *words: str) -> subprocess.CompletedProcess[str]:
    """The command in a process that may write no file beyond this size: what a full disk does to it."""
    return subprocess.run(
        [sys.executable, "-m", "trainers.cli.app", *words],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "COLUMNS": "500"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes)),
        cwd=folder, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def test_a_full_disk_is_a_sentence_and_the_run_goes_on_later(tmp_path):
    large = "agent.hidden_sizes=[64, 64]"  # so that the checkpoint is the file that does not fit
    running.train(recipe(large), tmp_path / "straight")
    running.train(recipe(large, "iterations=2"), tmp_path / "run")
    newest = checkpoints.newest(tmp_path / "run" / "checkpoints")
    before = {path.name: path.read_bytes() for path in newest.iterdir()}
    assert max(map(len, before.values())) > 40_000
    full = limited(tmp_path, 40_000, "resume", "run", "iterations=6")
    assert full.returncode == 2, full.stdout + full.stderr
    assert "acclimate: the checkpoint of iteration 4 could not be written" in full.stderr
    assert "(File too large); earlier checkpoints are whole" in full.stderr
    assert "Traceback" not in full.stderr
    assert checkpoints.newest(tmp_path / "run" / "checkpoints") == newest
    assert {path.name: path.read_bytes() for path in newest.iterdir()} == before
    running.run(setup.open_for_resume(tmp_path / "run", ["iterations=6"]))
    assert common(tmp_path / "run")[2] == common(tmp_path / "straight")[2]


def test_a_full_disk_under_the_events_of_tensorboard_is_one_sentence(tmp_path):
    running.train(recipe("iterations=1"), tmp_path / "run")
    full = limited(tmp_path, 20_000, "resume", "run", "iterations=6", "tensorboard=true")
    assert full.returncode == 2, full.stdout + full.stderr
    assert full.stderr.splitlines() == [
        "acclimate: run/tensorboard: events cannot be written (File too large); free some space, or resume with "
        "tensorboard=false"
    ]


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunFolderError, match=r"cannot be written \(Not a directory\); name another folder"):
        setup.create_run(recipe(), tmp_path / "file" / "run")
