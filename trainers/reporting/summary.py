"""The end of a training run: its summary, plots and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainers.evaluation.curves import curve, summary
from trainers.reporting.report import write_report
from trainers.reporting.run_plots import plot
from trainers.runs import checkpoints
from trainers.runs.run_folder import Run


def write_summary_and_report(run: Run) -> tuple[dict[str, Any], list[Path]]:
    """Plots and report of a finished run, from its last held-out rows: (summary, the files made)."""
    family = run.family()
    task_set = run.task_set(family, "held-out")
    iteration = checkpoints.iterations(run.checkpoints)[-1]
    of_run = summary(curve([run.held_out_rows(iteration)], "stochastic", family.kind), task_set)
    plots = plot(run)
    return of_run, [*plots, write_report(run, plots)]
