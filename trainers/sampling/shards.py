"""Shards: the parts of a meta-batch that are sampled as one, on any worker and with the same result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from agents.contract import Round
from envs.task import Task, TaskFamily
from trainers.sampling.random_streams import Key


@dataclass(frozen=True)
class Shard:
    """Trials that run together: M trials of each task, task by task.

    Attributes:
        tasks: [N] of the shard.
        rounds: of each trial, in order.
        keys: [N * M], the random stream of each trial.
    """

    tasks: tuple[Task, ...]
    rounds: tuple[Round, ...]
    keys: tuple[Key, ...]

    @property
    def trials_per_task(self) -> int:
        """M."""
        return len(self.keys) // len(self.tasks)


@runtime_checkable
class Work(Protocol):
    """Something else that a worker does as one, in the place of a shard of trials: a pure function of what it holds.

    Attributes:
        timeout_s: when it counts as hanging.
    """

    timeout_s: ClassVar[float]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that it is about, for messages."""

    @property
    def rounds(self) -> tuple[Round, ...]:
        """(); a shard has some."""

    def run(self, family: TaskFamily) -> Any:
        """Do it; what comes of it can be pickled."""


def make_shards(
    tasks: Sequence[Task], rounds: Sequence[Round], keys: Sequence[Key], tasks_per_shard: int
) -> list[Shard]:
    """Cut a meta-batch into shards of a fixed number of tasks, whatever the number of workers."""
    trials = len(keys) // len(tasks)
    return [
        Shard(
            tuple(tasks[start : start + tasks_per_shard]),
            tuple(rounds),
            tuple(keys[start * trials : (start + tasks_per_shard) * trials]),
        )
        for start in range(0, len(tasks), tasks_per_shard)
    ]
