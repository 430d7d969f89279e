"""RLlib from scratch on a task: PPO and SAC on its new API stack, sampling and learning in this process.

PPO has the settings of Schulman et al. 2017 (arXiv:1707.06347) for MuJoCo, its batch of 2,048 steps from 8 rows,
observations normalised by RLlib's running mean and deviation. SAC has those of Haarnoja et al. 2018 (arXiv:1812.05905):
one row, one gradient step a step, uniform replay. It acts with its untrained policy where others take random steps,
1,000 of them (a hundredth of the budget, if that is less).

    RLlib's default             here    since
    PPO vf_clip_param 10        inf     a value that is off by more than sqrt(10) would get no gradient
    PPO use_kl_loss             no      the paper's clipped objective has no penalty
    SAC actor_lr 3e-5           3e-4    the paper's
    SAC prioritised replay      no      the paper's is uniform

A fragment, which is what RLlib samples before it updates, is played to its end: that is how far the budget may be
exceeded.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import gymnasium
import numpy as np
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.connectors.env_to_module import FlattenObservations, MeanStdFilter
from ray.rllib.core import COMPONENT_ENV_TO_MODULE_CONNECTOR
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from envs.task import Task, TaskFamily
from trainers.baselines.contestants import Contestant
from trainers.baselines.metering import Act, Meter, Probes, RunningEpisodes
from trainers.baselines.rllib_env import NextStepVectorEnv
from trainers.cluster import connection
from trainers.cluster.addresses import named
from trainers.stopping import StopRequest


class MeteredVectorEnv(NextStepVectorEnv):
    """The rows of one task. Steps that move a row are charged, those that reset it are not.

    Args:
        settings: RLlib's env config: `family`, `task` and `num_envs`.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        tasks = [settings["task"]] * settings["num_envs"]
        super().__init__(settings["family"], tasks)
        self.running = RunningEpisodes(settings["family"], tasks)

    def reset(self, **how: Any) -> tuple[np.ndarray, dict[str, Any]]:
        answer = super().reset(**how)
        self.running.begin(np.ones(self.num_envs, bool))
        return answer

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        ended = self._ended
        observation, reward, terminated, truncated, info = super().step(actions)
        self.running.step(reward, info, ~ended)
        for row in np.flatnonzero(terminated | truncated).tolist():
            self.running.end(row)
        self.running.begin(ended)
        return observation, reward, terminated, truncated, info


class FromScratch(Contestant):
    """Trains on one task until the budget is spent, and is probed between fragments."""

    rows: ClassVar[int] = 1
    normalised: ClassVar[bool] = False

    @abstractmethod
    def configure(self) -> AlgorithmConfig:
        """The algorithm and its hyperparameters."""

    def run(self, family: TaskFamily, tasks: tuple[Task, ...], seed: int, meter: Meter) -> None:
        (task,) = tasks
        config = self.in_this_process(family, task, seed)
        probes = Probes(meter, family, task, self.settings.probe_episodes, seed)
        with quiet(), some_ray():
            algorithm = config.build_algo(use_copy=False)
            try:
                _seed_replay(algorithm, seed)
                algorithm.env_runner.env.unwrapped.running.meter = meter
                act = self.acting(algorithm)
                probes.update(act)
                while not meter.exhausted:
                    algorithm.train()
                    probes.update(act)
            finally:
                algorithm.stop()
                shutil.rmtree(algorithm.logdir, ignore_errors=True)

    def in_this_process(self, family: TaskFamily, task: Task, seed: int) -> AlgorithmConfig:
        """The algorithm on this task, without processes of its own."""
        return (
            self.configure()
            .environment(MeteredVectorEnv, env_config={"family": family, "task": task})
            .env_runners(
                num_env_runners=0, num_envs_per_env_runner=self.rows, gym_env_vectorize_mode="vector_entry_point",
                env_to_module_connector=self._connectors,  # type: ignore[arg-type]
            )
            .learners(num_learners=0, num_gpus_per_learner=0)
            .reporting(min_time_s_per_iteration=0)
            .debugging(seed=seed, log_level="ERROR")
        )  # fmt: skip

    def _connectors(self, env: Any, spaces: Any, device: Any, *, update: bool = True) -> list[Any]:
        """Between the environment and the policy."""
        if not isinstance(env.single_observation_space, gymnasium.spaces.Box):
            return [FlattenObservations()]
        return [MeanStdFilter(update_stats=update)] if self.normalised else []

    def acting(self, algorithm: Algorithm) -> Act:
        """The policy as it is when it acts, without noise, on observations as the environment gives them."""
        runner, config = algorithm.env_runner, self.configure()
        config.env_runners(env_to_module_connector=partial(self._connectors, update=False))
        spaces = runner.get_spaces()
        before = config.build_env_to_module_connector(env=runner.env, spaces=spaces)
        after = config.build_module_to_env_connector(env=runner.env, spaces=spaces)
        observed, acted = runner.env.single_observation_space, runner.env.single_action_space

        def act(observation: np.ndarray) -> np.ndarray:
            episodes = [
                SingleAgentEpisode(observations=[one], observation_space=observed, action_space=acted)
                for one in observation
            ]
            given: dict[str, Any] = {
                "episodes": episodes, "rl_module": runner.module, "explore": False, "shared_data": {}
            }  # fmt: skip
            before.set_state(runner.get_state(COMPONENT_ENV_TO_MODULE_CONNECTOR)[COMPONENT_ENV_TO_MODULE_CONNECTOR])
            with torch.no_grad():
                out = runner.module.forward_inference(before(batch={}, **given))
                out = after(batch=out, **given)
            return np.stack(out.get(Columns.ACTIONS_FOR_ENV, out[Columns.ACTIONS]))

        return act


def _seed_replay(algorithm: Algorithm, seed: int) -> None:
    """Give the replay buffer, if there is one, a generator from the seed: RLlib's has none."""
    if algorithm.local_replay_buffer is not None:
        algorithm.local_replay_buffer.rng = np.random.default_rng(seed)


@contextmanager
def some_ray() -> Iterator[None]:
    """RLlib needs Ray, even where all is done in this process: the one that runs, or a small one until the end."""
    ours = connection.start(1, StopRequest(), named(None))
    try:
        yield
    finally:
        if ours:
            ray.shutdown()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence advice about RLlib's own use of its interfaces."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.rllib", "ray.tune", "ray._private")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class PPO(FromScratch):
    """Proximal policy optimisation of RLlib, from scratch on each task."""

    label = "RLlib PPO"
    rows = 8
    normalised = True

    def configure(self) -> AlgorithmConfig:
        batch = max(self.rows, min(2048, self.settings.env_steps))
        model = DefaultModelConfig(fcnet_hiddens=[64, 64], vf_share_layers=False, free_log_std=True)
        return (
            PPOConfig()
            .training(
                lr=3e-4, gamma=0.99, lambda_=0.95, clip_param=0.2, use_kl_loss=False, entropy_coeff=0.0,
                vf_clip_param=float("inf"), vf_loss_coeff=0.5, num_epochs=10, train_batch_size=batch,
                minibatch_size=min(64, batch),
            )
            .rl_module(model_config=model)
        )  # fmt: skip


class SAC(FromScratch):
    """Soft actor-critic of RLlib, from scratch on each task."""

    label = "RLlib SAC"

    def configure(self) -> AlgorithmConfig:
        budget = self.settings.env_steps
        return (
            SACConfig()
            .training(
                actor_lr=3e-4, critic_lr=3e-4, alpha_lr=3e-4, gamma=0.99, tau=5e-3,
                num_steps_sampled_before_learning_starts=max(1, min(1000, budget // 100)),
                replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": budget},
            )
            .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[256, 256], fcnet_activation="relu"))
            .reporting(min_sample_timesteps_per_iteration=max(1, min(100, budget // 200)))
        )  # fmt: skip
