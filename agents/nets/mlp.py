"""Multi-layer perceptrons as pure functions of a dictionary of parameters.

The same code serves one task (parameters without a task axis) and B tasks at once (each parameter with a leading B,
inputs [B, R, in]): a bias is kept as [1, width], so that matrix product and sum broadcast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from agents.functional.parameters import Parameters

Activation = Literal["tanh", "relu"]


def init_mlp(sizes: Sequence[int], generator: torch.Generator, last_scale: float) -> Parameters:
    """Weights of a multi-layer perceptron: Glorot-uniform, zero biases, the last layer scaled by `last_scale`."""
    parameters = {}
    layers = list(pairwise(sizes))
    for layer, (fan_in, fan_out) in enumerate(layers):
        bound = math.sqrt(6.0 / (fan_in + fan_out)) * (last_scale if layer == len(layers) - 1 else 1.0)
        parameters[f"weight_{layer}"] = (torch.rand(fan_in, fan_out, generator=generator) * 2 - 1) * bound
        parameters[f"bias_{layer}"] = torch.zeros(1, fan_out)
    return parameters


def mlp(parameters: Parameters, layers: int, activation: Activation, inputs: Tensor) -> Tensor:
    """inputs [..., rows, in] -> [..., rows, out], through `layers` linear maps with the activation between them."""
    hidden = inputs
    for layer in range(layers):
        weight, bias = parameters[f"weight_{layer}"], parameters[f"bias_{layer}"]
        if hidden.ndim == 3 and weight.ndim == 3:  # one fused kernel; the same sum as below
            hidden = torch.baddbmm(bias, hidden, weight)
        else:
            hidden = hidden @ weight + bias
        if layer < layers - 1:
            hidden = torch.tanh(hidden) if activation == "tanh" else torch.relu(hidden)
    return hidden
