"""Samplers: run shards in this process or on Ray workers. Both give the same trial batches, to the last bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from agents.contract import Agent, Weights
from envs.task import TaskFamily
from trainers.cluster.addresses import named
from trainers.cluster.connection import Connection
from trainers.cluster.nodes import Record
from trainers.process import torch_threads, usable_cores
from trainers.recipes.schema import Recipe
from trainers.sampling.ray_sampler import RaySampler
from trainers.sampling.shards import Shard
from trainers.sampling.trial_loop import run_shard
from trainers.stopping import StopRequest

Done = Callable[[int, Any], None]  # (place of a shard, its trial batch)
Trials = Any  # the trial batch of a shard, or a reference to it in Ray's store


class Sampler(Protocol):
    """Runs shards, of one agent after another.

    Attributes:
        workers: how many shards are run at a time.
        busy_s: seconds that workers have spent on shards so far, all of them together.
    """

    workers: int
    busy_s: float

    def run(
        self,
        agent: Agent,
        family: TaskFamily,
        weights: Weights,
        shards: Sequence[Shard],
        done: Done | None = None,
        *,
        references: bool = False,
    ) -> list[Trials]:
        """The trial batch of each shard, in the shards' order; `done` is called with the place of each that is there.

        What `done` is given is not held any longer, and the list that is returned is empty then. With `references` the
        batches stay where workers on Ray have put them, and references are returned.
        """

    def cancel(self) -> None:
        """Make a `run` that goes on in another thread raise, soon."""

    def close(self) -> None:
        """Give back what it holds."""


class LocalSampler:
    """Runs shards in this process, one after the other."""

    workers = 1

    def __init__(self) -> None:
        self.busy_s = 0.0

    def run(
        self,
        agent: Agent,
        family: TaskFamily,
        weights: Weights,
        shards: Sequence[Shard],
        done: Done | None = None,
        *,
        references: bool = False,
    ) -> list[Trials]:
        began = time.perf_counter()
        with torch_threads(1):
            if done is None:
                batches = [run_shard(agent, family, weights, shard) for shard in shards]
                self.busy_s += time.perf_counter() - began
                return batches
            for place, shard in enumerate(shards):
                done(place, run_shard(agent, family, weights, shard))
            return []

    def cancel(self) -> None:
        pass  # it runs in the thread that would cancel it

    def close(self) -> None:
        pass


def make_sampler(
    workers: int | Literal["auto"],
    stop: StopRequest | None = None,
    shard_timeout_s: float = 600.0,
    *,
    cluster: str | None = None,
    learner_cpus: int = 0,
    note_nodes: Callable[[Record], None] | None = None,
) -> Sampler:
    """A sampler in this process for 0 workers, else on so many Ray workers.

    Args:
        workers: auto is one for each CPU of the cluster, or core of this machine (none where it has one).
        stop: is told what is waited for or lacking.
        shard_timeout_s: after which a shard that workers do not finish counts as hanging.
        cluster: as in a recipe.
        learner_cpus: CPUs of the cluster that learners need, and auto leaves to them.
        note_nodes: is given the nodes that workers run on.

    Raises:
        ClusterError: the cluster cannot be joined, or has no CPU for a worker.
    """
    address, stop = named(cluster), stop or StopRequest()
    count = worker_count(workers) if address is None else workers
    if not count:
        return LocalSampler()
    connection = Connection(1 if count == "auto" else count, stop, address)
    try:
        if count == "auto":
            count = connection.auto_workers(learner_cpus)
        return RaySampler(count, stop, shard_timeout_s, connection, note_nodes)
    except BaseException:
        connection.close()
        raise


def sampler_of(
    recipe: Recipe, stop: StopRequest, note_nodes: Callable[[Record], None], learner_cpus: int = 0
) -> Sampler:
    """The sampler that a recipe asks for; `make_sampler` says more."""
    return make_sampler(
        recipe.workers,
        stop,
        recipe.sampling.shard_timeout_s,
        cluster=recipe.cluster,
        learner_cpus=learner_cpus,
        note_nodes=note_nodes,
    )


def worker_count(workers: int | Literal["auto"]) -> int:
    """Ray workers that a recipe's `workers` stands for on this machine: auto is one a core, of one core none."""
    if workers != "auto":
        return workers
    cores = usable_cores()
    return cores if cores > 1 else 0
