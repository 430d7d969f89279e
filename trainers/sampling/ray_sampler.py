"""The sampler on Ray: stateless workers, shards handed out as workers fall idle, lost and overdue ones repeated."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

from agents.contract import Agent, Round, Weights
from envs.task import TaskFamily
from trainers.cluster.addresses import named
from trainers.cluster.connection import Connection, out_of_memory_kills
from trainers.cluster.nodes import Nodes, Record
from trainers.cluster.parcels import packed
from trainers.cluster.readiness import Readiness, deaths, of_a_node, of_memory, reason
from trainers.errors import USER_ERRORS, ClusterError, SamplingError
from trainers.sampling.ray_worker import Worker
from trainers.sampling.shards import Shard
from trainers.stopping import StopRequest

# Over all nodes of a cluster; and Ray restarts nothing, for what a worker died of is decided upon here.
_PLACED: dict[str, Any] = {"num_cpus": 1, "scheduling_strategy": "SPREAD", "max_restarts": 0, "max_task_retries": 0}


@dataclass
class _Call:
    """A shard that a worker was given."""

    worker: int
    shard: int | None  # None once nobody waits for it
    since: float
    reference: Any = None  # to its trials, where these stay in Ray's store


@dataclass
class _Job:
    """The shards of one call of `run`, and how far they are."""

    shards: Sequence[Shard]
    weights: Any  # their place in Ray's store
    waiting: deque[int]
    done: Callable[[int, Any], None] | None  # given each result, in whose place None is kept
    references: bool  # whether results stay in Ray's store
    results: dict[int, Any] = field(default_factory=dict)
    durations: list[float] = field(default_factory=list)  # of shards that are done, s
    deaths: dict[int, int] = field(default_factory=dict)  # of workers, by the shard that they had
    first_given: dict[int, float] = field(default_factory=dict)


class RaySampler:
    """Runs shards on Ray actors, each next one on the worker that is idle first.

    A worker that died is replaced and its shard run again, up to `MOST_DEATHS` times, or `MOST_NODE_DEATHS` where its
    node died; and so is a shard whose answer lay on that node. A shard that takes much longer than others is also given
    to an idle worker; the first answer wins, and both are the same. A worker that is still busy with a shard that
    nobody waits for any more joins in again when it is done.

    Args:
        workers: how many, spread over the nodes of a cluster.
        stop: is told sentences for the user, and says when to stop.
        shard_timeout_s: after which a shard that no worker finishes counts as hanging.
        connection: to Ray; None makes one, to the cluster that RAY_ADDRESS names or to a Ray on this machine.
        note_nodes: is given the nodes that workers run on, where there is news of them.
    """

    LOOK_S = 0.5  # between looks at what is going on, while nothing is finished
    OVERDUE = 2.0  # times the median duration of the shards that are done
    FIRST_OVERDUE_S = 30.0  # where none has been done yet
    MOST_DEATHS = 3  # of workers with the same shard, or before they were ready
    MOST_NODE_DEATHS = 10  # of nodes with the same shard

    def __init__(
        self,
        workers: int,
        stop: StopRequest | None = None,
        shard_timeout_s: float = 600.0,
        connection: Connection | None = None,
        note_nodes: Callable[[Record], None] | None = None,
    ) -> None:
        import ray

        self._ray = ray
        self._stop = stop or StopRequest()
        self._timeout_s = shard_timeout_s
        self._connection = connection or Connection(workers, self._stop, named(None))
        self._deaths = deaths()
        self._actor: Any = ray.remote(**_PLACED)(Worker)
        self._nodes = Nodes(self._say_once, note_nodes)
        self._readiness = Readiness(self._connection, self._say_once)
        self.actors: list[Any] = [None] * workers
        self.workers, self.busy_s = workers, 0.0
        self._starting: dict[Any, int] = {}  # workers by the reference of their description
        self._idle: list[int] = []
        self._calls: dict[Any, _Call] = {}  # by the reference of their answer
        self._given: tuple[Agent, TaskFamily] | None = None  # what the workers act with
        self._version = 0  # of it: counts how often it changed
        self._parcel: list[Any] = []  # its place in Ray's store, kept for workers that are started again
        self._durations: dict[tuple[Round, ...], deque[float]] = {}  # of earlier shards, by their rounds
        self._failed_starts = 0
        self._said: set[str] = set()
        self._cancelled = False
        self._kills = out_of_memory_kills()
        for worker in range(workers):
            self._start(worker)

    def _start(self, worker: int) -> None:
        """Start a worker; it gets shards once it has described itself."""
        self.actors[worker] = self._actor.remote()
        self._starting[self.actors[worker].describe.remote()] = worker

    def run(
        self,
        agent: Agent,
        family: TaskFamily,
        weights: Weights,
        shards: Sequence[Shard],
        done: Callable[[int, Any], None] | None = None,
        *,
        references: bool = False,
    ) -> list[Any]:
        self._connection.check()
        self._give(agent, family)
        job = _Job(shards, self._ray.put(dict(weights)), deque(range(len(shards))), done, references)
        try:
            while len(job.results) < len(shards):
                self._hand_out(job)
                self._take_in(job)
                self._check(job)
        finally:
            self._forget()
        return [] if done else [job.results[index] for index in range(len(shards))]

    def _give(self, agent: Agent, family: TaskFamily) -> None:
        """Put the agent and the family where the workers find them, once for all shards until others are given."""
        if self._given is None or self._given[0] is not agent or self._given[1] is not family:
            self._given = agent, family
            self._version += 1
            self._parcel = [self._ray.put(packed(agent, family, elsewhere=self._connection.elsewhere))]
        self._nodes.noted()

    def _hand_out(self, job: _Job) -> None:
        """Give idle workers the next shards, or those that are overdue."""
        while self._idle:
            index = job.waiting.popleft() if job.waiting else self._overdue(job)
            if index is None:
                break
            worker, now = self._idle.pop(), time.monotonic()
            job.first_given.setdefault(index, now)
            given = self._arguments(job, index)
            if job.references:
                answer, reference = self.actors[worker].run_and_keep.options(num_returns=2).remote(*given)
                self._calls[answer] = _Call(worker, index, now, reference)
            else:
                self._calls[self.actors[worker].run.remote(*given)] = _Call(worker, index, now)

    def _arguments(self, job: _Job, index: int) -> tuple[Any, ...]:
        """The arguments of a worker's call for a shard."""
        return self._version, self._parcel, job.weights, job.shards[index]

    def _take_in(self, job: _Job) -> None:
        """Wait for an answer or a new worker, not for long."""
        alone = not self._idle and not self._calls  # nothing is computed: Ctrl-C need not wait
        main = threading.current_thread() is threading.main_thread()
        with self._stop.abandonable(at_once=True) if alone and main else nullcontext():
            expected = [*self._calls, *self._starting]
            finished, _ = self._ray.wait(expected, num_returns=1, timeout=self._patience(job))
        for answer in finished:
            if answer in self._starting:
                self._welcome(answer)
                continue
            call = self._calls.pop(answer)
            try:
                batch = self._get(answer) if call.shard is not None else None
                if call.reference is not None:
                    batch = call.reference
            except self._deaths as error:
                self._replace(job, call, error)
                continue
            self._idle.append(call.worker)
            self.busy_s += time.monotonic() - call.since
            if call.shard is not None and batch is not None:
                if job.done and call.shard not in job.results:
                    job.done(call.shard, batch)
                job.results[call.shard] = None if job.done else batch
                self._note_duration(job, call)
                self._forget(call.shard)

    def _welcome(self, description: Any) -> None:
        """A worker is ready, or could not be started."""
        worker = self._starting.pop(description)
        try:
            found = self._get(description)
        except self._deaths as error:
            self._failed_starts += not of_a_node(error)
            # On a cluster a start may fail with its node, or where that is overloaded; an exception comes again.
            patient = self._connection.elsewhere and not getattr(error, "actor_init_failed", False)
            if self._failed_starts >= (self.MOST_NODE_DEATHS if patient else self.MOST_DEATHS):
                raise ClusterError(
                    f"Ray workers ended before they were ready, {self._failed_starts} times ({reason(error)}); give "
                    "every node the same Acclimate, and all of them and this process the same RAY_AUTH_MODE and token"
                ) from error
            self._start(worker)
            return
        self._nodes.welcome(found)
        self._failed_starts = 0
        self._idle.append(worker)

    def _replace(self, job: _Job, call: _Call, error: Exception) -> None:
        """Another worker in the place of one that died; its shard is run again, or given up."""
        self._connection.check()
        self._start(call.worker)
        if call.shard is not None:
            count = job.deaths[call.shard] = job.deaths.get(call.shard, 0) + 1
            if count >= (self.MOST_NODE_DEATHS if of_a_node(error) else self.MOST_DEATHS):
                self._give_up(job.shards[call.shard], count, error)
            others = any(one.shard == call.shard for one in self._calls.values())
            if call.shard not in job.results and not others:
                job.waiting.appendleft(call.shard)
                if of_a_node(error):  # without nodes it may wait for long, and does not hang
                    job.first_given.pop(call.shard, None)

    def _give_up(self, shard: Shard, count: int, error: Exception) -> None:
        if of_memory(error) or out_of_memory_kills() > self._kills:
            raise ClusterError(
                f"{count} workers were killed for lack of memory while they sampled {_tasks(shard)}; lower workers, "
                "sampling.tasks_per_shard or agent.rollouts"
            ) from error
        raise SamplingError(
            f"{count} workers ended, one after the other, while they sampled {_tasks(shard)}: the environment takes "
            "its process down (a crash of its simulator, os._exit or a signal); mend it, or see where with workers=0"
        ) from error

    def _check(self, job: _Job) -> None:
        """Raise, or tell the user, what keeps the shards from being done."""
        if self._cancelled:
            raise ClusterError("sampling was cancelled")
        now = time.monotonic()
        self._connection.check()
        for index, since in job.first_given.items():
            limit = getattr(job.shards[index], "timeout_s", self._timeout_s)  # other work has its own
            if index not in job.results and now - since > limit:
                raise SamplingError(
                    f"no worker has sampled {_tasks(job.shards[index])} within {limit:g} s: a step of the "
                    "environment seems to hang; mend it, or raise sampling.shard_timeout_s if it is that slow"
                )
        self._readiness.check(len(self._starting), len(self.actors))

    def _say_once(self, sentence: str) -> None:
        if (topic := sentence.partition(":")[0]) not in self._said:
            self._said.add(topic)
            self._stop.say(sentence)

    def _note_duration(self, job: _Job, call: _Call) -> None:
        assert call.shard is not None
        duration = time.monotonic() - call.since
        job.durations.append(duration)
        rounds = job.shards[call.shard].rounds
        self._durations.setdefault(rounds, deque(maxlen=50)).append(duration)

    def _forget(self, shard: int | None = None) -> None:
        """Nobody waits any more for other answers of this shard, or for any at all."""
        for call in self._calls.values():
            if shard is None or call.shard == shard:
                call.shard = None

    def _due(self, job: _Job) -> tuple[float, int] | None:
        """(when, which) shard is the next to be overdue; None while none is waited for."""
        since: dict[int, float] = {}  # when each was last given to a worker
        for call in self._calls.values():
            if call.shard is not None:
                since[call.shard] = max(call.since, since.get(call.shard, 0.0))
        if not since:
            return None
        shard = min(since, key=since.__getitem__)
        if job.durations:
            patience = self.OVERDUE * statistics.median(job.durations)
        elif earlier := self._durations.get(job.shards[shard].rounds):
            patience = max(self.OVERDUE * statistics.median(earlier), 1.0)  # the first ones of a call may be slow
        else:
            patience = self.FIRST_OVERDUE_S
        return since[shard] + patience, shard

    def _overdue(self, job: _Job) -> int | None:
        """The shard that is overdue for longest, or None."""
        due = self._due(job)
        return due[1] if due is not None and time.monotonic() > due[0] else None

    def _patience(self, job: _Job) -> float:
        """Seconds until an idle worker should take over a shard, or until something else is looked at."""
        due = self._due(job) if self._idle else None
        return self.LOOK_S if due is None else min(max(due[0] - time.monotonic(), 0.01), self.LOOK_S)

    def _get(self, reference: Any) -> Any:
        """The answer; one of `_deaths` if the worker died, else the user's error or a ClusterError."""
        self._connection.check()
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, USER_ERRORS):
                raise error.cause from None  # the sentence, not the worker's traceback
            if isinstance(error.cause, ImportError):
                raise ClusterError(
                    f"a Ray worker lacks a module ({error.cause}); put it where Python finds it on every node of the "
                    "cluster, as a package that is installed or by PYTHONPATH"
                ) from error
            raise
        except self._deaths:
            raise
        except self._ray.exceptions.RayError as error:  # a cluster that is gone
            raise ClusterError(
                f"a Ray worker cannot be used ({reason(error)}); mend the cluster, then resume the run"
            ) from error

    def cancel(self) -> None:
        """Make a `run` that goes on in another thread raise, soon."""
        self._cancelled = True

    def close(self) -> None:
        with suppress(Exception):  # of any kind, where the cluster is gone
            for actor in self.actors:
                self._ray.kill(actor)
        self._connection.close()


def _tasks(shard: Shard) -> str:
    """'task {...}', or the first of several."""
    first = f"task {shard.tasks[0].parameters}"
    return first if len(shard.tasks) == 1 else f"{len(shard.tasks)} tasks ({first} is the first)"
