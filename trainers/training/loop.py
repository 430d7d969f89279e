"""The meta-training loop: sample a meta-batch, meta-update, measure, checkpoint. `running.py` sets it up."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import pyarrow as pa

from agents.common.savepoints import savepoint
from agents.contract import Agent, Learner, Plan, Weights
from envs.task import TaskFamily, TaskSet
from trainers.errors import LearnersLostError, TrialsLostError, UserError
from trainers.evaluation.curves import curve
from trainers.evaluation.evaluator import EvaluationJob, Origin, evaluate
from trainers.reporting.trackers import Tracker
from trainers.runs import checkpoints
from trainers.runs.metrics import MetricLog, selected_steps
from trainers.runs.restoring import run_state
from trainers.runs.rows import of_evaluation
from trainers.runs.run_folder import Run
from trainers.runs.selection import best_iteration
from trainers.sampling.planned_tasks import curriculum_metrics, drawn_tasks
from trainers.sampling.random_streams import random_key
from trainers.sampling.samplers import LocalSampler, Sampler, Trials
from trainers.sampling.shards import make_shards
from trainers.stopping import Abandoned, StopRequest
from trainers.training.diagnosis import diagnosis_of
from trainers.training.learning import Learning

Report = Callable[[Mapping[str, float]], object]  # given each iteration's metrics; returns True to stop the run


@dataclass(frozen=True)
class Outcome:
    """How a training command ended."""

    run: Run
    iteration: int
    stopped_by: str | None  # name of the signal, "callback", or None when the run is complete


@dataclass(frozen=True)
class Training:
    """Everything that the loop works with.

    Attributes:
        run: its folder and recipe.
        family, agent, learner: who learns what.
        learning: takes the trials to the learner, wherever it is.
        sampler: runs the shards.
        task_sets: the frozen ones, by split.
        log, trackers, report: who is given each iteration's metrics; `report` may stop the run.
        stop: says when to stop early.
    """

    run: Run
    family: TaskFamily
    agent: Agent
    learner: Learner
    learning: Learning
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
        behaviour_weights: of pipelined runs, the weights from before the last update, which the next iteration
            is sampled with.
    """

    iteration: int
    environment_steps: int
    lines: list[Mapping[str, float]]
    earlier_rows: pa.Table
    behaviour_weights: Weights | None = None


class Loop:
    """One run's training, iteration by iteration."""

    def __init__(self, training: Training, progress: Progress) -> None:
        self.training, self.progress = training, progress
        self.run_folder, self.recipe, self.learner = training.run, training.run.recipe, training.learner
        self.run_id = training.run.id
        self.diagnosis = diagnosis_of(training.family, self.recipe, self.learner, training.stop.say)
        self.prefetched: tuple[list[Trials], float] | None = None  # the next iteration's trials, sampled already
        self.rows = [progress.earlier_rows]
        self.durations: deque[float] = deque(maxlen=5)  # of the last iterations, s
        self.started = time.perf_counter()
        if progress.lines:
            self.started -= progress.lines[-1]["seconds_elapsed"]

    def run(self) -> Outcome:
        """Train to the recipe's iterations, or to the next stop request, and leave a checkpoint either way."""
        stop = self.training.stop
        try:
            while not self.finished and not stop.signal:
                validated = self.update_or_revert()
                lines = self.progress.lines
                best = validated and best_iteration(lines, self.recipe.algorithm) == self.progress.iteration
                if best or self.finished or self.due(self.recipe.checkpoints.every):
                    self.checkpoint()
            if not self.finished:
                self.checkpoint()
            elif not of_evaluation(self.progress.earlier_rows, "held-out", self.progress.iteration).num_rows:
                self.measure("held-out", at_once=True)
        except Abandoned:
            pass
        return Outcome(self.run_folder, self.progress.iteration, stop.signal)

    @property
    def finished(self) -> bool:
        """Whether all of the recipe's meta-updates are done."""
        return self.progress.iteration == self.recipe.iterations

    def update_or_revert(self) -> bool:
        """One iteration, or, where it fails or is abandoned, the checkpoint of what was before it; was it validated?"""
        progress, stop = self.progress, self.training.stop
        before, revert = replace(progress, lines=list(progress.lines)), self.savepoint()
        began = time.perf_counter()
        stop.seconds_left = lambda: statistics.median(usual) - (time.perf_counter() - began) if usual else None
        usual = self.durations
        try:
            with stop.abandonable():
                metrics = self.iterate(progress.iteration)
            progress.iteration += 1
            validated = self.finished or self.due(self.recipe.evaluation.every)
            if validated:
                metrics |= self.validate()
            self.note(metrics)
        except (Exception, Abandoned):
            stop.shield()
            revert()
            self.progress = before
            with suppress(UserError, OSError):  # what went wrong first is what the user is told
                self.checkpoint()
            raise
        self.durations.append(time.perf_counter() - began)
        return validated

    def savepoint(self) -> Callable[[], None]:
        """A function that takes the learner back to now; where one of a group is found dead, a checkpoint of now."""
        try:
            return savepoint(self.learner)
        except LearnersLostError:
            with suppress(UserError, OSError):
                self.checkpoint()
            raise

    def note(self, metrics: Mapping[str, float]) -> None:
        """Write and report one iteration's metrics."""
        self.training.log.write(metrics)
        self.progress.lines.append(metrics)
        self.diagnosis.metrics(metrics)
        if self.training.report(metrics) is True and not self.finished:  # the last iteration ends anyway
            self.training.stop.request("callback")
        for tracker in self.training.trackers:
            tracker.log(metrics)

    def iterate(self, iteration: int) -> dict[str, float]:
        """One meta-update: plan, sample, learn."""
        sampler = self.training.sampler
        began, busy = time.perf_counter(), sampler.busy_s
        plan = self.learner.plan(iteration)
        weights = self.progress.behaviour_weights or self.learner.weights()
        sampling = self.receive(plan, iteration, weights)
        with self.pipelined_sampling(iteration + 1):
            updating = time.perf_counter()
            learned, facts = self.training.learning.learn(plan.rounds)
            learning = time.perf_counter() - updating
        ended = time.perf_counter()
        whole = ended - began
        self.diagnosis.facts(facts)
        self.progress.environment_steps += facts.steps
        return {
            "iteration": iteration + 1,
            "environment_steps": self.progress.environment_steps,
            **facts.metrics,
            **learned,
            **curriculum_metrics(self.recipe, self.progress.lines, iteration),
            "seconds_sampling": sampling,
            "seconds_learning": learning,
            "worker_idle_share": max(1.0 - (sampler.busy_s - busy) / (sampler.workers * whole), 0.0),
            "learner_idle_share": 1.0 - learning / whole,
            "steps_per_second": facts.steps / whole,
            "seconds_elapsed": ended - self.started,
        }

    def receive(self, plan: Plan, iteration: int, weights: Weights) -> float:
        """Have the learner take this iteration's trials; the seconds that sampling them took."""
        trials, seconds = self.prefetched or self.sample(plan, iteration, weights)
        self.prefetched = None
        while True:
            try:
                self.training.learning.receive(trials)
            except TrialsLostError:  # with a node; a shard is a pure function
                trials, more = self.sample(plan, iteration, weights)
                seconds += more
            else:
                return seconds

    @contextmanager
    def pipelined_sampling(self, iteration: int) -> Iterator[None]:
        """Sample this iteration while the one before it is learned in the body, where the run is pipelined.

        The weights are those from before that update, with workers and without: the lag is one on any machine.
        """
        if not self.recipe.pipelined:
            yield
            return
        weights = self.progress.behaviour_weights = self.learner.weights()
        if iteration >= self.recipe.iterations:
            yield
        elif isinstance(self.training.sampler, LocalSampler):
            self.prefetched = self.sample(self.learner.plan(iteration), iteration, weights)
            yield
        else:
            with ThreadPoolExecutor(1) as beside:
                pending = beside.submit(self.sample, self.learner.plan(iteration), iteration, weights)
                try:
                    yield
                    self.prefetched = pending.result()
                except BaseException:
                    self.training.sampler.cancel()  # or the thread would be waited for
                    raise

    def sample(self, plan: Plan, iteration: int, weights: Weights) -> tuple[list[Trials], float]:
        """The trials that the learner planned, shard by shard, and the seconds that sampling them took."""
        began, training, seed = time.perf_counter(), self.training, self.recipe.seed
        lines = self.progress.lines
        tasks = drawn_tasks(plan, self.recipe, training.family, training.task_sets.get("train"), iteration, lines)
        count = len(tasks) * plan.trials_per_task
        keys = [random_key(seed, "training", iteration, trial) for trial in range(count)]
        shards = make_shards(tasks, plan.rounds, keys, self.recipe.sampling.tasks_per_shard)
        if iteration:  # an off-policy agent's first one is larger
            self.diagnosis.shards(len(shards), training.sampler.workers)
        trials = training.sampler.run(
            training.agent, training.family, weights, shards, references=training.learning.takes_references
        )
        return trials, time.perf_counter() - began

    def measure(self, split: str, *, at_once: bool = False) -> pa.Table:
        """Adaptation rows on a frozen set; they join adaptation.parquet. `at_once`: the first Ctrl-C abandons it."""
        job = EvaluationJob(
            agent=self.training.agent,
            family=self.training.family,
            weights=self.learner.weights(),
            task_set=self.training.task_sets[split],
            settings=self.recipe.evaluation,
            tasks_per_shard=self.recipe.sampling.tasks_per_shard,
            origin=Origin(self.run_id, self.recipe.agent_name, self.recipe.seed, self.progress.iteration),
        )
        with self.training.stop.abandonable(at_once=at_once):
            rows = evaluate(job, self.training.sampler)
        self.rows.append(rows)
        known = pa.concat_tables(self.rows).unify_dictionaries()
        self.run_folder.write_rows(known)
        for tracker in self.training.trackers:
            tracker.evaluated(split, known)
        return rows

    def validate(self) -> dict[str, float]:
        """Returns on the validation tasks after each adaptation."""
        rows = self.measure("validation")
        self.diagnosis.validation(rows)
        found = curve([rows], "stochastic")
        metrics = {
            f"validation_return_round_{step}": float(found.mean[step]) for step in selected_steps(len(found.mean))
        }
        if found.totals_ST is not None:
            metrics["validation_trial_return"] = float(found.totals_ST.mean())
        return metrics

    def checkpoint(self) -> None:
        """Everything that the run needs to be resumed here, unless it is there already."""
        progress, folder = self.progress, self.run_folder.checkpoints
        if progress.iteration in checkpoints.iterations(folder):
            return
        self.training.log.sync()
        state = run_state(self.learner, progress.environment_steps, progress.behaviour_weights)
        checkpoints.save(folder, progress.iteration, self.recipe.agent_name, state)
        checkpoints.prune(folder, self.recipe.checkpoints.keep, best_iteration(progress.lines, self.recipe.algorithm))

    def due(self, every: int) -> bool:
        """Whether something done every so many iterations is due; 0 means never."""
        return every > 0 and self.progress.iteration % every == 0
