"""Evaluations of finished runs, pooled over their training seeds, and of baselines in their place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, TypedDict, Unpack

import pyarrow as pa
import torch

from agents.common.ablations import Context, ablate_context
from agents.contract import Weights, policy_weights
from envs.task import TaskFamily, TaskSet
from envs.validation import nearest
from trainers.errors import RunFolderError, UsageError
from trainers.evaluation.curves import curve, summary
from trainers.evaluation.evaluator import EvaluationJob, Origin
from trainers.evaluation.evaluator import evaluate as evaluate_job
from trainers.process import keep_freed_memory
from trainers.recipes import registry
from trainers.recipes.assembling import build
from trainers.recipes.registry import AnyFamily, interface_of
from trainers.recipes.schema import Evaluation
from trainers.runs.run_folder import Run, find_runs
from trainers.sampling.samplers import make_sampler

_FEWEST_TO_SWAP = 10  # tasks of a shard, so that each has another one's context


@dataclass(frozen=True)
class EvaluationRequest:
    """An evaluation as `acclimate evaluate` is asked for it.

    Attributes:
        path: a run folder, or a folder of `seed-*` run folders that are pooled.
        family: in the place of the one that the runs name, as in `Run.open`.
        split: validation, held-out, ood, or a file of tasks.
        rounds: adaptations of a trial; None as in the runs' recipe.
        deterministic: measure by probe rollouts without action noise.
        mean_actions: act by the means of the action distributions in the very rollouts that the agent adapts on, while
            a latent is sampled (`agents.common.mean_actions`).
        repeats: independent trials of each task; None as in the runs' recipe.
        untrained: measure the runs' fresh initialisations, and
        context: what the agents do without their own: the negative controls of every learning claim.
        checkpoint: last, best (on the validation tasks), or an iteration.
        baseline: measure the baseline of this name in the runs' place: once, for it depends on no training seed.
        workers: Ray workers; 0 samples in this process.
    """

    path: Path
    split: str = "held-out"
    rounds: int | None = None
    deterministic: bool = False
    mean_actions: bool = False
    repeats: int | None = None
    untrained: bool = False
    context: Context = "own"
    checkpoint: str | int = "last"
    baseline: str | None = None
    workers: int = 0
    family: AnyFamily | None = None

    def __post_init__(self) -> None:
        if self.deterministic and self.mean_actions:
            raise UsageError(
                "deterministic measures by probes without any noise, mean_actions acts by means in the rollouts that "
                "are adapted on; ask for one of them"
            )
        counts = (("rounds", self.rounds, 1), ("repeats", self.repeats, 1), ("workers", self.workers, 0))
        for name, value, least in counts:
            if value is not None and (type(value) is not int or value < least):
                raise UsageError(f"{name} is {value!r}, but must be a whole number, {least} or more")

    @property
    def control(self) -> str | None:
        """The negative control that is measured, in the words of its options; None where it is none."""
        parts = ["untrained"] * self.untrained + [f"context {self.context}"] * (self.context != "own")
        return ", ".join(parts) or None

    @property
    def policy(self) -> str:
        """The policy that is measured."""
        return "deterministic" if self.deterministic else "mean-action" if self.mean_actions else "stochastic"


class EvaluationOptions(TypedDict, total=False):
    """The further arguments of `evaluate`, which are the attributes of `EvaluationRequest`."""

    rounds: int | None
    deterministic: bool
    mean_actions: bool
    repeats: int | None
    untrained: bool
    context: Context
    checkpoint: str | int
    baseline: str | None
    workers: int
    family: AnyFamily | None


def evaluate(run: Run | str | Path, split: str = "held-out", **options: Unpack[EvaluationOptions]) -> dict[str, Any]:
    """Measure adaptation on frozen tasks, as `acclimate evaluate` does; several seeds are pooled.

    Args:
        run: a run, its folder, or a folder of `seed-*` run folders that are pooled.
        split: validation, held-out, ood, or a file of tasks.
        rounds: adaptations of a trial; None as in the runs' recipe.
        deterministic: measure by probe rollouts without action noise.
        mean_actions: act by the means of the action distributions in the rollouts that the agent adapts on.
        repeats: independent trials of each task; None as in the run's recipe.
        untrained: measure the fresh initialisation: the negative control.
        context: own; none or another: what the agent does without its own context, or with another task's.
        checkpoint: last, best (on the validation tasks), or an iteration.
        baseline: measure the baseline of this name in the run's place, such as random or oracle.
        workers: Ray workers; 0 computes in this process.
        family: in the place of the one that the run names, where that was defined in a script or a notebook.

    Returns:
        the summary, as `acclimate evaluate --json` writes it: at each `adaptation_step` the environment steps spent on
        the task before (`env_steps`), `mean`, `iqm` and 95 % interval (`ci95`) of the return over tasks; `tasks` one
        by one with their `parameters`; and the negative `control` that was measured, None if it was none.

    Raises:
        UsageError, RunFolderError: what is asked for does not go together, or does not go with the runs.
    """
    if unknown := set(options) - set(EvaluationOptions.__annotations__):
        known = EvaluationOptions.__annotations__
        raise UsageError(f"evaluate has no argument {min(unknown)}; {nearest(min(unknown), known)}")
    named = run if isinstance(run, Run) else None
    request = EvaluationRequest(named.path if named else Path(run), split, **options)  # type: ignore[arg-type]
    if named and request.family is None:
        request = replace(request, family=named.recipe.family)
    return evaluate_runs(request)


# help() and notebooks show the options one by one, with their defaults.
_OPTIONS = [
    Parameter(name, Parameter.KEYWORD_ONLY, default=getattr(EvaluationRequest, name), annotation=kind)
    for name, kind in EvaluationRequest.__annotations__.items()
    if name in EvaluationOptions.__annotations__
]
_FIRST = list(signature(evaluate).parameters.values())[:2]
evaluate.__signature__ = signature(evaluate).replace(parameters=[*_FIRST, *_OPTIONS])  # type: ignore[attr-defined]


def evaluate_runs(request: EvaluationRequest) -> dict[str, Any]:
    """The summary of the runs, or of the baseline in their place, on their frozen tasks.

    Raises:
        UsageError, RunFolderError: what is asked for does not go together, or does not go with the runs.
    """
    keep_freed_memory()
    if request.baseline is None:
        return _measure_runs(request)
    if request.untrained or request.context != "own" or request.checkpoint != "last":
        raise UsageError(
            "--agent measures a baseline, which has no weights; leave --untrained, --context and --checkpoint out"
        )
    return _measure_baseline(request, request.baseline)


def _measure_runs(request: EvaluationRequest) -> dict[str, Any]:
    runs, task_set, tables = rows_of_runs(request)
    return summary(curve(tables, request.policy, runs[0].family().kind), task_set) | {"control": request.control}


def rows_of_runs(request: EvaluationRequest) -> tuple[list[Run], TaskSet, list[pa.Table]]:
    """The runs of a request, their frozen tasks, and the adaptation rows of each run on them.

    Raises:
        RunFolderError: the runs are of different recipes.
    """
    runs = find_runs(request.path, family=request.family)
    first = runs[0]
    for run in runs:
        if run.recipe.title != first.recipe.title:
            raise RunFolderError(f"{run.path} and {first.path} are runs of different recipes; evaluate them one by one")
    family = first.family()
    task_set = first.task_set(family, request.split)
    tables = _measure((_job_of_run(request, run, family, task_set) for run in runs), request.workers)
    return runs, task_set, tables


def _measure_baseline(request: EvaluationRequest, name: str) -> dict[str, Any]:
    run = find_runs(request.path, family=request.family)[0]
    family = run.family(task_in_observation=registry.baseline(name).needs_task)
    task_set = run.task_set(family, request.split)
    if request.mean_actions:
        raise UsageError("mean_actions is about policies that were learned; leave it out for a baseline")
    job = baseline_job(
        name, family, task_set, _settings(request, run), run.recipe.sampling.tasks_per_shard, request.deterministic
    )
    measured = summary(curve(_measure([job], request.workers), request.policy, family.kind), task_set)
    return measured | {"agent": name, "training_seeds": 0, "control": None}


def baseline_job(
    name: str,
    family: TaskFamily,
    task_set: TaskSet,
    settings: Evaluation,
    tasks_per_shard: int,
    deterministic: bool = False,
) -> EvaluationJob:
    """The evaluation of a baseline; `family` has the task in its observation if the baseline needs it there."""
    agent = registry.baseline(name)(interface_of(family), settings.rounds + 1)
    origin = Origin(None, name, 0, 0)
    return EvaluationJob(agent, family, {}, task_set, settings, tasks_per_shard, origin, deterministic)


def _job_of_run(request: EvaluationRequest, run: Run, family: TaskFamily, task_set: TaskSet) -> EvaluationJob:
    """The evaluation of a run's checkpoint, or of its fresh initialisation."""
    if request.untrained:
        agent, learner = build(run.recipe, family, torch.device("cpu"))
        weights: Weights = policy_weights(learner)
        iteration = 0
    else:
        agent, weights, iteration = run.load(family, str(request.checkpoint))
    tasks_per_shard = run.recipe.sampling.tasks_per_shard
    return EvaluationJob(
        agent=ablate_context(agent, request.context),
        family=family,
        weights=weights,
        task_set=task_set,
        settings=_settings(request, run),
        tasks_per_shard=max(tasks_per_shard, _FEWEST_TO_SWAP) if request.context == "another" else tasks_per_shard,
        origin=Origin(run.id, run.recipe.agent_name, run.recipe.seed, iteration),
        deterministic=request.deterministic,
        mean_actions=request.mean_actions,
    )


def _settings(request: EvaluationRequest, run: Run) -> Evaluation:
    """The run's own, with other numbers of adaptations and repeats where they are asked for."""
    asked = {"rounds": request.rounds, "repeats": request.repeats}
    return run.recipe.evaluation.model_copy(update={name: value for name, value in asked.items() if value is not None})


def _measure(jobs: Iterable[EvaluationJob], workers: int) -> list[pa.Table]:
    """The rows of each evaluation; one sampler, and one Ray, serve them all."""
    sampler = make_sampler(workers)
    try:
        return [evaluate_job(job, sampler) for job in jobs]
    finally:
        sampler.close()
