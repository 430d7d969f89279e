"""The command as a user meets it: every mistake is one sentence, exit code 2, and nothing is lost by it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.helpers import call
from trainers.recipes.schema import Recipe
from trainers.runs import checkpoints
from trainers.runs.metrics import read
from trainers.training.loop import Loop

TINY = [
    "iterations=2",
    "workers=0",
    "learner_threads=1",
    "agent.meta_batch_size=3",
    "agent.rollouts=3",
    "agent.hidden_sizes=[8]",
    "evaluation={every: 1, validation_tasks: 3, held_out_tasks: 4, rollouts: 3}",
]


def flat(result) -> str:
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    result = call("train", "point_nav_maml", "--out", out, *TINY)
    assert result.exit_code == 0, result.output
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_folder_holds_what_the_documents_say(finished):
    names = {path.split("/")[0] for path in contents(finished)}
    assert names == {
        "config.yaml", "provenance.json", "tasks", "metrics.jsonl", "metrics.schema.json", "adaptation.parquet",
        "checkpoints", "adaptation_curve.png", "adaptation_during_training.png", "learning_curve.png",
        "trajectories.png", "report.html",
    }  # fmt: skip
    lines = read(finished / "metrics.jsonl")
    schema = json.loads((finished / "metrics.schema.json").read_text())
    assert [line["iteration"] for line in lines] == [1, 2]
    assert all(set(line) <= set(schema) for line in lines)
    assert {"return_round_0", "return_round_1", "validation_return_round_1", "steps_per_second"} <= set(lines[-1])
    # 3 tasks, 3 rollouts, 2 rounds of at most 100 steps, two iterations.
    assert 0 < lines[-1]["environment_steps"] <= 3 * 3 * 2 * 100 * 2
    rows = pq.read_table(finished / "adaptation.parquet").to_pandas()
    assert set(rows["split"]) == {"validation", "held-out"}
    assert len(rows[rows["split"] == "held-out"]) == 4 * 3 * 2
    provenance = json.loads((finished / "provenance.json").read_text())
    assert {"commit", "versions", "machine", "started"} <= set(provenance)
    page = (finished / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4


def test_evaluate_writes_the_documented_json(finished, tmp_path):
    target = tmp_path / "result.json"
    assert call("evaluate", finished, "--rounds", 2, "--json", target).exit_code == 0
    result = json.loads(target.read_text())
    assert result["adaptation_step"] == [0, 1, 2]
    assert result["split"] == "held-out"
    assert result["policy"] == "stochastic"
    assert len(result["tasks"]) == 4
    assert all(len(result[key]) == 3 for key in ("env_steps", "mean", "iqm", "ci95"))
    assert result["env_steps"][0] == 0
    assert 0 < result["env_steps"][1] < result["env_steps"][2]
    again = tmp_path / "again.json"
    assert call("evaluate", finished, "--rounds", 2, "--json", again).exit_code == 0
    assert json.loads(again.read_text()) == result
    stored = pq.read_table(finished / "adaptation.parquet").to_pandas()
    stored = stored[(stored["split"] == "held-out") & (stored["adaptation_step"] == 1)]
    assert result["mean"][1] == pytest.approx(stored.groupby("task")["return"].mean().mean())


@pytest.mark.parametrize("split", ["validation", "ood"])
def test_evaluate_takes_every_split(finished, split):
    result = call("evaluate", finished, "--split", split, "--deterministic")
    assert result.exit_code == 0
    assert f"{split} tasks" in flat(result)
    assert "deterministic policy" in flat(result)


def test_evaluate_takes_a_file_of_tasks(finished, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"tasks": [{"goal_m": [0.1, 0.2]}, {"goal_m": [0.3, -0.4]}]}))
    result = call("evaluate", finished, "--split", path)
    assert result.exit_code == 0
    assert "2 mine tasks" in flat(result)


def test_seeds_train_one_folder_each_and_are_pooled(tmp_path):
    result = call("train", "point_nav_maml", "--out", tmp_path / "runs", "seeds=0,1", *TINY, "iterations=1")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["seed-0", "seed-1"]
    result = call("evaluate", tmp_path / "runs")
    assert result.exit_code == 0
    assert "2 training seeds" in flat(result)


def test_a_users_own_family_and_agent_by_import_path(tmp_path):
    words = ["family=tests.helpers:LineFamily", "agent.name=agents.maml:MAML", *TINY]
    result = call("train", "point_nav_maml", "--out", tmp_path / "own", *words)
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "own" / "trajectories.png").exists(), "a family without a plan view has none"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "point_nav_mmal"], "did you mean point_nav_maml?"),
        (["train", "point_nav_maml", "iteratons=1"], "did you mean iterations?"),
        (["train", "point_nav_maml", "seeds=a,b"], "write seeds=0,1,2"),
        (["train", "point_nav_maml", "device=cuda:7"], "not available on this machine"),
        (["train", "point_nav_maml", "family=tests.conformance.test_families:ShowsTarget"], "leaks its task"),
        (["train", "point_nav_maml", "evaluation.held_out_tasks=2", "train_tasks=3"], "needs train_tasks"),
        (["evaluate", "/nowhere"], "is not a run folder"),
        (["check", "nowhere:Family"], "cannot be imported"),
    ],
)
def test_a_mistake_is_one_sentence(words, says, tmp_path):
    if words[0] == "train":
        words = [*words, "--out", tmp_path / "run"]
    result = call(*words)
    assert result.exit_code == 2
    assert says in flat(result)
    assert flat(result).count("acclimate: ") == 1
    assert "Traceback" not in result.output


def test_a_folder_in_use_is_refused_and_left_alone(finished):
    before = contents(finished)
    result = call("train", "point_nav_maml", "--out", finished, *TINY)
    assert result.exit_code == 2
    assert "already exists and is not empty" in flat(result)
    assert contents(finished) == before


@pytest.mark.parametrize("damage", ["cut", "foreign", "recipe"])
def test_a_damaged_run_is_refused_and_left_alone(finished, tmp_path, damage):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    checkpoint = checkpoints.newest(run / "checkpoints")
    if damage == "cut":
        tensors = checkpoint / "tensors.safetensors"
        tensors.write_bytes(tensors.read_bytes()[:-10])
    elif damage == "foreign":
        shutil.rmtree(checkpoint)
        checkpoints.save(run / "checkpoints", 2, "maml", {"learner": {"parameters": {}, "adam": None, "updates": 1}})
    else:
        config = run / "config.yaml"
        config.write_text(config.read_text().replace("- 8\n", "- 9\n"))
    before = contents(run)
    result = call("evaluate", run)
    assert result.exit_code == 2
    assert "checkpoint" in flat(result)
    assert contents(run) == before


def test_check_exits_1_on_a_finding():
    result = call("check", "tests.conformance.test_families:Deaf")
    assert result.exit_code == 1
    assert "do the parameters reach the simulator?" in flat(result)
    assert call("check", "tests.helpers:LineFamily").exit_code == 0


def test_families_lists_every_family():
    result = call("families")
    assert result.exit_code == 0
    assert "goal_m ~ U[-0.5, 0.5]^2 m" in flat(result)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_with_a_checkpoint(tmp_path, number):
    out = tmp_path / "run"
    words = ["train", "point_nav_maml", "--out", str(out), *TINY, "iterations=100000", "evaluation.every=0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "trainers.cli.app", *words],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    metrics = out / "metrics.jsonl"
    while not (metrics.is_file() and len(metrics.read_text().splitlines()) > 3):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    process.send_signal(number)
    printed, _ = process.communicate()
    assert process.returncode == 128 + number, printed
    assert f"Stopped by {number.name}" in printed
    done, _ = checkpoints.load(checkpoints.newest(out / "checkpoints"), "maml")
    assert done == read(metrics)[-1]["iteration"] >= 4


def test_resume_goes_on_with_every_seed_that_is_not_complete(tmp_path, monkeypatch):
    """Death in the first of two seeds: both folders are there, and one command finishes both."""

    class Death(BaseException):
        """Caught by nobody, like a power cut."""

    def dies(self, iteration):
        if iteration == 3:
            raise Death
        return iterate(self, iteration)

    out, iterate, lasting = tmp_path / "runs", Loop.iterate, ("iterations=4", "checkpoints.every=2")
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "iterate", dies)
        with pytest.raises(Death):
            call("train", "point_nav_maml", "--out", out, "seeds=0,1", *TINY, "evaluation.every=0", *lasting)
    assert len(read(out / "seed-0" / "metrics.jsonl")) == 3
    assert checkpoints.iterations(out / "seed-1" / "checkpoints") == [0]
    provenance = json.loads((out / "seed-0" / "provenance.json").read_text())
    provenance["versions"]["torch"] = "0.1"
    (out / "seed-0" / "provenance.json").write_text(json.dumps(provenance))
    result = call("resume", out, "iterations=5")
    assert result.exit_code == 0, result.output
    assert "seed 0, 5 meta-updates (2 are done)" in flat(result)
    assert "The run began with torch 0.1, here" in flat(result)
    assert all(len(read(out / f"seed-{seed}" / "metrics.jsonl")) == 5 for seed in (0, 1))


def test_resume_says_what_is_wrong(tmp_path, finished):
    assert "is not a run folder" in flat(call("resume", tmp_path))
    result = call("resume", finished, "agent.rollouts=7")
    assert result.exit_code == 2
    assert "agent.rollouts cannot change in a run that is resumed" in flat(result)
    assert "holds no checkpoint 77; it holds last and the iterations" in flat(
        call("evaluate", finished, "--checkpoint", 77)
    )


@pytest.mark.parametrize("out", [".", "", "../here"])
def test_a_run_is_made_in_the_folder_where_one_stands(tmp_path, monkeypatch, out):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    inode = Path.cwd().stat().st_ino
    result = call("train", "point_nav_maml", "--out", out, *TINY, "iterations=1", "-q")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("point_nav-v1, 4 held-out tasks"), "results alone"
    assert Path.cwd().stat().st_ino == inode
    assert (tmp_path / "here" / "config.yaml").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert call("evaluate", ".").exit_code == 0
    assert "already exists and is not empty" in flat(call("train", "point_nav_maml", "--out", out, *TINY))


def test_a_name_that_looks_like_markup_is_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call("train", "point_nav_maml", "--out", "runs/[lr]first[/b]", *TINY, "iterations=1", "-v")
    assert result.exit_code == 0, result.output
    assert "Training maml on point_nav-v1, seed 0, 1 meta-update, workers: 0 → runs/[lr]first[/b]" in flat(result)
    assert "The recipe is " in result.output
    assert "  torch: " in result.output
    assert (tmp_path / "runs" / "[lr]first[" / "b]" / "config.yaml").exists()


def test_a_description_is_found_from_another_folder(tmp_path, monkeypatch):
    robots = Path(__file__).resolve().parents[2] / "examples" / "robots"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("arm.xml", "arm.yaml"):
        shutil.copy(robots / name, tmp_path / "a" / name)
    monkeypatch.chdir(tmp_path / "a")
    trained = call("train", "point_nav_maml", "--out", "../run", "family=arm.yaml", *TINY, "iterations=1")
    assert trained.exit_code == 0, trained.output
    monkeypatch.chdir(tmp_path / "b")
    assert call("evaluate", "../run").exit_code == 0
    for name in ("arm.xml", "arm.yaml"):  # another one of that name lies where the command is run
        text = (robots / name).read_text()
        (tmp_path / "b" / name).write_text(text.replace("episode_steps: 60", "episode_steps: 61"))
    assert call("evaluate", "../run").exit_code == 0
    text = "family: arm.yaml\nagent: maml\n"
    (tmp_path / "a" / "recipe.yaml").write_text(text)
    (tmp_path / "c").mkdir()
    monkeypatch.chdir(tmp_path / "c")
    assert Recipe.load("../a/recipe.yaml").family == "../a/arm.yaml"
    monkeypatch.chdir(tmp_path / "b")
    (tmp_path / "c").rmdir()
    (tmp_path / "a").rename(tmp_path / "c")
    assert call("evaluate", "../run").exit_code == 0, "the run folder keeps a copy"
    shutil.rmtree(tmp_path / "run" / "family")
    assert "is not what ../run was trained on" in flat(call("evaluate", "../run"))
    (tmp_path / "b" / "arm.yaml").unlink()
    refused = flat(call("evaluate", "../run"))
    assert "arm.yaml is nowhere to be found (looked for " in refused
    assert str(tmp_path / "a" / "arm.yaml") in refused


def test_a_familys_name_is_printed_as_it_is_and_needs_no_docstring(tmp_path, monkeypatch):
    (tmp_path / "own_plain.py").write_text(
        "from tests.helpers import LineFamily\n"
        "class Family(LineFamily):\n    __doc__ = None\n"
        "class Odd(LineFamily):\n    kind = 'weird'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    result = call("families", "own_plain:Family")
    assert result.exit_code == 0
    assert result.output.startswith("own_plain:Family ")
    assert "own_plain:Family: 12 of 12 checks passed" in call("check", "own_plain:Family").output
    refused = call("families", "own_plain:Odd")
    assert refused.exit_code == 2
    assert "own_plain:Odd has str 'weird' for its kind, which is one of distribution, region, finite" in refused.output
