"""Memories: networks whose hidden state carries a trial's experience from step to step. Their contract; GRU and LSTM.

A memory is pure functions of a flat dictionary of parameters, as policies are (ADR 2). Acting goes step by step with a
state; learning goes over whole sequences, and gives the same numbers:

    outputs, state = memory.sequence(parameters, inputs [L, B, I], state)     for t: output, state = memory.step(...)

A state is a dictionary of tensors with a leading B, never changed in place. Shapes: B rows (trials), L steps, I inputs,
H = `output_size`. `memory_kinds.py` makes any kind from its configuration.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from agents.contract import Config
from agents.functional.gru import GRUSequence
from agents.functional.parameters import Parameters

MemoryState = dict[str, Tensor]


class Memory(ABC):
    """A network with a hidden state that lives as long as the trial.

    Attributes:
        output_size: H, entries of an output.
        can_truncate: whether gradients may be cut between segments of a sequence while the hidden state is passed on.
            Memories that attend to all earlier steps cannot.
    """

    output_size: int
    can_truncate: bool = True

    @abstractmethod
    def init(self, generator: torch.Generator) -> Parameters:
        """Fresh parameters."""

    @abstractmethod
    def initial_state(self, parameters: Parameters, rows: int) -> MemoryState:
        """The state [rows, ...] before a trial's first step, on the parameters' device."""

    @abstractmethod
    def step(self, parameters: Parameters, inputs: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        """One step: inputs [B, I] -> outputs [B, H] and the new state."""

    @abstractmethod
    def sequence(self, parameters: Parameters, inputs: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        """All steps: inputs [L, B, I] -> outputs [L, B, H] and the state after them."""

    def attention(self, state: MemoryState) -> dict[str, Tensor]:
        """Attention weights of the last step by layer, [B, ...] over earlier steps or slots; {} without attention."""
        return {}


def init_linear(
    name: str, inputs: int, outputs: int, generator: torch.Generator, *, bias: bool = True, scale: float = 1.0
) -> Parameters:
    """Parameters of `linear`: weight [outputs, inputs] Glorot-uniform times `scale`, bias [outputs] zero."""
    bound = math.sqrt(6.0 / (inputs + outputs)) * scale
    weight = (torch.rand(outputs, inputs, generator=generator) * 2 - 1) * bound
    return {f"{name}_weight": weight} | ({f"{name}_bias": torch.zeros(outputs)} if bias else {})


def linear(parameters: Parameters, name: str, inputs: Tensor) -> Tensor:
    """inputs [..., in] -> [..., out]."""
    return torch.nn.functional.linear(inputs, parameters[f"{name}_weight"], parameters[f"{name}_bias"])


class GRUConfig(Config):
    """Gated recurrent unit. Cho et al. 2014 (arXiv:1406.1078)."""

    name: Literal["gru"] = "gru"
    size: PositiveInt = 64  # entries of the hidden state
    chrono_steps: PositiveInt | None = None  # initial memory span; None leaves the gates' biases at 0


class LSTMConfig(Config):
    """Long short-term memory. Hochreiter and Schmidhuber 1997."""

    name: Literal["lstm"] = "lstm"
    size: PositiveInt = 64  # entries of the hidden state
    chrono_steps: PositiveInt | None = None  # initial memory span; None leaves the gates' biases at 0


class NoMemoryConfig(Config):
    """No memory: the policy reads the observation alone. Domain randomisation, when trained on many tasks.

    Tobin et al. 2017 (arXiv:1703.06907), Peng et al. 2018 (arXiv:1710.06537, its memoryless control).
    """

    name: Literal["none"] = "none"


def chrono_bias(size: int, steps: int, generator: torch.Generator) -> Tensor:
    """Biases [size] of a gate that keeps 1 to `steps` steps. Tallec and Ollivier 2018 (arXiv:1804.11188).

    log u with u ~ U[1, steps - 1]: a unit of bias log u forgets within about 1 + u steps.
    """
    return torch.log(1.0 + torch.rand(size, generator=generator) * max(steps - 2, 0))


class Recurrent(Memory):
    """Base of GRU and LSTM: gates from one product of the input and one of the hidden state."""

    gates: int

    def __init__(self, inputs: int, size: int, chrono_steps: int | None) -> None:
        self.inputs, self.output_size, self.chrono_steps = inputs, size, chrono_steps

    def init(self, generator: torch.Generator) -> Parameters:
        size, gates = self.output_size, self.gates
        bound = math.sqrt(6.0 / (self.inputs + size))
        hidden = [_orthogonal(size, generator) for _ in range(gates)]
        parameters = {
            "input_weight": (torch.rand(gates * size, self.inputs, generator=generator) * 2 - 1) * bound,
            "hidden_weight": torch.cat(hidden),
            "input_bias": torch.zeros(gates * size),
            "hidden_bias": torch.zeros(gates * size),
        }
        if self.chrono_steps is not None:
            self._set_chrono_bias(parameters["input_bias"], chrono_bias(size, self.chrono_steps, generator))
        return parameters

    @abstractmethod
    def _set_chrono_bias(self, bias: Tensor, chrono: Tensor) -> None:
        """Write the chrono biases into the concatenated ones, in place."""

    @staticmethod
    def _torch_weights(parameters: Parameters) -> list[Tensor]:
        """Parameters in the order of torch's functions."""
        return [parameters[name] for name in ("input_weight", "hidden_weight", "input_bias", "hidden_bias")]

    def _torch_sequence(
        self, function: Callable[..., tuple[Tensor, ...]], inputs: Tensor, hidden: Any, parameters: Parameters
    ) -> tuple[Tensor, ...]:
        """All steps by `torch.gru` or `torch.lstm`: one layer, no dropout, `train` on.

        cuDNN refuses the backward pass of a call with `train` off, and copies weights that are not one block of memory.
        """
        weights = self._torch_weights(parameters)
        if inputs.device.type != "cpu":
            block = torch.cat([weight.reshape(-1) for weight in weights])
            views = block.split([weight.numel() for weight in weights])
            weights = [view.view_as(weight) for view, weight in zip(views, weights, strict=True)]
        has_biases, layers, dropout, train, bidirectional, batch_first = True, 1, 0.0, True, False, False
        return function(inputs, hidden, weights, has_biases, layers, dropout, train, bidirectional, batch_first)


class GRU(Recurrent):
    """The GRU of torch: reset, update and new gate; h' = (1 - z) n + z h."""

    gates = 3

    def _set_chrono_bias(self, bias: Tensor, chrono: Tensor) -> None:
        bias[self.output_size : 2 * self.output_size] = chrono  # of z, which keeps h

    def initial_state(self, parameters: Parameters, rows: int) -> MemoryState:
        return {"hidden": parameters["input_bias"].new_zeros(rows, self.output_size)}

    def step(self, parameters: Parameters, inputs: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        hidden = torch.gru_cell(inputs, state["hidden"], *self._torch_weights(parameters))
        return hidden, {"hidden": hidden}

    def sequence(self, parameters: Parameters, inputs: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        if inputs.device.type == "cpu":  # cuDNN has all steps in one kernel
            outputs = GRUSequence.apply(inputs, state["hidden"], *self._torch_weights(parameters))
            return outputs, {"hidden": outputs[-1]}
        outputs, last = self._torch_sequence(torch.gru, inputs, state["hidden"][None], parameters)
        return outputs, {"hidden": last[0]}


class LSTM(Recurrent):
    """The LSTM of torch: input, forget, new and output gate; c' = f c + i g, h' = o tanh c'."""

    gates = 4

    def _set_chrono_bias(self, bias: Tensor, chrono: Tensor) -> None:
        bias[self.output_size : 2 * self.output_size] = chrono
        bias[: self.output_size] = -chrono

    def initial_state(self, parameters: Parameters, rows: int) -> MemoryState:
        zeros = parameters["input_bias"].new_zeros(rows, self.output_size)
        return {"hidden": zeros, "cell": zeros}

    def step(self, parameters: Parameters, inputs: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        hidden, cell = torch.lstm_cell(inputs, (state["hidden"], state["cell"]), *self._torch_weights(parameters))
        return hidden, {"hidden": hidden, "cell": cell}

    def sequence(self, parameters: Parameters, inputs: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        before = (state["hidden"][None], state["cell"][None])
        outputs, hidden, cell = self._torch_sequence(torch.lstm, inputs, before, parameters)
        return outputs, {"hidden": hidden[0], "cell": cell[0]}


class NoMemory(Memory):
    """Keeps nothing and says nothing: outputs [..., 0]. What reads it beside the observation reads that alone."""

    output_size = 0

    def init(self, generator: torch.Generator) -> Parameters:
        return {}

    def initial_state(self, parameters: Parameters, rows: int) -> MemoryState:
        return {}

    def step(self, parameters: Parameters, inputs: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        return inputs[..., :0], state

    def sequence(self, parameters: Parameters, inputs: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        return inputs[..., :0], state


def _orthogonal(size: int, generator: torch.Generator) -> Tensor:
    """A random orthogonal matrix [size, size]: repeated products neither vanish nor explode."""
    rotation, upper = torch.linalg.qr(torch.randn(size, size, generator=generator))
    return rotation * torch.sign(torch.diagonal(upper))
