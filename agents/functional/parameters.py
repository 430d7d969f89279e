"""Parameters of networks: tensors by name, taken apart, put together, and laid out as one vector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Parameters = dict[str, Tensor]


def part(parameters: Mapping[str, Tensor], name: str) -> Parameters:
    """The parameters of one part of a network, by their own names.

    Args:
        parameters: of the whole, a part's under `part name/`.
        name: of the part.

    Returns:
        those under `name/`, without this prefix.
    """
    return {key.removeprefix(f"{name}/"): value for key, value in parameters.items() if key.startswith(f"{name}/")}


def whole(parts: Mapping[str, Parameters]) -> Parameters:
    """The parameters of several parts in one dictionary; `part` is the inverse.

    Args:
        parts: parameters of each part by its name.

    Returns:
        all of them, each under `part name/`.
    """
    return {f"{name}/{key}": value for name, parameters in parts.items() for key, value in parameters.items()}


def flatten(parameters: Parameters) -> Tensor:
    """All parameters as one vector.

    Args:
        parameters: by name.

    Returns:
        [P], in the dictionary's order.
    """
    return torch.cat([value.reshape(-1) for value in parameters.values()])


def unflatten(vector: Tensor, like: Parameters) -> Parameters:
    """The inverse of `flatten`.

    Args:
        vector: [P] float.
        like: parameters of the names and shapes wanted, P entries in all.

    Returns:
        views of the vector by name.
    """
    entries = vector.split([value.numel() for value in like.values()])
    return {name: values.view_as(like[name]) for name, values in zip(like, entries, strict=True)}
