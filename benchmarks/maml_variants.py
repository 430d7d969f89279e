"""MAML's relatives on 2-D navigation at equal environment steps and at equal wall time.

    python benchmarks/maml_variants.py RUNS      trains what RUNS lacks (resumable; a minute or two each), then draws

Every recipe for as many environment steps, three seeds, sampling and learning on one core. Wall time is that of
sampling and learning without evaluations: meta-updates times the variant's median meta-update, the variants measured in
turn in one process, since runs at different hours of a busy machine do not compare. Writes
docs/results/maml_variants.png, .json and .md.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from measure import RESULTS

from trainers.evaluation.run_evaluation import EvaluationRequest, evaluate_runs
from trainers.recipes.schema import Recipe
from trainers.runs import checkpoints
from trainers.runs.metrics import read
from trainers.runs.provenance import provenance
from trainers.training import running, setup

SEEDS = (0, 1, 2)
ALONE = ("workers=0", "learner_threads=1", "device=cpu")
# (recipe, label, meta-updates that take the same environment steps as 45 of 2 rounds)
VARIANTS = (
    ("point_nav_maml", "ProMP (MAML, clipped)", 45),
    ("point_nav_maml_trpo", "MAML-TRPO", 45),
    ("point_nav_fomaml", "FOMAML", 45),
    ("point_nav_metasgd", "Meta-SGD", 45),
    ("point_nav_reptile", "Reptile", 30),
)
COLOURS = ("#1f3b57", "#d95f02", "#1b9e77", "#7570b3", "#e7298a")
AT_STEPS, AT_SECONDS = (800_000, 1_600_000, 3_200_000), (15.0, 30.0, 60.0)


def train_all(runs: Path) -> None:
    """Trains every variant and seed that is not complete."""
    for name, _, iterations in VARIANTS:
        for seed in SEEDS:
            folder = runs / name / f"seed-{seed}"
            if folder.is_dir():
                run = setup.open_for_resume(folder)
            else:
                settings = [
                    f"iterations={iterations}",
                    "evaluation.every=5",
                    "evaluation.validation_tasks=40",
                    f"seed={seed}",
                ]
                run = setup.create_run(Recipe.load(name, [*settings, *ALONE]), folder)
            if checkpoints.iterations(run.checkpoints)[-1] < iterations:
                print(f"{name}, seed {seed}", flush=True)
                running.run(run)


def seconds_a_meta_update() -> dict[str, float]:
    """Median seconds of sampling and learning, each variant in turn, three times round."""
    found: dict[str, list[float]] = {name: [] for name, _, _ in VARIANTS}
    for _ in range(3):
        for name in found:
            settings = ["iterations=4", "evaluation={every: 0, rollouts: 1}", *ALONE]
            with tempfile.TemporaryDirectory() as folder:
                run = setup.create_run(Recipe.load(name, settings), Path(folder) / "run")
                running.run(run)
                lines = read(run.metrics_file)[1:]  # the first one warms up
            found[name] += [line["seconds_sampling"] + line["seconds_learning"] for line in lines]
    return {name: statistics.median(values) for name, values in found.items()}


def curves(runs: Path, name: str, seconds: float) -> dict[str, np.ndarray]:
    """Of each seed and validation: environment steps, seconds, return before and after one inner step."""
    found: dict[str, list[list[float]]] = {"steps": [], "seconds": [], "before": [], "after": []}
    for seed in SEEDS:
        lines = read(runs / name / f"seed-{seed}" / "metrics.jsonl")
        validated = [index for index, line in enumerate(lines) if "validation_return_round_1" in line]
        found["steps"].append([lines[index]["environment_steps"] for index in validated])
        found["seconds"].append([lines[index]["iteration"] * seconds for index in validated])
        found["before"].append([lines[index]["validation_return_round_0"] for index in validated])
        found["after"].append([lines[index]["validation_return_round_1"] for index in validated])
    return {key: np.array(values) for key, values in found.items()}


def at(curve: dict[str, np.ndarray], axis: str, value: float) -> str:
    """Return after one inner step there: mean over seeds and their range; '-' outside the validations."""
    if not curve[axis][:, 0].max() <= value <= curve[axis][:, -1].min():
        return "-"
    found = [np.interp(value, x, y) for x, y in zip(curve[axis], curve["after"], strict=True)]
    return f"{np.mean(found):.1f} ({min(found):.1f} … {max(found):.1f})"


def draw(measured: dict[str, dict[str, np.ndarray]]) -> Figure:
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for (name, label, _), colour in zip(VARIANTS, COLOURS, strict=True):
        curve = measured[name]
        for axes, axis, scale in ((left, "steps", 1e-6), (right, "seconds", 1.0)):
            x = curve[axis].mean(0) * scale
            axes.plot(x, curve["after"].mean(0), "o-", color=colour, markersize=3, linewidth=1.6, label=label)
            axes.fill_between(x, curve["after"].min(0), curve["after"].max(0), color=colour, alpha=0.15, linewidth=0)
    left.set_xlabel("environment steps of meta-training (millions)")
    right.set_xlabel("seconds of sampling and learning, one core")
    left.set_ylabel("return after one inner step, validation tasks")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(-45, -8)
        axes.grid(axis="y", color="#eeeeee")
    left.legend(frameon=False, fontsize=9, loc="lower right")
    figure.suptitle("MAML's relatives on point_nav-v1: mean and range of three seeds", fontsize=11)
    return figure


def main() -> None:
    runs = Path(sys.argv[1])
    train_all(runs)
    update = seconds_a_meta_update()
    measured = {name: curves(runs, name, update[name]) for name, _, _ in VARIANTS}
    draw(measured).savefig(RESULTS.parent / "maml_variants.png", dpi=150)
    head = [f"{steps / 1e6:.1f} M steps" for steps in AT_STEPS] + [f"{seconds:.0f} s" for seconds in AT_SECONDS]
    lines = [
        "| variant | held-out, before | held-out, after one inner step | untrained, after | "
        + " | ".join(head) + " | s a meta-update |",
        "|" + "---|" * (5 + len(head)),
    ]  # fmt: skip
    curves_by_name = {}
    for name, label, _ in VARIANTS:
        summary = evaluate_runs(EvaluationRequest(runs / name, "held-out", rounds=1))
        untrained = evaluate_runs(EvaluationRequest(runs / name, "held-out", rounds=1, untrained=True))
        low, high = summary["ci95"][1]
        curve = measured[name]
        cells = [at(curve, "steps", steps) for steps in AT_STEPS]
        cells += [at(curve, "seconds", seconds) for seconds in AT_SECONDS]
        lines.append(
            f"| {label} | {summary['mean'][0]:.2f} | {summary['mean'][1]:.2f} [{low:.2f}, {high:.2f}] | "
            f"{untrained['mean'][1]:.1f} | {' | '.join(cells)} | {update[name]:.2f} |"
        )
        curves_by_name[name] = {key: values.round(3).tolist() for key, values in curve.items()}
    content = {"curves": curves_by_name, "seeds": SEEDS, "seconds a meta-update": update, **provenance()}
    (RESULTS.parent / "maml_variants.json").write_text(json.dumps(content) + "\n")
    (RESULTS.parent / "maml_variants.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
