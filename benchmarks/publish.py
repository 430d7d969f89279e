"""Makes a result public: small run folders under docs/results/<recipe>/, their summaries, and the tables.

    python benchmarks/publish.py RUNS [RUNS ...]     RUNS: a folder of seed-* run folders, called like its recipe
    python benchmarks/publish.py                     only writes docs/results/README.md again from the summaries
    python benchmarks/publish.py --plots RECIPE OUT  draws the plots of a published recipe (its first seed) into OUT
    python benchmarks/publish.py --again [RECIPES]   measures the published weights again, and prints old beside new
    python benchmarks/publish.py --controls [RECIPES]   the same of their negative controls alone

Each published seed is a run folder that `acclimate evaluate` takes as it is: configuration, thinned metrics, the final
weights and the held-out rows; the frozen task sets lie beside the seeds, once. `summary.json` is what `acclimate
evaluate --json` writes for them pooled, made of their rows; the negative controls are the same with `--untrained`
(`untrained.json`) and, of agents that infer their task and do not observe it, with `--context none` and of PEARL
`--context another`. PEARL's `deterministic.json` is with `--deterministic`, as the paper tests. Of the plots only those
are kept that a page shows.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tables import CONTEXTS, RESULTS, results_page

from trainers.evaluation.curves import curve, summary
from trainers.evaluation.run_evaluation import EvaluationRequest, evaluate_runs, rows_of_runs
from trainers.reporting.summary import write_summary_and_report
from trainers.runs.publishing import copy_without_learner
from trainers.runs.run_folder import find_runs

SHOWN = {"point_nav_maml": ("trajectories.png",)}  # by recipe: the plots that a page of the documentation shows


def publish(runs: Path) -> None:
    """Copies what a reader needs of each seed, and measures the seeds pooled and untrained."""
    target = RESULTS / runs.name
    if target.exists():
        shutil.rmtree(target)
    for run in find_runs(runs):
        copy_without_learner(run, target / f"seed-{run.recipe.seed}")
        if run.recipe.seed == 0 and runs.name in SHOWN:
            write_summary_and_report(run)
            for name in SHOWN[runs.name]:
                shutil.copy(run.path / name, target / name)
    share_task_sets(target)
    (target / "summary.json").write_text("{}\n")  # from its rows, with all others
    measure_controls(target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target.name}: {size / 1e3:.0f} kB")


def measure_controls(target: Path) -> None:
    """The summaries beside the runs' own: untrained, with other contexts, without noise."""
    recipe = find_runs(target)[0].recipe
    write(target / "untrained.json", evaluate_runs(EvaluationRequest(target, "held-out", untrained=True)))
    for context in () if recipe.task_in_observation else CONTEXTS.get(recipe.agent_name, ()):
        write(target / f"{context}.json", evaluate_runs(EvaluationRequest(target, "held-out", context=context)))
    if recipe.agent_name == "pearl":  # the published test has no noise
        write(target / "deterministic.json", evaluate_runs(EvaluationRequest(target, "held-out", deterministic=True)))


def measure_again(target: Path) -> None:
    """The rows of the published weights, replaced by what today's code measures, and the controls likewise."""
    before = {path.stem: json.loads(path.read_text())["mean"] for path in sorted(target.glob("*.json"))}
    runs, task_set, tables = rows_of_runs(EvaluationRequest(target, "held-out"))
    for run, table in zip(runs, tables, strict=True):
        run.write_rows(table)
    write(target / "summary.json", summary(curve(tables, "stochastic", runs[0].family().kind), task_set))
    measure_controls(target)
    for name, old in before.items():
        new = json.loads((target / f"{name}.json").read_text())["mean"]
        cells = (" → ".join(f"{mean[step]:.2f}" for step in (0, -1)) for mean in (old, new))
        print(f"| {target.name} | {name} | {' | '.join(cells)} |", flush=True)


def share_task_sets(target: Path) -> None:
    """Moves the task sets of a recipe's seeds, which are the same, into one folder beside them."""
    sets: dict[str, Any] = {}
    for path in sorted(target.glob("seed-*/tasks/*.json")):
        tasks = json.loads(path.read_text())
        if sets.setdefault(path.name, tasks) != tasks:
            raise SystemExit(f"{path} holds other tasks than the seeds before it; train them with one task_seed")
    for folder in target.glob("seed-*/tasks"):
        shutil.rmtree(folder)
    (target / "tasks").mkdir()
    for name, tasks in sets.items():
        (target / "tasks" / name).write_text(json.dumps(tasks) + "\n")


def write(path: Path, result: dict[str, Any]) -> None:
    """A summary with the returns of at most 20 tasks one by one; the rows have all."""
    path.write_text(json.dumps(result | {"tasks": result["tasks"][:20]}) + "\n")


def draw(recipe: str, out: Path) -> None:
    """The plots and the report of a published recipe's first seed, in a copy of its folder."""
    shutil.copytree(RESULTS / recipe, out)
    for path in write_summary_and_report(find_runs(out)[0])[1]:
        print(path)


def summarise_again() -> None:
    """Every summary from the published rows, in the form that the code has now."""
    for path in RESULTS.glob("*/summary.json"):
        runs = find_runs(path.parent)
        family = runs[0].family()
        held_out = runs[0].task_set(family, "held-out")
        write(path, summary(curve([run.rows() for run in runs], "stochastic", family.kind), held_out))


def main() -> None:
    if sys.argv[1:2] == ["--plots"]:
        draw(sys.argv[2], Path(sys.argv[3]))
        return
    if sys.argv[1:2] == ["--again"]:
        for name in sys.argv[2:] or sorted(path.parent.name for path in RESULTS.glob("*/summary.json")):
            measure_again(RESULTS / name)
    elif sys.argv[1:2] == ["--controls"]:
        for name in sys.argv[2:] or sorted(path.parent.name for path in RESULTS.glob("*/summary.json")):
            measure_controls(RESULTS / name)
            print(name, flush=True)
    else:
        for runs in sys.argv[1:]:
            publish(Path(runs))
    summarise_again()
    notes = RESULTS / "notes.md"
    (RESULTS / "README.md").write_text(results_page() + (f"\n{notes.read_text()}" if notes.is_file() else ""))


if __name__ == "__main__":
    main()
