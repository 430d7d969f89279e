"""Every kind of memory, by its configuration."""

from __future__ import annotations

from typing import Annotated, assert_never

from pydantic import Field

from agents.contract import AgentError
from agents.nets.attention import SNAIL, SNAILConfig, Transformer, TransformerConfig
from agents.nets.external import ExternalConfig, ExternalMemory
from agents.nets.memories import GRU, LSTM, GRUConfig, LSTMConfig, Memory, NoMemory, NoMemoryConfig

MemoryConfig = Annotated[
    GRUConfig | LSTMConfig | TransformerConfig | SNAILConfig | ExternalConfig | NoMemoryConfig,
    Field(discriminator="name"),
]


def make_memory(config: MemoryConfig, inputs: int, steps: int) -> Memory:
    """The memory that a configuration asks for.

    Args:
        config: its kind and size.
        inputs: I, entries of an input.
        steps: the longest trial, which some memories must know.
    """
    if inputs < 1 or steps < 1:
        raise AgentError(
            f"a {config.name} memory was asked for {inputs} inputs and trials of {steps} steps; both must be at least 1"
        )
    match config:
        case GRUConfig():
            return GRU(inputs, config.size, config.chrono_steps)
        case LSTMConfig():
            return LSTM(inputs, config.size, config.chrono_steps)
        case TransformerConfig():
            return Transformer(inputs, config)
        case SNAILConfig():
            return SNAIL(inputs, steps, config)
        case ExternalConfig():
            return ExternalMemory(inputs, config)
        case NoMemoryConfig():
            return NoMemory()
        case _:
            assert_never(config)
