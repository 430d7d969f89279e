"""Bernoulli bandits (Duan et al. 2016, arXiv:1611.02779, section 3.1). An episode is one step."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import numpy as np

from envs.row_draws import RowDraws
from envs.task import Task, TaskFamily, Uniform
from envs.vector import BatchedEnv, SingleEnv


class BanditVectorEnv(BatchedEnv):
    """Rows of bandits."""

    def __init__(self, success_probs: np.ndarray) -> None:
        rows, arms = success_probs.shape
        super().__init__(rows, gymnasium.spaces.Discrete(1), gymnasium.spaces.Discrete(arms), 1)
        self._success_probs = success_probs  # [rows, arms]
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
        success = self._draws.take(indices, self.generator) < self._success_probs[indices, actions]
        return np.zeros(len(indices), np.int64), success.astype(float), np.ones(len(indices), bool), {}


class Bandit5Arms(TaskFamily):
    """bandit_5_arms-v1: five arms with hidden success probabilities.

    * Observation: nothing (a constant). Action: the arm, 0 to 4. An episode is one step; a trial has 10, 100 or 500 of
      them in the paper.
    * Reward: 1 with the arm's success probability, one of `chances`, else 0.
    * Ends: terminated by the step (it would be truncated after 1 steps).
    * Task distribution: chances ~ U[0, 1]^5.
    * Source: Duan et al. 2016, section 3.1. Compares with its table 1 (total reward of a trial).
    * Versions: v1, 2026.
    """

    name = "bandit_5_arms-v1"
    parameters = {"chances": Uniform(0.0, 1.0, shape=(5,))}
    episode_steps = 1
    differs_at_once = False  # one draw does not tell two probabilities apart

    def make_vector_env(self, tasks: Sequence[Task], rows: int) -> BanditVectorEnv:
        success_probs = np.array([self.check_task(task)["chances"] for task in tasks])
        return BanditVectorEnv(np.repeat(success_probs, rows, axis=0))

    def make_env(self, task: Task) -> gymnasium.Env:
        return SingleEnv(self.make_vector_env([task], 1))

    def task_vector(self, task: Task) -> np.ndarray:
        return np.array(task["chances"])

    def reference_returns(self, task: Task) -> dict[str, float]:
        success_probs = task["chances"]
        return {"blind": float(np.mean(success_probs)), "oracle": max(success_probs)}


class Bandit2Arms(Bandit5Arms):
    """bandit_2_arms-v1: two arms with hidden success probabilities.

    * Observation, reward: as bandit_5_arms-v1. Action: the arm, 0 or 1.
    * Ends: terminated by the step (it would be truncated after 1 steps).
    * Task distribution: chances ~ U[0, 1]^2.
    * Source: ours, the smallest of the kind: in 10 episodes blind 5.0, Bayes-optimal 6.022, oracle 6.667.
    * Versions: v1, 2026.
    """

    name = "bandit_2_arms-v1"
    parameters = {"chances": Uniform(0.0, 1.0, shape=(2,))}
