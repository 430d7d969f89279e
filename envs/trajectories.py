"""Trajectories of single environments under given actions, for the conformance check to compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from envs.checked import CheckedEnv, make_checked
from envs.errors import TaskError
from envs.spaces import ObservationReader
from envs.task import Task, TaskFamily

STEPS = 50  # of a comparison: enough to tell tasks apart, short enough for slow simulators
TASKS = 6


@dataclass(frozen=True)
class Trajectory:
    """Trajectory of one row under given actions."""

    observation: np.ndarray  # [L + 1, O]
    reward: np.ndarray  # [L]
    ended: np.ndarray  # [L] bool
    infos: list[dict[str, Any]]


def some_tasks(family: TaskFamily, count: int = TASKS) -> list[Task]:
    """Return distinct training tasks; a finite family may have fewer."""
    drawn = family.sample(count if family.kind != "finite" else 8 * count, np.random.default_rng(0), "train")
    return list(dict.fromkeys(drawn))[:count]


def fixed_actions(space: gymnasium.Space, steps: int, rows: int, seed: int = 0) -> np.ndarray:
    """Return the same random actions for every row, [steps, rows, ...]."""
    if isinstance(space, (gymnasium.spaces.Dict, gymnasium.spaces.Tuple)):
        raise TaskError(
            f"actions of a {type(space).__name__} space are not served by any agent; declare one Box or MultiDiscrete "
            "action space and split the action in the environment's step"
        )
    space.seed(seed)
    actions = np.array([space.sample() for _ in range(steps)])
    return np.repeat(actions[:, None], rows, axis=1)


def play(env: gymnasium.Env, actions: np.ndarray, seed: int, task: Task | None = None) -> Trajectory:
    """Play these actions in a single environment until it ends.

    Raises:
        TaskError: what it gives is not what it declares; `task` is named.
    """
    reader = ObservationReader(env.observation_space)
    checked = CheckedEnv(env, reader, task)
    observations = np.empty((len(actions) + 1, *(reader.space.shape or ())), reader.space.dtype)
    checked.reset(observations, 0, seed, None)
    rewards, ended, infos = [], [], []
    for step, action in enumerate(actions):
        reward, terminated, truncated, info = checked.step(action, observations, step + 1)
        rewards.append(float(reward))
        ended.append(bool(terminated or truncated))
        infos.append(info)
        if ended[-1]:
            break
    return Trajectory(observations[: len(rewards) + 1].astype(float), np.array(rewards), np.array(ended), infos)


def trajectories(family: TaskFamily, tasks: Sequence[Task], seed: int = 0) -> list[Trajectory]:
    """Play the same random actions in the environment of each task."""
    actions = fixed_actions(family.action_space, min(STEPS, family.episode_steps), 1)[:, 0]
    return [play_once(family, task, actions, seed) for task in tasks]


def play_once(family: TaskFamily, task: Task, actions: np.ndarray, seed: int = 0) -> Trajectory:
    """Play these actions in a fresh environment of the task."""
    env = make_checked(family.make_env, task)
    played = play(env, actions, seed, task)
    env.close()
    return played
