"""A single environment at the platform's edge: what it gives is compared with what it declares, at every step.

Each refusal is one sentence: which environment, what it gave, what it declared or what Gymnasium asks, and where.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NoReturn

import gymnasium
import numpy as np
from numpy import ndarray

from envs.errors import EnvironmentFailure, TaskError
from envs.spaces import ObservationReader, describe

_REALS = {float, int, np.float64, np.float32}
_STEP = "a step returns observation, reward, terminated, truncated, info"
_RESET = "a reset returns observation and info, a dict"
RAISED = (Exception, SystemExit)  # by an environment: one that leaves must not take the process along


class CheckedEnv:
    """One environment, and what is known of it for messages.

    Args:
        env: as `make_env` made it.
        reader: of observations of the declared space, which all environments of a batch share.
        task: that it plays, for messages; anything with `family` and `parameters`, or None.
    """

    __slots__ = ("_elapsed", "_reader", "_task", "env")

    def __init__(self, env: gymnasium.Env, reader: ObservationReader, task: Any = None) -> None:
        self.env, self._reader, self._task = env, reader, task
        self._elapsed = 0

    def reset(self, out: np.ndarray, row: int, seed: int | None, options: dict[str, Any] | None) -> None:
        """Begin an episode; its first observation goes to `out[row]`.

        Raises:
            TaskError: the answer is not as declared. EnvironmentFailure: the environment raised.
        """
        self._elapsed = 0
        try:
            answer = self.env.reset(seed=seed, options=options)
        except RAISED as error:
            if isinstance(error, TypeError) and not _takes_seed(self.env):
                self._refuse("takes no seed or no options in its reset; begin it `def reset(self, *, seed=None, "
                             "options=None)` and call super().reset(seed=seed)")  # fmt: skip
            self._failed(error, "reset")
        if not isinstance(answer, tuple) or len(answer) != 2 or not isinstance(answer[1], dict):
            self._refuse(f"returned {describe(answer)} from its reset, but {_RESET}")
        self._store(answer[0], out, row)

    def step(self, action: Any, out: np.ndarray, row: int) -> tuple[float, bool, bool, dict[str, Any]]:
        """Act; the observation goes to `out[row]`, reward, both flags and info are returned. Raises as `reset`."""
        self._elapsed += 1
        try:
            answer = self.env.step(action)
        except RAISED as error:
            self._failed(error, "step")
        if type(answer) is not tuple or len(answer) != 5:
            self._refuse_answer(answer)
        observation, reward, terminated, truncated, info = answer
        if type(reward) not in _REALS:
            reward = self._real(reward)
        if terminated is not False and terminated is not True:
            terminated = self._flag(terminated, "terminated")
        if truncated is not False and truncated is not True:
            truncated = self._flag(truncated, "truncated")
        if type(info) is not dict and not isinstance(info, dict):
            self._refuse(f"gave {describe(info)} for info, but {_STEP}, and info is a dict")
        reader = self._reader
        if type(observation) is ndarray and observation.dtype is reader.dtype and observation.shape == reader.shape:
            out[row] = observation  # the common case, without a call
        else:
            self._store(observation, out, row)
        return reward, terminated, truncated, info  # type: ignore[return-value]  # compared above

    def _store(self, observation: Any, out: np.ndarray, row: int) -> None:
        try:
            self._reader.write(observation, out, row)
        except TaskError as error:
            self._refuse(f"gave an observation that is not of its observation_space: {error}; make them agree")

    def _real(self, reward: Any) -> float:
        if isinstance(reward, (int, float, np.integer, np.floating, np.bool_)) or (
            isinstance(reward, np.ndarray) and reward.shape == () and reward.dtype.kind in "biuf"
        ):
            return float(reward)
        self._refuse(f"gave {describe(reward)} for a reward, which is one number; return a float")

    def _flag(self, flag: Any, name: str) -> bool:
        if isinstance(flag, (int, np.integer, np.bool_)) or (isinstance(flag, np.ndarray) and flag.shape == ()):
            return bool(flag)
        self._refuse(f"gave {describe(flag)} for `{name}`, which is one truth value; return a bool")

    def _refuse_answer(self, answer: Any) -> NoReturn:
        if isinstance(answer, tuple) and len(answer) == 4:
            self._refuse(f"returned 4 values from its step, as the earlier Gym did, but {_STEP}; part `done` in two")
        self._refuse(f"returned {describe(answer)} from its step, but {_STEP}")

    def _refuse(self, what: str) -> NoReturn:
        raise TaskError(f"{name_of(self.env, self._task)} {what}{self._where()}")

    def _failed(self, error: Exception | SystemExit, method: str) -> NoReturn:
        if isinstance(error, TaskError):
            raise error
        doing = f"{name_of(self.env, self._task)}, in its {method},"
        raise EnvironmentFailure.of(error, doing, self._where()) from error

    def _where(self) -> str:
        step = f"step {self._elapsed} of the episode" if self._elapsed else "reset"
        return f" ({step}{f', task {self._task.parameters}' if self._task is not None else ''})"


def name_of(env: gymnasium.Env, task: Any) -> str:
    """Such as `my_walk-v1: the environment Walk`."""
    return f"{f'{task.family}: ' if task is not None else ''}the environment {type(env.unwrapped).__name__}"


def _takes_seed(env: gymnasium.Env) -> bool:
    try:
        parameters = inspect.signature(env.unwrapped.reset).parameters
    except (TypeError, ValueError):
        return True
    open_ended = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    return open_ended or {"seed", "options"} <= parameters.keys()


def make_checked(make_env: Callable[[Any], gymnasium.Env], task: Any) -> gymnasium.Env:
    """The environment of a task, by the family's `make_env`.

    Raises:
        TaskError: it is no environment, or declares no spaces. EnvironmentFailure: `make_env` raised.
    """
    try:
        env = make_env(task)
    except TaskError:
        raise
    except RAISED as error:
        raise EnvironmentFailure.of(error, f"{task.family}: its make_env", f" (task {task.parameters})") from error
    if not isinstance(env, gymnasium.Env):
        raise TaskError(
            f"{task.family}: make_env returned {describe(env)}, not a gymnasium.Env; return an environment, derived "
            "from gymnasium.Env or made by gymnasium.make"
        )
    for name in ("observation_space", "action_space"):
        if not isinstance(getattr(env, name, None), gymnasium.Space):
            raise TaskError(f"{name_of(env, task)} has no {name}; set self.{name} to a gymnasium space in its __init__")
    return env


class CheckedRows(gymnasium.vector.VectorWrapper):
    """The batched environment of a family that makes its own: shapes are compared, exceptions become sentences."""

    def __init__(self, env: gymnasium.vector.VectorEnv, family: str) -> None:
        super().__init__(env)
        self._name = f"{family}: the batched environment {type(env.unwrapped).__name__}"

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        answer = self._called("reset", lambda: self.env.reset(seed=seed, options=options), 2)
        self._compare("observation", answer[0], self._observation_shape)
        return answer

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        answer = self._called("step", lambda: self.env.step(actions), 5)
        self._compare("observation", answer[0], self._observation_shape)
        for name, values in zip(("reward", "terminated", "truncated"), answer[1:4], strict=True):
            self._compare(name, values, (self.num_envs,))
        return answer

    @property
    def _observation_shape(self) -> tuple[int, ...]:
        return (self.num_envs, *(self.single_observation_space.shape or ()))

    def _called(self, method: str, call: Callable[[], Any], values: int) -> Any:
        try:
            answer = call()
        except TaskError:
            raise
        except RAISED as error:
            raise EnvironmentFailure.of(error, f"{self._name}, in its {method},", "") from error
        if not isinstance(answer, tuple) or len(answer) != values:
            raise TaskError(
                f"{self._name} returned {describe(answer)} from its {method}, but {_STEP if values == 5 else _RESET}"
            )
        return answer

    def _compare(self, name: str, values: Any, shape: tuple[int, ...]) -> None:
        if not isinstance(values, np.ndarray) or values.shape != shape:
            raise TaskError(f"{self._name} gave {describe(values)} for `{name}`, which is an array of shape {shape}")
