"""Samplers: run shards in this process or on Ray workers. Both give the same trial batches, to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from agents.contract import Agent, Weights
from envs.task import TaskFamily
from trainers.process import torch_threads, usable_cores
from trainers.sampling.ray_sampler import RaySampler
from trainers.sampling.shards import Shard
from trainers.sampling.trial_loop import run_shard
from trainers.stopping import StopRequest

Done = Callable[[int, Any], None]  # (place of a shard, its trial batch)
Trials = Any  # the trial batch of a shard, or a reference to it in Ray's store


class Sampler(Protocol):
    """Runs shards, of one agent after another."""

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
        with torch_threads(1):
            if done is None:
                return [run_shard(agent, family, weights, shard) for shard in shards]
            for place, shard in enumerate(shards):
                done(place, run_shard(agent, family, weights, shard))
            return []

    def cancel(self) -> None:
        pass  # it runs in the thread that would cancel it

    def close(self) -> None:
        pass


def make_sampler(
    workers: int | Literal["auto"], stop: StopRequest | None = None, shard_timeout_s: float = 600.0
) -> Sampler:
    """A sampler in this process for 0 workers, else on so many Ray workers, which says through `stop` what it lacks.

    A shard that workers do not finish within `shard_timeout_s` counts as hanging.
    """
    count = worker_count(workers)
    return RaySampler(count, stop, shard_timeout_s) if count else LocalSampler()


def worker_count(workers: int | Literal["auto"]) -> int:
    """Ray workers that a recipe's `workers` stands for: auto is one a core, of one core none."""
    if workers != "auto":
        return workers
    cores = usable_cores()
    return cores if cores > 1 else 0
