"""What an agent that adapts by inference is told at each step, and how it is scaled."""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium
import numpy as np
import torch
from torch import Tensor

from agents.contract import AgentError, Interface, Round, RoundBatch, Weights
from agents.functional.parameters import Parameters
from agents.nets.policies import Categorical, Policy


def one_row(adaptations: int, rollouts: int) -> tuple[Round, ...]:
    """The one round of a trial in which an agent goes through its episodes in a row, adapting at every step.

    Raises:
        AgentError: rollouts is not 1.
    """
    if rollouts != 1:
        raise AgentError(
            f"this agent adapts within a row, so rollouts must be 1, not {rollouts}; set evaluation.rollouts=1 and "
            "evaluation.repeats to how many trials of each task"
        )
    return (Round("trial", 1, episodes=adaptations + 1),)


class Reader:
    """What the network is told at a step: the observation, and what the last step did and brought.

    [observation, last action, last reward, whether it ended an episode, share of the trial that is over, and with
    `pairs` the last (observation, action) as one word and that word times the reward]

    Args:
        policy: says how observations and actions are encoded.
        interface: of the family.
        trial_steps: the longest trial.
        reward_offset: subtracted from rewards before they are read, and
        reward_scale: what the rest is multiplied by. Learning is from the rewards as they are.
        pairs: tell the pair of last observation and action, for Discrete ones.
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
        self._space = interface.action_space
        self._offset, self._scale = reward_offset, reward_scale
        self.observations = policy.inputs
        discrete = isinstance(interface.observation_space, gymnasium.spaces.Discrete)
        if pairs and not (discrete and isinstance(policy, Categorical)):
            raise AgentError(
                f"pair_inputs is for Discrete observations and actions, not {interface.observation_space} and "
                f"{interface.action_space}; set it false"
            )
        self.pairs = policy.inputs * policy.outputs if pairs else 0
        self.size = policy.inputs + policy.outputs + 3 + 2 * self.pairs

    def start(self, rows: int) -> dict[str, Tensor]:
        """What a trial begins with in the place of a last step: nothing happened."""
        start = {
            "action": torch.zeros(rows, self.policy.outputs),
            "reward": torch.zeros(rows),
            "ended": torch.zeros(rows),
        }
        return start | ({"pair": torch.zeros(rows, self.pairs)} if self.pairs else {})

    def last(self, observation: Tensor, action: np.ndarray, reward: np.ndarray, ended: np.ndarray) -> dict[str, Tensor]:
        """A step as the next one sees it; leading axes are any, `observation` is encoded."""
        told = {
            "action": self.action(action),
            "reward": self.reward(reward),
            "ended": torch.as_tensor(ended).float(),
        }
        if self.pairs:
            told["pair"] = (observation.unsqueeze(-1) * told["action"].unsqueeze(-2)).flatten(-2)
        return told

    def action(self, action: np.ndarray) -> Tensor:
        """Actions as the environment took them: within their bounds, or one-hot."""
        if isinstance(self.policy, Categorical):
            return self.policy.one_hot(torch.as_tensor(action))
        assert isinstance(self._space, gymnasium.spaces.Box)
        return torch.as_tensor(np.clip(action, self._space.low, self._space.high)).float()

    def reward(self, reward: np.ndarray) -> Tensor:
        """Rewards as they are read."""
        return (torch.as_tensor(reward).float() - self._offset) * self._scale

    def inputs(self, observation: Tensor, last: Mapping[str, Tensor], step: Tensor | float) -> Tensor:
        """[..., size] features; `step` counts from 0 in the trial."""
        time = torch.as_tensor(step / self.trial_steps).expand_as(last["reward"]).to(observation.dtype)
        parts = [observation, last["action"], torch.stack([last["reward"], last["ended"], time], -1)]
        if self.pairs:
            parts += [last["pair"], last["pair"] * last["reward"].unsqueeze(-1)]
        return torch.cat(parts, -1)

    def whole_trials(self, trials: RoundBatch, observation: Tensor) -> Tensor:
        """Inputs [L, B, size] of every step of trials [B, 1, L, ...], as the agent saw them step by step.

        Args:
            trials: one row each.
            observation: [L, B, O], encoded.
        """
        arrays = trials.action, trials.reward, trials.terminated | trials.truncated
        after = self.last(observation, *(time_first(array) for array in arrays))
        first = self.start(len(trials.task_id))
        last = {name: torch.cat([first[name][None], value[:-1]]) for name, value in after.items()}
        return self.inputs(observation, last, torch.arange(len(observation))[:, None])


def time_first(array: np.ndarray) -> np.ndarray:
    """[B, 1, L, ...] -> [L, B, ...], of trials with one row."""
    return np.ascontiguousarray(np.moveaxis(array[:, 0], 0, 1))


class Statistics:
    """Running mean and deviation of what a network reads in training, to scale it; part of the weights, by `name`."""

    SLOWEST = 0.05  # share of the newest batch once the average has settled
    LARGEST = 10.0  # deviations; farther ones are cut

    def __init__(self, size: int, device: torch.device, name: str = "observation") -> None:
        mean, deviation = torch.zeros(size, device=device), torch.ones(size, device=device)
        self.tensors: Parameters = {f"{name}/mean": mean, f"{name}/deviation": deviation}

    @classmethod
    def scale(cls, weights: Weights, values: Tensor, name: str = "observation") -> Tensor:
        """Values [..., O] in deviations from the mean; as they are if the weights hold no statistics of this name."""
        if f"{name}/mean" not in weights:
            return values
        scaled = (values - weights[f"{name}/mean"]) / weights[f"{name}/deviation"]
        return scaled.clamp(-cls.LARGEST, cls.LARGEST)

    def follow(self, values: Tensor, updates: int) -> None:
        """Moves towards those of values [steps, O]; all the way at the first of the updates, counted from 0."""
        share = max(self.SLOWEST, 1.0 / (updates + 1))
        for value, now in zip(self.tensors.values(), (values.mean(0), values.std(0) + 1e-3), strict=True):
            value += share * (now - value)
