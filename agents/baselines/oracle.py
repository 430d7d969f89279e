"""Those who are told the task: what knowing it is worth, in bandits, tabular MDPs and GridNavi."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import gymnasium
import numpy as np

from agents.baselines import grid_navi
from agents.baselines.base import Baseline, discrete
from agents.contract import AgentError, Interface, Weights
from agents.functional.planning import value_iteration


@dataclass(frozen=True)
class Told:
    """Of B trials.

    Attributes:
        step: [B, R] int, of the episode under way; [B, 1] before the first.
        plan: [steps, B, S] int, in tabular MDPs from the first observation on; else None.
    """

    step: np.ndarray
    plan: np.ndarray | None = None


class Oracle(Baseline):
    """Plays the best that is possible for those who know the task.

    A told observation is the family's own, one-hot, and behind it the task: the arms' chances of a bandit, transitions
    [S, A, S] and mean rewards [S, A] of an MDP, the goal's cell, one-hot, of GridNavi. Which of them it is the sizes
    tell.
    """

    name: ClassVar[str] = "oracle"
    told: ClassVar[bool] = True
    learns: ClassVar[bool] = False

    def __init__(self, interface: Interface, episodes: int) -> None:
        super().__init__(interface, episodes)
        actions = discrete(self.name, interface.action_space, "actions")
        self._actions, self._first = int(actions.n), int(actions.start)
        space = interface.observation_space
        size = space.shape[0] if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1 else 0
        # S + S A S + S A = size, solved for S.
        states = (math.isqrt((1 + self._actions) ** 2 + 4 * self._actions * size) - 1 - self._actions) // (
            2 * self._actions
        )
        if interface.episode_steps == 1 and size == 1 + self._actions:
            self._kind, self._states = "bandit", 1
        elif (size // 2, self._actions, interface.episode_steps) == grid_navi.SIZES and size % 2 == 0:
            self._kind, self._states = "grid", size // 2
        elif size > 0 and states * (1 + self._actions * (1 + states)) == size:
            self._kind, self._states = "mdp", states
        else:
            raise AgentError(
                f"the oracle agent knows bandits, tabular MDPs and GridNavi, and told observations {space} with "
                f"{self._actions} actions are of neither; measure another yardstick"
            )

    def choose(self, state: Told, observation: np.ndarray, noise: np.ndarray | None) -> tuple[np.ndarray, Told]:
        here, task = observation[..., : self._states].argmax(-1), observation[..., self._states :]
        if self._kind == "bandit":
            best = task.argmax(-1)
        elif self._kind == "grid":
            best = grid_navi.towards(here, task.argmax(-1))
        else:
            if state.plan is None:
                state = replace(state, plan=self._plan(task[:, 0].astype(np.float64)))
            assert state.plan is not None
            best = state.plan[state.step, np.arange(len(here))[:, None], here]
        return self._first + best, state

    def _plan(self, task: np.ndarray) -> np.ndarray:
        """[steps, B, S], for tasks [B, S A S + S A]."""
        pairs = self._states * self._actions
        chances = task[:, : pairs * self._states].reshape(-1, self._states, self._actions, self._states)
        rewards = task[:, pairs * self._states :].reshape(-1, self._states, self._actions)
        return value_iteration(chances, rewards, steps=self.interface.episode_steps)[0]

    def begin_trial(self, weights: Weights, trials: int) -> Told:
        return Told(np.zeros((trials, 1), np.int64))

    def observe(self, weights: Weights, state: Told, transition: Mapping[str, np.ndarray]) -> Told:
        ended = transition["terminated"] | transition["truncated"]
        return replace(state, step=np.where(ended, 0, state.step + 1))
