"""Decoders of VariBAD: rewards and next observations, given a latent task. Zintgraf et al. 2020 (arXiv:1910.08348)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from agents.contract import Config
from agents.functional.parameters import Parameters
from agents.nets.mlp import init_mlp, mlp


class GaussianReward(Config):
    """Decodes the reward as a Gaussian of fixed standard deviation."""

    in_reward_units: ClassVar[bool] = True  # what it decodes is the reward itself, normalised where rewards are
    name: Literal["gaussian"] = "gaussian"
    # One output for each next observation, from the latent alone: for Discrete ones, as published for GridNavi.
    per_observation: bool = False  # one output for each next observation, if Discrete

    def target(self, reward: Tensor, scaled: Tensor) -> Tensor:
        """The decoder's target, given rewards and the rewards as scaled for the encoder."""
        return scaled

    def cost(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Half the squared error."""
        return 0.5 * (prediction - target).square()


class BernoulliReward(Config):
    """Decodes whether the reward is above a threshold, as a Bernoulli variable."""

    in_reward_units: ClassVar[bool] = False
    name: Literal["bernoulli"] = "bernoulli"
    per_observation: bool = False  # one output for each next observation, if Discrete
    above: float = 0.0  # reward that counts as one

    def target(self, reward: Tensor, scaled: Tensor) -> Tensor:
        """1 where the reward is above the threshold, else 0."""
        return (reward > self.above).float()

    def cost(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Negative log-likelihood, nats, of a predicted logit."""
        return torch.nn.functional.binary_cross_entropy_with_logits(prediction, target, reduction="none")


RewardDecoder = Annotated[GaussianReward | BernoulliReward, Field(discriminator="name")]


class Decoders:
    """Decodes S steps from each of P latents of B trials. D latent entries, O of an observation, A of an action.

    Args:
        latent_size: D.
        observations: O.
        actions: A.
        hidden_sizes: of each decoder.
        reward: the likelihood of the reward decoder.
        next_observations: whether there is a decoder of next observations as well.
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
        return {f"{part}_{name}": value for part, parameters in parts.items() for name, value in parameters.items()}

    def reward_cost(
        self, parameters: Parameters, latent: Tensor, before: Tensor, following: Tensor, target: Tensor
    ) -> Tensor:
        """Cost of decoding each reward, [P, S, B].

        Args:
            parameters: of the decoders.
            latent: [P, B, D].
            before: [S, B, O + A], observation and action of each step.
            following: [S, B, O], the next observation.
            target: [S, B], see `RewardDecoder.target`.
        """
        if self._reward.per_observation:
            prediction = torch.einsum(
                "pbo,sbo->psb", self._predict(parameters, "reward", self._reward_sizes, latent), following
            )
        else:
            step = _pairs(latent, torch.cat([before, following], -1))
            prediction = self._predict(parameters, "reward", self._reward_sizes, step).squeeze(-1)
        return self._reward.cost(prediction, target.expand_as(prediction))

    def next_cost(self, parameters: Parameters, latent: Tensor, before: Tensor, following: Tensor) -> Tensor:
        """Half the squared error of decoding each next observation, [P, S, B]; arguments as above."""
        assert self._next_sizes is not None
        prediction = self._predict(parameters, "next", self._next_sizes, _pairs(latent, before))
        return 0.5 * (prediction - following).square().sum(-1)

    @staticmethod
    def _predict(parameters: Parameters, name: str, sizes: Sequence[int], inputs: Tensor) -> Tensor:
        weights = {key[len(name) + 1 :]: value for key, value in parameters.items() if key.startswith(f"{name}_")}
        return mlp(weights, len(sizes) - 1, "relu", inputs)


def _pairs(latent: Tensor, steps: Tensor) -> Tensor:
    """Concatenate each of P latents [P, B, D] with each of S steps [S, B, T] of its trial, [P, S, B, D + T]."""
    shape = (len(latent), len(steps))
    return torch.cat([latent[:, None].expand(*shape, -1, -1), steps[None].expand(*shape, -1, -1)], -1)
