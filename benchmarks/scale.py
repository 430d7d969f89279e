"""Cost of the driver and of the learner a shard, and the number of workers at which each of them is the limit.

    OMP_NUM_THREADS=1 python benchmarks/scale.py [--sleepers 64] [--rounds 3]

Measured in processor seconds, so that other work on the machine does not count: what the driver spends on a shard,
where trials come to it, and where they stay in Ray's store as references for remote learners; what putting the weights
costs; what a worker spends on a shard; what the learner spends on a meta-batch. Then many workers that sleep for as
long as a HalfCheetahVel shard takes and return as many bytes, without importing torch: the driver's share of a core
beside them, and its memory. From that, per recipe, the number of workers at which the driver, or the learner, is busy
all the time, and what 16 to 1,024 workers would come to. docs/clusters.md says what to change at each limit.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from measure import record

from agents.contract import TrialBatch, concatenate
from trainers.process import keep_freed_memory
from trainers.recipes import registry
from trainers.recipes.assembling import build
from trainers.recipes.schema import Recipe
from trainers.sampling.planned_tasks import planned_tasks
from trainers.sampling.random_streams import random_key
from trainers.sampling.ray_sampler import RaySampler
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials
from trainers.training.setup import frozen_task_sets

RECIPES = ("half_cheetah_vel_u03_maml", "half_cheetah_vel_u03_rl2", "point_nav_maml")
WORKERS = (16, 64, 256, 1024)


def cpu_seconds() -> float:
    """Of this process, all threads, Ray's included."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_mb() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Case:
    """A recipe's agent, learner and the shards of one iteration."""

    def __init__(self, name: str, tasks_factor: int = 1, iteration: int = 1, overrides: Sequence[str] = ()) -> None:
        self.name, self.recipe = name, Recipe.load(name, ["device=cpu", *overrides])
        self.family = registry.family(self.recipe.family)
        self.agent, self.learner = build(self.recipe, self.family, torch.device("cpu"))
        plan, seed = self.learner.plan(iteration), self.recipe.seed
        fixed = frozen_task_sets(self.recipe, self.family).get("train")
        tasks = list(planned_tasks(plan, self.family, fixed, seed, iteration))
        tasks = tasks * tasks_factor
        keys = [random_key(seed, "training", iteration, trial) for trial in range(len(tasks) * plan.trials_per_task)]
        self.shards = make_shards(tasks, plan.rounds, keys, self.recipe.sampling.tasks_per_shard)
        self.weights = self.learner.weights()

    def batch(self) -> TrialBatch:
        """The trials of the whole iteration."""
        return concatenate([run_trials(self.agent, self.family, self.weights, shard) for shard in self.shards])

    def shard_seconds(self) -> float:
        """Processor seconds of sampling a shard, median of three after a first one."""
        seconds = []
        for _ in range(4):
            began = time.process_time()
            self.trials = run_trials(self.agent, self.family, self.weights, self.shards[0])
            seconds.append(time.process_time() - began)
        return statistics.median(seconds[1:])

    def bytes_of_a_shard(self) -> int:
        return sum(array.nbytes for one in self.trials for array in one.arrays().values())

    def steps_of_a_shard(self) -> int:
        return sum(one.steps for one in self.trials)


def driver_cost(case: Case, sampler: RaySampler, rounds: int, *, references: bool) -> dict[str, float]:
    """Processor seconds of the driver a shard: handing out and taking in, and joining the trials to one batch."""
    handing, joining = [], []
    for number in range(rounds + 1):
        began = cpu_seconds()
        found = sampler.run(case.agent, case.family, case.weights, case.shards, references=references)
        taken = cpu_seconds()
        if not references:
            concatenate(found)
        if number:  # the first one starts workers and imports
            handing.append((taken - began) / len(case.shards))
            joining.append((cpu_seconds() - taken) / len(case.shards))
    return {"handing out and taking in": min(handing), "joining": min(joining)}


def weight_cost(case: Case) -> dict[str, float]:
    """Bytes of the weights, and seconds of putting them once and of one worker's getting them."""
    puts, gets = [], []
    for _ in range(20):
        began = cpu_seconds()
        reference = ray.put(dict(case.weights))
        put = cpu_seconds()
        ray.get(reference)
        puts.append(put - began)
        gets.append(cpu_seconds() - put)
    size = sum(value.numel() * value.element_size() for value in case.weights.values())
    return {"bytes": size, "put (s)": statistics.median(puts), "get (s)": statistics.median(gets)}


def learner_seconds(case: Case) -> float:
    """Processor seconds of a meta-update on one thread, the second of two."""
    batch = case.batch()
    case.learner.update(batch)
    began = time.process_time()
    case.learner.update(batch)
    return time.process_time() - began


class Sleeper:
    """A worker that sleeps instead; defined in the script, so that it travels whole and imports nothing of ours."""

    def __init__(self, seconds: float = 0.0, sizes: Sequence[tuple[tuple[int, ...], str]] = ()) -> None:
        import numpy

        self._seconds = seconds
        self._arrays = [numpy.ones(shape, dtype) for shape, dtype in sizes]

    def run(self, *given: Any) -> Any:
        import time

        time.sleep(self._seconds)
        return self._arrays

    def run_and_keep(self, *given: Any) -> Any:
        return None, self.run(*given)


class SleepingSampler(RaySampler):
    """The driver's own code, before workers that sleep. Shards and weights travel as bytes, which nobody unpickles."""

    def __init__(self, sleepers: int, seconds: float, case: Case) -> None:
        self._sleep = seconds
        self._sizes = [(array.shape, str(array.dtype)) for one in case.trials for array in one.arrays().values()]
        self._shard_bytes = [ray.cloudpickle.dumps(shard) for shard in case.shards]
        super().__init__(sleepers)
        self._starting.clear()

    def _start(self, worker: int) -> None:
        self.actors[worker] = ray.remote(num_cpus=1)(Sleeper).remote(self._sleep, self._sizes)
        self._idle.append(worker)

    def _give(self, agent: Any, family: Any) -> None:
        self._version += 1

    def _arguments(self, job: Any, index: int) -> tuple[Any, ...]:
        return self._version, [job.weights], ray.cloudpickle.dumps(job.shards[index])


def beside_sleepers(case: Case, sleepers: int, seconds: float, rounds: int, *, references: bool) -> dict[str, Any]:
    """The driver's share of a core and its memory while so many workers sleep their shards."""
    sampler = SleepingSampler(sleepers, seconds, case)
    shares, memory = [], []
    done: Callable[[int, Any], None] | None = None if references else lambda place, arrays: None
    for number in range(rounds + 1):
        began, wall = cpu_seconds(), time.perf_counter()
        sampler.run(case.agent, case.family, case.weights, case.shards, done, references=references)
        if number:
            shares.append((cpu_seconds() - began) / (time.perf_counter() - wall))
            memory.append(round(resident_mb()))
    for actor in sampler.actors:
        ray.kill(actor)
    ideal = seconds * -(-len(case.shards) // sleepers)
    return {
        "driver's share of a core": statistics.median(shares),
        "memory after each iteration (MB)": memory,
        "shards an iteration": len(case.shards),
        "seconds of sleep an iteration": ideal,
    }


def predicted(shard: float, driver: float, learner_a_shard: float) -> dict[str, Any]:
    """Workers at which the driver, and one learner on one thread, are busy all the time; and the rates of more."""
    rates = {count: (min(count / shard, 1 / driver), min(count / shard, 1 / learner_a_shard)) for count in WORKERS}
    return {
        "workers that keep the driver busy": round(shard / driver),
        "workers that keep one learner busy": round(shard / learner_a_shard, 1),
        "shards/s by workers, if learning were free": {count: round(free, 1) for count, (free, _) in rates.items()},
        "shards/s by workers, with that learner": {count: round(both, 1) for count, (_, both) in rates.items()},
    }


def measured(name: str, rounds: int) -> tuple[Case, dict[str, Any]]:
    """The figures of one recipe."""
    case = Case(name)
    shard, learner = case.shard_seconds(), learner_seconds(case)
    found: dict[str, Any] = {
        "shard (s)": shard,
        "bytes of a shard": case.bytes_of_a_shard(),
        "bytes a step": case.bytes_of_a_shard() / case.steps_of_a_shard(),
        "learner (s a shard)": learner / len(case.shards),
    }
    for workers in (1, 3):
        sampler = RaySampler(workers)
        for references in (False, True):
            cost = driver_cost(case, sampler, rounds, references=references)
            way = "references" if references else "arrays"
            found[f"driver a shard, {workers} workers, {way} (s)"] = cost
            share = sum(cost.values()) / shard
            found[f"driver's share of the compute, {workers} workers, {way}"] = round(share, 4)
            if workers == 3:
                found[f"predicted, {way}"] = predicted(shard, sum(cost.values()), learner / len(case.shards))
        for actor in sampler.actors:
            ray.kill(actor)
    found["weights"] = weight_cost(case)
    return case, found


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--sleepers", type=int, default=64)
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=options.sleepers + 3, include_dashboard=False, log_to_driver=False)
    figures: dict[str, Any] = {}
    for name in RECIPES:
        case, figures[name] = measured(name, options.rounds)
        print(name, figures[name], flush=True)
        if name == RECIPES[0]:
            many = Case(name, tasks_factor=-(-3 * options.sleepers // len(case.shards)))
            many.trials = case.trials
            figures[name][f"beside {options.sleepers} sleeping workers"] = {
                way: beside_sleepers(
                    many, options.sleepers, figures[name]["shard (s)"], options.rounds, references=kept
                )
                for way, kept in (("arrays", False), ("references", True))
            }
            print(figures[name][f"beside {options.sleepers} sleeping workers"], flush=True)
    record("scale", figures)


if __name__ == "__main__":
    main()
