"""`acclimate benchmark`: any number of runs and baselines on one suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.benchmark_display import BenchmarkDisplay
from trainers.cli.console import console, note, problem, say
from trainers.cli.running import exit_code


def benchmark(
    suite: Annotated[str, typer.Argument(help="a suite that comes with Acclimate, or a YAML file")],
    out: Annotated[Path, typer.Option(help="folder of the comparison; what it holds is not measured again")],
    runs: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER...", help="runs, or folders of seed-* runs; NAME=FOLDER names one"),
    ] = None,
    baselines: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME...",
            help="random and other baselines; untrained, no-context: controls of the runs; sb3_ppo, sb3_sac and other "
            "learners from scratch",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Ray workers; 0 computes in this process")] = 0,
) -> None:
    """Compare runs and baselines on one suite; killed or not, it goes on where it was."""
    from trainers.errors import UsageError
    from trainers.evaluation.benchmark import BenchmarkRequest, measure, prepare
    from trainers.evaluation.comparison_tables import missing_sentence
    from trainers.stopping import Abandoned, StopRequest

    ready = prepare(BenchmarkRequest(suite, out, tuple(runs or ()), tuple(baselines or ()), workers))
    lines = len({entrant.label for entrant in ready.entries.entrants})
    note(f"Suite {ready.suite.name}: {lines} contestants, {ready.env_steps:,} environment steps to take → {out}")
    with StopRequest(say) as stop:
        try:
            with BenchmarkDisplay(console, ready.env_steps) as display, stop.abandonable(at_once=True):
                record = measure(ready, display.advance, stop)
        except Abandoned:
            say(f"Stopped by {stop.signal}; what was measured is kept, the same command goes on")
            raise typer.Exit(exit_code(stop)) from None
    if not any((out / "rows").rglob("*.parquet")):
        for one in record["missing"]:
            problem(f"missing: {missing_sentence(one)}")
        raise UsageError("nothing came out of this comparison: every contestant is missing, for the reasons above")
    finish(out)
    if record["missing"]:
        raise typer.Exit(1)


def finish(out: Path) -> None:
    """Print the comparison's table and write its report."""
    from trainers.cli.compare import print_comparison
    from trainers.evaluation.comparison import compare_folder
    from trainers.reporting.page import write_page

    comparisons = compare_folder(out)
    for comparison in comparisons:
        print_comparison(comparison)
    note(f"  {write_page(comparisons, out / 'report.html')}")
