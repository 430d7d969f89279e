"""The sampler on Ray: stateless workers, shards handed out as workers fall idle, lost and overdue ones repeated."""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from agents.contract import Agent, TrialBatch, Weights
from envs.task import TaskFamily
from trainers.errors import USER_ERRORS, ClusterError
from trainers.process import keep_freed_memory
from trainers.sampling.shards import Shard
from trainers.sampling.trial_loop import run_trials
from trainers.stopping import StopRequest


class _Worker:
    """A Ray actor: stateless, but that it keeps the agent and the family that it was last given."""

    def __init__(self) -> None:
        keep_freed_memory()
        torch.set_num_threads(1)
        self._version: int | None = None
        self._agent_and_family: Any = None

    def run(self, version: int, pickled: Sequence[Any], weights: Weights, shard: Shard) -> TrialBatch:
        """Run a shard with this version of agent and family, which lie pickled in Ray's store."""
        if version != self._version:
            import ray

            # As bytes that are unpickled here: arrays straight out of Ray's store would be read-only views, aligned
            # otherwise, which changes last bits.
            self._agent_and_family = ray.cloudpickle.loads(ray.get(pickled[0]))
            self._version = version
        own = {name: value.clone() for name, value in weights.items()}  # fresh tensors, for the same reason
        agent, family = self._agent_and_family
        return run_trials(agent, family, own, shard)


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

    LOOK_S = 0.5  # between looks at what is going on, while nothing is finished
    OVERDUE = 2.0  # times the median duration of the shards that are done

    def __init__(self, workers: int, stop: StopRequest | None = None) -> None:
        import ray

        self._ray = ray
        self._stop = stop or StopRequest()
        self._cancelled = False
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            # Before `ray.init`, since Ray reads it while starting: quiet its notice about unused accelerators.
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            address = os.environ.get("RAY_ADDRESS")
            # On this machine a worker is a process, so more workers than cores is the user's choice to make.
            local: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
            with self._stop.kept():
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
        actor: Any = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)(_Worker)
        self.actors = [actor.remote() for _ in range(workers)]
        self._idle = list(range(workers))
        self._calls: dict[Any, _Call] = {}  # by the reference of their answer
        self._given: tuple[Agent, TaskFamily] | None = None  # what the workers act with
        self._version = 0  # of it: counts how often it changed
        self._pickled: list[Any] = []  # its place in Ray's store, kept for workers that Ray starts again

    def run(self, agent: Agent, family: TaskFamily, weights: Weights, shards: Sequence[Shard]) -> list[TrialBatch]:
        self._give(agent, family)
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
                    answer = self.actors[worker].run.remote(self._version, self._pickled, reference, shards[index])
                    self._calls[answer] = _Call(worker, index, time.monotonic())
                finished, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=self._patience(durations))
                if self._cancelled:
                    raise ClusterError("sampling was cancelled")
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

    def _give(self, agent: Agent, family: TaskFamily) -> None:
        """Put the agent and the family where the workers find them, once for all shards until others are given."""
        if self._given is None or self._given[0] is not agent or self._given[1] is not family:
            self._given = agent, family
            self._version += 1
            self._pickled = [self._ray.put(self._ray.cloudpickle.dumps((agent, family)))]

    def _forget(self, shard: int | None = None) -> None:
        """Nobody waits any more for other answers of this shard, or for any at all."""
        for call in self._calls.values():
            if shard is None or call.shard == shard:
                call.shard = None

    def _due(self, durations: Sequence[float]) -> tuple[float, int] | None:
        """(when, which) shard is the next to be overdue; None while none is waited for or none is done."""
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

    def _patience(self, durations: Sequence[float]) -> float:
        """Seconds until an idle worker should take over a shard, or until something else is looked at."""
        due = self._due(durations) if self._idle else None
        return self.LOOK_S if due is None else min(max(due[0] - time.monotonic(), 0.01), self.LOOK_S)

    def _get(self, reference: Any) -> TrialBatch:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, USER_ERRORS):
                raise error.cause from None  # the sentence, not the worker's traceback
            raise
        except self._ray.exceptions.RayError as error:  # a worker that cannot be started, a cluster that is gone
            reason = " ".join(str(error).split())[:300]
            raise ClusterError(
                f"a Ray worker cannot be used ({reason}); mend the cluster, then resume the run"
            ) from error

    def cancel(self) -> None:
        """Make a `run` that goes on in another thread raise, soon."""
        self._cancelled = True

    def close(self) -> None:
        for actor in self.actors:
            self._ray.kill(actor)
        if self._owns_ray:
            self._ray.shutdown()
