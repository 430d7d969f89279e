"""Who runs shards: this process, or Ray actors. Both give the same trial batches."""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from agents.contract import Agent, TrialBatch, Weights
from envs.task import TaskFamily
from trainers.errors import USER_ERRORS, RunError
from trainers.process import keep_freed_memory, torch_threads
from trainers.sampling.trial_loop import Shard, run_trials


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


@dataclass
class _Call:
    """A shard that a worker was given."""

    worker: int
    shard: int | None  # None once nobody waits for it
    since: float


class RaySampler:
    """Runs shards on Ray actors, each next one on the worker that is idle first.

    Ray starts a lost worker again and runs its shard again. A shard that takes much longer than others is also given
    to an idle worker; the first answer wins, and both are the same. A worker that is still busy with a shard that
    nobody waits for any more joins in again when it is done.
    """

    OVERDUE = 2.0  # times the median duration of the shards that are done

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
        self.actors = [actor.remote(agent, family) for _ in range(workers)]
        self._idle = list(range(workers))
        self._calls: dict[Any, _Call] = {}  # by the reference of their answer

    def run(self, weights: Weights, shards: Sequence[Shard]) -> list[TrialBatch]:
        reference = self._ray.put(dict(weights))
        waiting = deque(range(len(shards)))
        results: dict[int, TrialBatch] = {}
        durations: list[float] = []
        try:
            while len(results) < len(shards):
                while self._idle:
                    index = waiting.popleft() if waiting else self._overdue(durations)
                    if index is None:
                        break
                    worker = self._idle.pop()
                    answer = self.actors[worker].run.remote(reference, shards[index])
                    self._calls[answer] = _Call(worker, index, time.monotonic())
                finished, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=self._patience(durations))
                for answer in finished:
                    call = self._calls.pop(answer)
                    self._idle.append(call.worker)
                    if call.shard is not None:
                        results[call.shard] = self._get(answer)
                        durations.append(time.monotonic() - call.since)
                        self._forget(call.shard)
        finally:
            self._forget()
        return [results[index] for index in range(len(shards))]

    def _forget(self, shard: int | None = None) -> None:
        """Nobody waits any more for other answers of this shard, or for any at all."""
        for call in self._calls.values():
            if shard is None or call.shard == shard:
                call.shard = None

    def _due(self, durations: Sequence[float]) -> tuple[float, int] | None:
        """(when, which) shard is the next to be overdue; None if none is waited for, or while it cannot be told."""
        since: dict[int, float] = {}  # when each was last given to a worker
        for call in self._calls.values():
            if call.shard is not None:
                since[call.shard] = max(call.since, since.get(call.shard, 0.0))
        if not durations or not since:
            return None
        shard = min(since, key=since.__getitem__)
        return since[shard] + self.OVERDUE * statistics.median(durations), shard

    def _overdue(self, durations: Sequence[float]) -> int | None:
        """The shard that is overdue for longest, or None."""
        due = self._due(durations)
        return due[1] if due is not None and time.monotonic() > due[0] else None

    def _patience(self, durations: Sequence[float]) -> float | None:
        """Seconds until an idle worker should take over a shard; None if there is nothing to watch for."""
        due = self._due(durations) if self._idle else None
        return None if due is None else max(due[0] - time.monotonic(), 0.01)

    def _get(self, reference: Any) -> TrialBatch:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, USER_ERRORS):
                raise error.cause from None  # the sentence, not the worker's traceback
            raise
        except self._ray.exceptions.RayError as error:  # a worker that cannot be started, a cluster that is gone
            reason = " ".join(str(error).split())[:300]
            raise RunError(f"a Ray worker cannot be used ({reason}); mend the cluster, then resume the run") from error

    def close(self) -> None:
        for actor in self.actors:
            self._ray.kill(actor)
        if self._owns_ray:
            self._ray.shutdown()


def make_sampler(agent: Agent, family: TaskFamily, workers: int) -> Sampler:
    """In this process for 0 workers, else on Ray."""
    return RaySampler(agent, family, workers) if workers else LocalSampler(agent, family)
