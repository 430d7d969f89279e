"""Taking sampled trials to the learner: in this process, or wherever a learner group is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agents.contract import Learner, Round, TrialBatch
from envs.task import TaskFamily
from trainers.runs.facts import BatchFacts, meta_update
from trainers.sampling.samplers import Trials


class Learning(Protocol):
    """Where the meta-updates are made.

    Attributes:
        takes_references: whether trials may come as references in Ray's store, in the place of arrays.
    """

    takes_references: bool

    def receive(self, trials: Sequence[Trials]) -> None:
        """Take the trials of consecutive shards; TrialsLostError if some are gone and must be sampled again."""

    def learn(self, rounds: Sequence[Round]) -> tuple[dict[str, float], BatchFacts]:
        """One meta-update on the trials that were received: the learner's metrics, and facts of the trials."""


class LearningHere:
    """Meta-updates in this process."""

    takes_references = False

    def __init__(self, learner: Learner, family: TaskFamily) -> None:
        self._learner, self._family = learner, family
        self._trials: Sequence[TrialBatch] = ()

    def receive(self, trials: Sequence[Trials]) -> None:
        self._trials = trials

    def learn(self, rounds: Sequence[Round]) -> tuple[dict[str, float], BatchFacts]:
        trials, self._trials = self._trials, ()
        return meta_update(self._learner, self._family, trials, rounds)
