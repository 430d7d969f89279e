"""Policies as pure functions of a dictionary of parameters.

The same code serves one task (parameters without a task axis) and B tasks at once (each parameter with a
leading B, observations [B, R, O]): a bias is kept as [1, width], so that matrix product and sum broadcast.
A missing parameter is a KeyError, an unknown one is refused by `check_shapes`: nothing falls back silently.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from torch import Tensor

from agents.contract import AgentError
from agents.functional.parameters import Parameters, whole
from agents.nets.action_units import unit_range
from agents.nets.encoders import PART, make_encoder
from agents.nets.mlp import Activation, init_mlp, mlp

Distribution = tuple[Tensor, ...]


class Policy(ABC):
    """A stochastic policy: a network, and a distribution of actions given its outputs."""

    noise_size: int

    def __init__(
        self, observation_space: gymnasium.Space, outputs: int, hidden_sizes: Sequence[int], activation: Activation
    ) -> None:
        self.encoder = make_encoder(observation_space)
        self.input_size = self.encoder.input_size
        self.output_size = outputs
        self._sizes = (self.encoder.size, *hidden_sizes, outputs)
        self._activation = activation

    def init(self, generator: torch.Generator) -> Parameters:
        """Fresh parameters; the last layer is small, so that the first policy hardly depends on the observation."""
        parameters = init_mlp(self._sizes, generator, last_scale=0.01) | self.init_spread()
        return parameters | self.init_encoder(generator)

    def init_encoder(self, generator: torch.Generator) -> Parameters:
        """Fresh parameters of the observation encoder, drawn after all others; {} where it has none."""
        return whole({PART: self.encoder.init(generator)})

    def init_spread(self) -> Parameters:
        """Fresh parameters of the action's spread, where it is no output of the network."""
        return {}

    def project(self, parameters: Parameters) -> None:  # noqa: B027  # an optional hook, empty on purpose
        """Moves meta-parameters, in place, back to where the policy wants them kept; nowhere by default."""

    def encode(self, observation: np.ndarray) -> Tensor:
        """Stored observations [..., *shape] as float32 features [..., O]; see `Encoder.prepare`."""
        return self.encoder.prepare(observation)

    def _network(self, parameters: Parameters, features: Tensor) -> Tensor:
        return mlp(parameters, len(self._sizes) - 1, self._activation, self.encoder(parameters, features))

    def distribution(self, parameters: Parameters, features: Tensor) -> Distribution:
        """Distribution parameters of the action at features [..., rows, O]."""
        return self.of_outputs(parameters, self._network(parameters, features))

    def to_unit(self, action: Tensor) -> Tensor:
        """Actions [..., A] in the policy's own units, of a similar size whatever the space; as they are by default."""
        return action

    @abstractmethod
    def of_outputs(self, parameters: Parameters, outputs: Tensor) -> Distribution:
        """Distribution parameters of the action, given a network's outputs [..., rows, `output_size`]."""

    @abstractmethod
    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Noise for `sample`, [*shape, noise_size] float32."""

    @abstractmethod
    def sample(self, distribution: Distribution, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """The action that this noise selects, without noise the most likely one; and its log-probability."""

    @abstractmethod
    def log_prob(self, distribution: Distribution, action: Tensor) -> Tensor:
        """Log-probability of an action, [..., rows]; summed over action dimensions."""

    @abstractmethod
    def kl(self, old: Distribution, new: Distribution) -> Tensor:
        """KL(old || new) in nats, [..., rows]."""

    @abstractmethod
    def fisher(self, distribution: Distribution, tangent: Distribution) -> Distribution:
        """The Fisher information of the distribution parameters, applied to a tangent of them."""

    @abstractmethod
    def entropy(self, distribution: Distribution) -> Tensor:
        """Entropy in nats, [..., rows]."""


@dataclass(frozen=True)
class ActionStd:
    """Standard deviations of a Gaussian policy, in action units of the family.

    Attributes:
        initial: before learning.
        minimum: of any policy, adapted ones too.
        min_initial: of the unadapted policy; None is `minimum`.
        gain: the log standard deviation is this times its parameter, so a gradient step of size a moves it by gain^2 a
            times its slope: a gain above 1 lets an inner step narrow the policy once its task is found.
        scaled: whether the policy's units of a bounded space are half its range from its middle, so that it is [-1, 1];
            the standard deviations above are in these units.
    """

    initial: float = 1.0
    minimum: float = 1e-3
    min_initial: float | None = None
    gain: float = 1.0
    scaled: bool = False


class Gaussian(Policy):
    """Diagonal Gaussian; its standard deviation is the same at every observation. Actions in the family's units."""

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.spaces.Box,
        hidden_sizes: Sequence[int],
        activation: Activation,
        std: ActionStd,
    ) -> None:
        self._action_size = int(np.prod(action_space.shape))
        super().__init__(observation_space, self._action_size, hidden_sizes, activation)
        self.noise_size = self._action_size
        self._initial_log_std = math.log(std.initial) / std.gain
        min_initial = std.minimum if std.min_initial is None else std.min_initial
        self._min_parameter = math.log(min_initial) / std.gain
        self._std_gain = std.gain
        self._min_log_std = math.log(std.minimum)
        self._units = unit_range(action_space) if std.scaled else None

    def to_unit(self, action: Tensor) -> Tensor:
        if self._units is None:
            return action
        middle, half = (tensor.to(action.device) for tensor in self._units)
        return (action - middle) / half

    def init_spread(self) -> Parameters:
        return {"log_std": torch.full((1, self._action_size), self._initial_log_std)}

    def project(self, parameters: Parameters) -> None:
        parameters["log_std"].clamp_(min=self._min_parameter)

    def of_outputs(self, parameters: Parameters, outputs: Tensor) -> Distribution:
        log_std = (self._std_gain * parameters["log_std"]).clamp(min=self._min_log_std)
        if self._units is not None:
            middle, half = (tensor.to(outputs.device) for tensor in self._units)
            outputs, log_std = torch.addcmul(middle, half, outputs), log_std + half.log()
        return outputs, log_std.expand_as(outputs)

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.standard_normal((*shape, self.noise_size), dtype=np.float32)

    def sample(self, distribution: Distribution, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        mean, log_std = distribution
        if noise is None:
            return mean, self.log_prob(distribution, mean)
        shared = log_std[..., :1, :]  # the same for all rows: exponentiate it once
        constant = -shared.sum(-1) - 0.5 * math.log(2 * math.pi) * self._action_size
        log_prob = torch.add(constant, torch.linalg.vecdot(noise, noise), alpha=-0.5)
        return torch.addcmul(mean, shared.exp(), noise), log_prob

    def log_prob(self, distribution: Distribution, action: Tensor) -> Tensor:
        mean, log_std = distribution
        scaled = (action - mean) * torch.exp(-log_std)
        return -(0.5 * scaled.square() + log_std).sum(-1) - 0.5 * math.log(2 * math.pi) * self._action_size

    def kl(self, old: Distribution, new: Distribution) -> Tensor:
        (old_mean, old_log_std), (new_mean, new_log_std) = old, new
        ratio = (2 * (old_log_std - new_log_std)).exp()
        shift = ((old_mean - new_mean) * torch.exp(-new_log_std)).square()
        return (new_log_std - old_log_std + 0.5 * (ratio + shift - 1)).sum(-1)

    def fisher(self, distribution: Distribution, tangent: Distribution) -> Distribution:
        _, log_std = distribution
        return tangent[0] * torch.exp(-2 * log_std), 2 * tangent[1]

    def entropy(self, distribution: Distribution) -> Tensor:
        return (distribution[1] + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


class Categorical(Policy):
    """One of n actions; `sample` is by the Gumbel-max trick, so all randomness is in the noise."""

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.spaces.Discrete,
        hidden_sizes: Sequence[int],
        activation: Activation,
    ) -> None:
        super().__init__(observation_space, int(action_space.n), hidden_sizes, activation)
        self.noise_size = int(action_space.n)
        self._first_action = int(action_space.start)

    def of_outputs(self, parameters: Parameters, outputs: Tensor) -> Distribution:
        return (torch.log_softmax(outputs, -1),)

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.gumbel(size=(*shape, self.noise_size)).astype(np.float32)

    def sample(self, distribution: Distribution, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        scores = distribution[0] if noise is None else distribution[0] + noise
        action = scores.argmax(-1) + self._first_action
        return action, self.log_prob(distribution, action)

    def one_hot(self, action: Tensor) -> Tensor:
        """Actions [...] as [..., n] float32."""
        return torch.nn.functional.one_hot(action.long() - self._first_action, self.output_size).float()

    def log_prob(self, distribution: Distribution, action: Tensor) -> Tensor:
        index = (action.long() - self._first_action).unsqueeze(-1)
        return distribution[0].gather(-1, index).squeeze(-1)

    def kl(self, old: Distribution, new: Distribution) -> Tensor:
        return (old[0].exp() * (old[0] - new[0])).sum(-1)

    def fisher(self, distribution: Distribution, tangent: Distribution) -> Distribution:
        # In log-probability coordinates the Fisher information is diag(p): KL = sum p (log p - log q).
        return (distribution[0].exp() * tangent[0],)

    def entropy(self, distribution: Distribution) -> Tensor:
        return -(distribution[0].exp() * distribution[0]).sum(-1)


class MultiCategorical(Policy):
    """Independent choices, one for each entry of a MultiDiscrete or MultiBinary action; Gumbel-max as in Categorical.

    The distribution is the log-probabilities of all choices side by side, [..., sum of the choices' sizes].
    """

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.spaces.MultiDiscrete | gymnasium.spaces.MultiBinary,
        hidden_sizes: Sequence[int],
        activation: Activation,
    ) -> None:
        self._shape = action_space.shape
        if isinstance(action_space, gymnasium.spaces.MultiDiscrete):
            self._choices = [int(count) for count in action_space.nvec.reshape(-1)]
            first = np.broadcast_to(action_space.start, self._shape).reshape(-1)
        else:
            self._choices, first = [2] * math.prod(self._shape), np.zeros(math.prod(self._shape))
        self._first = torch.as_tensor(first.astype(np.int64))
        super().__init__(observation_space, sum(self._choices), hidden_sizes, activation)
        self.noise_size = self.output_size

    def of_outputs(self, parameters: Parameters, outputs: Tensor) -> Distribution:
        return (torch.cat([torch.log_softmax(block, -1) for block in self._blocks(outputs)], -1),)

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.gumbel(size=(*shape, self.noise_size)).astype(np.float32)

    def sample(self, distribution: Distribution, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        scores = distribution[0] if noise is None else distribution[0] + noise
        indices = torch.stack([block.argmax(-1) for block in self._blocks(scores)], -1)
        action = (indices + self._first).reshape(*indices.shape[:-1], *self._shape)
        return action, self.log_prob(distribution, action)

    def one_hot(self, action: Tensor) -> Tensor:
        """Actions [..., *shape] as [..., sum of the choices' sizes] float32, one-hot in each block."""
        chosen = self._indices(action).unbind(-1)
        blocks = [torch.nn.functional.one_hot(one, n) for one, n in zip(chosen, self._choices, strict=True)]
        return torch.cat(blocks, -1).float()

    def log_prob(self, distribution: Distribution, action: Tensor) -> Tensor:
        indices, blocks = self._indices(action), self._blocks(distribution[0])
        chosen = [block.gather(-1, indices[..., one : one + 1]) for one, block in enumerate(blocks)]
        return torch.cat(chosen, -1).sum(-1)

    def kl(self, old: Distribution, new: Distribution) -> Tensor:
        return (old[0].exp() * (old[0] - new[0])).sum(-1)  # of independent choices: the sum of theirs

    def fisher(self, distribution: Distribution, tangent: Distribution) -> Distribution:
        return (distribution[0].exp() * tangent[0],)  # block by block as in Categorical

    def entropy(self, distribution: Distribution) -> Tensor:
        return -(distribution[0].exp() * distribution[0]).sum(-1)

    def _indices(self, action: Tensor) -> Tensor:
        """Actions [..., *shape] as indices [..., choices] that count from 0."""
        flat = action.long().reshape(*action.shape[: action.ndim - len(self._shape)], len(self._choices))
        return flat - self._first.to(flat.device)

    def _blocks(self, values: Tensor) -> tuple[Tensor, ...]:
        return values.split(self._choices, -1)


def make_policy(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    hidden_sizes: Sequence[int],
    activation: Activation,
    std: ActionStd,
) -> Policy:
    """The policy of an action space: Gaussian for a flat Box of real numbers, where `std` counts, else Categorical.

    Raises:
        AgentError: for other action spaces, and observation spaces of no fixed size.
    """
    check_actions(action_space)
    if isinstance(action_space, gymnasium.spaces.Box):
        return Gaussian(observation_space, action_space, hidden_sizes, activation, std)
    if isinstance(action_space, gymnasium.spaces.Discrete):
        return Categorical(observation_space, action_space, hidden_sizes, activation)
    assert isinstance(action_space, (gymnasium.spaces.MultiDiscrete, gymnasium.spaces.MultiBinary))
    return MultiCategorical(observation_space, action_space, hidden_sizes, activation)


def check_actions(space: gymnasium.Space) -> None:
    """Raise AgentError for an action space that no agent serves, with what to declare instead."""
    if isinstance(space, gymnasium.spaces.Box):
        if not np.issubdtype(space.dtype, np.floating):
            raise AgentError(
                f"a Box of whole numbers ({space}) is no action space of an agent; declare Discrete or MultiDiscrete "
                "actions, or a Box of real numbers that the environment rounds"
            )
        if len(space.shape) != 1 or not space.shape[0]:
            raise AgentError(
                f"a Box of actions has one axis, not the shape {space.shape}; declare shape "
                f"({max(1, math.prod(space.shape))},) and reshape the action in the environment's step"
            )
    elif isinstance(space, (gymnasium.spaces.Dict, gymnasium.spaces.Tuple)):
        raise AgentError(
            f"actions of a {type(space).__name__} space are served by no agent; declare one Box or MultiDiscrete space "
            "and split the action in the environment's step"
        )
    elif not isinstance(
        space, (gymnasium.spaces.Discrete, gymnasium.spaces.MultiDiscrete, gymnasium.spaces.MultiBinary)
    ):
        raise AgentError(
            f"actions of a {type(space).__name__} space are served by no agent; declare a Box, Discrete, MultiDiscrete "
            "or MultiBinary space"
        )
