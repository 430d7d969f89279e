"""Entrants of a comparison: one training seed of a run, of a control, of a baseline or of a learner from scratch.

An entrant cuts what it has to play into cells. A cell is done by a worker as one, in any process and with the same
result, and its rows are one part of the dataset.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from agents.contract import Agent, Weights
from envs.task import TaskFamily, TaskSet
from trainers.baselines.contestants import Contest, Contestant
from trainers.evaluation.dataset import Dataset
from trainers.evaluation.evaluator import EvaluationJob
from trainers.evaluation.own_code import with_code
from trainers.evaluation.suites import Suite
from trainers.sampling.shards import Shard, Work

# How a line of the comparison came about: a run that learned, one that observed the task, a run with something taken
# away, an agent that learns nothing across tasks, a learner that begins anew on each task.
EntrantKind = Literal["run", "oracle", "control", "baseline", "from scratch"]
_ROWS_PER_SHARD = 60  # episodes side by side: enough for the policy's batch, the same for any number of workers


@dataclass(frozen=True)
class Cell:
    """Work that one worker does as a whole.

    Attributes:
        part: the file of its rows.
        work: a shard of trials, or a contest.
        first: place of its first task in the set.
        split: of its tasks.
        env_steps: about how many it takes.
    """

    part: Path
    work: Shard | Work
    first: int
    split: str
    env_steps: int


@dataclass(frozen=True)
class Entrant(ABC):
    """One training seed of a line of the comparison.

    Attributes:
        label: of the line; seeds of one label are pooled.
        kind: how it came about.
        agent: name of the algorithm, the baseline or the learner.
        seed: training seed.
        family: whose tasks it plays, as it sees them.
        about: where it comes from, as plain data: run, recipe, commit, processor, steps of training.
    """

    label: str
    kind: EntrantKind
    agent: str
    seed: int
    family: TaskFamily
    about: Mapping[str, Any] = field(repr=False)

    @abstractmethod
    def cells(self, suite: Suite, dataset: Dataset) -> list[Cell]:
        """Everything that it plays on the suite."""

    @abstractmethod
    def rows(self, cell: Cell, result: Any) -> pa.Table | str:
        """The rows of a cell that was done, or a sentence that says why there are none."""

    @property
    def acting(self) -> tuple[Agent | None, Weights]:
        """(agent, weights) that workers act with."""
        return None, {}


@dataclass(frozen=True)
class TrialEntrant(Entrant):
    """An agent of ours, on every split of the suite.

    Attributes:
        jobs: an evaluation by split, which differ in their task sets alone.
        identity: of the agent and its weights, part of the key of its rows.
    """

    jobs: Mapping[str, EvaluationJob] = field(repr=False)
    identity: Mapping[str, Any] = field(repr=False)

    @property
    def acting(self) -> tuple[Agent | None, Weights]:
        job = next(iter(self.jobs.values()))
        return job.acting, job.weights

    def cells(self, suite: Suite, dataset: Dataset) -> list[Cell]:
        cells = []
        for split, job in self.jobs.items():
            rounds = job.rounds()
            of_trial = sum(one.rollouts * one.episodes for one in rounds) * self.family.episode_steps
            first = 0
            for shard in job.shards():
                identity = {
                    **self.identity, "suite": suite.digest, "tasks": [task.digest for task in shard.tasks],
                    "split": split, "settings": job.settings.model_dump(mode="json"),
                    "policy": [job.deterministic, job.mean_actions],
                }  # fmt: skip
                identity = with_code(identity, family=self.family, agent=job.agent)
                part = dataset.part(self.label, f"{split}-seed-{self.seed}", first, identity)
                cells.append(Cell(part, shard, first, split, of_trial * len(shard.keys)))
                first += len(shard.tasks)
        return cells

    def rows(self, cell: Cell, result: Any) -> pa.Table | str:
        return self.jobs[cell.split].rows(result, cell.first)


@dataclass(frozen=True)
class ScratchEntrant(Entrant):
    """A learner from elsewhere: a contest on each of the first held-out tasks, or one across tasks.

    Attributes:
        contestant: who.
        task_set: the held-out tasks, of which the first `count` are played.
    """

    contestant: Contestant
    task_set: TaskSet
    count: int

    def cells(self, suite: Suite, dataset: Dataset) -> list[Cell]:
        tasks = self.task_set.tasks if self.contestant.across_tasks else self.task_set.tasks[: self.count]
        groups = [tasks] if self.contestant.across_tasks else [(task,) for task in tasks]
        columns = {
            "run_id": None, "agent": self.agent, "iteration": 0, "training_seed": self.seed,
            "family": self.task_set.family, "split": self.task_set.split, "task_set_hash": self.task_set.digest,
        }  # fmt: skip
        budget, cells = self.contestant.settings.env_steps, []
        for group in groups:
            identity = {
                "learner": self.agent, "seed": self.seed, "tasks": [task.digest for task in group],
                "settings": self.contestant.identity(),
            }  # fmt: skip
            identity = with_code(identity, family=self.family, learner=self.contestant)
            part = dataset.part(self.label, f"held-out-seed-{self.seed}", group[0].index, identity)
            contest = Contest(self.contestant, tuple(group), self.seed, tuple(columns.items()))
            cells.append(Cell(part, contest, group[0].index, "held-out", budget))
        return cells

    def rows(self, cell: Cell, result: Any) -> pa.Table | str:
        return result


def tasks_per_shard(settings_rows: int) -> int:
    """Tasks of a shard whose tasks have so many rows each: a fixed number, for the last bits may depend on it."""
    return max(1, _ROWS_PER_SHARD // settings_rows)
