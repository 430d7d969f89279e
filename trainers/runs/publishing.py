"""Copies of runs that are made to be shown: small, with everything that their evaluation needs."""

from __future__ import annotations

import shutil
from pathlib import Path

from trainers.runs import checkpoints, metrics, provenance, rows
from trainers.runs.run_folder import FAMILY_FOLDER, Run


def copy_without_learner(run: Run, target: Path) -> None:
    """A copy to show, which cannot be resumed: the last weights, the held-out rows, some 100 lines of metrics.

    Of more meta-updates, evenly spaced ones are kept, those that were validated and the last one.
    """
    _, weights, iteration = run.load(run.family())
    shutil.copytree(run.path / "tasks", target / "tasks")
    for name in ("config.yaml", provenance.FILE):
        shutil.copy(run.path / name, target / name)
    if (run.path / FAMILY_FOLDER).is_dir():
        shutil.copytree(run.path / FAMILY_FOLDER, target / FAMILY_FOLDER)
    metrics.write(target / run.metrics_file.name, metrics.thinned(metrics.read(run.metrics_file)))
    checkpoints.save(target / "checkpoints", iteration, run.recipe.agent_name, {"weights": dict(weights)})
    Run(target, run.recipe).write_rows(rows.of_split(run.rows(), "held-out"))
