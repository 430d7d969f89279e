"""A family whose observations fill an object store: `fault_injection.py` plays it in one that is too small."""

from __future__ import annotations

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.task import Task, TaskFamily, Uniform

Observation = NDArray[np.float32]


class WideWalk(gymnasium.Env[Observation, Observation]):
    """Walk on a line towards a hidden point; an observation is the place, 300 times."""

    observation_space = gymnasium.spaces.Box(-50.0, 50.0, (300,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, target: float) -> None:
        self._target, self._place = target, 0.0

    def _observation(self) -> Observation:
        return np.full(300, self._place, np.float32)

    def reset(self, *, seed: int | None = None, options: object = None) -> tuple[Observation, dict[str, object]]:
        super().reset(seed=seed)
        self._place = 0.0
        return self._observation(), {}

    def step(self, action: Observation) -> tuple[Observation, float, bool, bool, dict[str, object]]:
        self._place += float(action[0])
        return self._observation(), -abs(self._place - self._target), False, False, {}


class Wide(TaskFamily):
    """Points of `WideWalk`."""

    name = "wide-v1"
    parameters = {"target_m": Uniform(-5.0, 5.0, unit="m")}
    episode_steps = 100

    def make_env(self, task: Task) -> WideWalk:
        return WideWalk(task["target_m"])
