"""report.html of a run: what the report says of a comparison, of this run alone, with its plots and its recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainers.evaluation.comparison import compare_run
from trainers.reporting.page import write_page
from trainers.runs.run_folder import Run


def write_report(run: Run, plots: Sequence[Path]) -> Path:
    """Write the page into the run folder; returns its path."""
    return write_page([compare_run(run)], run.path / "report.html", plots, run.recipe)
