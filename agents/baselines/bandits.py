"""Bernoulli bandits: Thompson sampling, UCB1, Gittins indices and the exact Bayes-optimal agent.

All keep the successes and failures of each arm, a sufficient statistic of the trial: with success probabilities
~ U[0, 1] an arm's posterior is Beta(1 + successes, 1 + failures). A pull is an episode. Ties go to the first arm.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import betaincinv

from agents.baselines.base import Baseline, require_discrete
from agents.contract import AgentError, Interface, Weights
from agents.functional.planning import arm_number, bandit_key, bandit_states, bayes_bandit, gittins_indices

MAX_STATES = 3_000_000  # of the bandits that `bayes` solves: seconds, and about 50 MB
MAX_PULLS = 200  # of a trial for `gittins`: the time of its indices grows with the cube, to 20 s here


@dataclass(frozen=True)
class ArmCounts:
    """Successes and failures of each arm in B trials, each [B, k] int64."""

    successes: np.ndarray
    failures: np.ndarray

    @property
    def posterior_mean(self) -> np.ndarray:
        """[B, k], of each arm's success probability."""
        return (1 + self.successes) / (2 + self.successes + self.failures)


class BanditBaseline(Baseline):
    """Counts successes and failures of the arms and pulls the one that a subclass scores highest."""

    def __init__(self, interface: Interface, episodes: int) -> None:
        super().__init__(interface, episodes)
        space = require_discrete(self.name, interface.action_space, "actions")
        if interface.episode_steps != 1:
            raise AgentError(
                f"the {self.name} agent plays bandits, whose episodes are one pull, not {interface.episode_steps} "
                "steps; measure another baseline"
            )
        self.arms, self._first = int(space.n), int(space.start)

    @abstractmethod
    def scores(self, state: ArmCounts, noise: np.ndarray | None) -> np.ndarray:
        """Return the score of each arm, [B, k]; noise is [B, j]."""

    def choose(
        self, state: ArmCounts, observation: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, ArmCounts]:
        best = self.scores(state, None if noise is None else noise[:, 0]).argmax(-1)
        return self._first + best[:, None], state

    def begin_trial(self, weights: Weights, trials: int) -> ArmCounts:
        nothing = np.zeros((trials, self.arms), np.int64)
        return ArmCounts(nothing, nothing)

    def observe(self, weights: Weights, state: ArmCounts, transition: Mapping[str, np.ndarray]) -> ArmCounts:
        reward, valid = transition["reward"][:, 0], transition["valid"][:, 0]
        if (other := reward[(reward != 0) & (reward != 1)]).size:
            raise AgentError(
                f"the {self.name} agent plays bandits whose rewards are 0 or 1, not {other[0]:g}; "
                "measure another baseline"
            )
        pulled = (transition["action"] - self._first == np.arange(self.arms)) & valid[:, None]
        success = pulled & (reward == 1)[:, None]
        return ArmCounts(state.successes + success, state.failures + (pulled & ~success))

    def inspect(self, weights: Weights, state: ArmCounts) -> dict[str, np.ndarray]:
        return {"successes": state.successes, "failures": state.failures, "posterior_mean": state.posterior_mean}

    def steps_remaining(self, state: ArmCounts) -> np.ndarray:
        """Return the pulls that remain of each trial, [B], at least 1."""
        remaining = self.episodes - (state.successes + state.failures).sum(-1)
        if (remaining < 1).any():
            raise AgentError(f"this {self.name} agent was made for trials of {self.episodes} pulls, and one goes on")
        return remaining


class Thompson(BanditBaseline):
    """Pulls the arm that is best in a sample of the posterior. Thompson 1933; Chapelle and Li 2011.

    Samples are by inverse distribution function, one uniform number for each arm. Without noise it pulls the arm of the
    highest posterior mean.
    """

    name: ClassVar[str] = "thompson"

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.random((*shape, self.arms), dtype=np.float32)

    def scores(self, state: ArmCounts, noise: np.ndarray | None) -> np.ndarray:
        if noise is None:
            return state.posterior_mean
        return betaincinv(1.0 + state.successes, 1.0 + state.failures, noise.astype(np.float64))


class UCB1(BanditBaseline):
    """Each arm once, then the largest mean + sqrt(2 ln t / n). Auer et al. 2002, figure 1."""

    name: ClassVar[str] = "ucb1"

    def scores(self, state: ArmCounts, noise: np.ndarray | None) -> np.ndarray:
        pulled = state.successes + state.failures
        pulls, total = np.maximum(pulled, 1), np.maximum(pulled.sum(-1, keepdims=True), 1)
        return np.where(pulled == 0, np.inf, state.successes / pulls + np.sqrt(2 * np.log(total) / pulls))


class Gittins(BanditBaseline):
    """The largest finite-horizon Gittins index; see `agents.functional.planning.gittins_indices`."""

    name: ClassVar[str] = "gittins"

    def __init__(self, interface: Interface, episodes: int) -> None:
        super().__init__(interface, episodes)
        if episodes > MAX_PULLS:
            raise AgentError(
                f"the gittins agent computes its indices for trials of at most {MAX_PULLS} pulls, not {episodes}; "
                "shorten the trial or measure thompson"
            )
        self._indices = gittins_indices(episodes)

    def scores(self, state: ArmCounts, noise: np.ndarray | None) -> np.ndarray:
        remaining = self.steps_remaining(state)
        return self._indices[remaining[:, None] - 1, arm_number(state.successes, state.failures)]


class Bayes(BanditBaseline):
    """Bayes-optimal play of the trial; see `agents.functional.planning.bayes_bandit`.

    Attributes:
        value: the expected total reward of a trial, exact.
    """

    name: ClassVar[str] = "bayes"

    def __init__(self, interface: Interface, episodes: int) -> None:
        super().__init__(interface, episodes)
        states = bandit_states(self.arms, episodes)
        if states is None or states > MAX_STATES:
            counted = "too many states" if states is None else f"{states:,} states"
            raise AgentError(
                f"the bayes agent solves bandits of at most {MAX_STATES:,} states; {self.arms} arms and {episodes} "
                f"pulls have {counted}: measure gittins, which is near it"
            )
        self._keys, self._best, self.value = bayes_bandit(self.arms, episodes)

    def scores(self, state: ArmCounts, noise: np.ndarray | None) -> np.ndarray:
        self.steps_remaining(state)
        arm_states = arm_number(state.successes, state.failures)
        index = np.searchsorted(self._keys, bandit_key(arm_states, pulls=self.episodes))
        return arm_states == self._best[index][:, None]
