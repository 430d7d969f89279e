"""Running: a recipe or a run folder, trained to its end or to the next stop request."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from agents.contract import shared_parts
from envs.task import TaskFamily, TaskSet
from trainers.cluster.addresses import named
from trainers.cluster.connection import Connection
from trainers.cluster.learner_group import GroupSpec, LearnerGroup, refuse_parts
from trainers.errors import LearnersLostError, RecipeError, RunFolderError, UsageError
from trainers.process import keep_freed_memory, torch_threads
from trainers.recipes.assembling import build
from trainers.recipes.schema import Recipe
from trainers.reporting.trackers import tracking
from trainers.runs import checkpoints
from trainers.runs.metrics import MetricLog
from trainers.runs.run_folder import Run
from trainers.runs.selection import best_iteration
from trainers.sampling.samplers import sampler_of, worker_count
from trainers.stopping import Abandoned, StopRequest
from trainers.training.learning import Learning, LearningHere
from trainers.training.loop import Loop, Outcome, Progress, Report, Training
from trainers.training.memory import memory_named
from trainers.training.setup import create_run, described_metrics, learner_device, learner_threads

MOST_LOSSES = 3  # of learner groups at the same checkpoint


def train(
    recipe: Recipe | str | Path,
    out: str | Path,
    report: Report = lambda metrics: None,
    *,
    overrides: Sequence[str] = (),
) -> Outcome:
    """Meta-train what a recipe says, into a new run folder.

    Args:
        recipe: a recipe, or the name or path of one.
        out: the run folder to make.
        report: called with each iteration's metrics.
        overrides: changes of a named recipe, such as `iterations=50`.

    Raises:
        UserError, TaskError, AgentError: one sentence; what was written stays.
    """
    if isinstance(recipe, Recipe) and overrides:
        raise UsageError("overrides change a recipe that is named; load this one with them, or name its file")
    loaded = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe, overrides)
    return run(create_run(loaded, Path(out)), report)


def run(run: Run, report: Report = lambda metrics: None, stop: StopRequest | None = None) -> Outcome:
    """Train a run from its newest checkpoint to its recipe's iterations: the same bits as without a break.

    `stop` is told when to stop early; by default signals to this process tell it, and nothing is said to the user.
    A learner group that is lost is replaced, and goes on from the newest checkpoint.
    """
    stop = stop or StopRequest()
    keep_freed_memory()
    lost_at: list[int] = []
    while True:
        try:
            return _run(run, report, stop)
        except LearnersLostError as lost:
            iteration = max(checkpoints.iterations(run.checkpoints))
            lost_at.append(iteration)
            if stop.signal or lost_at.count(iteration) == MOST_LOSSES:
                raise
            stop.say(f"{lost}; a new group goes on from the checkpoint of iteration {iteration}")
            stop.renew()
            run = replace(run, resume_from=None, config_differs=False)


def _run(run: Run, report: Report, stop: StopRequest) -> Outcome:
    recipe, family = run.recipe, run.family()
    agent, learner = build(recipe, family, learner_device(recipe))
    refuse_parts(shared_parts(learner), recipe.learners)
    with run.held(), memory_named(recipe), ExitStack() as stack:
        run.refuse_links()
        iteration, state = run.restore(learner)
        if iteration > recipe.iterations:
            raise RecipeError(f"{run.path} has done {iteration} meta-updates already; name as many iterations or more")
        task_sets = _stored_task_sets(run, family)
        resumed = run.metrics_file.exists()
        lines, rows = run.truncate_to(iteration)
        checkpoints.prune(run.checkpoints, recipe.checkpoints.keep, best_iteration(lines, recipe.algorithm))
        if resumed or run.config_differs:
            run = run.note_resume()
        table = described_metrics(learner, recipe, family)
        log = MetricLog(run.path, table)
        stack.callback(log.close)
        trackers = stack.enter_context(tracking(run, table, iteration))
        stack.enter_context(stop)
        threads = learner_threads(recipe)
        try:
            with stop.abandonable(at_once=True):
                learning: Learning = LearningHere(learner, family)
                if recipe.learners:
                    cpus = recipe.learners * threads
                    connection = Connection(worker_count(recipe.workers) + cpus, stop, named(recipe.cluster))
                    stack.callback(connection.close)
                    spec = GroupSpec(recipe, agent, family, threads)
                    learner = learning = stack.enter_context(closing(LearnerGroup(spec, learner, stop, connection)))
                sampler = sampler_of(recipe, stop, run.note_nodes, recipe.learners * threads)
        except Abandoned:
            return Outcome(run, iteration, stop.signal)
        stack.callback(sampler.close)
        stack.enter_context(torch_threads(threads))
        training = Training(run, family, agent, learner, learning, sampler, task_sets, log, trackers, report, stop)
        weights = state.get("behaviour_weights")
        return Loop(training, Progress(iteration, state["environment_steps"], list(lines), rows, weights)).run()


def _stored_task_sets(run: Run, family: TaskFamily) -> dict[str, TaskSet]:
    found = {path.stem: run.task_set(family, path.stem) for path in sorted((run.path / "tasks").glob("*.json"))}
    if lacking := {"validation", "held-out"} - set(found):
        raise RunFolderError(f"{run.path / 'tasks'} lacks the {min(lacking)} tasks; take them from a copy")
    return found
