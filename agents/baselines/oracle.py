"""The oracle: plays optimally for a known task, in bandits, tabular MDPs and GridNavi."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import gymnasium
import numpy as np

from agents.baselines import grid_navi
from agents.baselines.base import Baseline, require_discrete
from agents.contract import AgentError, Interface, Weights
from agents.functional.planning import value_iteration


@dataclass(frozen=True)
class OracleState:
    """State of B trials.

    Attributes:
        step: [B, R] int, of the episode under way; [B, 1] before the first.
        policy: [steps, B, S] int, optimal actions, in tabular MDPs from the first observation on; else None.
    """

    step: np.ndarray
    policy: np.ndarray | None = None


class Oracle(Baseline):
    """Optimal return of an agent that observes the task's parameters (`envs.oracle`).

    Its observation is the family's own, one-hot, followed by the task: the arms' success probabilities of a bandit,
    transition probabilities [S, A, S] and mean rewards [S, A] of an MDP, the goal's cell, one-hot, of GridNavi. The
    sizes tell which of them it is.
    """

    name: ClassVar[str] = "oracle"
    needs_task: ClassVar[bool] = True
    adapts: ClassVar[bool] = False

    def __init__(self, interface: Interface, episodes: int) -> None:
        super().__init__(interface, episodes)
        actions = require_discrete(self.name, interface.action_space, "actions")
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
                f"the oracle agent knows bandits, tabular MDPs and GridNavi, and observations {space} with "
                f"{self._actions} actions are of neither; measure another baseline"
            )

    def choose(
        self, state: OracleState, observation: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, OracleState]:
        here, task = observation[..., : self._states].argmax(-1), observation[..., self._states :]
        if self._kind == "bandit":
            best = task.argmax(-1)
        elif self._kind == "grid":
            best = grid_navi.towards(here, task.argmax(-1))
        else:
            if state.policy is None:
                state = replace(state, policy=self._solve(task[:, 0].astype(np.float64)))
            assert state.policy is not None
            best = state.policy[state.step, np.arange(len(here))[:, None], here]
        return self._first + best, state

    def _solve(self, task: np.ndarray) -> np.ndarray:
        """Return the optimal actions [steps, B, S] of tasks [B, S A S + S A]."""
        pairs = self._states * self._actions
        transition_probs = task[:, : pairs * self._states].reshape(-1, self._states, self._actions, self._states)
        rewards = task[:, pairs * self._states :].reshape(-1, self._states, self._actions)
        return value_iteration(transition_probs, rewards, steps=self.interface.episode_steps)[0]

    def begin_trial(self, weights: Weights, trials: int) -> OracleState:
        return OracleState(np.zeros((trials, 1), np.int64))

    def observe(self, weights: Weights, state: OracleState, transition: Mapping[str, np.ndarray]) -> OracleState:
        ended = transition["terminated"] | transition["truncated"]
        return replace(state, step=np.where(ended, 0, state.step + 1))
