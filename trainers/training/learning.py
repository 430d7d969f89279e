"""Taking sampled trials to the learner: in this process, or wherever a learner group is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agents.contract import Learner, Round, TrialBatch, concatenate
from envs.task import TaskFamily
from trainers.process import gradients_in_this_thread
from trainers.runs.facts import BatchFacts, facts_of
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
        batch = concatenate(self._trials)
        self._trials = ()
        with gradients_in_this_thread():
            metrics = self._learner.update(batch)
        return metrics, facts_of(batch, rounds, self._family.reward_terms, self._family.action_space)
