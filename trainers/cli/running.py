"""Training runs with a display, and reporting what came of each."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from trainers.cli.console import TrainingDisplay, console, note
from trainers.cli.summary_table import print_summary

if TYPE_CHECKING:
    from trainers.runs.run_folder import Run


def train_and_report(runs: Sequence[Run]) -> None:
    """Train runs one after the other, each from its newest checkpoint, and write their summaries, plots and reports."""
    from trainers.reporting.summary import write_summary_and_report
    from trainers.runs import checkpoints
    from trainers.training import loop

    for run in runs:
        recipe = run.recipe
        done = max(checkpoints.iterations(run.checkpoints), default=0)
        title = f"{recipe.title}, seed {recipe.seed}"
        span = counted(recipe.iterations) + (f" ({done} {'is' if done == 1 else 'are'} done)" if done else "")
        note(f"Training {title}, {span}, workers: {recipe.workers} → {run.path}")
        if done and (others := run.other_versions()):
            note(f"The run began with {'; '.join(others)}: the last bits may differ from now on")
        with TrainingDisplay(console, title, recipe.iterations) as display:
            outcome = loop.run(run, display.report)
        if outcome.stopped_by:
            console.print(
                f"Stopped by {outcome.stopped_by} after {counted(outcome.iteration)}; "
                f"go on with: acclimate resume {run.path}"
            )
            raise typer.Exit(128 + signal.Signals[outcome.stopped_by])
        summary, files = write_summary_and_report(outcome.run)
        print_summary(summary)
        for file in files:
            note(f"  {file}")


def counted(meta_updates: int) -> str:
    """'1 meta-update', '2 meta-updates'."""
    return f"{meta_updates} meta-update{'' if meta_updates == 1 else 's'}"
