"""The meta-training loop: sample a meta-batch, meta-update, measure, checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from agents.contract import Agent, Learner, Plan, Round, TrialBatch, Weights, concatenate
from envs.task import TaskFamily, TaskSet
from trainers.errors import RecipeError, RunFolderError, UsageError
from trainers.evaluation.curves import curve
from trainers.evaluation.evaluator import EvaluationJob, Origin, evaluate
from trainers.process import StopRequest, keep_freed_memory, torch_threads, usable_cores
from trainers.recipes.assembling import build
from trainers.recipes.schema import Recipe
from trainers.reporting.trackers import Tracker, tracking
from trainers.runs import checkpoints
from trainers.runs.metrics import MetricLog, selected_steps
from trainers.runs.restoring import run_state
from trainers.runs.rows import of_evaluation
from trainers.runs.run_folder import Run
from trainers.runs.selection import best_iteration
from trainers.sampling.random_streams import random_key
from trainers.sampling.samplers import Sampler, make_sampler
from trainers.sampling.shards import make_shards
from trainers.training.setup import choose_device, create_run, described_metrics, planned_tasks

Report = Callable[[Mapping[str, float]], None]


@dataclass(frozen=True)
class Outcome:
    """How a training command ended."""

    run: Run
    iteration: int
    stopped_by: str | None  # name of the signal, or None when the run is complete


@dataclass(frozen=True)
class Training:
    """Everything that the loop works with.

    Attributes:
        run: its folder and recipe.
        family, agent, learner: who learns what.
        sampler: runs the shards.
        task_sets: the frozen ones, by split.
        log, trackers, report: who is given each iteration's metrics.
        stop: says when to stop early.
    """

    run: Run
    family: TaskFamily
    agent: Agent
    learner: Learner
    sampler: Sampler
    task_sets: Mapping[str, TaskSet]
    log: MetricLog
    trackers: Sequence[Tracker]
    report: Report
    stop: StopRequest


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        iteration: meta-updates done.
        environment_steps: sampled for training so far.
        lines: the metrics of each iteration.
        earlier_rows: adaptation rows of the processes before this one.
        behaviour_weights: of pipelined algorithms, the weights from before the last update, which the next iteration
            is sampled with.
    """

    iteration: int
    environment_steps: int
    lines: list[Mapping[str, float]]
    earlier_rows: pa.Table
    behaviour_weights: Weights | None = None


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


def run(run: Run, report: Report = lambda metrics: None) -> Outcome:
    """Train a run from its newest checkpoint to its recipe's iterations: the same bits as without a break."""
    keep_freed_memory()
    recipe = run.recipe
    family = run.family()
    agent, learner = build(recipe, family, choose_device(recipe.device))
    with run.held(), ExitStack() as stack:
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
        sampler = make_sampler(recipe.workers)
        stack.callback(sampler.close)
        threads = usable_cores() if recipe.learner_threads == "auto" else recipe.learner_threads
        stop = stack.enter_context(StopRequest())
        stack.enter_context(torch_threads(threads))
        training = Training(run, family, agent, learner, sampler, task_sets, log, trackers, report, stop)
        weights = state.get("behaviour_weights")
        return Loop(training, Progress(iteration, state["environment_steps"], list(lines), rows, weights)).run()


def _stored_task_sets(run: Run, family: TaskFamily) -> dict[str, TaskSet]:
    found = {path.stem: run.task_set(family, path.stem) for path in sorted((run.path / "tasks").glob("*.json"))}
    if lacking := {"validation", "held-out"} - set(found):
        raise RunFolderError(f"{run.path / 'tasks'} lacks the {min(lacking)} tasks; take them from a copy")
    return found


class Loop:
    """One run's training, iteration by iteration."""

    def __init__(self, training: Training, progress: Progress) -> None:
        self.training, self.progress = training, progress
        self.run_folder, self.recipe, self.learner = training.run, training.run.recipe, training.learner
        self.run_id = training.run.id
        self.prefetched: tuple[TrialBatch, float] | None = None  # the next iteration's trials, sampled already
        self.rows = [progress.earlier_rows]
        self.started = time.perf_counter()
        if progress.lines:
            self.started -= progress.lines[-1]["seconds_elapsed"]

    def run(self) -> Outcome:
        """Train to the recipe's iterations, or to the next stop request, and leave a checkpoint either way."""
        progress, stop = self.progress, self.training.stop
        while progress.iteration < self.recipe.iterations and not stop.signal:
            metrics = self.iterate(progress.iteration)
            progress.iteration += 1
            last = progress.iteration == self.recipe.iterations
            validated = last or self.due(self.recipe.evaluation.every)
            if validated:
                metrics |= self.validate()
            self.note(metrics)
            best = validated and best_iteration(progress.lines, self.recipe.algorithm) == progress.iteration
            if last or best or stop.signal or self.due(self.recipe.checkpoints.every):
                self.checkpoint()
        if not stop.signal and not of_evaluation(progress.earlier_rows, "held-out", progress.iteration).num_rows:
            self.measure("held-out")
        return Outcome(self.run_folder, progress.iteration, stop.signal)

    def note(self, metrics: Mapping[str, float]) -> None:
        """Write and report one iteration's metrics."""
        self.training.log.write(metrics)
        self.progress.lines.append(metrics)
        self.training.report(metrics)
        for tracker in self.training.trackers:
            tracker.log(metrics)

    def iterate(self, iteration: int) -> dict[str, float]:
        """One meta-update: plan, sample, learn."""
        began = time.perf_counter()
        plan = self.learner.plan(iteration)
        weights = self.progress.behaviour_weights or self.learner.weights()
        batch, sampling = self.prefetched or self.sample(plan, iteration, weights)
        self.prefetched = None
        with self.pipelined_sampling(iteration + 1):
            updating = time.perf_counter()
            learned = self.learner.update(batch)
            learning = time.perf_counter() - updating
        ended = time.perf_counter()
        steps = sum(one.steps for one in batch)
        self.progress.environment_steps += steps
        return {
            "iteration": iteration + 1,
            "environment_steps": self.progress.environment_steps,
            **training_returns(plan.rounds, batch),
            **learned,
            **self.reward_terms(batch),
            "unstable_episodes": sum(int(one.unstable.sum()) for one in batch),
            "seconds_sampling": sampling,
            "seconds_learning": learning,
            "steps_per_second": steps / (ended - began),
            "seconds_elapsed": ended - self.started,
        }

    def reward_terms(self, batch: TrialBatch) -> dict[str, float]:
        """The share of each named reward term in the returns of the last round."""
        names, values = self.training.family.reward_terms, batch[-1].reward_terms
        if not names:
            return {}
        totals = np.where(batch[-1].valid[..., None], values, 0.0).sum(-2, dtype=np.float64).reshape(-1, len(names))
        return {f"reward_term_{name}": float(total) for name, total in zip(names, totals.mean(0), strict=True)}

    @contextmanager
    def pipelined_sampling(self, iteration: int) -> Iterator[None]:
        """Sample this iteration while the one before it is learned in the body, where the algorithm is pipelined.

        The weights are those from before that update, with workers and without: the lag is one on any machine.
        """
        if not self.recipe.algorithm.pipelined:
            yield
            return
        weights = self.progress.behaviour_weights = self.learner.weights()
        if iteration >= self.recipe.iterations:
            yield
        elif not self.recipe.workers:
            self.prefetched = self.sample(self.learner.plan(iteration), iteration, weights)
            yield
        else:
            with ThreadPoolExecutor(1) as beside:
                pending = beside.submit(self.sample, self.learner.plan(iteration), iteration, weights)
                yield
                self.prefetched = pending.result()

    def sample(self, plan: Plan, iteration: int, weights: Weights) -> tuple[TrialBatch, float]:
        """The meta-batch that the learner planned, and the seconds that sampling it took."""
        began = time.perf_counter()
        training, seed = self.training, self.recipe.seed
        tasks = planned_tasks(plan, training.family, training.task_sets.get("train"), seed, iteration)
        trials = len(tasks) * plan.trials_per_task
        keys = [random_key(seed, "training", iteration, trial) for trial in range(trials)]
        shards = make_shards(tasks, plan.rounds, keys, self.recipe.sampling.tasks_per_shard)
        batches = training.sampler.run(training.agent, training.family, weights, shards)
        return concatenate(batches), time.perf_counter() - began

    def measure(self, split: str) -> pa.Table:
        """Adaptation rows on a frozen set; they join adaptation.parquet."""
        job = EvaluationJob(
            agent=self.training.agent,
            family=self.training.family,
            weights=self.learner.weights(),
            task_set=self.training.task_sets[split],
            settings=self.recipe.evaluation,
            tasks_per_shard=self.recipe.sampling.tasks_per_shard,
            origin=Origin(self.run_id, self.recipe.agent_name, self.recipe.seed, self.progress.iteration),
        )
        rows = evaluate(job, self.training.sampler)
        self.rows.append(rows)
        known = pa.concat_tables(self.rows).unify_dictionaries()
        self.run_folder.write_rows(known)
        for tracker in self.training.trackers:
            tracker.evaluated(split, known)
        return rows

    def validate(self) -> dict[str, float]:
        """Returns on the validation tasks after each adaptation."""
        found = curve([self.measure("validation")], "stochastic")
        metrics = {
            f"validation_return_round_{step}": float(found.mean[step]) for step in selected_steps(len(found.mean))
        }
        if found.totals_ST is not None:
            metrics["validation_trial_return"] = float(found.totals_ST.mean())
        return metrics

    def checkpoint(self) -> None:
        """Everything that the run needs to be resumed here."""
        self.training.log.sync()
        progress, folder = self.progress, self.run_folder.checkpoints
        state = run_state(self.learner, progress.environment_steps, progress.behaviour_weights)
        checkpoints.save(folder, progress.iteration, self.recipe.agent_name, state)
        checkpoints.prune(folder, self.recipe.checkpoints.keep, best_iteration(progress.lines, self.recipe.algorithm))

    def due(self, every: int) -> bool:
        """Whether something done every so many iterations is due; 0 means never."""
        return every > 0 and self.progress.iteration % every == 0


def training_returns(rounds: Sequence[Round], batch: TrialBatch) -> dict[str, float]:
    """Mean return at the steps of the training trials' adaptation curve; each episode of a round is one."""
    places = [(number, episode) for number, one in enumerate(rounds) for episode in range(one.episodes)]
    metrics = {}
    for step in selected_steps(len(places)):
        number, episode = places[step]
        of_round = batch[number]
        if rounds[number].episodes == 1:
            metrics[f"return_round_{step}"] = float(of_round.row_returns().mean())
        else:
            mask = of_round.valid & (of_round.episode == episode)
            returns = np.where(mask, of_round.reward, 0.0).sum(-1, dtype=np.float64)
            metrics[f"return_round_{step}"] = float(returns[mask.any(-1)].mean())
    if all(one.rollouts == 1 for one in rounds):
        metrics["trial_return"] = float(sum(of_round.row_returns().mean() for of_round in batch))
    return metrics
