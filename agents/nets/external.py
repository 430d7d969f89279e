"""External memory: slots beside the network. Santoro et al. 2016 (arXiv:1605.06065), after Graves et al. 2014
(arXiv:1410.5401).

A controller writes keys to the least recently used slots, and reads slots by their similarity to its keys. Shapes:
B rows, L steps, I inputs, R heads, each of which reads and writes.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor
from torch.nn import functional

from agents.contract import Config
from agents.functional.parameters import Parameters
from agents.nets.memories import LSTM, Memory, MemoryState, init_linear, linear


class ExternalConfig(Config):
    """Memory-augmented neural network. Santoro et al. 2016 (arXiv:1605.06065)."""

    name: Literal["external"] = "external"
    size: PositiveInt = 64  # of the controller, an LSTM
    slots: PositiveInt = 16  # of the memory
    width: PositiveInt = 16  # entries of a slot
    read_heads: PositiveInt = 1  # each reads and writes a slot a step
    usage_decay: Annotated[float, Field(ge=0, le=1)] = 0.95  # a step; gamma of eq. 5

    @model_validator(mode="after")
    def _slots_suffice(self) -> ExternalConfig:
        if self.read_heads > self.slots:
            raise ValueError(
                f"each of {self.read_heads} read_heads writes to a slot of its own at every step, but there are "
                f"{self.slots} slots; give it more slots or fewer heads"
            )
        return self


class ExternalMemory(Memory):
    """Least-recently-used access. Which slot is least used is a choice, not differentiated; all else is."""

    def __init__(self, inputs: int, config: ExternalConfig) -> None:
        self.config = config
        self._read = config.read_heads * config.width
        self.controller = LSTM(inputs + self._read, config.size, chrono_steps=None)
        self.output_size = config.size + self._read

    def init(self, generator: torch.Generator) -> Parameters:
        controller = self.controller.init(generator)
        return {
            **{f"controller/{name}": value for name, value in controller.items()},
            **init_linear("key", self.config.size, self._read, generator),
            **init_linear("gate", self.config.size, self.config.read_heads, generator),
        }

    def initial_state(self, parameters: Parameters, rows: int) -> MemoryState:
        """Empty slots that were never used, and nothing read."""
        config, like = self.config, parameters["key_bias"]
        return {
            **self.controller.initial_state(self._of_controller(parameters), rows),
            "slots": like.new_zeros(rows, config.slots, config.width),
            "usage": like.new_zeros(rows, config.slots),
            "weights": like.new_zeros(rows, config.read_heads, config.slots),
            "reads": like.new_zeros(rows, config.read_heads, config.width),
        }

    def step(self, parameters: Parameters, inputs: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        """One step; numbers are equations of Santoro et al. 2016.

        The paper leaves open how several heads share the least-used slots: head h writes to the h-th of them. Keys
        are bounded by tanh, which the paper leaves open too.
        """
        config = self.config
        controller_inputs = torch.cat([inputs, state["reads"].flatten(1)], -1)
        hidden, after = self.controller.step(self._of_controller(parameters), controller_inputs, state)
        keys = torch.tanh(linear(parameters, "key", hidden)).unflatten(-1, (config.read_heads, config.width))
        gate = torch.sigmoid(linear(parameters, "gate", hidden))[..., None]
        # A stable order, so that of slots used alike the first is taken on every machine.
        order = state["usage"].argsort(dim=-1, stable=True)[:, : config.read_heads]
        least_used = functional.one_hot(order, config.slots).to(keys.dtype)  # eq. 6, [B, R, slots]
        writing = gate * state["weights"] + (1.0 - gate) * least_used  # eq. 7
        emptied = state["slots"] * (1.0 - least_used.sum(1))[..., None]
        # Matrices so small are multiplied faster by hand.
        slots = emptied + (writing[..., None] * keys[:, :, None]).sum(1)  # eq. 8
        similarity = functional.cosine_similarity(keys[:, :, None], slots[:, None], dim=-1)  # eq. 2
        weights = torch.softmax(similarity, -1)  # eq. 3
        reads = (weights[..., None] * slots[:, None]).sum(2)  # eq. 4
        usage = config.usage_decay * state["usage"] + (weights + writing).sum(1).detach()  # eq. 5
        after |= {"slots": slots, "usage": usage, "weights": weights, "reads": reads}
        return torch.cat([hidden, reads.flatten(1)], -1), after

    def sequence(self, parameters: Parameters, inputs: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        outputs = []
        for step_inputs in inputs:
            output, state = self.step(parameters, step_inputs, state)
            outputs.append(output)
        return torch.stack(outputs), state

    def attention(self, state: MemoryState) -> dict[str, Tensor]:
        """The last step's read weights [B, R, slots]."""
        return {"slots": state["weights"].detach()}

    @staticmethod
    def _of_controller(parameters: Parameters) -> Parameters:
        mark = "controller/"
        return {name.removeprefix(mark): value for name, value in parameters.items() if name.startswith(mark)}
