"""Families as strangers write them, plain Gymnasium: a Dict observation, a MultiDiscrete action, MiniGrid's image.

Nothing in them was made for an agent. `benchmarks/defaults.py` trains agents on them with their defaults;
`acclimate check benchmarks.families_of_strangers:ColouredFloor` says what serves them. ColouredFloor needs MiniGrid
(`pip install minigrid`), which is no dependency of Acclimate.
"""

from __future__ import annotations

import gymnasium
import numpy as np

import acclimate


class DictWalk(gymnasium.Env):
    """A point mass on a plane walks to a hidden place; reward: minus the distance to it, in m."""

    def __init__(self, goal, steps):
        self.observation_space = gymnasium.spaces.Dict(
            {
                "position": gymnasium.spaces.Box(-3, 3, (2,), np.float32),
                "velocity": gymnasium.spaces.Box(-1, 1, (2,), np.float32),
                "quarter": gymnasium.spaces.Discrete(4),  # of the episode that is under way
            }
        )
        self.action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        self.goal, self.steps = goal, steps

    def observe(self):
        return {"position": self.position, "velocity": self.velocity, "quarter": min(3, 4 * self.time // self.steps)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.velocity = np.zeros(2, np.float32), np.zeros(2, np.float32)
        self.time = 0
        return self.observe(), {}

    def step(self, action):
        self.velocity = (0.5 * self.velocity + 0.1 * np.clip(action, -1, 1)).astype(np.float32)
        self.position = np.clip(self.position + self.velocity, -3, 3)
        self.time += 1
        return self.observe(), -float(np.linalg.norm(self.position - self.goal)), False, False, {}


class HiddenPlace(acclimate.TaskFamily):
    """A Dict observation: a point mass that must find a hidden place on a circle of 1 m."""

    name = "hidden_place-v1"
    parameters = {"angle_rad": acclimate.Uniform(-np.pi, np.pi, unit="rad")}
    episode_steps = 40

    def make_env(self, task):
        goal = np.array([np.cos(task["angle_rad"]), np.sin(task["angle_rad"])], np.float32)
        return DictWalk(goal, self.episode_steps)

    def reference_returns(self, task):
        return {"blind": -1.0 * self.episode_steps}  # stays in the middle


class TwoDials(gymnasium.Env):
    """Two dials of 5 positions, each turned down, left alone or turned up; reward 1 for each that stands right."""

    def __init__(self, wanted):
        self.observation_space = gymnasium.spaces.MultiDiscrete([5, 5])
        self.action_space = gymnasium.spaces.MultiDiscrete([3, 3])
        self.wanted = np.array(wanted)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.dials = np.array([2, 2])
        return self.dials.copy(), {}

    def step(self, action):
        self.dials = np.clip(self.dials + action - 1, 0, 4)
        return self.dials.copy(), float((self.dials == self.wanted).sum()), False, False, {}


class HiddenCode(acclimate.TaskFamily):
    """A MultiDiscrete action: two dials whose right positions must be found; every code is a task, held-out = train."""

    name = "hidden_code-v1"
    parameters = {name: acclimate.Choice((0, 1, 2, 3, 4)) for name in ("first", "second")}
    episode_steps = 20
    kind = "finite"

    def make_env(self, task):
        return TwoDials([task["first"], task["second"]])

    def reference_returns(self, task):
        return {"blind": 2 / 5 * self.episode_steps}  # wherever the dials stand


def coloured_floor(values, steps):
    """A MiniGrid room of 3 x 3 with three tiles, laid out anew each episode; each pays its colour's value."""
    from minigrid.core.grid import Grid
    from minigrid.core.mission import MissionSpace
    from minigrid.core.world_object import Floor
    from minigrid.minigrid_env import MiniGridEnv
    from minigrid.wrappers import ImgObsWrapper

    class Room(MiniGridEnv):
        def __init__(self):
            mission = MissionSpace(lambda: "find the tile that pays")
            super().__init__(mission, grid_size=5, max_steps=steps, see_through_walls=True)
            self.action_space = gymnasium.spaces.Discrete(3)  # left, right, forward

        def _gen_grid(self, width, height):
            self.grid, self.mission = Grid(width, height), "find the tile that pays"
            self.grid.wall_rect(0, 0, width, height)
            for colour in values:
                self.place_obj(Floor(colour))
            self.place_agent()

        def step(self, action):
            observation, _, terminated, truncated, _ = super().step(action)
            tile = self.grid.get(*self.agent_pos)
            return observation, values[tile.color] if tile else 0.0, terminated, truncated, {}

    return ImgObsWrapper(Room())


class ColouredFloor(acclimate.TaskFamily):
    """An image of 7 x 7 x 3: MiniGrid tiles whose colours have hidden values. Blind, the best return is 0."""

    name = "coloured_floor-v1"
    parameters = {colour: acclimate.Uniform(-1.0, 1.0) for colour in ("red", "green", "blue")}
    episode_steps = 20

    def make_env(self, task):
        return coloured_floor(task.parameters, self.episode_steps)

    def reference_returns(self, task):
        return {"blind": 0.0}
