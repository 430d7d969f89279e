"""The command `acclimate`."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
console = Console(highlight=False)
problems = Console(stderr=True, highlight=False, soft_wrap=True)

# The heavy modules (torch, ray, scipy) are imported inside the commands, so that --help answers at once.


@contextmanager
def user_errors() -> Iterator[None]:
    """Prints an error that is the user's to mend as one sentence and exits with code 2."""
    from trainers.errors import USER_ERRORS

    try:
        yield
    except USER_ERRORS as error:
        problems.print(f"acclimate: {error}", markup=False)
        raise typer.Exit(2) from None
    except OSError as error:  # a full disk, a folder taken away: the system's own words name the file
        where = f"{error.filename}: " if error.filename else ""
        problems.print(
            f"acclimate: {where}{error.strerror or error}; mend that and start again: earlier files are as they were",
            markup=False,
        )
        raise typer.Exit(2) from None


@app.callback()
def main() -> None:
    """Meta-reinforcement learning: train agents that adapt, measure how fast they do."""
    refuse_shadowed_packages()


def refuse_shadowed_packages() -> None:
    """`agents`, `envs`, `trainers` are common names: another distribution's must not answer for ours (ADR 1)."""
    import agents
    import envs

    here = Path(__file__).resolve().parents[2]
    for package in (agents, envs):
        found = Path(package.__file__ or "").resolve()
        if found.parents[1] != here:
            problems.print(
                f"acclimate: the package {package.__name__} is imported from {found.parent}, not from {here}; "
                "another package of that name comes first: leave its folder or uninstall it",
                markup=False,
            )
            raise typer.Exit(2)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="a recipe's name or path")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="such as iterations=50")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the run folder to make")] = None,
) -> None:
    """Meta-train a recipe; `seeds=0,1,2` trains one folder for each seed."""
    with user_errors():
        from trainers.errors import RecipeError
        from trainers.recipes import loading
        from trainers.training import loop

        path = loading.find(recipe)
        others = [one for one in overrides or [] if not one.startswith("seeds=")]
        folder = out or Path("runs") / f"{path.stem}-{datetime.now():%Y%m%d-%H%M%S}"
        many = [one.removeprefix("seeds=") for one in overrides or [] if one.startswith("seeds=")]
        if not many:
            _go_on([loop.start(loading.load(path, others), folder)])
            return
        try:
            seeds = sorted({int(seed) for seed in many[-1].split(",")})
        except ValueError:
            raise RecipeError(f"seeds={many[-1]} is no list of seeds; write seeds=0,1,2") from None
        each = [loading.load(path, [*others, f"seed={seed}"]) for seed in seeds]
        # All folders before the first update: `acclimate resume` knows what is left after any death.
        _go_on([loop.start(one, folder / f"seed-{one.seed}") for one in each])


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="a run folder, or a folder of seed-* run folders")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="such as iterations=90, to go further")
    ] = None,
) -> None:
    """Go on with a run after any death, to the same bits; or extend a finished one."""
    with user_errors():
        from trainers.evaluation.run_evaluation import find_runs
        from trainers.training import loop

        _go_on([loop.open_for_resume(one.path, overrides or []) for one in find_runs(run)])


def _go_on(runs: list[Any]) -> None:
    """Trains runs one after the other and draws their pictures."""
    from trainers.cli.console import TrainingDisplay
    from trainers.evaluation.run_evaluation import write_summary_and_report
    from trainers.runs import checkpoints
    from trainers.training import loop

    for run in runs:
        recipe = run.recipe
        done = max(checkpoints.iterations(run.checkpoints), default=0)
        title = f"{recipe.title}, seed {recipe.seed}"
        span = f"{recipe.iterations} meta-updates" + (f" ({done} are done)" if done else "")
        console.print(f"Training {title}, {span}, workers: {recipe.workers} → {run.path}")
        if done and (others := run.other_versions()):
            console.print(
                f"The run began with {'; '.join(others)}: the last bits may differ from now on", soft_wrap=True
            )
        with TrainingDisplay(console, title, recipe.iterations) as display:
            outcome = loop.run(run, display.report)
        if outcome.stopped_by:
            console.print(
                f"Stopped by {outcome.stopped_by} after {outcome.iteration} meta-updates; "
                f"go on with: acclimate resume {run.path}"
            )
            raise typer.Exit(128 + signal.Signals[outcome.stopped_by])
        summary, files = write_summary_and_report(outcome.run)
        _print_summary(summary)
        for file in files:
            console.print(f"  {file}")


@app.command()
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
        str | None, typer.Option(help="measure a yardstick in the run's place, such as random or oracle")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Ray workers; 0 computes in this process")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write the summary to this file")] = None,
) -> None:
    """Measure adaptation on frozen tasks; several seeds are pooled."""
    with user_errors():
        from trainers.errors import RunError
        from trainers.evaluation.run_evaluation import evaluate_baseline, evaluate_runs

        if agent is None:
            summary = evaluate_runs(
                run,
                split,
                rounds=rounds,
                deterministic=deterministic,
                untrained=untrained,
                context=context,  # type: ignore[arg-type]
                checkpoint=checkpoint,
                workers=workers,
            )
        elif untrained or context != "own" or checkpoint != "last":
            raise RunError(
                "--agent measures a yardstick, which has no weights; leave --untrained, --context and --checkpoint out"
            )
        else:
            summary = evaluate_baseline(run, split, agent, rounds=rounds, deterministic=deterministic, workers=workers)
        _print_summary(summary)
        if json_file is not None:
            try:
                json_file.write_text(json.dumps(summary, indent=1) + "\n")
            except OSError as error:
                raise RunError(f"{json_file} cannot be written ({error.strerror}); name another file") from error


@app.command()
def render(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    task: Annotated[int, typer.Option(min=0, help="its number in the set")] = 0,
    split: Annotated[str, typer.Option(help="validation, held-out, ood, or a file of tasks")] = "held-out",
    rounds: Annotated[int | None, typer.Option(min=1, help="adaptations shown (default: the recipe's)")] = None,
    checkpoint: Annotated[str, typer.Option(help="last, best (on the validation tasks), or an iteration")] = "last",
    out: Annotated[Path | None, typer.Option(help="the .mp4 or .gif to make (default: in the run folder)")] = None,
) -> None:
    """Make a video of one task, before adaptation and after each round, side by side."""
    with user_errors():
        draw_without_a_screen()
        from trainers.reporting.videos import render as make_video
        from trainers.runs.run_folder import Run

        target = out if out is not None else run / f"{split}-task-{task}.mp4"
        told = make_video(Run.open(run), task, split, rounds, checkpoint, target)
        for panel in told["panels"]:
            console.print(
                f"{panel['panel']}: return {panel['return']:.2f} (mean of its round {panel['mean_return']:.2f})"
            )
        console.print(f"video: {target}", soft_wrap=True)


@app.command()
def embed(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    split: Annotated[str, typer.Option(help="validation, held-out, ood, or a file of tasks")] = "held-out",
    checkpoint: Annotated[str, typer.Option(help="last, best (on the validation tasks), or an iteration")] = "last",
    out: Annotated[Path | None, typer.Option(help="the folder of the pictures (default: RUN/inside)")] = None,
    tasks: Annotated[int, typer.Option(min=1, max=2000, help="at most so many, the first of the set")] = 200,
) -> None:
    """Draw what the agent has learned of its tasks: embeddings, beliefs along the trial, attention."""
    with user_errors():
        from trainers.reporting.embeddings import draw
        from trainers.runs.run_folder import Run

        files, notes = draw(Run.open(run), split, checkpoint, run / "inside" if out is None else out, tasks)
        for file in files:
            console.print(str(file), soft_wrap=True)
        for note in notes:
            console.print(f"note: {note}", markup=False, soft_wrap=True)


def draw_without_a_screen() -> None:
    """Chooses how MuJoCo draws, before anything imports it."""
    from envs.mujoco.camera import NoCamera, choose_gl
    from trainers.errors import RunError

    try:
        choose_gl()
    except NoCamera as error:
        raise RunError(str(error)) from error


def draw_previews(names: list[str], folder: Path) -> None:
    """A contact sheet of each family, FOLDER/<family>.png."""
    draw_without_a_screen()
    from trainers.recipes import registry
    from trainers.reporting.videos import preview

    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        family = registry.family(name)
        target = folder / f"{family.name}.png"
        preview(family, target)
        console.print(str(target), soft_wrap=True)


@app.command()
def families(
    names: Annotated[list[str] | None, typer.Argument(help="only these; a described family's YAML file too")] = None,
    preview: Annotated[Path | None, typer.Option(help="draw a contact sheet of each into this folder")] = None,
) -> None:
    """List the task families, or draw some of their tasks."""
    with user_errors():
        from envs import FAMILIES
        from trainers.recipes import registry

        if preview is not None:
            draw_previews(names or list(FAMILIES), preview)
            return
        for name in names or FAMILIES:
            family = registry.family(name)
            tasks = "; ".join(f"{key} ~ {distribution}" for key, distribution in family.parameters.items())
            console.print(f"[bold]{name}[/bold]  {_first_sentence(family)}", soft_wrap=True)
            console.print(f"  tasks: {tasks}   held-out: {HELD_OUT[family.kind]}", markup=False, soft_wrap=True)
            console.print(
                f"  steps: {family.episode_steps}   observation: {family.observation_space}   "
                f"action: {family.action_space}",
                markup=False,
                soft_wrap=True,
            )


HELD_OUT = {
    "distribution": "fresh draws of the same distribution",
    "region": "a region cut out of the distribution",
    "finite": "the training tasks themselves",
}


def _first_sentence(family: Any) -> str:
    """What its docstring says after the name."""
    line = (family.__doc__ or "").strip().splitlines()[0]
    return line.partition(": ")[2] or line


@app.command()
def check(family: Annotated[str, typer.Argument(help="a family's name, or package.module:Class of your own")]) -> None:
    """Check a task family; every finding is a sentence."""
    with user_errors():
        from envs.check import check_task_family
        from trainers.recipes import registry

        findings = check_task_family(registry.family(family))
        for one in findings:
            mark = "[green]ok  [/green]" if one.problem is None else "[red]FAIL[/red]"
            console.print(f"{mark} {one.check}", soft_wrap=True)
            if one.problem is not None:
                console.print(f"     {one.problem}", markup=False, soft_wrap=True)
        failed = sum(one.problem is not None for one in findings)
        console.print(f"{family}: {len(findings) - failed} of {len(findings)} checks passed")
        if failed:
            raise typer.Exit(1)


def _print_summary(summary: dict[str, Any]) -> None:
    from trainers.runs.metrics import shown_points

    seeds = summary["training_seeds"]
    who = f"{seeds} training seed{'s' if seeds > 1 else ''}" if seeds else f"yardstick {summary['agent']}"
    title = (
        f"{summary['family']}, {summary['task_count']:,} {summary['split']} tasks (set {summary['task_set_hash']}), "
        f"{summary['policy']} policy, {who}"
    )
    table = Table("adaptations", "steps on the task", "mean return", "95 % interval", "IQM", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for point in shown_points(len(summary["rounds"])):
        low, high = summary["ci95"][point]
        table.add_row(
            str(point),
            f"{summary['env_steps'][point]:,.0f}",
            f"{summary['mean'][point]:.2f}",
            f"{low:.2f} … {high:.2f}",
            f"{summary['iqm'][point]:.2f}",
        )
    console.print(title, soft_wrap=True)
    console.print(table)
    for name, label in (("gain", "gained by adapting"), ("trial_total", "return of a whole trial")):
        if name in summary:
            low, high = summary[name]["ci95"]
            console.print(f"{label}: {summary[name]['mean']:.2f} ({low:.2f} … {high:.2f})")


def entry() -> None:
    """The console script. A closed pipe or a second Ctrl-C is no crash of ours."""
    try:
        app()
    except KeyboardInterrupt:
        problems.print("acclimate: interrupted; the last checkpoint is whole")
        sys.exit(130)


if __name__ == "__main__":
    entry()
