"""What all yardsticks share: a trial is one round of so many episodes, and nothing is learned across tasks.

A yardstick is made from what a learned agent is told, (interface, episodes of a trial), and played by the same trial
loop on the same frozen tasks. It has no weights. Its log-probabilities are 0: no learner reads its trials.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np

from agents.contract import AgentError, Interface, Round, RoundBatch, Weights


class Baseline(ABC):
    """An `agents.contract.Agent` without weights.

    Class attributes:
        name: of the yardstick, in messages.
        told: whether it must be told the task: its observations then end with the task as numbers (`envs.oracle`).
        learns: whether it learns within a trial, so that its rollouts cannot run side by side.
    """

    name: ClassVar[str]
    told: ClassVar[bool] = False
    learns: ClassVar[bool] = True

    def __init__(self, interface: Interface, episodes: int) -> None:
        self.interface, self.episodes = interface, episodes

    @abstractmethod
    def choose(self, state: Any, observation: np.ndarray, noise: np.ndarray | None) -> tuple[np.ndarray, Any]:
        """Actions [B, R, *shape] for observations [B, R, *shape], and the new state; a pure function.

        Rows of those that learn are [B, 1].
        """

    def trial_rounds(self, adaptations: int, rollouts: int) -> tuple[Round, ...]:
        if adaptations + 1 != self.episodes:
            raise AgentError(
                f"this {self.name} agent was made for trials of {self.episodes} episodes, not {adaptations + 1}; make "
                "one for each length"
            )
        return (Round("trial", rollouts, episodes=self.episodes),)

    def begin_trial(self, weights: Weights, trials: int) -> Any:
        return None

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.zeros((*shape, 0), np.float32)

    def act(
        self, weights: Weights, state: Any, observation: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, Any]:
        if self.learns and observation.shape[1] != 1:
            raise AgentError(
                f"the {self.name} agent learns from one episode to the next, so a trial is one row, not "
                f"{observation.shape[1]} side by side; set evaluation.rollouts=1"
            )
        action, state = self.choose(state, observation, noise)
        return action, np.zeros(observation.shape[:2], np.float32), state

    def observe(self, weights: Weights, state: Any, transition: Mapping[str, np.ndarray]) -> Any:
        return state

    def adapt(self, weights: Weights, state: Any, batch: RoundBatch) -> Any:
        return state

    def inspect(self, weights: Weights, state: Any) -> dict[str, np.ndarray]:
        return {}


def discrete(name: str, space: gymnasium.Space, what: str) -> gymnasium.spaces.Discrete:
    """The space itself, or AgentError unless it is Discrete."""
    if not isinstance(space, gymnasium.spaces.Discrete):
        raise AgentError(f"the {name} agent takes Discrete {what}, not {space}; measure another yardstick")
    return space
