"""Who runs shards: this process, or Ray actors. Both give the same trial batches."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from agents.contract import Agent, TrialBatch, Weights
from envs.task import TaskFamily
from trainers.errors import USER_ERRORS
from trainers.process import keep_freed_memory, torch_threads
from trainers.sampling import Shard, run_trials


class Sampler(Protocol):
    """Runs shards with one agent on one family."""

    def run(self, weights: Weights, shards: Sequence[Shard]) -> list[TrialBatch]:
        """The trial batch of each shard, in the shards' order."""

    def close(self) -> None:
        """Gives back what it holds."""


class LocalSampler:
    """Runs shards in this process, one after the other."""

    def __init__(self, agent: Agent, family: TaskFamily) -> None:
        self._agent, self._family = agent, family

    def run(self, weights: Weights, shards: Sequence[Shard]) -> list[TrialBatch]:
        with torch_threads(1):
            return [run_trials(self._agent, self._family, weights, shard) for shard in shards]

    def close(self) -> None:
        pass


class _Worker:
    """A Ray actor: stateless but for the agent and the family that it was made with."""

    def __init__(self, agent: Agent, family: TaskFamily) -> None:
        keep_freed_memory()
        torch.set_num_threads(1)
        self._agent, self._family = agent, family

    def run(self, weights: Weights, shard: Shard) -> TrialBatch:
        # Fresh tensors: those out of Ray's store are read-only and aligned otherwise, which changes last bits.
        own = {name: value.clone() for name, value in weights.items()}
        return run_trials(self._agent, self._family, own, shard)


class RaySampler:
    """Runs shards on Ray actors. A worker takes the next shard when it is idle; a lost one is started again by Ray."""

    def __init__(self, agent: Agent, family: TaskFamily, workers: int) -> None:
        import ray

        self._ray = ray
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            # Before `ray.init`, since Ray reads it while starting: quiet its notice about unused accelerators.
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            address = os.environ.get("RAY_ADDRESS")
            # On this machine a worker is a process, so more workers than cores is the user's choice to make.
            local: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **local,
            )
        actor: Any = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)(_Worker)
        # By value, not by reference: a worker that Ray starts again must not look for arguments that are gone.
        self._workers = [actor.remote(agent, family) for _ in range(workers)]

    def run(self, weights: Weights, shards: Sequence[Shard]) -> list[TrialBatch]:
        reference = self._ray.put(dict(weights))
        waiting, running = list(range(len(shards))), {}
        results: dict[int, TrialBatch] = {}
        idle = list(self._workers)
        while len(results) < len(shards):
            while idle and waiting:
                worker, index = idle.pop(), waiting.pop(0)
                running[worker.run.remote(reference, shards[index])] = (worker, index)
            finished, _ = self._ray.wait(list(running), num_returns=1)
            worker, index = running.pop(finished[0])
            results[index] = self._get(finished[0])
            idle.append(worker)
        return [results[index] for index in range(len(shards))]

    def _get(self, reference: Any) -> TrialBatch:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, USER_ERRORS):
                raise error.cause from None  # the sentence, not the worker's traceback
            raise

    def close(self) -> None:
        for worker in self._workers:
            self._ray.kill(worker)
        if self._owns_ray:
            self._ray.shutdown()


def make_sampler(agent: Agent, family: TaskFamily, workers: int) -> Sampler:
    """In this process for 0 workers, else on Ray."""
    return RaySampler(agent, family, workers) if workers else LocalSampler(agent, family)
