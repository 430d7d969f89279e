"""The page docs/results/README.md: tables of the published runs; those of the benchmarks are in record_tables.py."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from record_tables import endurance, learners, optimum, sinusoid, speed, variants

from envs.task import TaskSet
from trainers.evaluation.reference_returns import mean_reference_returns
from trainers.runs.metrics import read
from trainers.runs.run_folder import find_runs

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
# Controls of agents that infer their task: what they do with another context than their own.
CONTEXTS = {"rl2": ("none",), "varibad": ("none",), "pearl": ("none", "another")}
LABELS = {
    "summary": "",
    "untrained": ", untrained",
    "none": ", context ablated",
    "another": ", another task's context",
    "deterministic": ", without noise",
}
# Finn et al. 2017: the result files behind the paper's tables, means over the same 40 goals, horizon 100.
PAPER = {
    "MAML (paper)": [-40.41, -11.68, -3.33, -3.23],
    "pretrained on all tasks (paper)": [-40.81, -19.73, -11.72, -8.47],
    "random initialisation (paper)": [-82.66, -57.96, -53.84, -46.81],
}


def results_page() -> str:
    """docs/results/README.md but for the notes, from the summaries and the benchmarks' records."""
    lines = [
        "# Results",
        "",
        "Written by `benchmarks/publish.py` from the summaries and records beside it; a test compares the two. Mean",
        "return of the stochastic policy on held-out tasks after 0, 1, 2, 3 adaptations, with 95 % intervals in",
        "which seeds are random, and tasks too where the family draws them (trainers/evaluation/statistics.py). Check",
        "a row with `acclimate evaluate docs/results/<recipe>`, its control with `--untrained`; draw its plots with",
        "`python benchmarks/publish.py --plots <recipe> <folder>`.",
        "",
        "Environment steps are those that one seed was trained on, in millions (mean of the seeds): where they differ,",
        "so did the budget. Minutes are wall time of one seed's training (median) on the machine in its",
        "`provenance.json`.",
        "",
        *point_navigation(),
        *locomotion(),
        *inference(),
        *optimum(),
        *speed(),
        *variants(),
        *sinusoid(),
        *learners(),
        *endurance(),
    ]
    return "\n".join(lines)


def point_navigation() -> list[str]:
    """2-D navigation beside the paper's figures."""
    lines = [
        "## point_nav-v1: the 40 held-out goals of Finn et al. 2017, 40 rollouts a step",
        "",
        *header("what", "seeds", "0", "1", "2", "3"),
    ]
    for folder in sorted(RESULTS.glob("point_nav_*")):
        lines += rows(folder, 4)
    for label, values in PAPER.items():
        lines.append(f"| {label} | - | {' | '.join(f'{value:.2f}' for value in values)} | - | - |")
    return [
        *lines,
        "",
        "Exact reference returns there: staying at the origin -40.08, the best deterministic policy -0.54.",
        "",
    ]


def header(*columns: str) -> list[str]:
    """The head of a table of runs, which ends with what their training took."""
    columns = (*columns, "environment steps (M)", "minutes")
    return [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]


def rows(folder: Path, points: int, *, gains: bool = False) -> list[str]:
    """The table rows of a published recipe and its untrained control."""
    lines = []
    for name in ("summary", "untrained"):
        summary = json.loads((folder / f"{name}.json").read_text())
        cells = curve_cells(summary)
        cells += ["-"] * (points - len(cells))
        if gains:
            cells.append(interval(summary["gain"]["mean"], summary["gain"]["ci95"]))
        lines.append(row(folder, name, summary, cells))
    return lines


def curve_cells(summary: dict[str, Any]) -> list[str]:
    """Every point of an adaptation curve with its interval."""
    return [interval(mean, bounds) for mean, bounds in zip(summary["mean"], summary["ci95"], strict=True)]


def interval(mean: float, bounds: list[float] | None) -> str:
    """A mean with its interval; one run on all tasks of a finite family has none."""
    if bounds is None:
        return f"{mean:.2f}"
    return f"{mean:.2f} [{bounds[0]:.2f}, {bounds[1]:.2f}]"


def row(folder: Path, name: str, summary: dict[str, Any], cells: list[str]) -> str:
    """A table row; a recipe is trained once, so what that took stands in its first row."""
    steps, minutes = training_cost(folder) if name == "summary" else ("-", "-")
    return f"| {folder.name}{LABELS[name]} | {summary['training_seeds']} | {' | '.join(cells)} | {steps} | {minutes} |"


def training_cost(folder: Path) -> tuple[str, str]:
    """(environment steps in millions, minutes) of one seed's training."""
    ends = [read(path)[-1] for path in sorted(folder.glob("seed-*/metrics.jsonl"))]
    steps = statistics.mean(end["environment_steps"] for end in ends) / 1e6
    minutes = statistics.median(end["seconds_elapsed"] / 60 for end in ends)
    return f"{steps:.2f}", f"{minutes:.1f}"


def locomotion() -> list[str]:
    """Robots: one table of all recipes on MuJoCo."""
    folders = [
        folder for folder in published() if not folder.name.startswith("point") and agent_of(folder) not in CONTEXTS
    ]
    return [
        "## Locomotion: held-out tasks of each family",
        "",
        "The column 0 is the trained policy with adaptation off; *pretrained* is one policy for all tasks, trained",
        "without adapting, then the same inner step. Gained: the difference on each task, with its interval. With one",
        "seed an interval is over tasks alone. Minutes are of one seed on one core beside other work (see notes).",
        "",
        *header("what", "seeds", "0", "1", "gained"),
        *[line for folder in folders for line in rows(folder, 2, gains=True)],
        "",
    ]


def published() -> list[Path]:
    """The folders of all published recipes."""
    return sorted(path.parent for path in RESULTS.glob("*/summary.json"))


def agent_of(folder: Path) -> str:
    """The name of the agent that a recipe trains."""
    return find_runs(folder)[0].recipe.agent_name


def inference() -> list[str]:
    """Agents that infer their task, with their controls."""
    lines = [
        "## Adapting by inference: held-out tasks of each family",
        "",
        "Return of an episode: the first of a trial, the second, the last. Gained: the last less the first, by task.",
        "A bandit's episode is one pull. The controls have the same weights: *context ablated* is to forget after",
        "every step (RL², VariBAD) or episode (PEARL), *another task's context* to have that in place of its own.",
        "",
        *header("what", "seeds", "first episode", "second", "last", "gained", "whole trial"),
    ]
    for folder in (folder for folder in published() if agent_of(folder) in CONTEXTS):
        for name in ("summary", "deterministic", "untrained", *CONTEXTS[agent_of(folder)]):
            if not (folder / f"{name}.json").exists():
                continue
            summary = json.loads((folder / f"{name}.json").read_text())
            points = curve_cells(summary)
            cells = [points[0], points[1], points[-1]]
            cells += [interval(summary[key]["mean"], summary[key]["ci95"]) for key in ("gain", "trial_total")]
            lines.append(row(folder, name, summary, cells))
    return [*lines, "", rewarded_share(), "", blind_return(), ""]


def rewarded_share() -> str:
    """How often PEARL's last episode on the sparse point robot is rewarded at all."""
    shares = {
        label or "as trained": json.loads(path.read_text())["share_above_zero"][-1]
        for name, label in LABELS.items()
        if (path := RESULTS / "sparse_point_robot_pearl" / f"{name}.json").exists()
    }
    listed = "; ".join(f"{label.removeprefix(', ')} {share:.0%}" for label, share in shares.items())
    return f"sparse_point_robot_pearl, held-out goals whose last episode is rewarded: {listed}."


def blind_return() -> str:
    """The best return on HalfCheetahVelU03 of a policy that neither observes the velocity nor learns it."""
    run = find_runs(RESULTS / "half_cheetah_vel_u03_pearl")[0]
    family = run.family()
    tasks = run.task_set(family, "held-out")
    many = TaskSet(family.name, "train", tuple(family.sample(10_000, np.random.default_rng(0), "train")))
    here, on_average = (mean_reference_returns(family, task_set)["blind"] for task_set in (tasks, many))
    return (
        f"{family.name}, the same {len(tasks.tasks)} held-out tasks for every recipe: running at the middle of the "
        f"velocities from the first step on, at no cost, would earn {here:.1f} an episode; who neither observes the "
        f"velocity nor learns it cannot earn more on average over the distribution ({on_average:.0f})."
    )
