"""Base class of baselines: agents that learn nothing across tasks, whose trial is one round of consecutive episodes.

A baseline is made from the interface of a family and the number of episodes in a trial, and runs in the same trial loop
on the same frozen tasks as a learned agent. It has no weights, and its log-probabilities are 0: no learner reads its
trials.
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
        name: of the baseline, in messages.
        needs_task: whether its observations must end with the task's parameters (`envs.oracle`).
        adapts: whether it adapts within a trial, so that its rollouts cannot run side by side.
    """

    name: ClassVar[str]
    needs_task: ClassVar[bool] = False
    adapts: ClassVar[bool] = True

    def __init__(self, interface: Interface, episodes: int) -> None:
        self.interface, self.episodes = interface, episodes

    @abstractmethod
    def choose(self, state: Any, observation: np.ndarray, noise: np.ndarray | None) -> tuple[np.ndarray, Any]:
        """Return actions [B, R, *shape] for observations [B, R, *shape], and the new state; a pure function.

        R is 1 for baselines that adapt.
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
        if self.adapts and observation.shape[1] != 1:
            raise AgentError(
                f"the {self.name} agent adapts from one episode to the next, so a trial is one row, not "
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


def require_discrete(name: str, space: gymnasium.Space, role: str) -> gymnasium.spaces.Discrete:
    """Return the space, or raise AgentError if it is not Discrete; `role` is observations or actions."""
    if not isinstance(space, gymnasium.spaces.Discrete):
        raise AgentError(f"the {name} agent takes Discrete {role}, not {space}; measure another baseline")
    return space
