"""An own agent: the cross-entropy method on linear policies, from scratch on every task.

    acclimate train point_nav_maml 'agent={name: own_agent:CROSS_ENTROPY}' iterations=1 evaluation.rounds=4

run in this folder. An agent acts and adapts (`agents.contract.Agent`), a learner owns what is learned across tasks
(`agents.contract.Learner`): this is all of both. Nothing is meta-learned here, which makes it a baseline: what
searching each task anew gets for the same environment steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt

from agents.contract import AgentError, Algorithm, Config, Interface, MetricInfo, Plan, Round, RoundBatch, TrialBatch


class CrossEntropyConfig(Config):
    """Keys of the recipe's agent section."""

    meta_batch_size: PositiveInt = 5
    rollouts: PositiveInt = 40  # policies tried between two adaptations
    elite_fraction: float = Field(0.2, gt=0, le=1)
    initial_std: PositiveFloat = 1.0


@dataclass(frozen=True)
class State:
    """Of B trials: the search distribution over policies [O + 1, A], and what each of R rows is trying in it."""

    mean: np.ndarray  # [B, O + 1, A]
    std: np.ndarray  # [B, O + 1, A]
    tried: np.ndarray | None = None  # [B, R, O + 1, A], from the first step of a round on


class CrossEntropyAgent:
    """Each rollout tries one linear policy; after a round the distribution moves to the best of them."""

    def __init__(self, config: CrossEntropyConfig, interface: Interface) -> None:
        for space in (interface.observation_space, interface.action_space):
            if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
                raise AgentError(f"linear policies take flat Box observations and actions, not {space}")
        self.config = config
        self.shape = (interface.observation_space.shape[0] + 1, interface.action_space.shape[0])

    def trial_rounds(self, adaptations: int, rollouts: int) -> tuple[Round, ...]:
        return (Round("search", rollouts),) * (adaptations + 1)

    def begin_trial(self, weights: Mapping[str, torch.Tensor], trials: int) -> State:
        return State(np.zeros((trials, *self.shape)), np.full((trials, *self.shape), self.config.initial_std))

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.standard_normal((*shape, *self.shape), dtype=np.float32)

    def act(
        self, weights: Any, state: State, observation: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, State]:
        if noise is None:  # the deterministic policy: the middle of the distribution
            state = replace(state, tried=np.repeat(state.mean[:, None], observation.shape[1], 1))
        elif state.tried is None:
            state = replace(state, tried=state.mean[:, None] + state.std[:, None] * noise)
        action = np.einsum("bro,broa->bra", features(observation), state.tried).astype(np.float32)
        return action, np.zeros(action.shape[:2], np.float32), state

    def observe(self, weights: Any, state: State, transition: Mapping[str, np.ndarray]) -> State:
        return state

    def adapt(self, weights: Any, state: State, batch: RoundBatch) -> State:
        """Mean and deviation of the best rows' policies, which are read back off the rows' own steps."""
        tried = np.linalg.pinv(features(batch.observation) * batch.valid[..., None]) @ batch.action
        count = max(2, round(self.config.elite_fraction * tried.shape[1]))
        best = np.argsort(-batch.row_returns(), axis=1)[:, :count]
        elite = np.take_along_axis(tried, best[..., None, None], 1)
        return State(elite.mean(1), elite.std(1))

    def inspect(self, weights: Any, state: State) -> dict[str, np.ndarray]:
        return {"policy_mean": state.mean, "policy_std": state.std}


def features(observation: np.ndarray) -> np.ndarray:
    """The observation and a constant, [..., O + 1]."""
    return np.concatenate([observation, np.ones((*observation.shape[:-1], 1))], -1)


class NothingToLearn:
    """A learner without meta-parameters: it plans trials and reports on them."""

    metrics: Mapping[str, MetricInfo] = {"best_return": MetricInfo("reward", "best rollout of each trial, mean")}

    def __init__(self, agent: CrossEntropyAgent, config: CrossEntropyConfig, seed: int, device: torch.device) -> None:
        self.config, self._rounds = config, agent.trial_rounds(1, config.rollouts)

    def plan(self, iteration: int) -> Plan:
        return Plan(self.config.meta_batch_size, self._rounds)

    def weights(self) -> dict[str, torch.Tensor]:
        return {}

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        if weights:
            raise AgentError("the cross-entropy agent has no weights to start from; leave init out")

    def update(self, batch: TrialBatch) -> dict[str, float]:
        return {"best_return": float(np.max([one.row_returns().max(-1) for one in batch], 0).mean())}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


CROSS_ENTROPY = Algorithm(CrossEntropyConfig, CrossEntropyAgent, NothingToLearn)
