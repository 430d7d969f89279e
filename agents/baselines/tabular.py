"""Tabular MDPs: planning on the posterior mean, and posterior sampling (PSRL).

Both know the law that tasks come from: transitions of a pair ~ Dirichlet(1), its mean reward ~ N(1, 1), reward noise
N(0, 1). With n visits of a pair, c of them to each next state, rewards that sum to r:

    transitions ~ Dirichlet(1 + c)      mean reward ~ N((1 + r) / (1 + n), 1 / (1 + n))
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from agents.baselines.base import Baseline, discrete
from agents.contract import AgentError, Interface, Weights
from agents.functional.planning import value_iteration


@dataclass(frozen=True)
class Seen:
    """What B trials have seen, and what they are about to do.

    Attributes:
        visits: [B, S, A, S], how often a pair led where.
        reward_sum: [B, S, A].
        step: [B] int, of the episode under way.
        plan: [steps, B, S] int, the actions of the episode under way.
    """

    visits: np.ndarray
    reward_sum: np.ndarray
    step: np.ndarray
    plan: np.ndarray

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
    """Counts transitions and rewards, and plays what is best for the task that a subclass makes of them.

    Class attributes:
        replans: at every step, not just at the start of an episode.
    """

    replans: ClassVar[bool] = False

    def __init__(self, interface: Interface, episodes: int) -> None:
        super().__init__(interface, episodes)
        states = discrete(self.name, interface.observation_space, "observations")
        actions = discrete(self.name, interface.action_space, "actions")
        self.shape = (int(states.n), int(actions.n))
        self._first_state, self._first_action = int(states.start), int(actions.start)

    @abstractmethod
    def model(self, state: Seen, rows: np.ndarray, noise: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The task that these trials plan for: chances [rows, S, A, S] and rewards [rows, S, A]; noise is [B, j]."""

    def choose(self, state: Seen, observation: np.ndarray, noise: np.ndarray | None) -> tuple[np.ndarray, Seen]:
        trials = np.arange(len(observation))
        rows = trials if self.replans else np.flatnonzero(state.step == 0)
        if len(rows):
            first = state.step[rows].min()
            chances, rewards = self.model(state, rows, None if noise is None else noise[:, 0])
            plan = state.plan.copy()
            plan[first:, rows], _ = value_iteration(chances, rewards, steps=len(plan) - first)
            state = replace(state, plan=plan)
        action = state.plan[state.step, trials, observation[:, 0] - self._first_state]
        return self._first_action + action[:, None], state

    def begin_trial(self, weights: Weights, trials: int) -> Seen:
        states, actions = self.shape
        return Seen(
            np.zeros((trials, states, actions, states)),
            np.zeros((trials, states, actions)),
            np.zeros(trials, np.int64),
            np.zeros((self.interface.episode_steps, trials, states), np.int64),
        )

    def observe(self, weights: Weights, state: Seen, transition: Mapping[str, np.ndarray]) -> Seen:
        one = {name: transition[name][:, 0] for name in ("valid", "terminated", "truncated", "reward")}
        if (one["terminated"] & one["valid"]).any():
            raise AgentError(
                f"the {self.name} agent plans episodes of a fixed length, and one was terminated; measure another "
                "yardstick"
            )
        trials = np.flatnonzero(one["valid"])
        before, after = (
            transition[name][trials, 0] - self._first_state for name in ("observation", "next_observation")
        )
        action = transition["action"][trials, 0] - self._first_action
        visits, reward_sum = state.visits.copy(), state.reward_sum.copy()
        visits[trials, before, action, after] += 1
        reward_sum[trials, before, action] += one["reward"][trials]
        return replace(state, visits=visits, reward_sum=reward_sum, step=np.where(one["truncated"], 0, state.step + 1))

    def inspect(self, weights: Weights, state: Seen) -> dict[str, np.ndarray]:
        return {"mean_rewards": state.mean_rewards(), "visits": state.visits.sum(-1)}


class PosteriorGreedy(TabularBaseline):
    """Plays each episode as if the posterior mean at its start were the task."""

    name: ClassVar[str] = "posterior_greedy"

    def model(self, state: Seen, rows: np.ndarray, noise: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        return state.mean_transitions()[rows], state.mean_rewards()[rows]


class PosteriorReplan(PosteriorGreedy):
    """Plays each step as if the posterior mean there were the task: what an episode shows counts in it already."""

    name: ClassVar[str] = "posterior_replan"
    replans: ClassVar[bool] = True


class PSRL(PosteriorGreedy):
    """Plays each episode as if a draw from the posterior were the task. Osband et al. 2013 (arXiv:1306.0940), alg. 1.

    The noise of an episode's first step seeds the generator of that draw. Without noise it is the posterior mean.
    """

    name: ClassVar[str] = "psrl"

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.random((*shape, 3), dtype=np.float32)

    def model(self, state: Seen, rows: np.ndarray, noise: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
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
