"""Bernoulli bandits (Duan et al. 2016, arXiv:1611.02779, section 3.1). A pull is an episode, a trial is many pulls."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import numpy as np

from envs.row_draws import RowDraws
from envs.task import Task, TaskFamily, Uniform
from envs.vector import BatchedEnv, SingleEnv


class BanditVectorEnv(BatchedEnv):
    """Rows of bandits."""

    def __init__(self, chances: np.ndarray) -> None:
        rows, arms = chances.shape
        super().__init__(rows, gymnasium.spaces.Discrete(1), gymnasium.spaces.Discrete(arms), 1)
        self._chances = chances
        self._draws = RowDraws(rows, lambda generator, n: generator.random(n))

    def _seed_rows(self, rows: np.ndarray, seeds: Sequence[int | None]) -> None:
        super()._seed_rows(rows, seeds)
        self._draws.forget(rows)

    def _reset_rows(self, rows: np.ndarray) -> np.ndarray:
        return np.zeros(len(rows), np.int64)

    def _step_rows(
        self, rows: np.ndarray | slice, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        indices = np.arange(self.num_envs)[rows]
        paid = self._draws.take(indices, self.generator) < self._chances[indices, actions]
        return np.zeros(len(indices), np.int64), paid.astype(float), np.ones(len(indices), bool), {}


class Bandit5Arms(TaskFamily):
    """bandit_5_arms-v1: five arms, each pays 1 with a chance that is not told.

    * Observation: nothing (a constant). Action: the arm, 0 to 4. An episode is one pull; the pulls of a trial are its
      budget, 10, 100 or 500 in the paper.
    * Reward: 1 with the arm's chance, else 0.
    * Ends: terminated by the pull (it would be truncated after 1 steps).
    * Task distribution: chances ~ U[0, 1]^5.
    * Source: Duan et al. 2016, section 3.1. Compares with its table 1 (total reward of a trial).
    * Versions: v1, 2026.
    """

    name = "bandit_5_arms-v1"
    parameters = {"chances": Uniform(0.0, 1.0, shape=(5,))}
    episode_steps = 1
    differs_at_once = False  # one coin does not tell two chances apart

    def make_vector_env(self, tasks: Sequence[Task], rows: int) -> BanditVectorEnv:
        chances = np.array([self.check_task(task)["chances"] for task in tasks])
        return BanditVectorEnv(np.repeat(chances, rows, axis=0))

    def make_env(self, task: Task) -> gymnasium.Env:
        return SingleEnv(self.make_vector_env([task], 1))

    def task_vector(self, task: Task) -> np.ndarray:
        return np.array(task["chances"])

    def reference_returns(self, task: Task) -> dict[str, float]:
        chances = task["chances"]
        return {"blind": float(np.mean(chances)), "oracle": max(chances)}


class Bandit2Arms(Bandit5Arms):
    """bandit_2_arms-v1: two arms, each pays 1 with a chance that is not told.

    * Observation, reward: as bandit_5_arms-v1. Action: the arm, 0 or 1.
    * Ends: terminated by the pull (it would be truncated after 1 steps).
    * Task distribution: chances ~ U[0, 1]^2.
    * Source: ours, the smallest of the kind: in 10 pulls blind 5.0, Bayes-optimal 6.022, oracle 6.667.
    * Versions: v1, 2026.
    """

    name = "bandit_2_arms-v1"
    parameters = {"chances": Uniform(0.0, 1.0, shape=(2,))}
