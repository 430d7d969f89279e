"""What RL^2 and VariBAD share: a trial is one row, a memory reads it step by step, PPO learns from whole trials."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from agents.common.ppo import PPOConfig
from agents.contract import Plan, Round, RoundBatch, Weights
from agents.functional.parameters import Parameters
from agents.nets.memories import MemoryState
from agents.nets.policies import Distribution
from agents.nets.trial_inputs import Reader, Statistics, one_row, time_first
from agents.nets.weights import take_weights


class InContextConfig(PPOConfig):
    """What is sampled, and how observations are read."""

    meta_batch_size: PositiveInt  # N, fresh tasks of each iteration, one trial of each
    episodes_per_trial: PositiveInt = 2
    normalise_observations: bool = False  # by the running mean and deviation of those of training


@dataclass(frozen=True)
class State:
    """B trials under way: the memory, the last step as it reads it, steps so far."""

    memory: MemoryState
    last: Mapping[str, Tensor]
    steps: int


S = TypeVar("S", bound=State)


class InContextAgent(ABC, Generic[S]):
    """Adapts at every step of a row; subclasses say what a step's reading decides."""

    reader: Reader

    @abstractmethod
    def begin_trial(self, weights: Weights, trials: int) -> S:
        """The state of trials that have seen nothing."""

    @abstractmethod
    def decide(self, weights: Weights, state: S, observation: Tensor, inputs: Tensor) -> tuple[Distribution, S]:
        """The policy at encoded observations [B, O], and the state that has read inputs [B, I]."""

    def trial_rounds(self, adaptations: int, rollouts: int) -> tuple[Round, ...]:
        return one_row(adaptations, rollouts)

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return self.reader.policy.draw_noise(rng, shape)

    def encode(self, weights: Weights, observation: np.ndarray) -> Tensor:
        """Observations [..., *shape] as the network reads them."""
        return Statistics.scale(weights, self.reader.policy.encode(observation))

    @torch.no_grad()
    def act(
        self, weights: Weights, state: S, observation: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, S]:
        seen = self.encode(weights, observation)[:, 0]
        inputs = self.reader.inputs(seen, state.last, state.steps)
        distribution, state = self.decide(weights, state, seen, inputs)
        drawn = None if noise is None else torch.as_tensor(noise)[:, 0]
        action, log_prob = self.reader.policy.sample(distribution, drawn)
        return action.numpy()[:, None], log_prob.numpy()[:, None], state

    def observe(self, weights: Weights, state: S, transition: Mapping[str, np.ndarray]) -> S:
        ended = transition["terminated"] | transition["truncated"]
        seen = self.encode(weights, transition["observation"])[:, 0]
        last = self.reader.last(seen, transition["action"][:, 0], transition["reward"][:, 0], ended[:, 0])
        return replace(state, last=last, steps=state.steps + 1)

    def adapt(self, weights: Weights, state: S, batch: RoundBatch) -> S:
        """Nothing is left to do between rounds."""
        return state


@dataclass(frozen=True)
class Trials:
    """Whole trials as the networks read them, time first: L steps of B trials, on the learner's device."""

    observation: Tensor  # [L, B, O], encoded
    inputs: Tensor  # [L, B, I]
    action: Tensor  # [L, B, *shape]
    reward: Tensor  # [L, B]
    log_prob: Tensor  # [L, B]
    valid: Tensor  # [L, B] bool


class InContextLearner:
    """Parameters, and the statistics that scale observations; one trial of each of `meta_batch_size` fresh tasks."""

    agent: InContextAgent[Any]

    def __init__(
        self, agent: InContextAgent[Any], config: InContextConfig, initial: Parameters, device: torch.device
    ) -> None:
        self.agent, self.device = agent, device
        self.parameters = {name: value.to(device).requires_grad_() for name, value in initial.items()}
        cpu = torch.device("cpu")  # trials are read there
        self.statistics = Statistics(agent.reader.observations, cpu) if config.normalise_observations else None
        self._plan = Plan(config.meta_batch_size, agent.trial_rounds(config.episodes_per_trial - 1, 1))

    def plan(self, iteration: int) -> Plan:
        return self._plan

    def weights(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in {**self.parameters, **self.scales()}.items()}

    def scales(self) -> Parameters:
        """The statistics by name; {} without any."""
        return self.statistics.tensors if self.statistics else {}

    def read(self, trials: RoundBatch) -> Trials:
        """Trials [B, 1, L, ...] as the agent saw them."""
        seen = self.agent.encode(self.scales(), time_first(trials.observation))
        inputs = self.agent.reader.whole_trials(trials, seen)
        others = (time_first(array) for array in (trials.action, trials.reward, trials.log_prob, trials.valid))
        return Trials(*(torch.as_tensor(one).to(self.device) for one in (seen, inputs, *others)))

    def follow(self, trials: RoundBatch, updates: int) -> None:
        """Moves the statistics towards the batch's, after update `updates` (from 0), which saw what the agent saw."""
        if self.statistics:
            self.statistics.follow(self.agent.reader.policy.encode(trials.observation[trials.valid]), updates)

    def load_weights(self, weights: Weights) -> None:
        take_weights({**self.parameters, **self.scales()}, weights)
