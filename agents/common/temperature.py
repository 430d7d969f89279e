"""The temperature of soft actor-critic: how much the policy's entropy counts beside the scaled reward."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat

from agents.contract import Config


class FixedTemperature(Config):
    """As published: the entropy counts this much beside the scaled reward."""

    name: Literal["fixed"] = "fixed"
    value: PositiveFloat = 1.0  # weight of the entropy


class LearnedTemperature(Config):
    """Learned, so that the policy keeps its target entropy. Haarnoja et al. 2018 (arXiv:1812.05905), section 5."""

    name: Literal["learned"] = "learned"
    value: PositiveFloat = 0.1  # weight of the entropy, at first
    target_entropy: float | None = None  # nats, of actions in [-1, 1]; None is minus their number of entries
