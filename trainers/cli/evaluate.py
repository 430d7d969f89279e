"""`acclimate evaluate`: measure adaptation on frozen tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.summary_table import print_summary


def evaluate(
    run: Annotated[Path, typer.Argument(help="a run folder, or a folder of seed-* run folders")],
    split: Annotated[str, typer.Option(help="validation, held-out, ood, or a file of tasks")] = "held-out",
    rounds: Annotated[int | None, typer.Option(min=1, help="adaptations of a trial (default: the recipe's)")] = None,
    deterministic: Annotated[bool, typer.Option(help="measure by probe rollouts without action noise")] = False,
    untrained: Annotated[bool, typer.Option(help="measure the fresh initialisation: the negative control")] = False,
    context: Annotated[
        str, typer.Option(help="own; none or another task's: the controls of agents that infer their task")
    ] = "own",
    checkpoint: Annotated[str, typer.Option(help="last, best (on the validation tasks), or an iteration")] = "last",
    agent: Annotated[
        str | None, typer.Option(help="measure a baseline in the run's place, such as random or oracle")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Ray workers; 0 computes in this process")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write the summary to this file")] = None,
) -> None:
    """Measure adaptation on frozen tasks; several seeds are pooled."""
    from trainers.errors import UsageError
    from trainers.evaluation.run_evaluation import EvaluationRequest, evaluate_runs

    request = EvaluationRequest(
        path=run,
        split=split,
        rounds=rounds,
        deterministic=deterministic,
        untrained=untrained,
        context=context,  # type: ignore[arg-type]
        checkpoint=checkpoint,
        baseline=agent,
        workers=workers,
    )
    summary = evaluate_runs(request)
    print_summary(summary)
    if json_file is not None:
        try:
            json_file.write_text(json.dumps(summary, indent=1) + "\n")
        except OSError as error:
            raise UsageError(f"{json_file} cannot be written ({error.strerror}); name another file") from error
