"""Where the optimum is known or bounded: every baseline, and trained runs beside them, on the same held-out tasks.

    python benchmarks/known_optimum.py [--tasks 20000] [--only SETTING]... [--run NAME FOLDER]...

Mean total reward of a trial and its standard error, and the difference to the best baseline that does not know the
task, task by task, in standard errors of that difference. Tasks are drawn with task seed 0; what happens in a trial
depends on (evaluation seed 0, task, repeat) alone, so agents that do the same earn the same. Policies act
stochastically; what is trained is measured without noise as well. A run belongs to the setting of its family and of its
recipe's evaluation.rounds; its seed-* folders are averaged task by task. Where the tasks are finitely many, each is
repeated, and the error is that of the repeats. Settings that are not measured keep their figures in the record.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from measure import record

from envs.task import TaskSet
from trainers.errors import UsageError
from trainers.evaluation.evaluator import EvaluationJob, Origin, evaluate
from trainers.evaluation.run_evaluation import baseline_job
from trainers.recipes import registry
from trainers.recipes.schema import Evaluation
from trainers.runs.provenance import provenance
from trainers.runs.run_folder import find_runs
from trainers.sampling.samplers import LocalSampler

ROWS_PER_SHARD = 500


@dataclass(frozen=True)
class Setting:
    """A family and a length of trial; agents are compared with `reference`."""

    name: str
    family: str
    episodes: int
    baselines: tuple[str, ...]
    reference: str


BANDITS = ("random", "thompson", "ucb1", "gittins")
SETTINGS = (
    Setting("bandit_5_arms, 10 pulls", "bandit_5_arms-v1", 10, (*BANDITS, "bayes", "oracle"), "bayes"),
    Setting("bandit_5_arms, 100 pulls", "bandit_5_arms-v1", 100, (*BANDITS, "oracle"), "gittins"),
    Setting(
        "tabular_mdp, 10 episodes",
        "tabular_mdp-v1",
        10,
        ("random", "psrl", "posterior_greedy", "posterior_replan", "oracle"),
        "posterior_replan",
    ),
    Setting("grid_navi, 4 episodes", "grid_navi-v1", 4, ("random", "belief", "oracle"), "belief"),
)


def measurement(setting: Setting, tasks: TaskSet, count: int) -> tuple[Evaluation, int]:
    """(settings of an evaluation with as many repeats as make about `count` trials, tasks of a shard)."""
    repeats = max(1, count // len(tasks.tasks))
    settings = Evaluation(rounds=setting.episodes - 1, rollouts=1, repeats=repeats, seed=0)
    return settings, max(1, ROWS_PER_SHARD // repeats)


def totals(job: EvaluationJob) -> np.ndarray:
    """[tasks, repeats] total reward of a trial."""
    rows = evaluate(job, LocalSampler())
    rows = rows.filter(pc.equal(rows["charge"].cast(pa.string()), "probe" if job.deterministic else "online"))
    repeats = job.settings.repeats
    trial = rows["task"].to_numpy() * repeats + rows["repeat"].to_numpy()
    return np.bincount(trial, rows["return"].to_numpy()).reshape(-1, repeats)


def standard_error(values: np.ndarray) -> float:
    """Of the mean of [tasks, repeats]: over tasks, or over the repeats of tasks that are all there are."""
    tasks, repeats = values.shape
    if repeats == 1:
        return float(values.std(ddof=1) / np.sqrt(tasks))
    return float(np.sqrt(values.var(1, ddof=1).sum() / repeats) / tasks)


def measure_baseline(name: str, setting: Setting, tasks: TaskSet, count: int) -> np.ndarray:
    """[tasks, repeats] of a baseline."""
    family = registry.family(setting.family, task_in_observation=registry.baseline(name).needs_task)
    return totals(baseline_job(name, family, tasks, *measurement(setting, tasks, count)))


def measure_runs(folder: Path, setting: Setting, tasks: TaskSet, count: int, *, deterministic: bool) -> np.ndarray:
    """[seeds, tasks, repeats] of the runs in a folder."""
    each = []
    settings, tasks_per_shard = measurement(setting, tasks, count)
    for run in find_runs(folder):
        family = run.family()
        agent, weights, iteration = run.load(family)
        origin = Origin(run.id, run.recipe.agent_name, run.recipe.seed, iteration)
        job = EvaluationJob(agent, family, weights, tasks, settings, tasks_per_shard, origin, deterministic)
        each.append(totals(job))
    return np.stack(each)


def setting_of(folder: Path) -> str:
    """The name of the setting that a folder's runs belong to."""
    run = find_runs(folder)[0]
    if run.recipe.task_in_observation:
        raise UsageError(f"{folder} is an oracle's, which observes the task; compare learners here")
    family, episodes = run.family().name, run.recipe.evaluation.rounds + 1
    for setting in SETTINGS:
        if (setting.family, setting.episodes) == (family, episodes):
            return setting.name
    raise UsageError(f"{folder} is of {family} with {episodes} episodes a trial, which no setting here is")


def compare(measured: dict[str, np.ndarray], reference: str) -> dict[str, dict[str, Any]]:
    """Mean and standard error of each, and its paired difference to the reference; of runs also each seed's mean."""
    results: dict[str, dict[str, Any]] = {}
    for name, given in measured.items():
        seeds = given if given.ndim == 3 else given[None]
        values = seeds.mean(0)
        results[name] = {"mean": float(values.mean()), "standard_error": standard_error(values)}
        if given.ndim == 3:
            results[name]["of_each_seed"] = seeds.mean((1, 2)).tolist()
        if name != reference:
            difference = values - measured[reference]
            error = standard_error(difference)
            results[name] |= {
                "difference": float(difference.mean()),
                "difference_in_standard_errors": float(difference.mean()) / error if error else None,
            }
    return results


def table(setting: Setting, rows: dict[str, dict[str, Any]]) -> str:
    """The setting's rows in Markdown."""
    lines = [f"| {setting.name} | total reward | minus {setting.reference} | in standard errors |", "|---|---|---|---|"]
    for name, row in rows.items():
        cells = [f"{row['mean']:.3f} ± {row['standard_error']:.3f}", "-", "-"]
        if "difference" in row:
            share = row["difference_in_standard_errors"]
            cells[1:] = [f"{row['difference']:+.3f}", "-" if share is None else f"{share:+.1f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--only", action="append", choices=[one.name for one in SETTINGS])
    parser.add_argument("--run", nargs=2, action="append", default=[], metavar=("NAME", "FOLDER"))
    options = parser.parse_args()
    runs = {name: Path(folder) for name, folder in options.run}
    belongs = {name: setting_of(folder) for name, folder in runs.items()}
    figures: dict[str, Any] = {}
    for setting in SETTINGS:
        if options.only and setting.name not in options.only:
            continue
        family = registry.family(setting.family)
        tasks = family.task_set("held-out", options.tasks, 0)
        measured = {name: measure_baseline(name, setting, tasks, options.tasks) for name in setting.baselines}
        for name, folder in runs.items():
            if belongs[name] == setting.name:
                for label, deterministic in ((name, False), (f"{name}, without noise", True)):
                    measured[label] = measure_runs(folder, setting, tasks, options.tasks, deterministic=deterministic)
        figures[setting.name] = {
            "trials": options.tasks, "commit": provenance()["commit"], "agents": compare(measured, setting.reference)
        }  # fmt: skip
        print(table(setting, figures[setting.name]["agents"]), flush=True)
    record("known_optimum", figures, keep=True)


if __name__ == "__main__":
    main()
