"""A family whose observations contain the task, on purpose: for oracles, the upper end of every comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from envs.distributions import Value
from envs.errors import TaskError
from envs.spaces import stored_space
from envs.task import PlanView, Split, Task, TaskFamily, TaskSet
from envs.vector import SingleEnv


def _with_task(inner: gymnasium.Space, entries: int) -> gymnasium.spaces.Box:
    """The space of flat stored observations of `inner`, one-hot where discrete, with a task vector behind."""
    inner = stored_space(inner)
    size = int(inner.n) if isinstance(inner, gymnasium.spaces.Discrete) else int(np.prod(inner.shape or ()))
    return gymnasium.spaces.Box(-np.inf, np.inf, (size + entries,), np.float32)


class OracleVectorEnv(gymnasium.vector.VectorWrapper):
    """Rows whose observations are the inner ones, flat, with the row's task vector behind.

    Args:
        env: the inner rows.
        task_vectors: [rows, k].
    """

    def __init__(self, env: VectorEnv, task_vectors: np.ndarray) -> None:
        super().__init__(env)
        self._task_vectors = task_vectors.astype(np.float32)
        self._inner = env.single_observation_space
        self.single_observation_space = _with_task(self._inner, task_vectors.shape[1])
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def _add_task(self, observation: np.ndarray) -> np.ndarray:
        if isinstance(self._inner, gymnasium.spaces.Discrete):
            flat = np.eye(int(self._inner.n))[observation - int(self._inner.start)]
        else:
            flat = observation.reshape(self.num_envs, -1)
            if self._inner.dtype == np.uint8:  # bytes are read as fractions, as an encoder would
                flat = flat / 255.0
        return np.concatenate([flat.astype(np.float32), self._task_vectors], -1)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        return self._add_task(observation), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        observation, *rest = self.env.step(actions)
        return self._add_task(observation), *rest


class OracleWrapper(TaskFamily):
    """The family `inner` with the task vector at the end of every observation; all else is as `inner` declares it.

    Raises:
        TaskError: for a task with a schedule, as the task vector would be wrong once it switches.
    """

    def __init__(self, inner: TaskFamily) -> None:
        self.inner = inner
        for name in TaskFamily.__annotations__:  # what a family declares by class attributes
            setattr(self, name, getattr(inner, name))

    # -- with the task in observations

    def check_task(self, task: Task) -> Task:
        if task.schedule:
            raise TaskError(
                f"task {task.index} of {self.name} has a schedule, and its task vector would be wrong once it "
                "switches; only an agent that does not observe the task can play it (task_in_observation: false)"
            )
        return self.inner.check_task(task)

    def make_vector_env(self, tasks: Sequence[Task], rows: int) -> VectorEnv:
        vectors = np.array([self.task_vector(self.check_task(task)) for task in tasks])
        return OracleVectorEnv(self.inner.make_vector_env(tasks, rows), np.repeat(vectors, rows, axis=0))

    def make_env(self, task: Task) -> gymnasium.Env:
        return SingleEnv(self.make_vector_env([task], 1))

    @cached_property
    def observation_space(self) -> gymnasium.Space:
        """The inner family's, flat, with the entries of a task vector behind."""
        task = self.inner.sample(1, np.random.default_rng(0), "train")[0]
        return _with_task(self.inner.observation_space, len(self.task_vector(task)))

    # -- as the inner family has it

    @property
    def action_space(self) -> gymnasium.Space:
        return self.inner.action_space

    @property
    def has_ood(self) -> bool:
        return self.inner.has_ood

    def sample(self, n: int, rng: np.random.Generator, split: Split) -> list[Task]:
        return self.inner.sample(n, rng, split)

    def draw(self, rng: np.random.Generator, split: Split) -> dict[str, Value]:
        return self.inner.draw(rng, split)

    def draw_schedule(
        self, rng: np.random.Generator, split: Split, parameters: Mapping[str, Value]
    ) -> Sequence[Mapping[str, Any]]:
        return self.inner.draw_schedule(rng, split, parameters)

    def in_held_out_region(self, parameters: Mapping[str, Value]) -> bool:
        return self.inner.in_held_out_region(parameters)

    def task(self, **parameters: Any) -> Task:
        return self.inner.task(**parameters)

    def task_set(self, split: Split, count: int, seed: int) -> TaskSet:
        return self.inner.task_set(split, count, seed)

    def task_vector(self, task: Task) -> np.ndarray:
        return self.inner.task_vector(task)

    @property
    def observed_entries(self) -> np.ndarray:
        return self.inner.observed_entries

    def own_checks(self) -> Sequence[tuple[str, Callable[[Any], str | None]]]:
        return self.inner.own_checks()

    def plan_view(self, task: Task) -> PlanView | None:
        return self.inner.plan_view(task)

    def reference_returns(self, task: Task) -> dict[str, float]:
        return self.inner.reference_returns(task)
