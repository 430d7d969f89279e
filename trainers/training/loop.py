"""The meta-training loop."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from agents.contract import Agent, Learner, MetricInfo, Plan, Round, TrialBatch, Weights, concatenate
from envs.check import check_no_leak
from envs.task import Task, TaskFamily, TaskSet
from envs.task_sets import check_disjoint
from trainers.errors import RunError
from trainers.evaluation.evaluator import ROWS, curve, evaluate
from trainers.process import StopRequest, keep_freed_memory, torch_threads, usable_cores
from trainers.recipes import loading, registry
from trainers.recipes.schema import Recipe
from trainers.reporting.trackers import Tracker, tracking
from trainers.runs import checkpoints
from trainers.runs.metrics import MetricLog, describe, shown_points
from trainers.runs.run_folder import Run, best_iteration, build, run_state
from trainers.sampling.samplers import Sampler, make_sampler
from trainers.sampling.trial_loop import generator, make_shards, random_key

Report = Callable[[Mapping[str, float]], None]


@dataclass(frozen=True)
class Outcome:
    """How a training command ended."""

    run: Run
    iteration: int
    stopped_by: str | None  # name of the signal, or None when the run is complete


def train(recipe: Recipe, out: Path, report: Report = lambda metrics: None) -> Outcome:
    """Meta-trains what the recipe says, into a new run folder; `report` gets each iteration's metrics.

    Raises:
        RecipeError, RunError, TaskError, AgentError, SamplingError: one sentence; what was written stays.
    """
    return run(start(recipe, out), report)


def start(recipe: Recipe, out: Path) -> Run:
    """Makes the run folder, with the checkpoint of iteration 0; everything that can be refused is refused before."""
    check_no_leak(registry.family(recipe.family))
    family = registry.family(recipe.family, task_in_observation=recipe.task_in_observation)
    agent, learner = build(recipe, family, choose_device(recipe.device))
    agent.trial_rounds(recipe.evaluation.rounds, recipe.evaluation.rollouts)
    sets = frozen_sets(recipe, family)
    planned_tasks(learner.plan(0), family, sets.get("train"), recipe.seed, 0)
    table_of(learner, recipe, family)
    born: dict[str, Any] = {} if recipe.init is None else {"init": warm_start(learner, Path(recipe.init))}
    if family.digest is not None:
        born["family_sha256"] = family.digest
    return Run.create(out, recipe, sets.values(), learner, born)


def warm_start(learner: Learner, path: Path) -> dict[str, Any]:
    """Gives a fresh learner the weights of another run's last checkpoint; returns what provenance should say of it."""
    run = Run.open(path)
    _, weights, iteration = run.load(run.family())
    learner.load_weights(weights)
    where = run.checkpoint("last")
    return {
        "run": str(path.resolve()),
        "iteration": iteration,
        "state_sha256": hashlib.sha256((where / "state.json").read_bytes()).hexdigest(),
    }


def open_for_resume(path: Path, overrides: Sequence[str] = ()) -> Run:
    """A run to go on with; `overrides` may extend it (iterations=...) and change what does not decide its numbers."""
    run = Run.open(path)
    return Run(path, loading.changed(path / "config.yaml", overrides) if overrides else run.recipe)


def run(run: Run, report: Report = lambda metrics: None) -> Outcome:
    """Trains a run from its newest checkpoint to its recipe's iterations: the same bits as without a break."""
    keep_freed_memory()
    recipe = run.recipe
    family = run.family()
    agent, learner = build(recipe, family, choose_device(recipe.device))
    with run.held(), ExitStack() as stack:
        run.refuse_links()
        iteration, state = run.restore(learner, checkpoints.newest(run.checkpoints))
        if iteration > recipe.iterations:
            raise RunError(f"{run.path} has done {iteration} meta-updates already; iterations must be at least that")
        sets = {path.stem: run.task_set(family, path.stem) for path in sorted((run.path / "tasks").glob("*.json"))}
        if lacking := {"validation", "held-out"} - set(sets):
            raise RunError(f"{run.path / 'tasks'} lacks the {min(lacking)} tasks; take them from a copy")
        begun = run.metrics_file.exists()
        lines, rows = run.truncate_to(iteration)
        checkpoints.prune(run.checkpoints, recipe.checkpoints.keep, best_iteration(lines))
        if begun or recipe != Run.open(run.path).recipe:
            run = run.changed(recipe)
        table = table_of(learner, recipe, family)
        log = MetricLog(run.path, table)
        stack.callback(log.close)
        trackers = stack.enter_context(tracking(run, table, iteration))
        sampler = make_sampler(agent, family, recipe.workers)
        stack.callback(sampler.close)
        threads = usable_cores() if recipe.learner_threads == "auto" else recipe.learner_threads
        stop = stack.enter_context(StopRequest())
        stack.enter_context(torch_threads(threads))
        loop = Loop(run, family, agent, learner, sampler, sets, log, trackers, report, stop)
        loop.restore(state["environment_steps"], lines, rows, state.get("behaviour_weights"))
        return loop.run_from(iteration)


def table_of(learner: Learner, recipe: Recipe, family: TaskFamily) -> dict[str, MetricInfo]:
    """Every metric of the run, described."""
    rounds = max((learner.plan(iteration).rounds for iteration in (0, 1)), key=len)  # the first may be shorter
    return describe(
        learner.metrics,
        sum(one.episodes for one in rounds),
        recipe.evaluation.rounds + 1,
        family.reward_terms,
        train_totals=all(one.rollouts == 1 for one in rounds),
        test_totals=recipe.evaluation.rollouts == 1,
    )


class Loop:
    """One run's training, iteration by iteration."""

    def __init__(
        self,
        run: Run,
        family: TaskFamily,
        agent: Agent,
        learner: Learner,
        sampler: Sampler,
        sets: Mapping[str, TaskSet],
        log: MetricLog,
        trackers: Sequence[Tracker],
        report: Report,
        stop: StopRequest,
    ) -> None:
        self.run, self.family, self.agent, self.learner = run, family, agent, learner
        self.sampler, self.sets, self.log, self.trackers = sampler, sets, log, trackers
        self.report, self.stop = report, stop
        self.recipe = run.recipe
        self.pipelined = registry.algorithm(self.recipe.agent_name).pipelined
        self.behaviour_weights: Weights | None = None  # the last update; what the next iteration is sampled with, if so
        self.ahead: tuple[TrialBatch, float] | None = None  # the next iteration's trials, sampled already
        self.environment_steps = 0
        self.lines: list[Mapping[str, float]] = []
        self.rows = [ROWS.empty_table()]
        self.started = time.perf_counter()

    def restore(
        self,
        environment_steps: int,
        lines: Sequence[Mapping[str, float]],
        rows: pa.Table,
        behaviour_weights: Weights | None,
    ) -> None:
        """Puts the counters, metrics, rows and earlier weights of what is done already in their places."""
        self.environment_steps, self.behaviour_weights = environment_steps, behaviour_weights
        self.lines, self.rows = list(lines), [rows]
        if lines:
            self.started -= lines[-1]["seconds_elapsed"]

    def run_from(self, iteration: int) -> Outcome:
        """Trains to the recipe's iterations, or to the next stop request, and leaves a checkpoint either way."""
        iterations = self.recipe.iterations
        while iteration < iterations and not self.stop.signal:
            metrics = self.iterate(iteration)
            iteration += 1
            last = iteration == iterations
            validated = last or self.due(iteration, self.recipe.evaluation.every)
            if validated:
                metrics |= self.validate(iteration)
            self.log.write(metrics)
            self.lines.append(metrics)
            self.report(metrics)
            for tracker in self.trackers:
                tracker.log(metrics)
            best = validated and best_iteration(self.lines) == iteration
            if last or best or self.stop.signal or self.due(iteration, self.recipe.checkpoints.every):
                self.checkpoint(iteration)
        if not self.stop.signal and not self.measured("held-out", iteration):
            self.measure("held-out", iteration)
        return Outcome(self.run, iteration, self.stop.signal)

    def measured(self, split: str, iteration: int) -> bool:
        """Whether adaptation.parquet has these rows already."""
        rows = self.rows[0]  # of an earlier process; this one measures the end of a run once
        chosen = pc.and_(pc.equal(rows["split"].cast(pa.string()), split), pc.equal(rows["iteration"], iteration))
        return rows.filter(chosen).num_rows > 0

    def iterate(self, iteration: int) -> dict[str, float]:
        """One meta-update: plan, sample, learn."""
        began = time.perf_counter()
        plan = self.learner.plan(iteration)
        batch, sampling = self.ahead or self.sample(plan, iteration, self.behaviour_weights or self.learner.weights())
        self.ahead = None
        with self.pipelined_sampling(iteration + 1):
            updating = time.perf_counter()
            learned = self.learner.update(batch)
            learning = time.perf_counter() - updating
        ended = time.perf_counter()
        steps = sum(one.steps for one in batch)
        self.environment_steps += steps
        returns = training_returns(plan.rounds, batch)
        return {
            "iteration": iteration + 1,
            "environment_steps": self.environment_steps,
            **returns,
            **learned,
            **self.reward_terms(batch),
            "unstable_episodes": sum(int(one.unstable.sum()) for one in batch),
            "seconds_sampling": sampling,
            "seconds_learning": learning,
            "steps_per_second": steps / (ended - began),
            "seconds_elapsed": ended - self.started,
        }

    def reward_terms(self, batch: TrialBatch) -> dict[str, float]:
        """What each named reward term added to the returns of the last round."""
        names, values = self.family.reward_terms, batch[-1].reward_terms
        if not names:
            return {}
        totals = np.where(batch[-1].valid[..., None], values, 0.0).sum(-2, dtype=np.float64).reshape(-1, len(names))
        return {f"reward_term_{name}": float(total) for name, total in zip(names, totals.mean(0), strict=True)}

    @contextmanager
    def pipelined_sampling(self, iteration: int) -> Iterator[None]:
        """Where the algorithm pipelined, samples this iteration while the one before it is learned in the body.

        The weights are those from before that update, with workers and without: the lag is one on any machine.
        """
        if not self.pipelined:
            yield
            return
        self.behaviour_weights = self.learner.weights()
        if iteration >= self.recipe.iterations:
            yield
        elif not self.recipe.workers:
            self.ahead = self.sample(self.learner.plan(iteration), iteration, self.behaviour_weights)
            yield
        else:
            with ThreadPoolExecutor(1) as beside:
                pending = beside.submit(self.sample, self.learner.plan(iteration), iteration, self.behaviour_weights)
                yield
                self.ahead = pending.result()

    def sample(self, plan: Plan, iteration: int, weights: Weights) -> tuple[TrialBatch, float]:
        """The meta-batch that the learner planned, and the seconds that sampling it took."""
        began = time.perf_counter()
        seed = self.recipe.seed
        tasks = planned_tasks(plan, self.family, self.sets.get("train"), seed, iteration)
        trials = len(tasks) * plan.trials_per_task
        keys = [random_key(seed, "training", iteration, trial) for trial in range(trials)]
        shards = make_shards(tasks, plan.rounds, keys, self.recipe.sampling.tasks_per_shard)
        return concatenate(self.sampler.run(weights, shards)), time.perf_counter() - began

    def measure(self, split: str, iteration: int) -> pa.Table:
        """Adaptation rows on a frozen set; they join adaptation.parquet."""
        rows = evaluate(
            self.agent,
            self.family,
            self.learner.weights(),
            self.sets[split],
            self.sampler,
            self.recipe.evaluation,
            tasks_per_shard=self.recipe.sampling.tasks_per_shard,
            iteration=iteration,
            training_seed=self.recipe.seed,
        )
        self.rows.append(rows)
        known = pa.concat_tables(self.rows).unify_dictionaries()
        self.run.write_rows(known)
        for tracker in self.trackers:
            tracker.evaluated(split, known)
        return rows

    def validate(self, iteration: int) -> dict[str, float]:
        """Returns on the validation tasks after each adaptation."""
        found = curve([self.measure("validation", iteration)], "stochastic")
        told = {f"validation_return_round_{index}": float(found.mean[index]) for index in shown_points(len(found.mean))}
        return told | ({} if found.totals is None else {"validation_trial_return": float(found.totals.mean())})

    def checkpoint(self, iteration: int) -> None:
        """Everything that the run needs to be taken up here."""
        self.log.sync()
        state = run_state(self.learner, self.environment_steps, self.behaviour_weights)
        checkpoints.save(self.run.checkpoints, iteration, self.recipe.agent_name, state)
        checkpoints.prune(self.run.checkpoints, self.recipe.checkpoints.keep, best_iteration(self.lines))

    @staticmethod
    def due(iteration: int, every: int) -> bool:
        """Whether something done every so many iterations is due; 0 means never."""
        return every > 0 and iteration % every == 0


def training_returns(rounds: Sequence[Round], batch: TrialBatch) -> dict[str, float]:
    """Mean return at the points of the training trials' adaptation curve; each episode of a round is one."""
    places = [(one, episode) for one, played in enumerate(rounds) for episode in range(played.episodes)]
    told = {}
    for point in shown_points(len(places)):
        one, episode = batch[places[point][0]], places[point][1]
        if rounds[places[point][0]].episodes == 1:
            told[f"return_round_{point}"] = float(one.row_returns().mean())
        else:
            mine = one.valid & (one.episode == episode)
            returns = np.where(mine, one.reward, 0.0).sum(-1, dtype=np.float64)
            told[f"return_round_{point}"] = float(returns[mine.any(-1)].mean())
    if all(one.rollouts == 1 for one in rounds):
        told["trial_return"] = float(sum(one.row_returns().mean() for one in batch))
    return told


def planned_tasks(plan: Plan, family: TaskFamily, fixed: TaskSet | None, seed: int, iteration: int) -> Sequence[Task]:
    """The tasks of one iteration: fresh ones, or the fixed training tasks that the plan names or draws from."""
    rng = generator(random_key(seed, "tasks", iteration))
    if isinstance(plan.tasks, tuple):
        if fixed is None:
            raise RunError("this agent trains on fixed tasks; set train_tasks to how many")
        if max(plan.tasks) >= len(fixed.tasks):
            raise RunError(
                f"this agent trains on {max(plan.tasks) + 1} fixed tasks, but train_tasks is {len(fixed.tasks)}; make "
                "them the same"
            )
        return [fixed.tasks[index] for index in plan.tasks]
    if fixed is None:
        return family.sample(plan.tasks, rng, "train")
    if plan.tasks > len(fixed.tasks):
        raise RunError(
            f"a meta-batch of {plan.tasks} tasks needs train_tasks of at least as many, not {len(fixed.tasks)}"
        )
    return [fixed.tasks[int(index)] for index in rng.choice(len(fixed.tasks), plan.tasks, replace=False)]


def frozen_sets(recipe: Recipe, family: TaskFamily) -> dict[str, TaskSet]:
    """The run's task sets, drawn once, disjoint where the family's kind says so."""
    settings = recipe.evaluation
    sets = {
        "validation": family.task_set("validation", settings.validation_tasks, settings.task_seed),
        "held-out": family.task_set("held-out", settings.held_out_tasks, settings.task_seed),
    }
    if recipe.train_tasks is not None:
        sets["train"] = family.task_set("train", recipe.train_tasks, settings.task_seed)
    check_disjoint(family.kind, sets.values())
    for one in sets.values():
        for task in one.tasks:
            family.check_task(task)
    return sets


def choose_device(name: str) -> torch.device:
    """auto: the GPU where there is one, else the CPU; a device that is not there is refused."""
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (not available or (device.index or 0) >= torch.cuda.device_count()):
        raise RunError(f"device {name} is not available on this machine; use device=auto or device=cpu")
    return device
