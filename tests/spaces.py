"""A family of every kind of space, each a few lines, as a stranger would write them."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from envs.task import TaskFamily, Uniform

BOX = Box(-20.0, 20.0, (2,), np.float32)
OBSERVATIONS = {
    "box": BOX,
    "matrix": Box(-20.0, 20.0, (2, 2), np.float32),
    "scalar": Box(-20.0, 20.0, (), np.float32),
    "discrete": Discrete(5, start=3),
    "multi_discrete": MultiDiscrete([3, 4], start=[1, 0]),
    "multi_binary": MultiBinary(4),
    "dict": Dict({"place": BOX, "clock": Discrete(4, start=1), "flags": MultiBinary(2)}),
    "tuple": Tuple([Discrete(4), Box(-1.0, 1.0, (1,), np.float64)]),
    "goal": Dict({"observation": BOX, "achieved_goal": BOX, "desired_goal": BOX}),
    "image_last": Box(0, 255, (7, 7, 3), np.uint8),
    "image_first": Box(0, 255, (3, 9, 6), np.uint8),
    "image_large": Box(0, 255, (36, 40, 1), np.uint8),
    "image_and_numbers": Dict({"camera": Box(0, 10, (4, 5, 3), np.uint8), "place": BOX, "float": Box(0, 1, (3, 3, 2))}),
}
ACTIONS = {
    "box": Box(-1.0, 1.0, (2,), np.float32),
    "discrete": Discrete(3, start=1),
    "multi_discrete": MultiDiscrete([3, 2], start=[1, 0]),
    "multi_discrete_table": MultiDiscrete([[2, 3], [3, 2]]),
    "multi_binary": MultiBinary(3),
}


def filled(space: gymnasium.Space, place: float, step: int) -> object:
    """An element of the space that depends on a place and a step."""
    if isinstance(space, Dict):
        return {name: filled(part, place, step) for name, part in space.spaces.items()}
    if isinstance(space, Tuple):
        return tuple(filled(part, place, step) for part in space.spaces)
    if isinstance(space, Discrete):
        return int(space.start) + step % int(space.n)
    if isinstance(space, MultiDiscrete):
        return (space.start + step % space.nvec).astype(space.dtype)
    if isinstance(space, MultiBinary):
        return np.full(space.shape, step % 2, space.dtype)
    number = np.clip(abs(place) * 40 if space.dtype == np.uint8 else place, space.low, space.high)
    return np.broadcast_to(number, space.shape).astype(space.dtype)


class Walk(gymnasium.Env):
    """A walk on a line towards an unknown place; ends early where it arrives."""

    def __init__(self, target: float, observations: gymnasium.Space, actions: gymnasium.Space) -> None:
        self.observation_space, self.action_space, self.target = observations, actions, target

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.elapsed = float(self.np_random.normal(0, 0.1)), 0
        return filled(self.observation_space, self.place, 0), {}

    def step(self, action):
        if not isinstance(self.action_space, Box):
            assert self.action_space.contains(action), action
        self.place += 0.2 * (float(np.mean(action)) - (0 if isinstance(self.action_space, Box) else 1))
        self.elapsed += 1
        distance = abs(self.place - self.target)
        return filled(self.observation_space, self.place, self.elapsed), -distance, distance < 0.05, False, {}


def family_of(observations: str, actions: str) -> TaskFamily:
    """The walk with the spaces of these names."""

    class Family(TaskFamily):
        name = f"walk_{observations}_{actions}-v1"
        parameters = {"target": Uniform(-1.0, 1.0)}
        episode_steps = 6

        def make_env(self, task):
            return Walk(task["target"], OBSERVATIONS[observations], ACTIONS[actions])

    return Family()
