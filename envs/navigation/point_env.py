"""The physics that all point families share: a point in the plane that moves at most 0.1 m per axis and step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from envs.task import PlanView, Task, TaskFamily
from envs.vector import BatchedEnv, SingleEnv

STEP_M = 0.1  # metres that an action of 1 moves along its axis
START_M = 1.0  # a random start is U[-1, 1]^2
SUCCESS_M = 0.2  # radius of the disc around a goal, that of PEARL's sparse reward
ACTION = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)


def move(position: np.ndarray, action: np.ndarray) -> np.ndarray:
    """s' = s + 0.1 clip(a, -1, 1), positions [..., 2] in metres."""
    return position + STEP_M * np.minimum(np.maximum(action, -1.0), 1.0)  # half the time of np.clip


def distance(position: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Euclidean distance [...] in metres between points [..., 2]."""
    offset = position - goal
    return np.sqrt(offset[..., 0] ** 2 + offset[..., 1] ** 2)


def greedy_path(start: np.ndarray, goal: np.ndarray, steps: int) -> np.ndarray:
    """Positions [steps, 2] of the point that knows its goal: each axis goes as far towards it as it may.

    The axes are independent and each is never farther than it must be, so no policy is nearer at any step.
    """
    reach = STEP_M * np.arange(1, steps + 1)[:, None]
    return start + np.sign(goal - start) * np.minimum(reach, np.abs(goal - start))


class PointVectorEnv(BatchedEnv):
    """Rows of points; a family gives the start, the reward and the termination."""

    def __init__(self, family: PointFamily, tasks: Sequence[Task], rows: int) -> None:
        reach = np.float32(STEP_M * family.episode_steps + (START_M if family.random_start else 0.0))
        space = gymnasium.spaces.Box(-reach, reach, (2,), np.float32)
        super().__init__(len(tasks) * rows, space, ACTION, family.episode_steps)
        self._family = family
        self._goal = np.repeat(np.array([family.goal(task) for task in tasks]), rows, axis=0)
        self._position = np.zeros((self.num_envs, 2))

    def _seed_rows(self, rows: np.ndarray, seeds: Sequence[int | None]) -> None:
        if self._family.random_start:  # a generator costs 10 microseconds: as much as a row's whole episode
            super()._seed_rows(rows, seeds)

    def _reset_rows(self, rows: np.ndarray) -> np.ndarray:
        if self._family.random_start:
            self._position[rows] = [self.generator(row).uniform(-START_M, START_M, 2) for row in rows]
        else:
            self._position[rows] = 0.0
        return self._position[rows]

    def _step_rows(
        self, rows: np.ndarray | slice, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        position, goal = move(self._position[rows], actions), self._goal[rows]
        self._position[rows] = position
        gap = distance(position, goal)
        info = {"success": self._family.succeeded(position, goal), **self._family.info(gap)}
        return position, self._family.reward(gap), self._family.arrived(position, goal), info


class PointFamily(TaskFamily):
    """A goal in the plane. Observation: position (x, y) in metres, 2 entries. Action: [-1, 1]^2, scaled to 0.1 m."""

    random_start = False
    has_success = True

    @abstractmethod
    def goal(self, task: Task) -> np.ndarray:
        """The goal (x, y) in metres."""

    def reward(self, gap: np.ndarray) -> np.ndarray:
        """Reward [...] at a distance [...] from the goal, in metres."""
        return -gap

    def arrived(self, position: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Whether the episode ends here."""
        return np.zeros(position.shape[:-1], bool)

    def succeeded(self, position: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Whether the goal is reached here: within `SUCCESS_M` of it by default."""
        return distance(position, goal) <= SUCCESS_M

    def info(self, gap: np.ndarray) -> dict[str, np.ndarray]:
        """Step info beside `success`; nothing by default."""
        return {}

    def make_vector_env(self, tasks: Sequence[Task], rows: int) -> PointVectorEnv:
        return PointVectorEnv(self, [self.check_task(task) for task in tasks], rows)

    def make_env(self, task: Task) -> gymnasium.Env:
        return SingleEnv(self.make_vector_env([task], 1))

    def plan_view(self, task: Task) -> PlanView:
        x, y = self.goal(task)
        return PlanView((0, 1), (float(x), float(y)))

    def episode_return(self, path: np.ndarray, goal: np.ndarray) -> float:
        """Return of an episode that visits these positions [L, 2] after its steps."""
        arrivals = np.flatnonzero(self.arrived(path, goal))
        length = arrivals[0] + 1 if len(arrivals) else len(path)
        return float(self.reward(distance(path[:length], goal)).sum())

    def reference_returns(self, task: Task) -> dict[str, float]:
        if self.random_start:
            return {}
        goal, start = self.goal(task), np.zeros(2)
        oracle = greedy_path(start, goal, self.episode_steps)
        blind: dict[str, Any] = {"blind": self.episode_return(np.zeros((self.episode_steps, 2)), goal)}
        return blind | {"oracle": self.episode_return(oracle, goal)}
