"""What is made of finished runs: evaluations over seeds, pictures, the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from agents.common.ablations import Context, ablate_context
from agents.contract import Agent, Interface, Weights, policy_weights
from envs.task import TaskFamily, TaskSet
from trainers.errors import RunError
from trainers.evaluation.evaluator import curve, evaluate, summary
from trainers.process import keep_freed_memory
from trainers.recipes import registry
from trainers.recipes.schema import Evaluation
from trainers.reporting import plots
from trainers.reporting.report import write_report
from trainers.runs.run_folder import Run, build
from trainers.sampling.samplers import make_sampler


def evaluate_runs(
    path: Path,
    split: str,
    *,
    rounds: int | None = None,
    deterministic: bool = False,
    untrained: bool = False,
    context: Context = "own",
    checkpoint: str = "last",
    workers: int = 0,
) -> dict[str, Any]:
    """The summary of one run, or of all `seed-*` runs in a folder pooled, on the same frozen tasks.

    `untrained` measures the runs' fresh initialisations, another `context` what the agents do without their own: the
    negative controls of every learning claim.
    """
    keep_freed_memory()
    runs = find_runs(path)
    first = runs[0]
    family = first.family()
    task_set = first.task_set(family, split)
    tables = []
    for run in runs:
        if run.recipe.title != first.recipe.title:
            raise RunError(f"{run.path} and {first.path} are runs of different recipes; evaluate them one by one")
        if untrained:
            agent, learner = build(run.recipe, family, torch.device("cpu"))
            weights: Weights = policy_weights(learner)
            iteration = 0
        else:
            agent, weights, iteration = run.load(family, checkpoint)
        tables.append(
            _measure(
                run,
                ablate_context(agent, context),
                family,
                weights,
                task_set,
                settings=_settings(run, rounds),
                deterministic=deterministic,
                workers=workers,
                iteration=iteration,
            )
        )
    return summary(curve(tables, "deterministic" if deterministic else "stochastic"), task_set)


def evaluate_baseline(
    path: Path, split: str, name: str, *, rounds: int | None = None, deterministic: bool = False, workers: int = 0
) -> dict[str, Any]:
    """The summary of a yardstick on the frozen tasks of a run, measured as the run is.

    It depends on no training seed, so a folder of `seed-*` runs is measured once, with the settings of the first.
    """
    keep_freed_memory()
    run = find_runs(path)[0]
    maker = registry.baseline(name)
    played = run.family(task_in_observation=maker.needs_task)
    task_set = run.task_set(played, split)
    settings = _settings(run, rounds)
    interface = Interface(played.observation_space, played.action_space, played.episode_steps)
    table = _measure(
        run,
        maker(interface, settings.rounds + 1),
        played,
        {},
        task_set,
        settings=settings,
        deterministic=deterministic,
        workers=workers,
        iteration=0,
    )
    told = summary(curve([table], "deterministic" if deterministic else "stochastic"), task_set)
    return told | {"agent": name, "training_seeds": 0}


def _settings(run: Run, rounds: int | None) -> Evaluation:
    """The run's own, with another number of adaptations where it is given."""
    settings = run.recipe.evaluation
    return settings if rounds is None else settings.model_copy(update={"rounds": rounds})


def _measure(
    run: Run,
    agent: Agent,
    family: TaskFamily,
    weights: Weights,
    task_set: TaskSet,
    *,
    settings: Evaluation,
    deterministic: bool,
    workers: int,
    iteration: int,
) -> pa.Table:
    """Adaptation rows of an agent on frozen tasks, sampled as the run samples."""
    sampler = make_sampler(agent, family, workers)
    try:
        return evaluate(
            agent,
            family,
            weights,
            task_set,
            sampler,
            settings,
            tasks_per_shard=run.recipe.sampling.tasks_per_shard,
            iteration=iteration,
            training_seed=run.recipe.seed,
            deterministic=deterministic,
        )
    finally:
        sampler.close()


def find_runs(path: Path) -> list[Run]:
    """The run in a folder, or the runs in its `seed-*` folders."""
    if (path / "config.yaml").is_file():
        return [Run.open(path)]
    seeds = sorted(one for one in path.glob("seed-*") if one.is_dir()) if path.is_dir() else []
    if not seeds:
        raise RunError(f"{path} is not a run folder: it has neither config.yaml nor seed-* folders")
    return [Run.open(one) for one in seeds]


def write_summary_and_report(run: Run) -> tuple[dict[str, Any], list[Path]]:
    """Pictures and report of a finished run, from its last held-out rows: (summary, the files made)."""
    family = run.family()
    task_set = run.task_set(family, "held-out")
    agent, weights, iteration = run.load(family)
    rows = run.rows()
    chosen = pc.and_(pc.equal(rows["split"].cast(pa.string()), "held-out"), pc.equal(rows["iteration"], iteration))
    result = curve([rows.filter(chosen)], "stochastic")
    made = [
        plots.adaptation_curve(run, result, "held-out", mean_reference_returns(family, task_set)),
        plots.learning_curve(run),
        plots.adaptation_during_training(run),
        plots.trajectories(run, agent, family, weights, task_set),
    ]
    files = [one for one in made if one is not None]
    told = summary(result, task_set)
    return told, [*files, write_report(run, told, files, iteration)]


def mean_reference_returns(family: TaskFamily, task_set: TaskSet) -> dict[str, float]:
    """Each yardstick that every task of the set has, averaged over them."""
    known = [family.reference_returns(task) for task in task_set.tasks]
    names = [name for name in known[0] if all(name in one for one in known)]
    return {name: float(np.mean([one[name] for one in known])) for name in names}
