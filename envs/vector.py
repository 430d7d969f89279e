"""The vector environment of a shard: one batched Gymnasium VectorEnv steps all its rows.

The contract, beyond `gymnasium.vector.VectorEnv` with autoreset disabled:

* `reset(seed=[one per row])` starts every row; `reset(options={"reset_mask": mask})` only the rows in the mask. A reset
  with a seed begins episode 0 of the trial, or the one that `options={"episode": number}` says; each one without a seed
  the next. The number matters to tasks with a schedule alone.
* `step(actions)` advances rows whose episode is running. A finished row costs no physics: it repeats its last
  observation and flags with reward 0, until it is reset.
* The observation returned with `terminated` or `truncated` is the true final one.
* A row with the same task, seed and actions has the same trajectory, whatever the other rows do.
* The step info holds the step signals of `envs.signals`, [rows, ...] each.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.checked import CheckedEnv, name_of
from envs.errors import TaskError
from envs.signals import stack_signals
from envs.spaces import ObservationReader


class BatchedEnv(VectorEnv):
    """Book-keeping of rows: seeds, masks, horizon, finished episodes. Subclasses give the physics.

    `_reset_rows(rows)` returns the first observations of these rows (indices); `_step_rows(rows, actions)` returns
    their observations, rewards, terminations and infos. Rows come as a slice where all are meant, so that NumPy
    neither copies nor gathers in the common case.
    """

    def __init__(
        self,
        rows: int,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        episode_steps: int,
    ) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self.num_envs = rows
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, rows)
        self.action_space = batch_space(action_space, rows)
        self.episode_steps = episode_steps
        self._observation = np.zeros((rows, *(observation_space.shape or ())), observation_space.dtype)
        self._elapsed = np.zeros(rows, np.int32)
        self._episode = np.full(rows, -1, np.int32)  # of the trial
        self._terminated = np.zeros(rows, bool)
        self._truncated = np.ones(rows, bool)  # nothing runs before the first reset
        self._generators: list[np.random.Generator | None] = [None] * rows

    @abstractmethod
    def _reset_rows(self, rows: np.ndarray) -> np.ndarray:
        """First observations [len(rows), *shape] of these rows' new episodes."""

    @abstractmethod
    def _step_rows(
        self, rows: np.ndarray | slice, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Observations, rewards, terminations and infos of these rows after one step with their actions."""

    def generator(self, row: int) -> np.random.Generator:
        """The row's own random generator, from its seed."""
        generator = self._generators[row]
        if generator is None:
            generator = self._generators[row] = np.random.default_rng()
        return generator

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        mask = np.ones(self.num_envs, bool) if not options or "reset_mask" not in options else options["reset_mask"]
        rows = np.flatnonzero(mask)
        if seed is not None:
            seeds = [seed + row for row in range(self.num_envs)] if isinstance(seed, int) else list(seed)
            self._seed_rows(rows, seeds)
            self._episode[rows] = (options or {}).get("episode", 0)
        else:
            self._episode[rows] += 1
        self._observation[rows] = self._reset_rows(rows)
        self._elapsed[rows], self._terminated[rows], self._truncated[rows] = 0, False, False
        return self._observation.copy(), {}

    def _seed_rows(self, rows: np.ndarray, seeds: Sequence[int | None]) -> None:
        for row in rows:
            self._generators[row] = np.random.default_rng(seeds[row])

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        finished = self._terminated | self._truncated
        reward = np.zeros(self.num_envs)
        if finished.any():
            rows = np.flatnonzero(~finished)
            if not len(rows):
                return self._observation.copy(), reward, self._terminated.copy(), self._truncated.copy(), {}
            moving: np.ndarray | slice = rows
            actions = actions[rows]
        else:
            moving = slice(None)
        observation, reward[moving], terminated, info = self._step_rows(moving, actions)
        self._observation[moving] = observation
        self._elapsed[moving] += 1
        self._terminated[moving] = terminated
        self._truncated[moving] = (self._elapsed[moving] >= self.episode_steps) & ~terminated
        infos = {name: self._spread(values, moving) for name, values in info.items()}
        return self._observation.copy(), reward, self._terminated.copy(), self._truncated.copy(), infos

    def _spread(self, values: np.ndarray, rows: np.ndarray | slice) -> np.ndarray:
        spread = np.zeros((self.num_envs, *values.shape[1:]), values.dtype)
        spread[rows] = values
        return spread


class LoopVectorEnv(BatchedEnv):
    """Any single environments as one batched environment: the default for a family that only has `make_env`.

    What each of them gives is compared with what it declares (`envs.checked`), and its observations are stored as one
    array (`envs.spaces`): `single_observation_space` is the space of that.
    """

    def __init__(
        self,
        envs: Sequence[gymnasium.Env],
        episode_steps: int,
        *,
        can_switch: bool = False,
        tasks: Sequence[Any] | None = None,
    ) -> None:
        """Join `envs`, one a row. `can_switch`: they follow schedules; `tasks`: of each row, for messages."""
        self.envs = list(envs)
        space = envs[0].observation_space
        of_rows = [None] * len(envs) if tasks is None else list(tasks)
        _check_rows(envs, of_rows)
        self._reader = ObservationReader(space)
        super().__init__(len(envs), self._reader.space, envs[0].action_space, episode_steps)
        self._checked = [CheckedEnv(env, self._reader, task) for env, task in zip(envs, of_rows, strict=True)]
        self._seeds: list[int | None] = [None] * len(envs)
        self._early = np.zeros(len(envs), bool)
        self._can_switch = can_switch

    def _seed_rows(self, rows: np.ndarray, seeds: Sequence[int | None]) -> None:
        for row in rows:
            self._seeds[row] = seeds[row]

    def _reset_rows(self, rows: np.ndarray) -> np.ndarray:
        observation = self._empty(len(rows))
        for position, row in enumerate(rows):
            # Only environments that follow schedules get the episode: others may not know the option.
            options = {"episode": int(self._episode[row])} if self._can_switch else None
            self._checked[row].reset(observation, position, self._seeds[row], options)
            self._seeds[row] = None  # a later reset of the row goes on with the environment's own generator
        return observation

    def _step_rows(
        self, rows: np.ndarray | slice, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        moving = self._indices(rows)
        observation = self._empty(len(moving))
        outcomes = [
            self._checked[row].step(action, observation, position)
            for position, (row, action) in enumerate(zip(moving.tolist(), actions, strict=True))
        ]
        reward, terminated, truncated, infos = zip(*outcomes, strict=True)
        self._early[rows] = truncated  # a time limit of the environment's own, before the family's horizon
        return observation, np.array(reward, float), np.array(terminated, bool), stack_signals(infos)

    def _empty(self, rows: int) -> np.ndarray:
        return np.empty((rows, *self._observation.shape[1:]), self._observation.dtype)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        observation, reward, terminated, _, info = super().step(actions)
        self._truncated |= self._early & ~self._terminated
        return observation, reward, terminated, self._truncated.copy(), info

    def _indices(self, rows: np.ndarray | slice) -> np.ndarray:
        return np.arange(self.num_envs)[rows]

    def close(self, **kwargs: Any) -> None:
        for env in self.envs:
            env.close()


def _check_rows(envs: Sequence[gymnasium.Env], tasks: Sequence[Any]) -> None:
    """Raise TaskError unless every row has an environment of its own and all declare the same spaces."""
    seen: set[int] = set()
    for env, task in zip(envs, tasks, strict=True):
        if id(env.unwrapped) in seen:
            raise TaskError(
                f"{name_of(env, task)} was given for two rows, which would move each other; make a new environment at "
                "each call of make_env"
            )
        seen.add(id(env.unwrapped))
        check_spaces(env, task, envs[0].observation_space, envs[0].action_space)


def check_spaces(
    env: gymnasium.Env, task: Any, observation_space: gymnasium.Space, action_space: gymnasium.Space
) -> None:
    """Raise TaskError unless the environment of this task declares the spaces of its family."""
    if not _agree(env.observation_space, observation_space) or not _agree(env.action_space, action_space):
        raise TaskError(
            f"{name_of(env, task)} of task {getattr(task, 'parameters', '')} declares other spaces "
            f"({env.observation_space}, {env.action_space}) than that of another task ({observation_space}, "
            f"{action_space}); all tasks of a family share their spaces"
        )


def _agree(one: gymnasium.Space, other: gymnasium.Space) -> bool:
    """Whether two spaces have the same shape and type; bounds of boxes may differ."""
    if isinstance(one, gymnasium.spaces.Box) and isinstance(other, gymnasium.spaces.Box):
        return one.shape == other.shape and one.dtype == other.dtype
    if isinstance(one, gymnasium.spaces.Dict) and isinstance(other, gymnasium.spaces.Dict):
        return list(one) == list(other) and all(_agree(one[key], other[key]) for key in one)
    if isinstance(one, gymnasium.spaces.Tuple) and isinstance(other, gymnasium.spaces.Tuple):
        return len(one) == len(other) and all(map(_agree, one.spaces, other.spaces))
    return one is other or one == other


class SingleEnv(gymnasium.Env):
    """One row of a batched environment as a plain `gymnasium.Env`: the same numbers, for anyone's loop."""

    def __init__(self, batched: VectorEnv) -> None:
        self.batched = batched
        self.observation_space, self.action_space = batched.single_observation_space, batched.single_action_space
        self._episode = -1  # of the trial: a seed begins it anew

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        row_seed = seed if seed is not None else int(self.np_random.integers(2**31))
        self._episode = (options or {}).get("episode", self._episode + 1 if seed is None else 0)
        observation, _ = self.batched.reset(seed=[row_seed], options={"episode": self._episode})  # type: ignore[arg-type]
        return observation[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.batched.step(np.asarray(action)[None])
        scalars = {name: values[0] for name, values in info.items()}
        return observation[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), scalars
