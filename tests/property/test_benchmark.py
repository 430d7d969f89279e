"""Benchmarks: the same rows however they are measured, what is missing is named, leaks are refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from envs.task import Task, TaskSet
from tests.helpers import call
from trainers.baselines.contestants import Contestant
from trainers.errors import RecipeError, UsageError
from trainers.evaluation import entering
from trainers.evaluation.benchmark import BenchmarkRequest, _held, measure, prepare
from trainers.evaluation.leaks import refuse_leaks
from trainers.evaluation.suites import load_suite, shipped_suites
from trainers.recipes import registry
from trainers.runs.run_folder import Run

RUN = "docs/results/point_nav_maml/seed-0"
FAMILY = registry.family("point_nav-v1")


@pytest.fixture
def suite(tmp_path):
    frozen = {"count": 3, "seed": 7, "hash": FAMILY.task_set("held-out", 3, 7).digest}
    data = {
        "name": "small-v1", "families": [{"family": "point_nav-v1", "held_out": frozen, "from_scratch": 1}],
        "episodes": 4, "env_steps": 300, "probe_episodes": 1, "repeats": 1, "seeds": 1,
    }  # fmt: skip
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(data))
    return str(path)


def measured(suite, out, runs=(f"maml={RUN}",), baselines=("random",), workers=0):
    record = measure(prepare(BenchmarkRequest(suite, out, runs, baselines, workers)), lambda label, steps: None)
    return record, pd.read_parquet(out / "rows")


def test_what_is_there_is_not_measured_again_and_what_is_broken_is(suite, tmp_path):
    _, whole = measured(suite, tmp_path / "out")
    parts = sorted((tmp_path / "out" / "rows").rglob("*.parquet"))
    times = {part: part.stat().st_mtime_ns for part in parts[1:]}
    parts[0].write_bytes(parts[0].read_bytes()[:50])  # half-written
    request = BenchmarkRequest(suite, tmp_path / "out", (f"maml={RUN}",), ("random",))
    assert sum(map(len, prepare(request).todo.values())) == 1
    _, again = measured(suite, tmp_path / "out")
    assert again.equals(whole)
    assert {part: part.stat().st_mtime_ns for part in parts[1:]} == times
    assert not again.duplicated(["contestant", "training_seed", "task", "repeat", "adaptation_step", "rollout"]).any()


@pytest.mark.ray
def test_workers_give_the_same_rows(suite, tmp_path, shared_ray):
    _, alone = measured(suite, tmp_path / "0")
    for workers in (1, 2, 3):
        _, together = measured(suite, tmp_path / str(workers), workers=workers)
        assert together.equals(alone)


def test_a_benchmark_that_is_killed_goes_on_to_the_same_rows(suite, tmp_path):
    """SIGKILL as soon as a part is there: no row is lost, none is measured twice, none is half there."""
    _, whole = measured(suite, tmp_path / "whole", baselines=("random", "untrained"))
    out = tmp_path / "killed"
    words = ["benchmark", suite, "--out", str(out), "--runs", f"maml={RUN}", "--baselines", "random", "untrained"]
    command = [sys.executable, "-m", "trainers.cli.app", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while process.poll() is None and not list(out.rglob("*.parquet")):
        time.sleep(0.002)
    process.kill()
    process.communicate()
    kept = {part: part.stat().st_mtime_ns for part in out.rglob("contestant=*/*.parquet")}
    assert kept, "it was killed after its first part"
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert pd.read_parquet(out / "rows").equals(whole)
    assert {part: part.stat().st_mtime_ns for part in kept} == kept
    assert {part.name for part in (out / "rows").rglob("*")} == {
        part.name for part in (tmp_path / "whole" / "rows").rglob("*")
    }


class Failing(Contestant):
    """Raises what it is made to."""

    label, package = "failing", "none"
    error: BaseException = RuntimeError("its simulator fell over")

    def run(self, family, tasks, seed, meter):
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [(RuntimeError("it fell over"), "RuntimeError: it fell over"), (MemoryError(), "not enough memory")],
)
def test_what_cannot_enter_or_fails_is_named_and_the_rest_comes_out(suite, tmp_path, monkeypatch, error, said):
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(Failing, "error", error)
    monkeypatch.setattr(entering, "LEARNERS", {"failing": "x"})
    monkeypatch.setattr(entering, "contestant_class", {"failing": Failing}.get)
    runs = (f"maml={RUN}", f"empty={tmp_path / 'empty'}", "grid=docs/results/grid_navi_rl2/seed-0")
    record, frame = measured(suite, tmp_path / "out", runs, ("random", "failing"))
    assert set(frame["contestant"]) == {"maml", "random"}
    why = {one["contestant"]: one["why"] for one in record["missing"]}
    assert "is not a run folder" in why["empty"]
    assert "compare it there" in why["grid, seed-0"]
    assert said in why["failing"]


def test_lines_of_one_name_are_refused(suite, tmp_path):
    runs = (f"random={RUN}", f"maml={RUN}", "maml2=docs/results/point_nav_maml/seed-0")
    record, frame = measured(suite, tmp_path / "out", runs, ("random", "random"))
    assert "are both called random" in next(one["why"] for one in record["missing"])
    assert set(frame["contestant"]) == {"random", "maml", "maml2"}
    long = measured(suite, tmp_path / "long", (f"{'x' * 300}={RUN}",))[0]["missing"]
    assert "cannot name a line of the comparison" in long[0]["why"]


def test_two_benchmarks_into_one_folder_at_once_are_refused(suite, tmp_path):
    ready = prepare(BenchmarkRequest(suite, tmp_path / "out", (), ("random",)))
    with _held(tmp_path / "out"), pytest.raises(UsageError, match="another acclimate benchmark is measuring"):
        measure(ready, lambda label, steps: None)


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_played(suite, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        prepare(BenchmarkRequest(suite, tmp_path / "file" / "out", (), ("random",)))


def test_a_record_that_cannot_be_read_is_named_and_the_rows_are_kept(suite, tmp_path):
    measured(suite, tmp_path / "out")
    (tmp_path / "out" / "benchmark.json").write_text("{")
    with pytest.raises(UsageError, match="delete it and start again"):
        prepare(BenchmarkRequest(suite, tmp_path / "out", (), ("random",)))


def test_where_nothing_can_enter_the_reasons_are_printed(suite, tmp_path):
    done = call("benchmark", suite, "--out", tmp_path / "out", "--runs", "docs/results/grid_navi_rl2/seed-0")
    assert done.exit_code == 2
    said = " ".join(done.output.split())
    assert "compare it there" in said
    assert "every contestant is missing" in said


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"families": "twice"}, "point_nav-v1 is named twice"),
        ({"policies": {"nonsense": "stochastic"}}, "policies: there is no agent nonsense"),
        ({"budgets": {"sb3_sack": 3}}, "did you mean sb3_sac"),
        ({"seeds_of": {"sb3": 3}}, "no learner from scratch is called sb3"),
        ({"episodes": 0}, "episodes"),
        ({"episode": 3}, "episode"),
        ({"name": "Small"}, "name"),
    ],
)
def test_a_suite_that_is_wrong_is_one_sentence(suite, tmp_path, changed, says):
    data = yaml.safe_load(Path(suite).read_text())
    if changed.get("families") == "twice":
        changed = {"families": data["families"] * 2}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(data | changed))
    with pytest.raises(UsageError) as error:
        load_suite(tmp_path / "wrong.yaml")
    assert says in str(error.value)
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(RecipeError, match="is not a suite: it is empty"):
        load_suite(tmp_path / "empty.yaml")


def test_a_suite_is_written_for_any_family(tmp_path):
    out = tmp_path / "mine.yaml"
    made = call("suites", "tests.helpers:LineFamily", "-o", out, "--held-out", 4)
    assert made.exit_code == 0, made.output
    suite = load_suite(out)
    family = registry.family("tests.helpers:LineFamily")
    assert [len(tasks.tasks) for tasks in suite.families[0].task_sets(family).values()] == [4, 4]
    again = call("suites", "tests.helpers:LineFamily", "-o", out)
    assert again.exit_code == 2
    assert "exists already" in " ".join(again.output.split())
    assert "point_nav" in call("suites").output


def test_rows_of_code_that_was_edited_are_measured_again(tmp_path, monkeypatch):
    """A family of the user's own: its module's text is part of what rows depend on."""
    module = tmp_path / "edited_tasks.py"
    module.write_text("from tests.helpers import LineFamily\n\nclass Mine(LineFamily):\n    name = 'mine-v1'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    call("suites", "edited_tasks:Mine", "-o", "mine.yaml", "--held-out", 2)
    _, first = measured("mine.yaml", tmp_path / "out", runs=())
    parts = {part.name for part in (tmp_path / "out" / "rows").rglob("*.parquet")}
    module.write_text(module.read_text() + "    # another reward, as it were\n")
    request = BenchmarkRequest("mine.yaml", tmp_path / "out", (), ("random",))
    assert sum(map(len, prepare(request).todo.values())) == len(parts)
    assert len(first)


def test_cells_that_fail_alike_are_one_sentence(suite, tmp_path):
    data = yaml.safe_load(Path(suite).read_text())
    data["families"][0]["from_scratch"], data["seeds"] = 3, 2
    (tmp_path / "three.yaml").write_text(yaml.safe_dump(data))
    record, _ = measured(str(tmp_path / "three.yaml"), tmp_path / "out", (), ("random", f"{__name__}:Failing"))
    assert [(one["contestant"], one["alike"]) for one in record["missing"]] == [("failing", 2), ("failing", 2)]


def test_a_folder_of_another_suite_is_refused(suite, tmp_path):
    measured(suite, tmp_path / "out", runs=())
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({**yaml.safe_load(Path(suite).read_text()), "episodes": 5}))
    with pytest.raises(UsageError, match="another suite"):
        prepare(BenchmarkRequest(str(other), tmp_path / "out", (), ("random",)))


@pytest.mark.parametrize("name", shipped_suites())
def test_shipped_suites_are_of_the_tasks_that_families_draw(name):
    suite = load_suite(name)
    for entry in suite.families:
        assert entry.task_sets(registry.family(entry.family))


def test_a_suite_of_another_version_of_its_family_is_refused(suite, tmp_path):
    data = yaml.safe_load(Path(suite).read_text())
    data["families"][0]["held_out"]["hash"] = "0" * 16
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(UsageError, match="another version of the family"):
        load_suite(tmp_path / "old.yaml").families[0].task_sets(FAMILY)


@pytest.fixture
def run(tmp_path):
    """A published run with 20 fixed training tasks."""
    folder = tmp_path / "run"
    shutil.copytree(RUN, folder)
    shutil.copytree("docs/results/point_nav_maml/tasks", folder / "tasks")
    train = FAMILY.task_set("train", 20, 0)
    (folder / "tasks" / "train.json").write_text(json.dumps(train.to_json()))
    config = yaml.safe_load((folder / "config.yaml").read_text()) | {"train_tasks": 20}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return Run.open(folder)


def moved(tasks, by):
    return TaskSet(
        "point_nav-v1", "held-out",
        tuple(Task.of("point_nav-v1", {"goal_m": [x + by for x in task["goal_m"]]}, i) for i, task in enumerate(tasks)),
    )  # fmt: skip


def test_leaks_are_refused_and_fresh_tasks_are_not(run):
    trained = run.task_set(FAMILY, "train").tasks
    with pytest.raises(UsageError, match="it was trained on"):
        refuse_leaks(run, FAMILY, moved(trained[:1], 0.0), 1e-6)
    for tasks, by in ((trained[:1], 1e-9), (trained, 1e-4)):
        with pytest.raises(UsageError, match="they are copies"):
            refuse_leaks(run, FAMILY, moved(tasks, by), 1e-6)
    selected = run.task_set(FAMILY, "validation").tasks
    with pytest.raises(UsageError, match="selected by"):
        refuse_leaks(run, FAMILY, moved(selected[:1], 0.0), 1e-6)
    for seed in range(20):
        refuse_leaks(run, FAMILY, FAMILY.task_set("held-out", 30, seed + 100), 1e-6)


def test_a_leak_through_a_seed_is_found_in_fresh_training_tasks():
    """Training tasks that nobody kept are drawn again from the run's seed."""
    run = Run.open(RUN)
    from trainers.evaluation.leaks import training_tasks

    one = training_tasks(run, FAMILY)[37]
    with pytest.raises(UsageError, match="it was trained on"):
        refuse_leaks(run, FAMILY, moved([one], 0.0), 1e-6)


def test_where_training_tasks_lie_densely_neighbours_are_no_copies_and_copies_are():
    run = Run.open("docs/results/half_cheetah_vel_u03_rl2/seed-0")
    family = run.family()
    from trainers.evaluation.leaks import training_tasks

    trained = training_tasks(run, family)
    for seed in range(5):
        refuse_leaks(run, family, family.task_set("held-out", 30, seed), 1e-6)
    copies = [
        Task.of(family.name, {"velocity_m_per_s": task["velocity_m_per_s"] + 1e-9}, place)
        for place, task in enumerate(trained[:30])
    ]
    with pytest.raises(UsageError, match="they are copies"):
        refuse_leaks(run, family, TaskSet(family.name, "held-out", tuple(copies)), 1e-6)


def test_a_budget_below_an_episode_is_missing_with_its_reason(suite, tmp_path):
    data = yaml.safe_load(Path(suite).read_text()) | {"env_steps": FAMILY.episode_steps - 1}
    short = tmp_path / "short.yaml"
    short.write_text(yaml.safe_dump(data))
    entries = entering.enter(load_suite(str(short)), [], ["sb3_ppo"])
    assert not entries.entrants
    assert "less than an episode" in entries.missing[0].why


def test_a_run_without_memory_has_no_control_without_context(suite, tmp_path):
    memoryless = "docs/results/point_nav_memoryless/seed-0"
    runs = [f"plain={memoryless}", f"maml={RUN}"]
    entries = entering.enter(load_suite(suite), runs, ["no-context"])
    assert [one.label for one in entries.entrants] == ["plain", "maml", "maml, context ablated"]


def test_a_folder_of_runs_is_answered_with_their_names():
    refused = call("compare", "docs/results")
    assert refused.exit_code == 2
    assert "it holds the runs ant_fwd_back_maml, " in " ".join(refused.output.split())
