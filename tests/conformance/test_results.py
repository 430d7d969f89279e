"""The published run folders are what they claim: small, loadable, and they score what their summaries say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainers import recipes
from trainers.results import evaluate_runs, find_runs
from trainers.run_folder import Run

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
PUBLISHED = sorted(path.parent for path in RESULTS.glob("*/summary.json"))


def test_every_recipe_is_published():
    assert {path.stem for path in recipes.SHIPPED.glob("*.yaml")} == {folder.name for folder in PUBLISHED}


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_a_published_result_is_reproduced_by_evaluate(folder):
    claimed = json.loads((folder / "summary.json").read_text())
    told = evaluate_runs(folder, "held-out")
    assert told["task_set_hash"] == claimed["task_set_hash"]
    assert told["training_seeds"] == claimed["training_seeds"]
    # Another processor rounds otherwise; the same policies on the same tasks and noise stay this close. A robot's
    # motion magnifies the last bit within a second, so its returns are other draws of the same mean.
    close = 0.3 if told["family"].startswith("point_") else 0.03 * max(map(abs, claimed["mean"]))
    assert told["mean"] == pytest.approx(claimed["mean"], abs=close)
    assert told["env_steps"] == pytest.approx(claimed["env_steps"], rel=0.02)


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_a_published_run_was_made_by_its_recipe(folder):
    recipe = recipes.load(recipes.find(folder.name))
    for run in find_runs(folder):
        same = {"seed", "workers", "device", "learner_threads"}
        assert run.recipe.model_dump(exclude=same) == recipe.model_dump(exclude=same)
        size = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
        assert size < 1_000_000
        assert isinstance(Run.open(run.path), Run)
