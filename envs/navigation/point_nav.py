"""2-D navigation, the first experiment of MAML for reinforcement learning (Finn et al. 2017, section 5.3)."""

from __future__ import annotations

import numpy as np

from envs.navigation.point_env import PointFamily
from envs.task import Split, Task, TaskSet, Uniform


class PointNav(PointFamily):
    """point_nav-v1: walk from the origin to an unknown goal in the unit square.

    * Observation: position (x, y), metres, 2 entries. Action: [-1, 1]^2, clipped, moves 0.1 m per unit.
    * Reward: minus the Euclidean distance to the goal after the step, metres.
    * Ends: terminated, with success, when |dx| < 0.01 m and |dy| < 0.01 m; truncated after 100 steps.
    * Task distribution: goal_m ~ U[-0.5, 0.5]^2. Out of distribution: a coordinate in [0.5, 1] or [-1, -0.5].
    * Held-out: the 40 goals of the paper's own test, numpy RandomState(1).uniform(-0.5, 0.5, (40, 2)); other counts
      and seeds are fresh draws of the distribution.
    * Source: cbfinn/maml_rl, maml_examples/point_env_randgoal.py. The paper's text says squared distance; its code
      and its numbers are Euclidean, and so are these. There as here the policy acts in [-1, 1], scaled to 0.1 m;
      pytorch-maml-rl acts in units of 0.1 m with an initial deviation of 1 (saturated), so its returns during
      training compare, its noise does not.
    * Versions: v1, 2026.
    """

    name = "point_nav-v1"
    parameters = {"goal_m": Uniform(-0.5, 0.5, shape=(2,), unit="m", ood=((-1.0, -0.5), (0.5, 1.0)))}
    episode_steps = 100

    def goal(self, task: Task) -> np.ndarray:
        return np.array(task["goal_m"])

    def arrived(self, position: np.ndarray, goal: np.ndarray) -> np.ndarray:
        offset = np.abs(position - goal)
        return (offset[..., 0] < 0.01) & (offset[..., 1] < 0.01)

    def succeeded(self, position: np.ndarray, goal: np.ndarray) -> np.ndarray:
        return self.arrived(position, goal)

    def task_set(self, split: Split, count: int, seed: int) -> TaskSet:
        if split == "held-out" and count == 40 and seed == 0:
            goals = np.random.RandomState(1).uniform(-0.5, 0.5, (40, 2))
            tasks = tuple(Task.of(self.name, {"goal_m": goal}, index) for index, goal in enumerate(goals))
            return TaskSet(self.name, split, tasks, seed)
        return super().task_set(split, count, seed)
