"""`acclimate evaluate`: measure adaptation on frozen tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.completing import baseline_names
from trainers.cli.console import console, problems
from trainers.cli.options import Family
from trainers.cli.summary_table import print_summary


def evaluate(
    run: Annotated[Path, typer.Argument(help="a run folder, or a folder of seed-* run folders")],
    split: Annotated[str, typer.Option(help="validation, held-out, ood, or a file of tasks")] = "held-out",
    rounds: Annotated[int | None, typer.Option(min=1, help="adaptations of a trial (default: the recipe's)")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="trials of each task (default: the recipe's)")] = None,
    deterministic: Annotated[bool, typer.Option(help="measure by probe rollouts without action noise")] = False,
    mean_actions: Annotated[
        bool, typer.Option(help="act by mean actions in the rollouts that are adapted on, latents sampled")
    ] = False,
    untrained: Annotated[bool, typer.Option(help="measure the fresh initialisation: the negative control")] = False,
    context: Annotated[
        str, typer.Option(help="own; none or another task's: controls, the agent as it is without what it has seen")
    ] = "own",
    checkpoint: Annotated[str, typer.Option(help="last, best (on the validation tasks), or an iteration")] = "last",
    agent: Annotated[
        str | None,
        typer.Option(
            help="measure a baseline in the run's place, such as random or oracle", autocompletion=baseline_names
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Ray workers; 0 computes in this process")] = 0,
    family: Family = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="also write the summary to this file; - is stdout")
    ] = None,
) -> None:
    """Measure adaptation on frozen tasks; several seeds are pooled."""
    from trainers.evaluation.run_evaluation import EvaluationRequest, evaluate_runs

    request = EvaluationRequest(
        path=run,
        split=split,
        rounds=rounds,
        deterministic=deterministic,
        mean_actions=mean_actions,
        repeats=repeats,
        untrained=untrained,
        context=context,  # type: ignore[arg-type]
        checkpoint=checkpoint,
        baseline=agent,
        workers=workers,
        family=family,
    )
    to_stdout = json_file is not None and str(json_file) == "-"
    if json_file is not None and not to_stdout:
        refuse_unwritable(json_file)
    summary = evaluate_runs(request)
    print_summary(summary, problems if to_stdout else console)  # stdout is the summary's alone
    text = json.dumps(summary, indent=1) + "\n"
    if to_stdout:
        typer.echo(text, nl=False)
    elif json_file is not None:
        with cannot_be_written(json_file):
            json_file.write_text(text, encoding="utf-8")


def refuse_unwritable(path: Path) -> None:
    """Raises UsageError if a file cannot be written, before anything is computed for it; leaves the file as it is."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        return  # a pipe or a device: opening it to see would be noticed at its other end
    existed = path.exists()
    with cannot_be_written(path):
        path.open("ab").close()
    if not existed:
        path.unlink()


@contextmanager
def cannot_be_written(path: Path) -> Iterator[None]:
    """Raises UsageError in the place of an OSError."""
    from trainers.errors import UsageError

    try:
        yield
    except OSError as error:
        raise UsageError(f"--json {path} cannot be written ({error.strerror}); name another file") from error
