"""Running statistics that scale a network's inputs: measured in training, part of the weights, not learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from agents.contract import TrialBatch, Weights
from agents.functional.parameters import Parameters
from agents.nets.policies import Policy

OBSERVATION, REWARD = "observation", "reward"  # names of the statistics


class RunningStatistics:
    """Running mean and standard deviation of a network's inputs in training; part of the weights, under `name/`."""

    MIN_RATE = 0.05  # weight of the newest batch once the average has settled
    CLIP = 10.0  # normalised values are clipped to this many standard deviations

    def __init__(
        self,
        size: int,
        device: torch.device,
        name: str = OBSERVATION,
        numbers: Tensor | None = None,
        floor: float = 0.0,
    ) -> None:
        """`numbers` [size] bool: the entries to normalise, of observations those of no image and no one-hot.

        `floor`: the least standard deviation, so that what hardly varies is not magnified.
        """
        self._floor = floor
        self._numbers = None if numbers is None or bool(numbers.all()) else numbers.to(device)
        mean, deviation = torch.zeros(size, device=device), torch.ones(size, device=device)
        self.tensors: Parameters = {f"{name}/mean": mean, f"{name}/deviation": deviation}
        self.settled = (
            False  # whether they were carried over from another run, so that the first batch does not replace them
        )

    @classmethod
    def normalise(cls, weights: Weights, values: Tensor, name: str = OBSERVATION) -> Tensor:
        """Values [..., O] in standard deviations from the mean; unchanged if the weights hold no such statistics."""
        if f"{name}/mean" not in weights:
            return values
        scaled = (values - weights[f"{name}/mean"]) / weights[f"{name}/deviation"]
        return scaled.clamp(-cls.CLIP, cls.CLIP)

    @classmethod
    def normalise_numbers(cls, weights: Weights, values: Tensor, name: str) -> Tensor:
        """As `normalise`, of values [...] that are single numbers."""
        return cls.normalise(weights, values.unsqueeze(-1), name).squeeze(-1)

    def update(self, values: Tensor, updates: int) -> None:
        """Average in a batch of values [steps, O]; update number 0 replaces statistics that are not settled."""
        rate = self.MIN_RATE if self.settled else max(self.MIN_RATE, 1.0 / (updates + 1))
        deviation = (values.std(0) + 1e-3).clamp(min=self._floor)
        for value, now in zip(self.tensors.values(), (values.mean(0), deviation), strict=True):
            change = rate * (now - value)
            value += change if self._numbers is None else torch.where(self._numbers, change, 0.0)


class Normalising(Protocol):
    """A configuration that says whether observations are normalised."""

    @property
    def normalise_observations(self) -> bool:
        """By running mean and standard deviation of training."""


class ObservationStatistics:
    """Running statistics of a policy's observations, if its configuration asks for them; without them it does nothing.

    Attributes:
        tensors: by name, as they stand among the weights; {} without any.
    """

    def __init__(self, config: Normalising, policy: Policy) -> None:
        self._policy = policy
        cpu = torch.device("cpu")  # trials are encoded there
        encoder = policy.encoder
        self._running = (
            RunningStatistics(encoder.numbers.numel(), cpu, numbers=encoder.numbers)
            if config.normalise_observations
            else None
        )
        self.tensors: Parameters = self._running.tensors if self._running else {}

    def update(self, batch: TrialBatch, updates: int) -> None:
        """Average in a batch after update `updates` (from 0), which used the statistics that the agent used."""
        if self._running:
            steps = [self._policy.encode(trials.observation[trials.valid]) for trials in batch]
            self._running.update(torch.cat(steps), updates)

    def settle(self) -> None:
        """They come from another run: no batch replaces them."""
        if self._running:
            self._running.settled = True

    def state_dict(self) -> dict[str, Any]:
        """{} without any."""
        return {"statistics": self.tensors, "statistics_settled": self._running.settled} if self._running else {}

    def weights_in(self, state: Mapping[str, Any]) -> Weights:
        """Parameters and statistics of a learner's state."""
        return {**state["parameters"], **state.get("statistics", {})}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The flag of the state; the tensors are taken with the parameters."""
        if self._running:
            self._running.settled = state["statistics_settled"]


def without_statistics(weights: Weights) -> Parameters:
    """The learned parameters among the weights."""
    return {name: value for name, value in weights.items() if not name.startswith(f"{OBSERVATION}/")}
