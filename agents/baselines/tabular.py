"""Tabular MDPs: planning on the posterior mean, and posterior sampling (PSRL).

Both know the distribution that tasks come from: transitions of a (state, action) ~ Dirichlet(1),
its mean reward ~ N(1, 1), reward noise N(0, 1). With n visits of it, c of them to each next state, and rewards that sum
to r:

    transitions ~ Dirichlet(1 + c)      mean reward ~ N((1 + r) / (1 + n), 1 / (1 + n))
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from agents.baselines.base import Baseline, require_discrete
from agents.contract import AgentError, Interface, Weights
from agents.functional.planning import value_iteration


@dataclass(frozen=True)
class TransitionCounts:
    """Transitions and rewards counted in B trials, and the policy of the episode under way.

    Attributes:
        visits: [B, S, A, S], visits of each (state, action, next state).
        reward_sum: [B, S, A], summed rewards of each (state, action).
        step: [B] int, of the episode under way.
        policy: [steps, B, S] int, the action of each state at each step of the episode under way.
    """

    visits: np.ndarray
    reward_sum: np.ndarray
    step: np.ndarray
    policy: np.ndarray

    def mean_transitions(self) -> np.ndarray:
        """[B, S, A, S], posterior mean."""
        weight = 1.0 + self.visits
        return weight / weight.sum(-1, keepdims=True)

    def mean_rewards(self) -> np.ndarray:
        """[B, S, A], posterior mean."""
        return (1.0 + self.reward_sum) / (1.0 + self.visits.sum(-1))

    def reward_variance(self) -> np.ndarray:
        """[B, S, A], of the posterior."""
        return 1.0 / (1.0 + self.visits.sum(-1))


class TabularBaseline(Baseline):
    """Counts transitions and rewards, and acts optimally in the MDP that a subclass derives from them.

    Class attributes:
        replans: whether to solve the MDP anew at every step, not just at the start of an episode.
    """

    replans: ClassVar[bool] = False

    def __init__(self, interface: Interface, episodes: int) -> None:
        super().__init__(interface, episodes)
        states = require_discrete(self.name, interface.observation_space, "observations")
        actions = require_discrete(self.name, interface.action_space, "actions")
        self.shape = (int(states.n), int(actions.n))
        self._first_state, self._first_action = int(states.start), int(actions.start)

    @abstractmethod
    def model(
        self, state: TransitionCounts, rows: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the MDP to plan in: transition_probs [rows, S, A, S] and rewards [rows, S, A]; noise is [B, j]."""

    def choose(
        self, state: TransitionCounts, observation: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, TransitionCounts]:
        trials = np.arange(len(observation))
        rows = trials if self.replans else np.flatnonzero(state.step == 0)
        if len(rows):
            first = state.step[rows].min()
            transition_probs, rewards = self.model(state, rows, None if noise is None else noise[:, 0])
            policy = state.policy.copy()
            policy[first:, rows], _ = value_iteration(transition_probs, rewards, steps=len(policy) - first)
            state = replace(state, policy=policy)
        action = state.policy[state.step, trials, observation[:, 0] - self._first_state]
        return self._first_action + action[:, None], state

    def begin_trial(self, weights: Weights, trials: int) -> TransitionCounts:
        states, actions = self.shape
        return TransitionCounts(
            np.zeros((trials, states, actions, states)),
            np.zeros((trials, states, actions)),
            np.zeros(trials, np.int64),
            np.zeros((self.interface.episode_steps, trials, states), np.int64),
        )

    def observe(
        self, weights: Weights, state: TransitionCounts, transition: Mapping[str, np.ndarray]
    ) -> TransitionCounts:
        step = {name: transition[name][:, 0] for name in ("valid", "terminated", "truncated", "reward")}
        if (step["terminated"] & step["valid"]).any():
            raise AgentError(
                f"the {self.name} agent plans episodes of a fixed length, and one was terminated; measure another "
                "baseline"
            )
        trials = np.flatnonzero(step["valid"])
        before, after = (
            transition[name][trials, 0] - self._first_state for name in ("observation", "next_observation")
        )
        action = transition["action"][trials, 0] - self._first_action
        visits, reward_sum = state.visits.copy(), state.reward_sum.copy()
        visits[trials, before, action, after] += 1
        reward_sum[trials, before, action] += step["reward"][trials]
        return replace(state, visits=visits, reward_sum=reward_sum, step=np.where(step["truncated"], 0, state.step + 1))

    def inspect(self, weights: Weights, state: TransitionCounts) -> dict[str, np.ndarray]:
        return {"mean_rewards": state.mean_rewards(), "visits": state.visits.sum(-1)}


class PosteriorGreedy(TabularBaseline):
    """Plays each episode optimally for the posterior mean at its start."""

    name: ClassVar[str] = "posterior_greedy"

    def model(
        self, state: TransitionCounts, rows: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        return state.mean_transitions()[rows], state.mean_rewards()[rows]


class PosteriorReplan(PosteriorGreedy):
    """Plays each step optimally for the posterior mean at that step."""

    name: ClassVar[str] = "posterior_replan"
    replans: ClassVar[bool] = True


class PSRL(PosteriorGreedy):
    """Plays each episode optimally for a sample of the posterior. Osband et al. 2013 (arXiv:1306.0940), algorithm 1.

    The noise of an episode's first step seeds the generator of that sample. Without noise it is the posterior mean.
    """

    name: ClassVar[str] = "psrl"

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.random((*shape, 3), dtype=np.float32)

    def model(
        self, state: TransitionCounts, rows: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        if noise is None:
            return super().model(state, rows, noise)
        weight, rewards = 1.0 + state.visits[rows], state.mean_rewards()[rows]
        deviation = np.sqrt(state.reward_variance()[rows])
        seeds = (noise[rows] * 2.0**24).astype(np.int64)  # all bits of a float32 in [0, 1)
        for row, seed in enumerate(seeds):
            rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed.tolist())))
            weight[row] = rng.standard_gamma(weight[row])  # normalised, a Dirichlet draw
            rewards[row] += deviation[row] * rng.standard_normal(rewards[row].shape)
        return weight / weight.sum(-1, keepdims=True), rewards
