"""Taking sampled trials to the learner: in this process, or wherever a learner group is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agents.contract import Learner, Round, concatenate
from envs.task import TaskFamily
from trainers.sampling.samplers import Trials
from trainers.training.facts import BatchFacts, facts_of


class Learning(Protocol):
    """Where the meta-updates are made.

    Attributes:
        takes_references: whether trials may come as references in Ray's store, in the place of arrays.
    """

    takes_references: bool

    def learn(self, trials: Sequence[Trials], rounds: Sequence[Round]) -> tuple[dict[str, float], BatchFacts]:
        """One meta-update on the trials of consecutive shards: the learner's metrics, and facts of the trials."""


class LearningHere:
    """Meta-updates in this process."""

    takes_references = False

    def __init__(self, learner: Learner, family: TaskFamily) -> None:
        self._learner, self._family = learner, family

    def learn(self, trials: Sequence[Trials], rounds: Sequence[Round]) -> tuple[dict[str, float], BatchFacts]:
        batch = concatenate(trials)
        metrics = self._learner.update(batch)
        return metrics, facts_of(batch, rounds, self._family.reward_terms, self._family.action_space)
