"""The published run folders are what they claim: small, loadable, and they score what their summaries say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from envs.mujoco.locomotion import Locomotion
from envs.task import TaskSet
from trainers.evaluation.curves import curve
from trainers.evaluation.run_evaluation import EvaluationRequest, evaluate_runs
from trainers.recipes import loading
from trainers.recipes.schema import Recipe
from trainers.runs.run_folder import Run, find_runs

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
ROBOTS = Path("examples/robots")  # as their recipes name the families, from the root of the repository
PUBLISHED = sorted(path.parent for path in RESULTS.glob("*/summary.json"))


def recipe_of(name: str) -> Path:
    """The recipe's file: a shipped one, or of one of the example robots."""
    return next(path for path in (loading.SHIPPED / f"{name}.yaml", ROBOTS / f"{name}.yaml") if path.is_file())


def test_every_recipe_is_published():
    shipped = {path.stem for path in loading.SHIPPED.glob("*.yaml")}
    assert shipped <= {folder.name for folder in PUBLISHED}
    for folder in PUBLISHED:
        assert recipe_of(folder.name)


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_a_published_result_is_reproduced_by_evaluate(folder, tmp_path):
    claimed = json.loads((folder / "summary.json").read_text())
    run = find_runs(folder)[0]
    if not claimed["family"].startswith("point_") or run.recipe.evaluation.repeats > 1:
        check_some_tasks(folder, claimed, tmp_path)
        return
    measured = evaluate_runs(EvaluationRequest(folder, "held-out"))
    assert measured["task_set_hash"] == claimed["task_set_hash"]
    assert measured["training_seeds"] == claimed["training_seeds"]
    # Another processor rounds otherwise; the same policies on the same tasks and noise stay this close.
    assert measured["mean"] == pytest.approx(claimed["mean"], abs=0.3)
    assert measured["env_steps"] == pytest.approx(claimed["env_steps"], rel=0.02)


def check_some_tasks(folder, claimed, tmp_path):
    """Some tasks are measured again, for all take long; the summary is that of all seeds' rows.

    What happens in a trial depends on its task and not on the others, so some of a set give the rows they have in it.
    """
    runs = find_runs(folder)
    pooled = curve([run.rows() for run in runs], "stochastic")
    assert pooled.mean == pytest.approx(claimed["mean"], rel=1e-3)
    assert pooled.env_steps == pytest.approx(claimed["env_steps"], rel=1e-3)
    assert len(runs) == claimed["training_seeds"]
    family = runs[0].family()
    held_out = runs[0].task_set(family, "held-out")
    assert held_out.digest == claimed["task_set_hash"]
    settings = runs[0].recipe.evaluation
    robot = isinstance(family, Locomotion)
    seeds = 1 if robot or settings.rollouts == 1 else len(runs)
    # One rollout a round is soon played, so a robot's tasks are all played then: few would be too noisy a mean.
    trials = 100 if settings.rollouts == 1 else 3 if robot else 40
    count = max(1, trials // settings.repeats)
    few = tmp_path / "few.json"
    few.write_text(json.dumps(TaskSet(held_out.family, "held-out", held_out.tasks[:count]).to_json()))
    measured = evaluate_runs(EvaluationRequest(folder if seeds == len(runs) else runs[0].path, str(few)))
    assert measured["training_seeds"] == seeds
    expected = pooled.returns_STP[:seeds, :count].mean((0, 1))
    # A robot's motion magnifies the last bit within a second: on another processor its returns are other draws.
    tolerance = 0.3 if claimed["family"].startswith("point_") else 0.06 * max(map(abs, expected))
    assert measured["mean"] == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_a_published_run_was_made_by_its_recipe(folder):
    recipe = Recipe.load(recipe_of(folder.name))
    for run in find_runs(folder):
        # Shards are smaller in today's recipes (benchmarks/shards.py): the same but for last bits.
        free = {"seed", "workers", "device", "learner_threads", "sampling"}
        assert run.recipe.model_dump(exclude=free) == recipe.model_dump(exclude=free)
        assert isinstance(Run.open(run.path), Run)


def files_of(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_results_stay_in_proportion():
    """Bounds that grow with the runs, so that later results may join: 20 MB and 650 files for the first 74 runs."""
    runs = sorted(path.parent for path in RESULTS.glob("*/seed-*/config.yaml"))
    for run in runs:
        size = sum(path.stat().st_size for path in files_of(run))
        assert size < 1_200_000, run  # PEARL's published networks alone are 1.1 MB
        assert len([path for path in files_of(run) if run / "family" not in path.parents]) <= 6, run
        assert len((run / "metrics.jsonl").read_text().splitlines()) <= 120, run
    everything = files_of(RESULTS)
    assert sum(path.stat().st_size for path in everything) <= 270_000 * len(runs)
    assert len(everything) <= 8.75 * len(runs)


def test_the_plots_kept_are_those_that_a_page_shows():
    root = RESULTS.parents[1]
    pages = [root / "README.md", *(root / "docs").rglob("*.md")]
    shown = {
        (page.parent / link).resolve()
        for page in pages
        for link in re.findall(r"\]\(([^)\s]+\.png)\)", page.read_text())
    }
    assert {path.resolve() for path in RESULTS.rglob("*.png")} == {path for path in shown if RESULTS in path.parents}
