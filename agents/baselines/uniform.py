"""Uniformly random actions: the return of a trial without any policy."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from agents.baselines.base import Baseline
from agents.contract import AgentError, Interface


class Random(Baseline):
    """Samples every action uniformly from the action space."""

    name: ClassVar[str] = "random"
    adapts: ClassVar[bool] = False

    def __init__(self, interface: Interface, episodes: int) -> None:
        super().__init__(interface, episodes)
        space = interface.action_space
        bounded = isinstance(space, Box) and space.is_bounded("both") and np.issubdtype(space.dtype, np.floating)
        if not (bounded or isinstance(space, (Discrete, MultiDiscrete, MultiBinary))):
            raise AgentError(
                "the random agent takes Discrete, MultiDiscrete or MultiBinary actions or a Box of bounded real ones, "
                f"not {space}; bound the space"
            )

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.random((*shape, int(np.prod(self.interface.action_space.shape or ()))), dtype=np.float32)

    def choose(self, state: Any, observation: np.ndarray, noise: np.ndarray | None) -> tuple[np.ndarray, Any]:
        if noise is None:
            raise AgentError("the random agent is nothing but noise; measure it without --deterministic")
        space = self.interface.action_space
        if isinstance(space, Discrete):
            return int(space.start) + (noise[..., 0] * np.float64(space.n)).astype(np.int64), state
        fraction = noise.reshape(*noise.shape[:2], *(space.shape or ()))
        if isinstance(space, MultiDiscrete):
            return space.start + (fraction * space.nvec.astype(np.float64)).astype(np.int64), state
        if isinstance(space, MultiBinary):
            return (fraction * 2.0).astype(np.int64), state
        assert isinstance(space, Box)
        return (space.low + fraction * (space.high - space.low)).astype(space.dtype), state
