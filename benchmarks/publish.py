"""Makes a result public: small run folders under docs/results/<recipe>/, their summaries, and the tables.

    python benchmarks/publish.py RUNS [RUNS ...]     RUNS: a folder of seed-* run folders, called like its recipe
    python benchmarks/publish.py                     only writes docs/results/README.md again from the summaries

Each published seed is a run folder that `acclimate evaluate` takes as it is: configuration, task sets, metrics, the
final checkpoint and the held-out rows. `summary.json` beside the seeds is what `acclimate evaluate --json` writes for
them pooled; `untrained.json` is the same with `--untrained`, the negative control.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainers import checkpoints
from trainers.metrics import read
from trainers.results import conclude, evaluate_runs, find_runs

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
PICTURES = ("adaptation_curve.png", "adaptation_during_training.png", "learning_curve.png", "trajectories.png")
# Finn et al. 2017: the result files behind the paper's tables, means over the same 40 goals, horizon 100.
PAPER = {
    "MAML (paper)": [-40.41, -11.68, -3.33, -3.23],
    "pretrained on all tasks (paper)": [-40.81, -19.73, -11.72, -8.47],
    "random initialisation (paper)": [-82.66, -57.96, -53.84, -46.81],
}


def publish(runs: Path) -> None:
    """Copies what a reader needs of each seed, and measures the seeds pooled and untrained."""
    target = RESULTS / runs.name
    if target.exists():
        shutil.rmtree(target)
    for run in find_runs(runs):
        seed = target / f"seed-{run.recipe.seed}"
        newest = checkpoints.newest(run.checkpoints)
        shutil.copytree(run.path / "tasks", seed / "tasks")
        shutil.copytree(newest, seed / "checkpoints" / newest.name)
        for name in ("config.yaml", "provenance.json", "metrics.jsonl", "metrics.schema.json"):
            shutil.copy(run.path / name, seed / name)
        rows = run.rows()
        pq.write_table(
            rows.filter(pc.equal(rows["split"], "held-out")), seed / "adaptation.parquet", compression="zstd"
        )
        if run.recipe.seed == 0:
            conclude(run)
            for name in PICTURES:
                shutil.copy(run.path / name, target / name)
        size = sum(path.stat().st_size for path in seed.rglob("*") if path.is_file())
        print(f"{seed.relative_to(ROOT)}: {size / 1e3:.0f} kB")
    for name, untrained in (("summary", False), ("untrained", True)):
        told = evaluate_runs(target, "held-out", untrained=untrained)
        (target / f"{name}.json").write_text(json.dumps(told) + "\n")


def table() -> str:
    """docs/results/README.md, from the summaries alone."""
    lines = [
        "# Results",
        "",
        "Written by `benchmarks/publish.py` from the summaries beside the run folders; a test compares the two. Mean",
        "return of the stochastic policy on held-out tasks after 0, 1, 2, 3 adaptations, with 95 % intervals of the",
        "crossed bootstrap (whole seeds, then tasks). Check a row with `acclimate evaluate docs/results/<recipe>`, its",
        "control with `--untrained`. Minutes are wall time of one seed's training on the machine in its",
        "`provenance.json`.",
        "",
        "## point_nav-v1: the 40 held-out goals of Finn et al. 2017, 40 rollouts a step",
        "",
        "| what | seeds | 0 | 1 | 2 | 3 | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for folder in sorted(RESULTS.glob("point_nav_*")):
        minutes = [read(seed / "metrics.jsonl")[-1]["seconds_elapsed"] / 60 for seed in sorted(folder.glob("seed-*"))]
        for name, label in (("summary", folder.name), ("untrained", f"{folder.name}, untrained")):
            told = json.loads((folder / f"{name}.json").read_text())
            cells = [
                f"{mean:.2f} [{low:.2f}, {high:.2f}]"
                for mean, (low, high) in zip(told["mean"], told["ci95"], strict=True)
            ]
            cells += ["-"] * (4 - len(cells))
            spent = f"{statistics.median(minutes):.1f}" if name == "summary" else "-"
            lines.append(f"| {label} | {told['training_seeds']} | {' | '.join(cells)} | {spent} |")
    for label, values in PAPER.items():
        lines.append(f"| {label} | - | {' | '.join(f'{value:.2f}' for value in values)} | - |")
    lines += ["", "Exact yardsticks there: staying at the origin -40.08, the best deterministic policy -0.54.", ""]
    return "\n".join(lines)


def main() -> None:
    for runs in sys.argv[1:]:
        publish(Path(runs))
    notes = RESULTS / "notes.md"
    (RESULTS / "README.md").write_text(table() + (f"\n{notes.read_text()}" if notes.is_file() else ""))


if __name__ == "__main__":
    main()
