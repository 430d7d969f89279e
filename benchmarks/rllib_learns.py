"""RLlib's PPO learns through our adapter: a fixed goal of 2-D navigation, and Gymnasium's CartPole.

    python benchmarks/rllib_learns.py [--seeds 3]

Learning curves: the mean return of the episodes that ended in each iteration, as RLlib recorded them, by environment
steps. The control is the same agent before its first update. Both ends are measured on episodes of their own, with the
policy's noise. Everything runs in this process, on one thread.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import ray
import torch
from measure import record
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from envs.task import Choice, Task, TaskFamily
from trainers.baselines.rllib_env import register
from trainers.recipes.registry import give

ROWS = 16
EPISODES = 64  # of each measurement before and after training


class CartPole(TaskFamily):
    """Gymnasium's CartPole-v1 as a family of one task."""

    name = "cart_pole-v1"
    parameters = {"unused": Choice((0,))}
    kind = "finite"
    episode_steps = 500

    def make_env(self, task: Task) -> gymnasium.Env:
        return gymnasium.make("CartPole-v1")


@dataclass(frozen=True)
class Setting:
    """One task of a family, how long it is trained on, and the bar of the trained agent's mean return."""

    family: str
    task: dict[str, Any]
    iterations: int
    bar: float
    training: dict[str, Any] = field(default_factory=dict)


# vf_clip_param: RLlib's default of 10 stops the gradient of every value that is off by more than sqrt(10).
PPO = {
    "lr": 1e-3, "gamma": 0.99, "lambda_": 0.95, "train_batch_size": 2048, "minibatch_size": 256, "num_epochs": 10,
    "vf_clip_param": 1e6, "vf_loss_coeff": 0.5, "clip_param": 0.2, "use_kl_loss": False, "grad_clip": 0.5,
}  # fmt: skip
SETTINGS = {
    "point_nav-v1, goal (0.3, -0.2)": Setting("point_nav-v1", {"goal_m": (0.3, -0.2)}, 40, -10.0),
    "CartPole-v1": Setting(give(CartPole), {"unused": 0}, 60, 400.0),
}


class EpisodeReturns(RLlibCallback):
    """Returns of the episodes that ended since they were last taken."""

    ended: list[float] = []

    def on_episode_end(self, *, episode: Any, prev_episode_chunks: list[Any], **_: Any) -> None:
        self.ended.append(sum(chunk.get_return() for chunk in (*prev_episode_chunks, episode)))

    @classmethod
    def take(cls) -> list[float]:
        taken, cls.ended[:] = list(cls.ended), []
        return taken


def ppo(setting: Setting, seed: int) -> Algorithm:
    """An untrained agent."""
    config = (
        PPOConfig()
        .environment(register(setting.family), env_config={"tasks": [setting.task]})
        .env_runners(num_env_runners=0, num_envs_per_env_runner=ROWS, gym_env_vectorize_mode="vector_entry_point")
        .learners(num_learners=0, num_gpus_per_learner=0)
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64, 64], vf_share_layers=False))
        .training(**PPO | setting.training)
        .callbacks(EpisodeReturns)
        .debugging(seed=seed, log_level="ERROR")
    )
    return config.build_algo()


def mean_return(algorithm: Algorithm) -> float:
    """Of fresh episodes of the agent as it is: the first to end."""
    episodes = algorithm.env_runner.sample(num_episodes=EPISODES, explore=True)
    return float(np.mean([episode.get_return() for episode in episodes]))


def learn(setting: Setting, seed: int) -> dict[str, Any]:
    """One run: returns before and after, seconds, and the curve [[environment steps, mean return, episodes], ...]."""
    algorithm = ppo(setting, seed)
    untrained = mean_return(algorithm)
    EpisodeReturns.take()
    algorithm.env_runner.get_metrics()  # those steps would be counted in the first iteration
    began, steps, curve = time.perf_counter(), 0, []
    for _ in range(setting.iterations):
        steps += int(algorithm.train()["env_runners"]["num_env_steps_sampled"])
        if returns := EpisodeReturns.take():
            curve.append([steps, round(float(np.mean(returns)), 2), len(returns)])
    seconds = time.perf_counter() - began
    trained = mean_return(algorithm)
    algorithm.stop()
    return {
        "seed": seed, "untrained": round(untrained, 2), "trained": round(trained, 2), "seconds": round(seconds, 1),
        "curve": curve,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*Overriding environment rllib-single-agent-env-v0")
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    figures: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        runs = []
        for seed in seeds:
            runs.append(learn(setting, seed))
            print(f"{name}, seed {seed}: {runs[-1]['untrained']} -> {runs[-1]['trained']} in {runs[-1]['seconds']} s")
            print("   " + "  ".join(f"{steps}: {mean}" for steps, mean, _ in runs[-1]["curve"][::5]), flush=True)
        reached = all(run["untrained"] < setting.bar < run["trained"] for run in runs)
        figures[name] = {"bar": setting.bar, "trained_above_it_and_untrained_below": reached, "runs": runs}
    ray.shutdown()
    record("rllib_learns", figures)


if __name__ == "__main__":
    main()
