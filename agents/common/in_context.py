"""In-context agents, RL^2 and VariBAD: a memory reads a trial, one row, step by step; PPO learns from whole trials."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from agents.common.ppo import PPO, PPOConfig
from agents.contract import Interface, Plan, Round, RoundBatch, Weights, count_in
from agents.functional.parameters import Parameters, part
from agents.nets.memories import MemoryState
from agents.nets.policies import Distribution
from agents.nets.statistics import REWARD, RunningStatistics
from agents.nets.trial_inputs import TrialInputs, single_row_trial, time_first
from agents.nets.weights import take_weights
from agents.team import Team

VALUE_SCALE = "value_scale"  # prefix of its tensors among the weights
STEPS_PER_ITERATION, ITERATIONS = 16_000, 80  # of runs whose recipe does not say


class InContextConfig(PPOConfig):
    """Hyperparameters of sampling and of observation normalisation, beside PPO's."""

    added: ClassVar[Mapping[str, Any]] = {"normalise_rewards": False, "scale_actions": False}
    fitted: ClassVar[Mapping[str, str]] = {"meta_batch_size": "as many trials as take 16,000 steps, 20 to 400"}

    meta_batch_size: PositiveInt  # N, fresh tasks of each iteration, one trial of each
    episodes_per_trial: PositiveInt = 2  # episodes that the memory lives through
    normalise_observations: bool = True  # by running mean and standard deviation of training
    normalise_rewards: bool = True  # likewise, where they are inputs; learning is from the rewards as they are
    scale_actions: bool = True  # a bounded action space is [-1, 1] to the policy

    @classmethod
    def fit(cls, interface: Interface, given: Mapping[str, Any]) -> dict[str, Any]:
        trial_steps = count_in(given, "episodes_per_trial", 2) * interface.episode_steps
        return {"meta_batch_size": min(max(STEPS_PER_ITERATION // trial_steps, 20), 400)}

    def recipe_defaults(self) -> dict[str, Any]:
        return {
            "iterations": ITERATIONS,
            "sampling": {"tasks_per_shard": max(-(-self.meta_batch_size // 4), 5)},
            "evaluation": {"rounds": max(self.episodes_per_trial - 1, 1), "rollouts": 1},
        }


@dataclass(frozen=True)
class TrialState:
    """State of B trials: the memory's, the encoded last step, and the number of steps so far."""

    memory: MemoryState
    last: Mapping[str, Tensor]
    steps: int


S = TypeVar("S", bound=TrialState)


class InContextAgent(ABC, Generic[S]):
    """Adapts at every step of a row; subclasses turn a step's inputs into an action distribution."""

    trial_inputs: TrialInputs

    @abstractmethod
    def begin_trial(self, weights: Weights, trials: int) -> S:
        """The state of trials before their first step."""

    @abstractmethod
    def decide(self, weights: Weights, state: S, observation: Tensor, inputs: Tensor) -> tuple[Distribution, S]:
        """The policy at encoded observations [B, E], and the state after reading inputs [B, I]."""

    def trial_rounds(self, adaptations: int, rollouts: int) -> tuple[Round, ...]:
        return single_row_trial(adaptations, rollouts)

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return self.trial_inputs.policy.draw_noise(rng, shape)

    def encode(self, weights: Weights, observation: np.ndarray) -> Tensor:
        """Stored observations [..., *shape] as features [..., O]: one-hot or flat, and normalised."""
        return RunningStatistics.normalise(weights, self.trial_inputs.policy.encode(observation))

    @torch.no_grad()
    def act(
        self, weights: Weights, state: S, observation: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, S]:
        encoded = self.trial_inputs.policy.encoder(weights, self.encode(weights, observation)[:, 0])
        inputs = self.trial_inputs.step_inputs(encoded, state.last, state.steps)
        distribution, state = self.decide(weights, state, encoded, inputs)
        row_noise = None if noise is None else torch.as_tensor(noise)[:, 0]
        action, log_prob = self.trial_inputs.policy.sample(distribution, row_noise)
        return action.numpy()[:, None], log_prob.numpy()[:, None], state

    def observe(self, weights: Weights, state: S, transition: Mapping[str, np.ndarray]) -> S:
        ended = transition["terminated"] | transition["truncated"]
        encoded = self.encode(weights, transition["observation"])[:, 0]
        arrays = transition["action"], transition["reward"], ended
        last = self.trial_inputs.last_step(weights, encoded, *(array[:, 0] for array in arrays))
        return replace(state, last=last, steps=state.steps + 1)

    def adapt(self, weights: Weights, state: S, batch: RoundBatch) -> S:
        """Nothing is left to do between rounds."""
        return state


@dataclass(frozen=True)
class EncodedTrials:
    """Whole trials as inputs of the networks, time first: L steps of B trials, on the learner's device."""

    observation: Tensor  # [L, B, O], features
    inputs: Tensor  # [L, B, ...], beginning with them: see `TrialInputs.with_encoded`
    action: Tensor  # [L, B, *shape]
    reward: Tensor  # [L, B]
    log_prob: Tensor  # [L, B]
    valid: Tensor  # [L, B] bool


class InContextLearner:
    """Owns parameters and observation statistics; samples one trial of each of `meta_batch_size` fresh tasks."""

    agent: InContextAgent[Any]
    _ppo: PPO  # made by subclasses

    def __init__(
        self, agent: InContextAgent[Any], config: InContextConfig, initial: Parameters, device: torch.device
    ) -> None:
        self.agent, self.device = agent, device
        self.parameters = {name: value.to(device).requires_grad_() for name, value in initial.items()}
        cpu = torch.device("cpu")  # trials are encoded there
        size, numbers = agent.trial_inputs.feature_size, agent.trial_inputs.policy.encoder.numbers
        self.statistics = RunningStatistics(size, cpu, numbers=numbers) if config.normalise_observations else None
        self._reward_statistics = RunningStatistics(1, cpu, REWARD) if config.normalise_rewards else None
        self._plan = Plan(config.meta_batch_size, agent.trial_rounds(config.episodes_per_trial - 1, 1))

    @property
    def team(self) -> Team:
        """The learners that share the updates."""
        return self._ppo.team

    def join(self, team: Team) -> None:
        self._ppo.team = team

    def parts(self) -> int:
        return self._ppo.config.microbatches

    def plan(self, iteration: int) -> Plan:
        return self._plan

    def weights(self) -> dict[str, Tensor]:
        """Tensors that the agent acts with, and the value scale, once there is one, which warm starts carry over."""
        tensors = {**self.parameters, **self.statistics_tensors()}
        if self._ppo.updates or self._ppo.scale.settled:
            tensors |= {f"{VALUE_SCALE}/{name}": value for name, value in self._ppo.scale.state_dict().items()}
        return {name: value.detach().cpu().clone() for name, value in tensors.items()}

    def statistics_tensors(self) -> Parameters:
        """Running statistics by name; {} without any."""
        return {name: value for one in self.running_statistics() for name, value in one.tensors.items()}

    def encode_trials(self, trials: RoundBatch) -> EncodedTrials:
        """Encode trials [B, 1, L, ...] as the agent encoded them step by step."""
        statistics = self.statistics_tensors()
        observation = self.agent.encode(statistics, time_first(trials.observation))
        inputs = self.agent.trial_inputs.sequence_inputs(statistics, trials, observation)
        others = (time_first(array) for array in (trials.action, trials.reward, trials.log_prob, trials.valid))
        return EncodedTrials(*(torch.as_tensor(array).to(self.device) for array in (observation, inputs, *others)))

    def update_statistics(self, trials: RoundBatch, updates: int) -> None:
        """Average in the batch after update `updates` (from 0), which used the statistics that the agent used."""
        inputs = self.agent.trial_inputs
        if self.statistics:
            self.statistics.update(inputs.policy.encode(trials.observation[trials.valid]), updates)
        if self._reward_statistics:
            self._reward_statistics.update(inputs.encode_reward(trials.reward[trials.valid]).unsqueeze(-1), updates)

    def running_statistics(self) -> list[RunningStatistics]:
        """All running statistics of network inputs."""
        return [one for one in (self.statistics, self._reward_statistics) if one]

    def load_weights(self, weights: Weights) -> None:
        """Start from the weights of another run, its observation statistics and its value scale included.

        Both count as settled: batches move them slowly from the first one on. Weights of earlier versions hold no value
        scale, and those of trials of another length none that fits: then the first batch sets it, and the critic, whose
        outputs are in units of the source's scale, is off until it has adapted.
        """
        scale = {name: value for name, value in weights.items() if name.startswith(f"{VALUE_SCALE}/")}
        self._take({name: value for name, value in weights.items() if name not in scale})
        for statistics in self.running_statistics():
            statistics.settled = True
        own = self._ppo.scale.state_dict()
        scale = part(scale, VALUE_SCALE)
        if scale and all(scale[name].shape == value.shape for name, value in own.items()):
            self._ppo.scale.load_state_dict(scale)
            self._ppo.scale.settled = True

    def _take(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy parameters and statistics, or raise AgentError and change nothing."""
        take_weights({**self.parameters, **self.statistics_tensors()}, tensors)

    def state_dict(self) -> dict[str, Any]:
        return {
            "parameters": {name: value.detach() for name, value in self.parameters.items()},
            "statistics": self.statistics_tensors(),
            "statistics_settled": any(statistics.settled for statistics in self.running_statistics()),
            "ppo": self._ppo.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._ppo.check(state["ppo"])
        self._take({**state["parameters"], **state["statistics"]})
        for statistics in self.running_statistics():
            statistics.settled = state.get("statistics_settled", False)  # absent from states of the first version
        self._ppo.load_state_dict(state["ppo"])
