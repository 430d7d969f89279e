"""Our batched environments as a vectorised environment of Stable-Baselines3."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvStepReturn

from envs.task import Task, TaskFamily
from trainers.baselines.metering import Meter, RunningEpisodes
from trainers.baselines.rllib_env import row_seeds, within_bounds


class SB3VecEnv(VecEnv):
    """All rows of a family's tasks, stepped as one: a `VecEnv` for any algorithm of Stable-Baselines3.

        model = stable_baselines3.PPO("MlpPolicy", SB3VecEnv(family, family.sample(1, rng, "train"), rows=16))

    As everywhere in Stable-Baselines3 a row whose episode ended is reset at once: the observation returned is the first
    one of the next episode, the true last one is `info["terminal_observation"]`, and `info["TimeLimit.truncated"]` says
    whether it was cut at the horizon. `info["episode"]` holds its return `r`, length `l` and time `t` (s), and
    `is_success` where the family says it.

    Args:
        family: whose tasks are played.
        tasks: one or more; each has `rows` rows, task by task.
        rows: rows of each task.
        seed: of the first reset, unless `seed()` gives another one.
        meter: counts the steps and keeps the episodes, if one is given.
    """

    def __init__(
        self, family: TaskFamily, tasks: Sequence[Task], rows: int = 1, *, seed: int = 0, meter: Meter | None = None
    ) -> None:
        self.family, self.tasks = family, [task for task in tasks for _ in range(rows)]
        self.batched: VectorEnv = family.make_vector_env(list(tasks), rows)
        self._running = RunningEpisodes(family, self.tasks, meter)
        self._all = np.ones(len(self.tasks), bool)
        self._seed: int | None = seed
        self._started = time.monotonic()
        self._actions: np.ndarray | None = None
        super().__init__(len(self.tasks), self.batched.single_observation_space, self.batched.single_action_space)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Set the seed of the next reset alone; returns that of each row. Later resets go on from there."""
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        return row_seeds(self._seed, self.num_envs)

    def reset(self) -> np.ndarray:
        seeds, self._seed = None if self._seed is None else row_seeds(self._seed, self.num_envs), None
        observation, _ = self.batched.reset(seed=seeds)  # type: ignore[arg-type]
        self._running.begin(self._all)
        return observation

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        actions = self._actions
        assert actions is not None
        sent = within_bounds(actions, self.action_space)
        observation, reward, terminated, truncated, info = self.batched.step(sent)
        self._running.step(reward, info, self._all)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        done = terminated | truncated
        if done.any():
            for row in np.flatnonzero(done).tolist():
                infos[row] = self._ended(row, observation[row], cut=bool(truncated[row] and not terminated[row]))
            observation, _ = self.batched.reset(options={"reset_mask": done})
            self._running.begin(done)
        return observation, reward.astype(np.float32), done, infos

    def _ended(self, row: int, observation: np.ndarray, *, cut: bool) -> dict[str, Any]:
        """The info of a row whose episode ended."""
        total, length, success = self._running.end(row)
        info: dict[str, Any] = {"terminal_observation": observation.copy(), "TimeLimit.truncated": cut}
        info["episode"] = {"r": total, "l": length, "t": round(time.monotonic() - self._started, 6)}
        return info | ({} if success is None else {"is_success": success})

    def close(self) -> None:
        self.batched.close()

    # -- rows are one environment: there is none of each that had attributes or methods

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of the whole environment, once for each row, such as `render_mode`: None."""
        return [getattr(self, attr_name, None) for _ in self._get_indices(indices)]

    def has_attr(self, attr_name: str) -> bool:
        return hasattr(self, attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(f"the rows of SB3VecEnv are one environment; {attr_name} cannot be set in one of them")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        raise AttributeError(
            f"the rows of SB3VecEnv are one environment; {method_name} cannot be called in one of them"
        )

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: Any = None) -> list[bool]:
        """Whether each row reports its episodes itself: as with a Monitor."""
        from stable_baselines3.common.monitor import Monitor

        return [issubclass(wrapper_class, Monitor) for _ in self._get_indices(indices)]
