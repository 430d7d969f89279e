"""GridNavi (Zintgraf et al. 2020, VariBAD, arXiv:1910.08348, section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import numpy as np

from envs.task import Choice, Task, TaskFamily
from envs.vector import BatchedEnv, SingleEnv

SIZE, STEPS = 5, 15
MOVES = np.array([(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)])  # stay, up, right, down, left
CELLS: gymnasium.spaces.Discrete = gymnasium.spaces.Discrete(SIZE * SIZE)
ACTIONS: gymnasium.spaces.Discrete = gymnasium.spaces.Discrete(len(MOVES))
ON_GOAL, ELSEWHERE = 1.0, -0.1
# Cell (x, y) has the number x + 5 y; the start (0, 0) and its 2 x 2 corner hold no goal.
GOALS = tuple(x + SIZE * y for y in range(SIZE) for x in range(SIZE) if not (x < 2 and y < 2))


class GridVectorEnv(BatchedEnv):
    """Rows of grids."""

    def __init__(self, goals: np.ndarray) -> None:
        super().__init__(len(goals), CELLS, ACTIONS, STEPS)
        self._goals = goals
        self._place = np.zeros((len(goals), 2), np.int64)

    def _seed_rows(self, rows: np.ndarray, seeds: Sequence[int | None]) -> None:
        """Nothing is drawn here."""

    def _reset_rows(self, rows: np.ndarray) -> np.ndarray:
        self._place[rows] = 0
        return np.zeros(len(rows), np.int64)

    def _step_rows(
        self, rows: np.ndarray | slice, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        place = np.clip(self._place[rows] + MOVES[actions], 0, SIZE - 1)
        self._place[rows] = place
        cell = place[:, 0] + SIZE * place[:, 1]
        on_goal = cell == self._goals[rows]
        return cell, np.where(on_goal, ON_GOAL, ELSEWHERE), np.zeros(len(cell), bool), {"success": on_goal}


class GridNavi(TaskFamily):
    """grid_navi-v1: find the unseen goal on a 5 x 5 grid, then go there at once.

    * Observation: the cell, x + 5 y, 0 to 24. Action: stay, up, right, down, left; a wall holds the mover.
    * Start: cell 0, a corner. Reward: 1 on the goal after the step, else -0.1. The goal is a success, and does not
      end the episode.
    * Ends: truncated after 15 steps. The paper's trials have 4 episodes.
    * Task distribution: goal is one of 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24.
      These are the 21 cells outside the 2 x 2 corner of the start; held-out tasks are the same ones.
    * Source: VariBAD, section 5.1. Differs: it observes the cell's number, there its coordinates.
    * Versions: v1, 2026.
    """

    name = "grid_navi-v1"
    parameters = {"goal": Choice(GOALS)}
    episode_steps = STEPS
    kind = "finite"
    has_success = True
    differs_at_once = False  # a random walk rarely meets the goal

    def make_vector_env(self, tasks: Sequence[Task], rows: int) -> GridVectorEnv:
        return GridVectorEnv(np.repeat([self.check_task(task)["goal"] for task in tasks], rows))

    def make_env(self, task: Task) -> gymnasium.Env:
        return SingleEnv(self.make_vector_env([task], 1))

    def task_vector(self, task: Task) -> np.ndarray:
        return np.eye(SIZE * SIZE)[task["goal"]]

    def reference_returns(self, task: Task) -> dict[str, float]:
        distance = task["goal"] % SIZE + task["goal"] // SIZE
        return {"oracle": (STEPS - distance + 1) * ON_GOAL + (distance - 1) * ELSEWHERE}
