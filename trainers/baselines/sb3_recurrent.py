"""RecurrentPPO of sb3-contrib, trained across tasks as RL² is and measured on held-out tasks.

Duan et al. 2016 (arXiv:1611.02779): a trial is two episodes on one freshly drawn task, played as one episode of
Stable-Baselines3. The policy sees, beside the observation, its last action, the last reward and whether an episode has
just ended; its LSTM is reset by the trial's end alone. The trial's end is a terminal state: what is maximised is the
return of the trial.

Networks, rows, normalisation and discounting are those of RL Baselines3 Zoo for HalfCheetah (ppo_lstm.yml, PyBullet),
all else that it leaves open sb3-contrib's defaults. A batch holds a trial's length of each row and its minibatches are
quarters of it: those of 128 steps, which are one or two sequences, take twice the time. Training steps are charged to
no task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import sb3_contrib
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from gymnasium.spaces.utils import flatdim
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from envs.errors import TaskError
from envs.task import Task, TaskFamily
from envs.vector import SingleEnv
from trainers.baselines.contestants import Contestant
from trainers.baselines.metering import Meter, RunningEpisodes
from trainers.baselines.rllib_env import within_bounds

EPISODES = 2  # of a training trial
ROWS = 16
_MINIBATCHES = 4


class Features:
    """Observation, last action, last reward and last end flag as one vector: discrete ones one-hot."""

    def __init__(self, observed: gymnasium.Space, acted: gymnasium.Space) -> None:
        """Features of environments with these spaces."""
        for space in (observed, acted):
            if not isinstance(space, (Box, Discrete, MultiDiscrete, MultiBinary)):
                raise TaskError(f"RecurrentPPO reads no {type(space).__name__} space; give Box or Discrete ones")
        self._observed, self._acted = observed, acted
        size = flatdim(observed) + flatdim(acted) + 2
        self.space = Box(-np.inf, np.inf, (size,), np.float32)

    def __call__(
        self, observation: np.ndarray, action: np.ndarray | None, reward: np.ndarray, ended: np.ndarray
    ) -> np.ndarray:
        """[rows, features]; `action` is None before the first one, whose place is 0 then."""
        rows = len(observation)
        last = np.zeros((rows, flatdim(self._acted))) if action is None else _flat(self._acted, action)
        parts = (_flat(self._observed, observation), last, reward[:, None], ended[:, None])
        return np.concatenate(parts, 1, dtype=np.float32, casting="unsafe")


def _flat(space: gymnasium.Space, values: np.ndarray) -> np.ndarray:
    """[rows, flatdim] of values [rows, ...] of a space."""
    if isinstance(space, Discrete):
        return np.eye(int(space.n))[np.asarray(values).reshape(-1) - int(space.start)]
    if isinstance(space, MultiDiscrete):
        sizes = [int(size) for size in space.nvec.reshape(-1)]
        columns = (np.asarray(values) - space.start).reshape(len(values), -1).T
        return np.concatenate([np.eye(size)[column] for size, column in zip(sizes, columns, strict=True)], 1)
    return np.asarray(values).reshape(len(values), -1)


class TrialEnv(gymnasium.Env):
    """Trials of a family as episodes: each on a task that is drawn from the training split.

    Args:
        family: whose tasks are drawn.
        seed: of the draws and of all resets.
    """

    def __init__(self, family: TaskFamily, seed: np.random.SeedSequence) -> None:
        self._family, self._rng = family, np.random.default_rng(seed)
        self._env = self._draw()
        self._features = Features(self._env.observation_space, self._env.action_space)
        self.observation_space, self.action_space = self._features.space, self._env.action_space
        self._episodes_left = 0

    def _draw(self) -> SingleEnv:
        return SingleEnv(self._family.make_vector_env(self._family.sample(1, self._rng, "train"), 1))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A new trial; what it draws goes on from the seed of the environment, whatever `seed` says."""
        self._env.close()
        self._env, self._episodes_left = self._draw(), EPISODES
        observation, _ = self._env.reset(seed=int(self._rng.integers(2**31)))
        return self._seen(observation, None, 0.0, False), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        sent = within_bounds(np.asarray(action), self.action_space)
        observation, reward, terminated, truncated, _ = self._env.step(sent)
        ended = terminated or truncated
        self._episodes_left -= ended
        if ended and self._episodes_left:
            observation, _ = self._env.reset()
        return self._seen(observation, sent, reward, ended), reward, self._episodes_left == 0, False, {}

    def _seen(self, observation: Any, action: Any, reward: float, ended: bool) -> np.ndarray:
        last = None if action is None else action[None]
        return self._features(np.asarray(observation)[None], last, np.array([reward]), np.array([ended]))[0]

    def close(self) -> None:
        self._env.close()


class RecurrentPPO(Contestant):
    """Proximal policy optimisation with an LSTM of sb3-contrib, trained across the training tasks."""

    label = "SB3 RecurrentPPO"
    across_tasks = True

    def run(self, family: TaskFamily, tasks: tuple[Task, ...], seed: int, meter: Meter) -> None:
        model = self.train(family, seed)
        self.measure(model, family, tasks, seed, meter)

    def train(self, family: TaskFamily, seed: int) -> sb3_contrib.RecurrentPPO:
        """The policy after `env_steps` of trials on training tasks."""
        streams = np.random.SeedSequence([seed, 0]).spawn(ROWS)
        rows = DummyVecEnv([lambda stream=stream: TrialEnv(family, stream) for stream in streams])  # type: ignore[misc]
        env = VecNormalize(rows, gamma=0.99)
        steps = min(EPISODES * family.episode_steps, max(2, self.settings.env_steps // ROWS))
        networks = {"lstm_hidden_size": 128, "net_arch": [], "activation_fn": torch.nn.ReLU, "ortho_init": False}
        model = sb3_contrib.RecurrentPPO(
            "MlpLstmPolicy", env, n_steps=steps, batch_size=steps * ROWS // _MINIBATCHES, gamma=0.99, gae_lambda=0.9,
            policy_kwargs=networks, seed=seed, device="cpu",
        )  # fmt: skip
        model.learn(self.settings.env_steps, callback=_Budget(self.settings.env_steps))
        env.close()
        return model

    def measure(
        self, model: sb3_contrib.RecurrentPPO, family: TaskFamily, tasks: Sequence[Task], seed: int, meter: Meter
    ) -> None:
        """A trial on each task, side by side, in which the LSTM is kept."""
        env = family.make_vector_env(list(tasks), 1)
        features = Features(env.single_observation_space, env.single_action_space)
        normaliser = model.get_vec_normalize_env()
        assert normaliser is not None
        rows = len(tasks)
        seeds = np.random.default_rng([seed, 1]).integers(2**31, size=rows).tolist()
        observation, _ = env.reset(seed=seeds)
        meters, played = [meter.of_another_task() for _ in tasks], RunningEpisodes(family, tasks)
        moved, episodes_left = np.ones(rows, bool), np.full(rows, self.settings.episodes)
        state, first, action = None, np.ones(rows, bool), None
        reward, ended = np.zeros(rows), np.zeros(rows, bool)
        while moved.any():
            seen = normaliser.normalize_obs(features(observation, action, reward, ended))
            drawn, state = model.predict(seen, state=state, episode_start=first)
            action, first = within_bounds(drawn, env.single_action_space), np.zeros(rows, bool)
            observation, reward, terminated, truncated, info = env.step(action)
            played.step(reward, info, moved)
            ended = moved & (terminated | truncated)
            for row in np.flatnonzero(ended).tolist():
                _keep(meters[row], tasks[row], *played.end(row))
            played.begin(ended)
            episodes_left -= ended
            moved = moved & (episodes_left > 0)
            if (ended & moved).any():
                observation, _ = env.reset(options={"reset_mask": ended & moved})
        env.close()


def _keep(meter: Meter, task: Task, total: float, length: int, success: bool | None) -> None:
    """Charge an episode of a trial to its task, and keep it."""
    before = meter.spent
    meter.spent += length
    meter.add("online", 0, before, total, length, success, task=task.index)


class _Budget(BaseCallback):
    """Ends the training after so many environment steps, within a batch too."""

    def __init__(self, env_steps: int) -> None:
        super().__init__()
        self._env_steps = env_steps

    def _on_step(self) -> bool:
        return self.num_timesteps < self._env_steps
