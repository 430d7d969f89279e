"""Random tabular MDPs (Duan et al. 2016, arXiv:1611.02779, section 3.2; Osband et al. 2013, arXiv:1306.0940)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import gymnasium
import numpy as np

from envs.row_draws import RowDraws
from envs.task import Integer, Task, TaskFamily
from envs.vector import BatchedEnv, SingleEnv

STATES, ACTIONS, STEPS = 10, 5, 10


@lru_cache(maxsize=4096)
def tables(draw: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the MDP of this draw: transition_probs [S, A, S] ~ flat Dirichlet, mean rewards [S, A] ~ N(1, 1)."""
    rng = np.random.default_rng(draw)
    unnormalised = rng.standard_exponential((STATES, ACTIONS, STATES))
    return unnormalised / unnormalised.sum(-1, keepdims=True), rng.normal(1.0, 1.0, (STATES, ACTIONS))


def optimal_return(transition_probs: np.ndarray, rewards: np.ndarray, steps: int) -> np.ndarray:
    """Return the expected return of the best policy from each state, by finite-horizon value iteration.

    Args:
        transition_probs: [..., S, A, S].
        rewards: [..., S, A], means.
        steps: of an episode.

    Returns:
        [..., S], at the first step.
    """
    value = np.zeros(rewards.shape[:-1])
    for _ in range(steps):
        q_values = rewards + (transition_probs @ value[..., None, :, None])[..., 0]
        value = q_values.max(-1)
    return value


class MDPVectorEnv(BatchedEnv):
    """Rows of MDPs."""

    def __init__(self, transition_probs: np.ndarray, rewards: np.ndarray, steps: int) -> None:
        rows = len(rewards)
        super().__init__(rows, gymnasium.spaces.Discrete(STATES), gymnasium.spaces.Discrete(ACTIONS), steps)
        self._cumulated, self._rewards = transition_probs.cumsum(-1), rewards
        self._state = np.zeros(rows, np.int64)
        self._draws = RowDraws(rows, lambda rng, n: np.stack([rng.random(n), rng.standard_normal(n)], -1))

    def _seed_rows(self, rows: np.ndarray, seeds: Sequence[int | None]) -> None:
        super()._seed_rows(rows, seeds)
        self._draws.forget(rows)

    def _reset_rows(self, rows: np.ndarray) -> np.ndarray:
        self._state[rows] = 0
        return self._state[rows]

    def _step_rows(
        self, rows: np.ndarray | slice, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        indices = np.arange(self.num_envs)[rows]
        uniform, normal = self._draws.take(indices, self.generator).T
        state = self._state[indices]
        reward = self._rewards[indices, state, actions] + normal
        next_state = (self._cumulated[indices, state, actions] < uniform[:, None]).sum(-1)
        next_state = np.minimum(next_state, STATES - 1)  # the last sum may be a bit below 1
        self._state[indices] = next_state
        return next_state, reward, np.zeros(len(indices), bool), {}


class TabularMDP(TaskFamily):
    """tabular_mdp-v1: 10 states and 5 actions with hidden transitions and rewards.

    * Observation: the state, 0 to 9; an episode starts in state 0. Action: 0 to 4.
    * Reward: the pair's mean + N(0, 1). Transitions of a pair ~ flat Dirichlet, mean rewards ~ N(1, 1).
    * Ends: truncated after 10 steps. The paper's trials have 10 to 100 episodes.
    * Task distribution: draw ~ U[0, 9007199254740991], a whole number; it seeds the generator that the tables come
      from.
    * Source: Duan et al. 2016, section 3.2, after Osband et al. 2013. Compares with its table 2 (total reward).
    * Versions: v1, 2026.
    """

    name = "tabular_mdp-v1"
    parameters = {"draw": Integer(0, 2**53 - 1)}
    episode_steps = STEPS

    def make_vector_env(self, tasks: Sequence[Task], rows: int) -> MDPVectorEnv:
        transition_probs, rewards = zip(*(tables(self.check_task(task)["draw"]) for task in tasks), strict=True)
        transition_probs, rewards = (np.repeat(table, rows, axis=0) for table in (transition_probs, rewards))
        return MDPVectorEnv(transition_probs, rewards, self.episode_steps)

    def make_env(self, task: Task) -> gymnasium.Env:
        return SingleEnv(self.make_vector_env([task], 1))

    def task_vector(self, task: Task) -> np.ndarray:
        return np.concatenate([table.reshape(-1) for table in tables(task["draw"])])

    def reference_returns(self, task: Task) -> dict[str, float]:
        return {"oracle": float(optimal_return(*tables(task["draw"]), self.episode_steps)[0])}
