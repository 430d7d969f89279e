"""A stop at any moment repeats at most one update, and the resumed run has the bits of an undisturbed one."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents.maml import MAMLLearner
from agents.pearl import PEARLLearner
from agents.reptile import ReptileLearner
from agents.rl2 import RL2Learner
from agents.varibad import VariBADLearner
from tests.helpers import TINY_PEARL
from tests.property.test_resume import SMALL, common
from trainers.errors import RunFolderError
from trainers.recipes.schema import Recipe
from trainers.runs import checkpoints, provenance
from trainers.training import loop, running, setup
from trainers.training.loop import Loop

ROOT = Path(__file__).resolve().parents[2]
MACHINE_IS_BUSY = 3  # times that tests may take which run beside others
AGENTS = {
    "maml": (MAMLLearner, []),
    "reptile": (ReptileLearner, ["agent={name: reptile, meta_batch_size: 3, rollouts: 3, hidden_sizes: [8]}"]),
    "rl2": (RL2Learner, []),
    "varibad": (VariBADLearner, []),
    "pearl": (PEARLLearner, TINY_PEARL),
}


def recipe(name, *more):
    if name in ("rl2", "varibad"):
        shipped = f"grid_navi_{name}"
        sizes = ["agent.meta_batch_size=3", "sampling.tasks_per_shard=2"]
        small = [one for one in SMALL if not one.startswith(("agent.", "evaluation="))]
        measured = "evaluation={every: 2, validation_tasks: 3, held_out_tasks: 4, rounds: 1, rollouts: 1}"
        return Recipe.load(shipped, [*small, *sizes, measured, *more])
    return Recipe.load("point_nav_maml", [*SMALL, *AGENTS[name][1], *more])


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    out = tmp_path_factory.mktemp("straight")
    for name in AGENTS:
        running.train(recipe(name), out / name)
    return out


def signalled(original, number, when, *, after):
    """The same function, but that this process is sent a signal in its `when`th call, before or after its work."""
    calls = []

    def wrapped(*args, **kwargs):
        calls.append(args)
        if len(calls) == when and not after:
            os.kill(os.getpid(), number)
        result = original(*args, **kwargs)
        if len(calls) == when and after:
            os.kill(os.getpid(), number)
        return result

    return wrapped


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("phase", ["learning", "validating"])
def test_sigterm_abandons_the_update_and_nothing_else(tmp_path, straight, monkeypatch, name, phase):
    """At the end of the update of iteration 5, when all has changed; or when iteration 4 is measured."""
    learner = AGENTS[name][0]
    with monkeypatch.context() as patch:
        if phase == "learning":
            patch.setattr(learner, "update", signalled(learner.update, signal.SIGTERM, 5, after=True))
        else:
            patch.setattr(loop, "evaluate", signalled(loop.evaluate, signal.SIGTERM, 2, after=False))
        outcome = running.train(recipe(name, "checkpoints.every=100"), tmp_path / "run")
    whole = 4 if phase == "learning" else 3
    assert (outcome.stopped_by, outcome.iteration) == ("SIGTERM", whole)
    assert checkpoints.iterations(tmp_path / "run" / "checkpoints")[-1] == whole, "one update is lost, no more"
    outcome = running.run(setup.open_for_resume(tmp_path / "run"))
    assert outcome.stopped_by is None
    assert common(tmp_path / "run") == common(straight / name)


def test_ctrl_c_finishes_the_update_with_its_validation(tmp_path, straight, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(MAMLLearner, "update", signalled(MAMLLearner.update, signal.SIGINT, 4, after=False))
        outcome = running.train(recipe("maml", "checkpoints.every=100"), tmp_path / "run")
    assert (outcome.stopped_by, outcome.iteration) == ("SIGINT", 4)
    running.run(setup.open_for_resume(tmp_path / "run"))
    assert common(tmp_path / "run") == common(straight / "maml")


def test_ctrl_c_does_not_wait_for_the_evaluation_at_the_end(tmp_path, straight, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate", signalled(loop.evaluate, signal.SIGINT, 4, after=False))
        outcome = running.train(recipe("maml"), tmp_path / "run")
    assert (outcome.stopped_by, outcome.iteration) == ("SIGINT", 6)
    assert running.run(setup.open_for_resume(tmp_path / "run")).stopped_by is None
    assert common(tmp_path / "run") == common(straight / "maml")


def test_an_update_that_fails_leaves_the_checkpoint_of_what_was_before_it(tmp_path, straight, monkeypatch):
    def fails(self, batch):
        if self._updates == 4:
            raise RuntimeError("broken")
        return update(self, batch)

    update = MAMLLearner.update
    with monkeypatch.context() as patch:
        patch.setattr(MAMLLearner, "update", fails)
        with pytest.raises(RuntimeError, match="broken"):
            running.train(recipe("maml", "checkpoints.every=100"), tmp_path / "run")
    assert checkpoints.iterations(tmp_path / "run" / "checkpoints")[-1] == 4
    running.run(setup.open_for_resume(tmp_path / "run"))
    assert common(tmp_path / "run") == common(straight / "maml")


def test_a_signal_while_a_checkpoint_is_written_waits_for_it(tmp_path, monkeypatch):
    checkpoint = signalled(Loop.checkpoint, signal.SIGTERM, 1, after=False)
    monkeypatch.setattr(Loop, "checkpoint", checkpoint)
    outcome = running.train(recipe("maml"), tmp_path / "run")
    assert (outcome.stopped_by, outcome.iteration) == ("SIGTERM", 2)
    assert checkpoints.iterations(tmp_path / "run" / "checkpoints") == [0, 2]


def test_a_damaged_newest_checkpoint_names_an_earlier_one_that_resume_goes_back_to(tmp_path, straight):
    run = tmp_path / "run"
    shutil.copytree(straight / "maml", run)
    newest = checkpoints.newest(run / "checkpoints")
    (newest / "tensors.safetensors").write_bytes((newest / "tensors.safetensors").read_bytes()[:-9])
    with pytest.raises(RunFolderError, match=r"was cut .*; go back to an earlier one with --checkpoint 4$"):
        running.run(setup.open_for_resume(run))
    with pytest.raises(RunFolderError, match=r"holds no checkpoint 3; it holds last and the iterations"):
        setup.open_for_resume(run, checkpoint=3)
    assert running.run(setup.open_for_resume(run, checkpoint=4)).iteration == 6
    assert common(run) == common(straight / "maml")


def test_a_run_says_with_which_threads_and_instructions_it_began(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    run = setup.create_run(recipe("maml", "learner_threads=auto"), tmp_path / "run")
    assert run.provenance()["machine"]["threads"] == 3
    assert run.other_versions() == []
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(provenance, "instruction_set", lambda: "Z80")
    began = run.provenance()["machine"]["instruction_set"]
    assert run.other_versions() == [f"{began} instructions, here Z80", "3 learner threads, here 1"]
    fixed = dataclasses.replace(run, recipe=recipe("maml", "learner_threads=2"))
    assert fixed.other_versions() == [f"{began} instructions, here Z80"]


@pytest.mark.ray
def test_sigterm_to_the_process_group_leaves_a_checkpoint_and_ray_no_orphans(tmp_path):
    """As Slurm, `timeout` and a closed terminal do: Ray, in a session of its own, outlives the driver's last words."""
    words = ["iterations=1000000", "workers=2", "checkpoints.every=1000000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "trainers.cli.app", "train", "point_nav_maml", *SMALL, *words, "--out", "run"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "500"}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if "meta-update" in line and "return" in line:
            break
    children = [int(one) for one in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert children
    os.killpg(process.pid, signal.SIGTERM)
    began = time.monotonic()
    said = process.stdout.read()
    assert process.wait() == 128 + signal.SIGTERM
    assert time.monotonic() - began < 10 * MACHINE_IS_BUSY
    assert "Stopped by SIGTERM after" in said
    assert "go on with: acclimate resume run" in said
    assert "Traceback" not in said
    done = checkpoints.iterations(tmp_path / "run" / "checkpoints")[-1]
    assert done > 0
    assert f"after {done} meta-update" in said
    assert not [one for one in children if Path(f"/proc/{one}").exists()]
