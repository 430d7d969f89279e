"""What VariBAD decodes from a latent task: rewards and next observations. Zintgraf et al. 2020 (arXiv:1910.08348)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from agents.contract import Config
from agents.functional.parameters import Parameters
from agents.nets.mlp import init_mlp, mlp


class SquaredError(Config):
    """The reward is a number: a Gaussian of fixed deviation."""

    name: Literal["gaussian"] = "gaussian"
    # One output for each next observation, from the latent alone: for Discrete ones, as published for GridNavi.
    per_observation: bool = False

    def target(self, reward: Tensor, read: Tensor) -> Tensor:
        """What is to be decoded, given rewards as they came and as the encoder reads them."""
        return read

    def cost(self, said: Tensor, target: Tensor) -> Tensor:
        """Half the squared error."""
        return 0.5 * (said - target).square()


class Paid(Config):
    """Whether the reward is above a threshold."""

    name: Literal["bernoulli"] = "bernoulli"
    per_observation: bool = False  # as above
    above: float = 0.0

    def target(self, reward: Tensor, read: Tensor) -> Tensor:
        """1 where the reward paid, else 0."""
        return (reward > self.above).float()

    def cost(self, said: Tensor, target: Tensor) -> Tensor:
        """Negative log-likelihood, nats, of what is said as a logit."""
        return torch.nn.functional.binary_cross_entropy_with_logits(said, target, reduction="none")


RewardDecoder = Annotated[SquaredError | Paid, Field(discriminator="name")]


class Decoders:
    """Decodes S steps from each of P latents of B trials. D latent entries, O of an observation, A of an action.

    Args:
        latent_size: D.
        observations: O.
        actions: A.
        hidden_sizes: of each decoder.
        reward: what of the reward is decoded, and how.
        next_observations: whether they are decoded as well.
    """

    def __init__(
        self,
        latent_size: int,
        observations: int,
        actions: int,
        hidden_sizes: Sequence[int],
        reward: RewardDecoder,
        *,
        next_observations: bool,
    ) -> None:
        before = observations + actions
        ends = (latent_size, observations) if reward.per_observation else (latent_size + before + observations, 1)
        self._reward = reward
        self._reward_sizes = (ends[0], *hidden_sizes, ends[1])
        self._next_sizes = (latent_size + before, *hidden_sizes, observations) if next_observations else None

    def init(self, generator: torch.Generator) -> Parameters:
        """Fresh parameters."""
        parts = {"reward": init_mlp(self._reward_sizes, generator, last_scale=1.0)}
        if self._next_sizes is not None:
            parts["next"] = init_mlp(self._next_sizes, generator, last_scale=1.0)
        return {f"{part}_{name}": value for part, one in parts.items() for name, value in one.items()}

    def reward_cost(
        self, parameters: Parameters, latent: Tensor, before: Tensor, following: Tensor, target: Tensor
    ) -> Tensor:
        """What decoding each reward costs, [P, S, B].

        Args:
            parameters: of the decoders.
            latent: [P, B, D].
            before: [S, B, O + A], observation and action of each step.
            following: [S, B, O], the next observation.
            target: [S, B], see `RewardDecoder.target`.
        """
        if self._reward.per_observation:
            said = torch.einsum("pbo,sbo->psb", self._said(parameters, "reward", self._reward_sizes, latent), following)
        else:
            step = _pairs(latent, torch.cat([before, following], -1))
            said = self._said(parameters, "reward", self._reward_sizes, step).squeeze(-1)
        return self._reward.cost(said, target.expand_as(said))

    def next_cost(self, parameters: Parameters, latent: Tensor, before: Tensor, following: Tensor) -> Tensor:
        """Half the squared error of decoding each next observation, [P, S, B]; arguments as above."""
        assert self._next_sizes is not None
        said = self._said(parameters, "next", self._next_sizes, _pairs(latent, before))
        return 0.5 * (said - following).square().sum(-1)

    @staticmethod
    def _said(parameters: Parameters, name: str, sizes: Sequence[int], inputs: Tensor) -> Tensor:
        own = {key[len(name) + 1 :]: value for key, value in parameters.items() if key.startswith(f"{name}_")}
        return mlp(own, len(sizes) - 1, "relu", inputs)


def _pairs(latent: Tensor, steps: Tensor) -> Tensor:
    """Each of P latents [P, B, D] beside each of S steps [S, B, T] of its trial, [P, S, B, D + T]."""
    shape = (len(latent), len(steps))
    return torch.cat([latent[:, None].expand(*shape, -1, -1), steps[None].expand(*shape, -1, -1)], -1)
