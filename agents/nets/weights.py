"""Weights that come from elsewhere, a checkpoint or another run: checked against those wanted before they are taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from agents.contract import AgentError
from agents.functional.parameters import Parameters


def check_shapes(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raises AgentError unless both have exactly the same names, shapes and types."""
    has, needs = ({name: (*value.shape, str(value.dtype)) for name, value in one.items()} for one in (given, wanted))
    if has != needs:
        wrong = sorted(set(needs.items()) ^ set(has.items()))
        raise AgentError(f"these parameters belong to another policy: {wrong[0]} does not fit; use its own recipe")


def take_weights(parameters: Parameters, weights: Mapping[str, Tensor]) -> None:
    """Copies weights into parameters, in place; AgentError, and nothing changed, unless they fit."""
    check_shapes(weights, parameters)
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(weights[name])


def check_adam(state: Mapping[str, Any], parameters: Iterable[Tensor]) -> None:
    """AgentError unless an Adam of these parameters could take this state."""
    moments = state["state"].values()
    for parameter, moment in zip(parameters, moments, strict=bool(moments)):
        if not moment["exp_avg"].shape == moment["exp_avg_sq"].shape == parameter.shape:
            raise AgentError("this checkpoint's optimiser belongs to another network; use its own recipe")


def check_counts(state: Mapping[str, Any], *names: str) -> None:
    """AgentError unless these entries of a learner's state are integers of at least 0."""
    for name in names:
        if type(state[name]) is not int or state[name] < 0:
            raise AgentError(f"this checkpoint's {name} is {state[name]!r}, no count; it is damaged")
