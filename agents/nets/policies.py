"""Policies as pure functions of a dictionary of parameters.

The same code serves one task (parameters without a task axis) and B tasks at once (each parameter with a
leading B, observations [B, R, O]): a bias is kept as [1, width], so that matrix product and sum broadcast.
A missing parameter is a KeyError, an unknown one is refused by `check_shapes`: nothing falls back silently.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import gymnasium
import numpy as np
import torch
from torch import Tensor

from agents.contract import AgentError
from agents.functional.parameters import Parameters
from agents.nets.mlp import Activation, init_mlp, mlp

Distribution = tuple[Tensor, ...]


class Policy(ABC):
    """What MAML needs of a stochastic policy; `Gaussian` and `Categorical` fill it in."""

    noise_size: int

    def __init__(
        self, observation_space: gymnasium.Space, outputs: int, hidden_sizes: Sequence[int], activation: Activation
    ) -> None:
        self.inputs = encoded_size(observation_space)
        self._discrete_observation = isinstance(observation_space, gymnasium.spaces.Discrete)
        self._first_observation = int(getattr(observation_space, "start", 0))
        self.outputs = outputs
        self._sizes = (self.inputs, *hidden_sizes, outputs)
        self._activation = activation

    def init(self, generator: torch.Generator) -> Parameters:
        """Fresh parameters; the small last layer makes the first policy indifferent to the observation."""
        return init_mlp(self._sizes, generator, last_scale=0.01) | self.init_spread()

    def init_spread(self) -> Parameters:
        """Fresh parameters beside the network's: what the action's spread needs, where the network does not say it."""
        return {}

    def project(self, parameters: Parameters) -> None:  # noqa: B027  # an optional hook, empty on purpose
        """Moves meta-parameters, in place, back to where the policy wants them kept; nowhere by default."""

    def encode(self, observation: np.ndarray) -> Tensor:
        """Observations [..., *shape] as float32 features [..., O]: flat, or one-hot where they are discrete."""
        values = torch.as_tensor(observation)
        if self._discrete_observation:
            return torch.nn.functional.one_hot(values.long() - self._first_observation, self.inputs).float()
        return values.float()

    def _network(self, parameters: Parameters, features: Tensor) -> Tensor:
        return mlp(parameters, len(self._sizes) - 1, self._activation, features)

    def distribution(self, parameters: Parameters, features: Tensor) -> Distribution:
        """Distribution parameters of the action at features [..., rows, O]."""
        return self.of_outputs(parameters, self._network(parameters, features))

    @abstractmethod
    def of_outputs(self, parameters: Parameters, outputs: Tensor) -> Distribution:
        """Distribution parameters of the action, given what a network says, [..., rows, `outputs`]."""

    @abstractmethod
    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Noise for `sample`, [*shape, noise_size] float32."""

    @abstractmethod
    def sample(self, distribution: Distribution, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """The action that this noise picks, without noise the most likely one; and its log-probability."""

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


class Gaussian(Policy):
    """Diagonal Gaussian, its deviation the same at every observation. Actions in the family's units.

    The log-deviation is `std_gain` times its parameter, so a gradient step of size a moves it by std_gain^2 * a times
    its slope: a gain above 1 lets an inner step narrow the policy when its task is found.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.spaces.Box,
        hidden_sizes: Sequence[int],
        activation: Activation,
        *,
        initial_std: float,
        min_std: float,
        min_initial_std: float,
        std_gain: float = 1.0,
    ) -> None:
        self._action_size = int(np.prod(action_space.shape))
        super().__init__(observation_space, self._action_size, hidden_sizes, activation)
        self.noise_size = self._action_size
        self._initial_log_std = math.log(initial_std) / std_gain
        self._least_parameter = math.log(min_initial_std) / std_gain
        self._std_gain = std_gain
        self._min_log_std = math.log(min_std)

    def init_spread(self) -> Parameters:
        return {"log_std": torch.full((1, self._action_size), self._initial_log_std)}

    def project(self, parameters: Parameters) -> None:
        parameters["log_std"].clamp_(min=self._least_parameter)

    def of_outputs(self, parameters: Parameters, outputs: Tensor) -> Distribution:
        log_std = (self._std_gain * parameters["log_std"]).clamp(min=self._min_log_std)
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
    """One of n actions; `sample` picks by the Gumbel-max rule, so the noise alone decides."""

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
        return torch.nn.functional.one_hot(action.long() - self._first_action, self.outputs).float()

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


def encoded_size(observation_space: gymnasium.Space) -> int:
    """Features that an observation becomes; refuses spaces with no plain encoding."""
    if isinstance(observation_space, gymnasium.spaces.Discrete):
        return int(observation_space.n)
    if isinstance(observation_space, gymnasium.spaces.Box) and len(observation_space.shape) == 1:
        return int(observation_space.shape[0])
    raise AgentError(
        f"this agent takes flat Box or Discrete observations, not {observation_space}; "
        "wrap the environment in gymnasium.wrappers.FlattenObservation"
    )


def make_policy(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    hidden_sizes: Sequence[int],
    activation: Activation,
    *,
    initial_std: float,
    min_std: float,
    min_initial_std: float | None = None,
    std_gain: float = 1.0,
) -> Policy:
    """The policy that the action space asks for."""
    if isinstance(action_space, gymnasium.spaces.Box) and len(action_space.shape) == 1:
        return Gaussian(
            observation_space,
            action_space,
            hidden_sizes,
            activation,
            initial_std=initial_std,
            min_std=min_std,
            min_initial_std=min_std if min_initial_std is None else min_initial_std,
            std_gain=std_gain,
        )
    if isinstance(action_space, gymnasium.spaces.Discrete):
        return Categorical(observation_space, action_space, hidden_sizes, activation)
    raise AgentError(
        f"this agent takes flat Box or Discrete actions, not {action_space}; wrap the environment accordingly"
    )
