"""A family whose observations tell the task, on purpose: for oracles, the upper end of every comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from envs.task import PlanView, Split, Task, TaskError, TaskFamily, TaskSet
from envs.vector import SingleEnv


class OracleVectorEnv(gymnasium.vector.VectorWrapper):
    """Rows whose observations are the inner ones, flat (one-hot where discrete), with the row's task vector behind."""

    def __init__(self, env: VectorEnv, vectors: np.ndarray) -> None:
        super().__init__(env)
        self._vectors = vectors.astype(np.float32)
        inner = env.single_observation_space
        self._count = int(inner.n) if isinstance(inner, gymnasium.spaces.Discrete) else None
        size = (self._count or int(np.prod(inner.shape or ()))) + vectors.shape[1]
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def _told(self, observation: np.ndarray) -> np.ndarray:
        flat = np.eye(self._count)[observation] if self._count else observation.reshape(self.num_envs, -1)
        return np.concatenate([flat.astype(np.float32), self._vectors], -1)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        return self._told(observation), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        observation, *rest = self.env.step(actions)
        return self._told(observation), *rest


class OracleWrapper(TaskFamily):
    """The family `inner` with the task told in every observation; its tasks, rewards and laws are the same.

    Raises:
        TaskError: for a task with a schedule, as what is told would be wrong once it switches.
    """

    def __init__(self, inner: TaskFamily) -> None:
        self.inner = inner
        for name in ("name", "parameters", "episode_steps", "kind", "reward_terms", "digest"):
            setattr(self, name, getattr(inner, name))

    def check_task(self, task: Task) -> Task:
        if task.schedule:
            raise TaskError(
                f"task {task.index} of {self.name} has a schedule, and what is told of it would be wrong once it "
                "switches; only an agent that is not told its task can play it (task_in_observation: false)"
            )
        return self.inner.check_task(task)

    def make_vector_env(self, tasks: Sequence[Task], rows: int) -> VectorEnv:
        vectors = np.array([self.inner.task_vector(self.check_task(task)) for task in tasks])
        return OracleVectorEnv(self.inner.make_vector_env(tasks, rows), np.repeat(vectors, rows, axis=0))

    def make_env(self, task: Task) -> gymnasium.Env:
        return SingleEnv(self.make_vector_env([task], 1))

    def sample(self, n: int, rng: np.random.Generator, split: Split) -> list[Task]:
        return self.inner.sample(n, rng, split)

    def task_vector(self, task: Task) -> np.ndarray:
        return self.inner.task_vector(task)

    def plan_view(self, task: Task) -> PlanView | None:
        return self.inner.plan_view(task)

    def task_set(self, split: Any, count: int, seed: int) -> TaskSet:
        return self.inner.task_set(split, count, seed)

    def reference_returns(self, task: Task) -> dict[str, float]:
        return self.inner.reference_returns(task)
