"""Training runs with a display, and reporting what came of each."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from trainers.cli.console import TrainingDisplay, console, detail, note, say
from trainers.cli.summary_table import print_summary

if TYPE_CHECKING:
    from trainers.runs.run_folder import Run
    from trainers.stopping import StopRequest


def train_and_report(runs: Sequence[Run]) -> None:
    """Train runs one after the other, each from its newest checkpoint, and write their summaries, plots and reports."""
    from trainers.stopping import Abandoned, StopRequest

    console.runs = True
    with StopRequest(say) as stop:
        for run in runs:
            try:
                _train(run, stop)
                with stop.abandonable(at_once=True):
                    _report(run)
            except Abandoned:
                stop.shield()
                say(f"Stopped by {stop.signal} before the report was written; {_resume(run)}")
                raise typer.Exit(exit_code(stop)) from None


def _train(run: Run, stop: StopRequest) -> None:
    from trainers.runs import checkpoints
    from trainers.training import running

    recipe = run.recipe
    done = max(checkpoints.iterations(run.checkpoints), default=0) if run.resume_from is None else run.resume_from
    title = f"{recipe.title}, seed {recipe.seed}"
    span = counted(recipe.iterations) + (f" ({done} {'is' if done == 1 else 'are'} done)" if done else "")
    where = f" on {recipe.cluster}" if recipe.cluster else ""
    note(f"Training {title}, {span}, workers: {recipe.workers}{where} → {run.path}")
    if done and (others := run.other_versions()):
        note(f"The run began with {'; '.join(others)}: the last bits may differ from now on")
    provenance = run.provenance()
    for name, value in {**provenance.get("versions", {}), **provenance.get("machine", {})}.items():
        detail(f"  {name}: {value}")
    detail(f"  every key, with its default: {run.path / 'config.yaml'}")
    with _resumable(run), TrainingDisplay(console, title, recipe.iterations) as display:
        outcome = running.run(run, display.report, stop)
    if outcome.stopped_by:
        say(f"Stopped by {outcome.stopped_by} after {counted(outcome.iteration)}; {_resume(run)}")
        raise typer.Exit(exit_code(stop))


@contextmanager
def _resumable(run: Run) -> Iterator[None]:
    """A mishap that can be mended says how the run goes on afterwards; its folder is there, with a checkpoint."""
    from envs.errors import EnvironmentFailure
    from trainers.errors import ClusterError, RunFolderError, SamplingError

    try:
        yield
    except (ClusterError, SamplingError, EnvironmentFailure) as error:
        error.args = (f"{error}; then: acclimate resume {run.path}",)
        raise
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        raise RunFolderError(
            f"{where}{error.strerror or error}; mend that, then: acclimate resume {run.path}"
        ) from error


def _report(run: Run) -> None:
    from trainers.reporting.summary import write_summary_and_report

    summary, files = write_summary_and_report(run)
    print_summary(summary)
    for file in files:
        note(f"  {file}")


def _resume(run: Run) -> str:
    return f"go on with: acclimate resume {run.path}"


def exit_code(stop: StopRequest) -> int:
    """That of a process that ended by the signal which stopped it."""
    return 128 + signal.Signals[stop.signal or "SIGINT"]


def counted(meta_updates: int) -> str:
    """'1 meta-update', '2 meta-updates'."""
    return f"{meta_updates} meta-update{'' if meta_updates == 1 else 's'}"
