"""Inputs of an in-context agent's network at each step of a trial."""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium
import numpy as np
import torch
from torch import Tensor

from agents.contract import AgentError, Interface, Round, RoundBatch, Weights
from agents.nets.policies import Categorical, MultiCategorical, Policy
from agents.nets.statistics import REWARD, RunningStatistics


def single_row_trial(adaptations: int, rollouts: int) -> tuple[Round, ...]:
    """The one round of a trial whose episodes follow each other in one row, the agent adapting at every step.

    Raises:
        AgentError: rollouts is not 1.
    """
    if rollouts != 1:
        raise AgentError(
            f"this agent adapts within a row, so rollouts must be 1, not {rollouts}; set evaluation.rollouts=1 and "
            "evaluation.repeats to how many trials of each task"
        )
    return (Round("trial", 1, episodes=adaptations + 1),)


class TrialInputs:
    """Features of a step: the observation, and the action, reward and end of the step before.

    The observation is that of the policy's encoder, E entries of `observation_size`; where the space holds images, an
    encoder with parameters of the network makes it of `feature_size` features, O (agents/nets/encoders.py).

    [observation, last action, last reward, whether it ended an episode, fraction of the trial that is over, and with
    `pairs` the last (observation, action) as one one-hot vector and that vector times the reward]

    Args:
        policy: says how observations and actions are encoded.
        interface: of the family.
        trial_steps: the longest trial.
        reward_offset: subtracted from rewards before they enter the network, and
        reward_scale: factor on the rest. Learning is from the unscaled rewards.
        pairs: whether to add the pair of last observation and action, for Discrete ones.
    """

    def __init__(
        self,
        policy: Policy,
        interface: Interface,
        trial_steps: int,
        *,
        reward_offset: float = 0.0,
        reward_scale: float = 1.0,
        pairs: bool = False,
    ) -> None:
        self.policy, self.trial_steps = policy, trial_steps
        self._action_space = interface.action_space
        self._offset, self._scale = reward_offset, reward_scale
        self.observation_size, self.feature_size = policy.encoder.size, policy.input_size
        discrete = isinstance(interface.observation_space, gymnasium.spaces.Discrete)
        if pairs and not (discrete and isinstance(policy, Categorical)):
            raise AgentError(
                f"pair_inputs is for Discrete observations and actions, not {interface.observation_space} and "
                f"{interface.action_space}; set it false"
            )
        self.pair_size = policy.input_size * policy.output_size if pairs else 0
        self.size = self.observation_size + policy.output_size + 3 + 2 * self.pair_size

    def empty_last_step(self, rows: int) -> dict[str, Tensor]:
        """Encoding of the step before a trial's first one: zeros."""
        zeros = {
            "action": torch.zeros(rows, self.policy.output_size),
            "reward": torch.zeros(rows),
            "ended": torch.zeros(rows),
        }
        return zeros | ({"pair": torch.zeros(rows, self.pair_size)} if self.pair_size else {})

    def last_step(
        self, weights: Weights, observation: Tensor, action: np.ndarray, reward: np.ndarray, ended: np.ndarray
    ) -> dict[str, Tensor]:
        """Encode a step for the inputs of the next one; leading axes are any, `observation` is encoded already.

        Rewards are normalised if the weights hold statistics of theirs.
        """
        encoded = {
            "action": self.encode_action(action),
            "reward": RunningStatistics.normalise_numbers(weights, self.encode_reward(reward), REWARD),
            "ended": torch.as_tensor(ended).float(),
        }
        if self.pair_size:
            encoded["pair"] = (observation.unsqueeze(-1) * encoded["action"].unsqueeze(-2)).flatten(-2)
        return encoded

    def encode_action(self, action: np.ndarray) -> Tensor:
        """Actions as the environment took them: clipped to their bounds, in the policy's units, or one-hot."""
        if isinstance(self.policy, (Categorical, MultiCategorical)):
            return self.policy.one_hot(torch.as_tensor(action))
        assert isinstance(self._action_space, gymnasium.spaces.Box)
        clipped = torch.as_tensor(np.clip(action, self._action_space.low, self._action_space.high)).float()
        return self.policy.to_unit(clipped)

    def encode_reward(self, reward: np.ndarray) -> Tensor:
        """Rewards, shifted and scaled as configured."""
        return (torch.as_tensor(reward).float() - self._offset) * self._scale

    def step_inputs(self, observation: Tensor, last: Mapping[str, Tensor], step: Tensor | float) -> Tensor:
        """[..., size] features of a step; `step` counts from 0 in the trial."""
        time = torch.as_tensor(step / self.trial_steps).expand_as(last["reward"]).to(observation.dtype)
        parts = [observation, last["action"], torch.stack([last["reward"], last["ended"], time], -1)]
        if self.pair_size:
            parts += [last["pair"], last["pair"] * last["reward"].unsqueeze(-1)]
        return torch.cat(parts, -1)

    def with_encoded(self, inputs: Tensor, encoded: Tensor) -> Tensor:
        """Inputs that begin with the features [..., O] of observations, with these [..., E] in their place."""
        if not self.policy.encoder.images:
            return inputs
        return torch.cat([encoded, inputs[..., self.feature_size :]], -1)

    def sequence_inputs(self, weights: Weights, trials: RoundBatch, observation: Tensor) -> Tensor:
        """Inputs [L, B, ...] of every step of trials [B, 1, L, ...], as the agent computed them step by step.

        Args:
            weights: with the statistics that the agent normalised by.
            trials: one row each.
            observation: [L, B, O], features, which the inputs begin with: see `with_encoded`.
        """
        arrays = trials.action, trials.reward, trials.terminated | trials.truncated
        encoded = self.last_step(weights, observation, *(time_first(array) for array in arrays))
        first = self.empty_last_step(len(trials.task_id))
        last = {name: torch.cat([first[name][None], value[:-1]]) for name, value in encoded.items()}
        return self.step_inputs(observation, last, torch.arange(len(observation))[:, None])


def time_first(array: np.ndarray) -> np.ndarray:
    """[B, 1, L, ...] -> [L, B, ...], of trials with one row."""
    return np.ascontiguousarray(np.moveaxis(array[:, 0], 0, 1))
