"""Perceptrons side by side, such as twin critics (an ensemble critic), and parameters that are kept in one vector.

Their forward and backward passes are pure functions in agents/functional/ensembles.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from agents.functional.parameters import Parameters, unflatten
from agents.nets.mlp import init_mlp


def init_ensemble(sizes: Sequence[int], members: int, generator: torch.Generator, last_scale: float) -> Parameters:
    """`init_mlp` for each of E networks."""
    each = [init_mlp(sizes, generator, last_scale) for _ in range(members)]
    return {name: torch.stack([one[name] for one in each]) for name in each[0]}


class Vector:
    """Parameters that are views of one vector, so that an optimiser or an average moves all of them in one call.

    Attributes:
        values: the vector.
        gradient: its `grad`, where an optimiser finds the gradients.
        parameters: its views by name, of the shapes given.
        gradients: views of its gradient, likewise.
    """

    def __init__(self, parameters: Parameters, device: torch.device) -> None:
        self.values = torch.cat([value.reshape(-1) for value in parameters.values()]).to(device)
        self.gradient = self.values.grad = torch.zeros_like(self.values)
        self.parameters, self.gradients = (unflatten(vector, parameters) for vector in (self.values, self.gradient))
