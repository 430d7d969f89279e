"""Memories that attend to all earlier steps: a causal transformer, and SNAIL.

Nothing is forgotten: the state grows by one entry a step, keys and values of every step so far, so acting costs in
proportion to the steps so far and gradients cannot be truncated. Shapes: B rows, L steps, T steps so far with
these, I inputs.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor
from torch.nn import functional

from agents.contract import Config
from agents.functional.parameters import Parameters
from agents.nets.memories import Memory, MemoryState, init_linear, linear


class TransformerConfig(Config):
    """Causal transformer. Vaswani et al. 2017 (arXiv:1706.03762)."""

    name: Literal["transformer"] = "transformer"
    size: PositiveInt = 64  # features of a step
    layers: PositiveInt = 2  # blocks of attention and MLP
    heads: PositiveInt = 4  # that share the size

    @model_validator(mode="after")
    def _heads_fit(self) -> TransformerConfig:
        if self.size % self.heads:
            raise ValueError(
                f"a transformer's heads share its size equally, but size {self.size} is not divisible by "
                f"{self.heads} heads; change one of them"
            )
        if self.size % 2:
            raise ValueError(f"a transformer's positions are pairs of sine and cosine; make its size {self.size} even")
        return self


class SNAILConfig(Config):
    """Temporal convolutions and attention, interleaved. Mishra et al. 2018 (arXiv:1707.03141)."""

    name: Literal["snail"] = "snail"
    filters: PositiveInt = 16  # features that each convolution adds
    key_size: PositiveInt = 16  # features that attention compares
    value_size: PositiveInt = 16  # features that each attention block adds


def init_attention(name: str, inputs: int, key_size: int, value_size: int, generator: torch.Generator) -> Parameters:
    """Parameters of `attend`. Keys have no bias: it would shift all logits of a query alike, which changes nothing."""
    return {
        **init_linear(f"{name}/query", inputs, key_size, generator),
        **init_linear(f"{name}/key", inputs, key_size, generator, bias=False),
        **init_linear(f"{name}/value", inputs, value_size, generator),
    }


def start_attention(name: str, rows: int, heads: int, key_size: int, value_size: int, like: Tensor) -> MemoryState:
    """State of `attend` before the first step; sizes are of all heads together."""
    return {
        f"{name}/keys": like.new_zeros(rows, heads, 0, key_size // heads),
        f"{name}/values": like.new_zeros(rows, heads, 0, value_size // heads),
        f"{name}/weights": like.new_zeros(rows, heads, 0),
    }


def attend(
    parameters: Parameters, name: str, inputs: Tensor, state: MemoryState, heads: int
) -> tuple[Tensor, MemoryState]:
    """Causal attention: each step attends to itself and all before it. Vaswani et al. 2017, eq. 1 and section 3.2.2.

        reads = softmax(Q K^T / sqrt(size of a key)) V

    Args:
        parameters: those of `init_attention`.
        name: of the layer.
        inputs: [L, B, in] the steps that are new.
        state: keys and values of those before.
        heads: among which queries, keys and values are split equally.
    Returns:
        reads [L, B, values of all heads], and the layer's new state with the last step's weights [B, heads, T].
    """

    def split(features: Tensor) -> Tensor:
        return features.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)  # [B, heads, L, size of a head]

    new_keys = split(functional.linear(inputs, parameters[f"{name}/key_weight"]))
    keys = torch.cat([state[f"{name}/keys"], new_keys], 2)
    values = torch.cat([state[f"{name}/values"], split(linear(parameters, f"{name}/value", inputs))], 2)
    queries = split(linear(parameters, f"{name}/query", inputs))
    last = torch.softmax(queries[:, :, -1:] @ keys.mT / math.sqrt(keys.shape[-1]), -1)
    steps, total = queries.shape[2], keys.shape[2]
    if steps == 1:
        reads = last @ values
    elif steps == total:  # from the trial's start: torch's own causal mask
        reads = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    else:
        mask = torch.ones(steps, total, dtype=torch.bool, device=inputs.device).tril(total - steps)
        reads = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    after = {f"{name}/keys": keys, f"{name}/values": values, f"{name}/weights": last[:, :, 0].detach()}
    return reads.permute(2, 0, 1, 3).flatten(2), after


def positions(first: int, steps: int, size: int, like: Tensor) -> Tensor:
    """Sines and cosines [steps, size] of the places first, first + 1, ... Vaswani et al. 2017, section 3.5.

    The first half are sines and the second cosines; wavelengths run from 2 pi to 10,000 * 2 pi steps.
    """
    place = torch.arange(first, first + steps, dtype=like.dtype, device=like.device)
    rate = torch.arange(0, size, 2, dtype=like.dtype, device=like.device)
    angles = place[:, None] * torch.exp(-math.log(10_000.0) / size * rate)
    return torch.cat([angles.sin(), angles.cos()], -1)


class AttentionMemory(Memory):
    """Base of memories that attend: a step is a sequence of one."""

    can_truncate = False

    def step(self, parameters: Parameters, inputs: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        outputs, after = self.sequence(parameters, inputs[None], state)
        return outputs[0], after

    def attention(self, state: MemoryState) -> dict[str, Tensor]:
        """Each attending layer's weights [B, heads, T] of the last step."""
        return {name.removesuffix("/weights"): value for name, value in state.items() if name.endswith("/weights")}


class Transformer(AttentionMemory):
    """Pre-norm, as GPT-2 (Radford et al. 2019), with sinusoidal positions (Vaswani et al. 2017)."""

    def __init__(self, inputs: int, config: TransformerConfig) -> None:
        self.inputs, self.output_size, self.heads = inputs, config.size, config.heads
        self._layers = tuple(f"layer_{layer}" for layer in range(config.layers))

    def init(self, generator: torch.Generator) -> Parameters:
        size = self.output_size
        # Each layer adds twice to the residual stream: scaled down so that it does not grow with depth (GPT-2).
        scale = 1.0 / math.sqrt(2 * len(self._layers))
        parameters = init_linear("embedding", self.inputs, size, generator)
        for name in self._layers:
            parameters |= init_attention(name, size, size, size, generator)
            parameters |= init_linear(f"{name}/read", size, size, generator, scale=scale)
            parameters |= init_linear(f"{name}/widen", size, 4 * size, generator)
            parameters |= init_linear(f"{name}/narrow", 4 * size, size, generator, scale=scale)
        for name in (*(f"{name}/{part}_norm" for name in self._layers for part in ("attention", "mlp")), "norm"):
            parameters |= {f"{name}_gain": torch.ones(size), f"{name}_bias": torch.zeros(size)}
        return parameters

    def initial_state(self, parameters: Parameters, rows: int) -> MemoryState:
        size = self.output_size
        state: MemoryState = {}
        for name in self._layers:
            state |= start_attention(name, rows, self.heads, size, size, parameters["embedding_bias"])
        return state

    def sequence(self, parameters: Parameters, inputs: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        past = state[f"{self._layers[0]}/keys"].shape[2]  # the cache is the clock
        stream = linear(parameters, "embedding", inputs)
        stream = stream + positions(past, len(inputs), self.output_size, stream)[:, None]
        after: MemoryState = {}
        for name in self._layers:
            normal = self._normalise(parameters, f"{name}/attention_norm", stream)
            reads, cache = attend(parameters, name, normal, state, self.heads)
            after |= cache
            stream = stream + linear(parameters, f"{name}/read", reads)
            normal = self._normalise(parameters, f"{name}/mlp_norm", stream)
            wide = functional.gelu(linear(parameters, f"{name}/widen", normal))
            stream = stream + linear(parameters, f"{name}/narrow", wide)
        return self._normalise(parameters, "norm", stream), after

    def _normalise(self, parameters: Parameters, name: str, stream: Tensor) -> Tensor:
        gain, bias = parameters[f"{name}_gain"], parameters[f"{name}_bias"]
        return functional.layer_norm(stream, (self.output_size,), gain, bias)


class SNAIL(AttentionMemory):
    """Attention, convolutions, attention, convolutions, attention: Mishra et al. 2018, section 3 and its figure 2.

    Every block concatenates features to its input, so the output is the input and all that was added. A block of
    convolutions sees back over the whole trial: kernels of 2 steps that are 1, 2, 4, ... steps apart.
    """

    blocks = ("attention", "convolutions", "attention", "convolutions", "attention")

    def __init__(self, inputs: int, steps: int, config: SNAILConfig) -> None:
        self.inputs, self.config = inputs, config
        # Distances 1 to 2^(n-1) see 2^n steps, the present one among them: the fewest that see them all.
        self.distances = tuple(2**power for power in range(max(1, (steps - 1).bit_length())))
        added = {"attention": config.value_size, "convolutions": len(self.distances) * config.filters}
        self.output_size = inputs + sum(added[block] for block in self.blocks)

    def init(self, generator: torch.Generator) -> Parameters:
        config, size = self.config, self.inputs
        parameters: Parameters = {}
        for layer, block in enumerate(self.blocks):
            if block == "attention":
                parameters |= init_attention(f"layer_{layer}", size, config.key_size, config.value_size, generator)
                size += config.value_size
                continue
            for distance in self.distances:
                # Filter and gate in one; the kernel's two entries add up, so each is scaled as half of one map.
                for part, bias in (("now", True), ("past", False)):
                    name = f"layer_{layer}/{distance}_{part}"
                    parameters |= init_linear(
                        name, size, 2 * config.filters, generator, bias=bias, scale=math.sqrt(0.5)
                    )
                size += config.filters
        return parameters

    def initial_state(self, parameters: Parameters, rows: int) -> MemoryState:
        config, like = self.config, parameters["layer_0/query_bias"]
        state = {"recent": like.new_zeros(rows, self.distances[-1], self.output_size)}
        for layer, block in enumerate(self.blocks):
            if block == "attention":
                state |= start_attention(f"layer_{layer}", rows, 1, config.key_size, config.value_size, like)
        return state

    def sequence(self, parameters: Parameters, inputs: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        features, recent = inputs, state["recent"].transpose(0, 1)
        after: MemoryState = {}
        for layer, block in enumerate(self.blocks):
            name = f"layer_{layer}"
            if block == "attention":
                reads, cache = attend(parameters, name, features, state, heads=1)
                features = torch.cat([features, reads], -1)
                after |= cache
                continue
            for distance in self.distances:
                added = self._convolve(parameters, f"{name}/{distance}", features, recent, distance)
                features = torch.cat([features, added], -1)
        reach = self.distances[-1]
        after["recent"] = torch.cat([recent[len(features) :], features[-reach:]]).transpose(0, 1)
        return features, after

    @staticmethod
    def _convolve(parameters: Parameters, name: str, features: Tensor, recent: Tensor, distance: int) -> Tensor:
        """tanh(filter) * sigmoid(gate) of each step and the one `distance` before it, [L, B, filters].

        `recent` [longest distance, B, H] are the outputs of the steps before these, zero before the trial; features
        at this depth are the first entries of an output.
        """
        steps, size = len(features), features.shape[-1]
        first = len(recent) - distance
        earlier = recent[first : first + steps, :, :size], features[: max(steps - distance, 0)]
        weight = parameters[f"{name}_past_weight"]
        past = torch.cat([functional.linear(features, weight) for features in earlier])
        filtered, gate = (linear(parameters, f"{name}_now", features) + past).chunk(2, -1)
        return torch.tanh(filtered) * torch.sigmoid(gate)
