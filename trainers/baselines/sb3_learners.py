"""Stable-Baselines3 from scratch on a task: PPO, SAC, TD3 and TQC, with their published settings.

PPO: the defaults of Stable-Baselines3, which are those of Schulman et al. 2017 (arXiv:1707.06347) for MuJoCo, its
batch of 2,048 steps from 8 rows, observations and returns normalised by running statistics as in RL Baselines3 Zoo.
SAC: Haarnoja et al. 2018 (arXiv:1812.05905), the defaults. TD3: Fujimoto et al. 2018 (arXiv:1802.09477), TQC:
Kuznetsov et al. 2020 (arXiv:2005.04269), likewise. The off-policy ones play one row, one gradient step a step, 1,000
random steps first (a hundredth of the budget, if that is less).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import stable_baselines3
from gymnasium.spaces import Box
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from envs.task import Task, TaskFamily
from trainers.baselines.contestants import Contestant
from trainers.baselines.metering import Act, Meter, Probes
from trainers.baselines.sb3_vec_env import SB3VecEnv


class FromScratch(Contestant):
    """Trains on one task until the budget is spent, and is probed meanwhile."""

    rows: ClassVar[int] = 1
    normalised: ClassVar[bool] = False

    @abstractmethod
    def make(self, env: VecEnv, seed: int) -> BaseAlgorithm:
        """The learner, untrained."""

    def run(self, family: TaskFamily, tasks: tuple[Task, ...], seed: int, meter: Meter) -> None:
        (task,) = tasks
        env: VecEnv = SB3VecEnv(family, [task], self.rows, seed=seed, meter=meter)
        if self.normalised:
            env = VecNormalize(env, gamma=0.99, norm_obs=isinstance(env.observation_space, Box))
        model = self.make(env, seed)
        probes = Probes(meter, family, task, self.settings.probe_episodes, seed)
        model.learn(self.settings.env_steps, callback=_Probing(probes, meter))
        env.close()


class _Probing(BaseCallback):
    """Probes the policy when that is due, and ends the training when the budget is spent."""

    def __init__(self, probes: Probes, meter: Meter) -> None:
        super().__init__()
        self._probes, self._meter = probes, meter

    def _on_training_start(self) -> None:
        self._probes.update(acting(self.model))

    def _on_step(self) -> bool:
        self._probes.update(acting(self.model))
        return not self._meter.exhausted


def acting(model: BaseAlgorithm) -> Act:
    """The model's policy without noise, on observations as the environment gives them."""
    normaliser = model.get_vec_normalize_env()

    def act(observation: np.ndarray) -> np.ndarray:
        seen: Any = normaliser.normalize_obs(observation) if normaliser else observation
        return model.predict(seen, deterministic=True)[0]

    return act


class PPO(FromScratch):
    """Proximal policy optimisation of Stable-Baselines3, from scratch on each task."""

    label = "SB3 PPO"
    rows = 8
    normalised = True

    def make(self, env: VecEnv, seed: int) -> BaseAlgorithm:
        return stable_baselines3.PPO("MlpPolicy", env, n_steps=2048 // self.rows, seed=seed, device="cpu")


class _OffPolicy(FromScratch):
    """One row, one gradient step a step."""

    def first_steps(self) -> int:
        """Random steps before the first update."""
        return max(1, min(1000, self.settings.env_steps // 100))


class SAC(_OffPolicy):
    """Soft actor-critic of Stable-Baselines3, from scratch on each task."""

    label = "SB3 SAC"

    def make(self, env: VecEnv, seed: int) -> BaseAlgorithm:
        return stable_baselines3.SAC(
            "MlpPolicy", env, learning_starts=self.first_steps(), seed=seed, device="auto",
            buffer_size=self.settings.env_steps,
        )  # fmt: skip


class TD3(_OffPolicy):
    """Twin delayed deep deterministic policy gradient of Stable-Baselines3, from scratch on each task."""

    label = "SB3 TD3"

    def make(self, env: VecEnv, seed: int) -> BaseAlgorithm:
        from stable_baselines3.common.noise import NormalActionNoise

        size = int(np.prod(env.action_space.shape or ()))
        noise = NormalActionNoise(np.zeros(size), np.full(size, 0.1))
        return stable_baselines3.TD3(
            "MlpPolicy", env, learning_starts=self.first_steps(), action_noise=noise, seed=seed, device="auto",
            buffer_size=self.settings.env_steps,
        )  # fmt: skip


class TQC(_OffPolicy):
    """Truncated quantile critics of sb3-contrib, from scratch on each task."""

    label = "SB3 TQC"

    def make(self, env: VecEnv, seed: int) -> BaseAlgorithm:
        import sb3_contrib

        return sb3_contrib.TQC(
            "MlpPolicy", env, learning_starts=self.first_steps(), seed=seed, device="auto",
            buffer_size=self.settings.env_steps,
        )  # fmt: skip
