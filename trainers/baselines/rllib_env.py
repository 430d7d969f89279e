"""Our families as environments of RLlib's new API stack.

    config = (
        PPOConfig()
        .environment(register("my_module:MyFamily"), env_config={"tasks": [{"goal_m": (0.3, -0.2)}]})
        .env_runners(num_envs_per_env_runner=16, gym_env_vectorize_mode="vector_entry_point")
    )

The step at which an episode ends and the one after it, row by row, in the three ways of Gymnasium:

    mode         last step returns              the step after it
    DISABLED     the true last observation      repeats it, until the row is reset (our environments, `envs.vector`)
    NEXT_STEP    the true last observation      ignores the action, returns the next first observation (RLlib)
    SAME_STEP    the next first observation     is the next episode's first step (Stable-Baselines3)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from envs.checked import CheckedRows
from envs.errors import TaskError
from envs.spaces import is_plain
from envs.task import Task, TaskFamily
from envs.validation import nearest
from envs.vector import BatchedEnv, SingleEnv
from trainers.errors import UsageError
from trainers.recipes import registry

_SETTINGS = ("num_envs", "seed", "tasks")  # of an env config


class NextStepVectorEnv(VectorEnv):
    """A family's batched environment in `AutoresetMode.NEXT_STEP`, one row for each task.

    The step after a row's episode ended ignores the row's action, resets it, and returns its first observation with
    reward 0 and neither flag. All else is as the batched environment gives it; Box actions reach it clipped.

    In the step info a mask `_<name>` says which rows hold `<name>`: those that moved.
    """

    def __init__(self, family: TaskFamily, tasks: Sequence[Task]) -> None:
        env = family.make_vector_env(list(tasks), 1)
        if not is_plain(env.single_observation_space):
            raise TaskError(
                f"{family.name}: the rows of its own make_vector_env observe {env.single_observation_space}, which is "
                "not one array; leave make_vector_env out, or store them as envs.spaces does"
            )
        self.batched = env if isinstance(env.unwrapped, BatchedEnv) else CheckedRows(env, family.name)
        self.metadata = {**env.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.num_envs, self.tasks = env.num_envs, tuple(tasks)
        self.single_observation_space, self.single_action_space = env.single_observation_space, env.single_action_space
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self._ended = np.zeros(self.num_envs, bool)  # by the step before

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        seeds = row_seeds(seed, self.num_envs) if isinstance(seed, (int, np.integer)) else seed
        observation, info = self.batched.reset(seed=seeds, options=options)  # type: ignore[arg-type]
        self._ended &= ~np.asarray((options or {}).get("reset_mask", True))
        return observation.copy(), self._masked(info, np.ones(self.num_envs, bool))

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        ended, moved = self._ended, ~self._ended
        sent = within_bounds(np.asarray(actions), self.single_action_space)
        # Rows whose episode is over do not move in this step (`envs.vector`), so what was meant for them is not read.
        observation, reward, terminated, truncated, info = self.batched.step(sent)
        observation = observation.copy()
        if ended.any():
            fresh, _ = self.batched.reset(options={"reset_mask": ended})
            observation[ended] = fresh[ended]
        self._ended = moved & (terminated | truncated)
        return observation, reward * moved, terminated & moved, truncated & moved, self._masked(info, moved)

    def _masked(self, info: Mapping[str, Any], rows: np.ndarray) -> dict[str, Any]:
        return {**info, **{f"_{name}": rows.copy() for name in info if not name.startswith("_")}}

    def close_extras(self, **kwargs: Any) -> None:
        """Close the batched environment."""
        self.batched.close(**kwargs)


class WithinBounds(gymnasium.ActionWrapper):
    """A single environment that gets Box actions clipped; the bounds of its action space stay declared."""

    def action(self, action: Any) -> Any:
        return within_bounds(np.asarray(action), self.action_space)


def within_bounds(actions: np.ndarray, space: gymnasium.Space) -> np.ndarray:
    """Actions [..., *shape] of a space as an environment gets them: those of a Box are clipped."""
    if isinstance(space, gymnasium.spaces.Box):
        return np.minimum(np.maximum(actions, space.low), space.high)
    return actions.astype(space.dtype, copy=False)


def row_seeds(seed: int, rows: int) -> list[int]:
    """A seed for each row's first reset; RLlib's env runners have consecutive seeds, these do not overlap."""
    return np.random.default_rng(seed).integers(2**31, size=rows).tolist()


def register(family_name: str) -> str:
    """Make a family known to RLlib, in this process and in its env runners; returns the name for `environment(env=)`.

    The env config may hold

        tasks: a list of task parameters, by name. Rows take turns: row i plays task i modulo their number.
        seed: of the draw of training tasks, one for each row, where no tasks are given; 0 by default.

    With `gym_env_vectorize_mode="vector_entry_point"` RLlib adds `num_envs` and gets a `NextStepVectorEnv`; else it
    gets one environment at a time, of the first task. RLlib tells the creator of a vector environment nothing of the
    env runner that it is for, so all env runners play the same tasks; their resets differ by `config.debugging(seed=)`.

    Args:
        family_name: a listed family, `package.module:Name`, or a description's YAML file.

    Raises:
        RecipeError: there is no such family.
    """
    from ray.tune.registry import register_env

    registry.family(family_name)  # refused here rather than in an env runner
    name = f"acclimate/{family_name}"
    register_env(name, partial(make_rllib_env, family_name))
    return name


def make_rllib_env(family_name: str, settings: Mapping[str, Any]) -> gymnasium.Env | NextStepVectorEnv:
    """The environment of an env config: see `register`.

    Raises:
        UsageError: the env config holds something else, or tasks that the rows cannot share evenly.
        TaskError: a task is outside the family's space.
    """
    for key in settings:
        if key not in _SETTINGS:
            raise UsageError(f"env_config: {key} is no setting of acclimate/{family_name}; {nearest(key, _SETTINGS)}")
    family = registry.family(family_name)
    rows = settings.get("num_envs")
    given = settings.get("tasks")
    if given is None:
        tasks = family.sample(rows or 1, np.random.default_rng(settings.get("seed", 0)), "train")
    else:
        tasks = [family.check_task(Task.of(family.name, parameters, index)) for index, parameters in enumerate(given)]
        if not tasks or (rows is not None and rows % len(tasks)):
            raise UsageError(
                f"env_config: {len(tasks)} tasks cannot be shared evenly by num_envs_per_env_runner={rows} rows; make "
                "that a multiple of the tasks, or give fewer"
            )
    if rows is None:
        return WithinBounds(SingleEnv(family.make_vector_env(tasks[:1], 1)))
    return NextStepVectorEnv(family, [tasks[row % len(tasks)] for row in range(rows)])
