"""Stable-Baselines3 on our batched environment: how fast its PPO collects, and whether it learns the same.

    OMP_NUM_THREADS=1 python benchmarks/sb3_collection.py [--parts rates] [--seeds 12]

Rates: PPO's own `collect_rollouts` and `learn` with 16 environments of HalfCheetah, episodes of 200 steps: one task of
half_cheetah_vel_u03-v1 in an SB3VecEnv, and Gymnasium's HalfCheetah-v5 as SB3's `make_vec_env` makes it, in a
SubprocVecEnv (a process each) and in a DummyVecEnv (this process, as SB3VecEnv is). The same MuJoCo model, policy and
batch; their repetitions take turns. The ceiling is the rate of `learn` if collecting cost nothing.

Learning curves: the settings of the contestant sb3_ppo on the same task, 8 rows of our single environment in a
DummyVecEnv and in an SB3VecEnv: mean return of the last fifth of the episodes, intervals over seeds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch
from measure import record
from scipy import stats
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from envs.task import Task, TaskFamily
from trainers.baselines.contestants import Settings
from trainers.baselines.sb3_learners import PPO
from trainers.baselines.sb3_vec_env import SB3VecEnv
from trainers.recipes import registry

FAMILY, VELOCITY = "half_cheetah_vel_u03-v1", 1.0
ENVIRONMENTS, STEPS, ROWS = 16, 200, 8


@dataclass
class Clock:
    """Seconds spent in some methods of an object, by name."""

    seconds: dict[str, float] = field(default_factory=dict)

    def watch(self, owner: Any, method: str) -> None:
        """Time every call of this method from now on."""
        whole = getattr(owner, method)

        def timed(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return whole(*given, **named)
            finally:
                self.seconds[method] = self.seconds.get(method, 0.0) + time.perf_counter() - began

        setattr(owner, method, timed)

    def take(self) -> dict[str, float]:
        taken, self.seconds = self.seconds, {}
        return taken


def gymnasiums(kind: type[VecEnv]) -> VecEnv:
    """Gymnasium's environments as Stable-Baselines3 makes them."""
    return make_vec_env(
        "HalfCheetah-v5", n_envs=ENVIRONMENTS, seed=0, vec_env_cls=kind,  # type: ignore[arg-type]
        env_kwargs={"max_episode_steps": STEPS},
    )  # fmt: skip


def rates(family: TaskFamily, task: Task, repetitions: int) -> dict[str, Any]:
    """Environment steps a second of collecting and of learning, medians of repetitions that take turns."""
    makers: dict[str, Callable[[], VecEnv]] = {
        "SB3VecEnv": lambda: SB3VecEnv(family, [task], ENVIRONMENTS),
        "SubprocVecEnv": lambda: gymnasiums(SubprocVecEnv),
        "DummyVecEnv": lambda: gymnasiums(DummyVecEnv),
    }
    models, clocks = {}, {}
    for name, maker in makers.items():
        models[name] = stable_baselines3.PPO("MlpPolicy", maker(), n_steps=STEPS, seed=0, device="cpu")
        clocks[name] = Clock()
        for owner, method in (
            (models[name], "collect_rollouts"), (models[name], "train"), (models[name].policy, "forward"),
            (models[name].env, "step"),
        ):  # fmt: skip
            clocks[name].watch(owner, method)
        learn(models[name])  # warm up
        clocks[name].take()
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in makers}
    for turn in range(repetitions):
        for name in list(makers) if turn % 2 else list(makers)[::-1]:
            began = time.perf_counter()
            learn(models[name])
            taken[name].append({"learn": time.perf_counter() - began, **clocks[name].take()})
    for model in models.values():
        model.env.close()
    return _rates(taken)


def learn(model: stable_baselines3.PPO) -> None:
    """One batch: collecting and the update."""
    model.learn(ENVIRONMENTS * STEPS, reset_num_timesteps=False)


def _rates(taken: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    count = ENVIRONMENTS * STEPS
    figures: dict[str, Any] = {}
    for name, turns in taken.items():

        def median(of: Callable[[dict[str, float]], float], turns: list[dict[str, float]] = turns) -> float:
            return statistics.median(map(of, turns))

        figures[name] = {
            "collecting, steps a second": round(median(lambda one: count / one["collect_rollouts"])),
            "learning, steps a second": round(median(lambda one: count / one["learn"])),
            "learning if collecting were free, steps a second": round(
                median(lambda one: count / (one["learn"] - one["collect_rollouts"]))
            ),
            "share of the policy's forward pass in collecting": round(
                median(lambda one: one["forward"] / one["collect_rollouts"]), 3
            ),
            "share of the environments in collecting": round(
                median(lambda one: one["step"] / one["collect_rollouts"]), 3
            ),
        }
    for other in ("SubprocVecEnv", "DummyVecEnv"):
        for what, method in (("collecting", "collect_rollouts"), ("learning", "learn")):
            ratios = sorted(
                one[method] / ours[method] for one, ours in zip(taken[other], taken["SB3VecEnv"], strict=True)
            )
            figures[f"{what}: SB3VecEnv against {other}"] = {
                "median": round(statistics.median(ratios), 2), "min": round(ratios[0], 2), "max": round(ratios[-1], 2)
            }  # fmt: skip
    return figures


class EpisodeReturns(BaseCallback):
    """Returns of the episodes in the order in which they ended."""

    def __init__(self) -> None:
        super().__init__()
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        self.returns += [float(info["episode"]["r"]) for info in self.locals["infos"] if "episode" in info]
        return True


def single(family: TaskFamily, task: Task) -> gymnasium.Env:
    """Our single environment as users of Stable-Baselines3 wrap it."""
    return Monitor(gymnasium.wrappers.TimeLimit(family.make_env(task), family.episode_steps))


def curve(env: VecEnv, seed: int, env_steps: int) -> list[float]:
    """Mean returns of each fifth of the episodes of a training."""
    model = PPO(Settings(env_steps, 1, 1)).make(VecNormalize(env, gamma=0.99), seed)
    seen = EpisodeReturns()
    model.learn(env_steps, callback=seen)
    env.close()
    return [round(float(part.mean()), 2) for part in np.array_split(np.array(seen.returns), 5)]


def interval(values: list[float]) -> list[float]:
    """95 % t interval of the mean."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return [round(float(np.mean(values) + sign * half), 2) for sign in (-1, 1)]


def curves(family: TaskFamily, task: Task, seeds: int, env_steps: int) -> dict[str, Any]:
    """Both ways of stepping our environment, seed by seed."""
    found: dict[str, list[list[float]]] = {"DummyVecEnv": [], "SB3VecEnv": []}
    for seed in range(seeds):
        found["DummyVecEnv"].append(curve(DummyVecEnv([partial(single, family, task)] * ROWS), seed, env_steps))
        found["SB3VecEnv"].append(curve(SB3VecEnv(family, [task], ROWS), seed, env_steps))
        print(f"seed {seed}: " + ", ".join(f"{name} {fifths[-1]}" for name, fifths in found.items()), flush=True)
    last = {name: [fifths[-1] for fifths in of_seeds] for name, of_seeds in found.items()}
    bounds = {name: interval(values) for name, values in last.items()}
    (low, high), (other_low, other_high) = bounds.values()
    return {
        "environment steps": env_steps,
        "mean returns of each fifth of the episodes, by seed": found,
        "last fifth, mean": {name: round(statistics.mean(values), 2) for name, values in last.items()},
        "last fifth, 95 % t interval over seeds": bounds,
        "last fifth, Welch's t test, p": round(float(stats.ttest_ind(*last.values(), equal_var=False).pvalue), 3),
        "intervals overlap": low <= other_high and other_low <= high,
    }


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--env-steps", type=int, default=100_000)
    parser.add_argument("--parts", nargs="+", choices=["rates", "curves"], default=["rates", "curves"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    family = registry.family(FAMILY)
    task = family.task(velocity_m_per_s=VELOCITY)
    if "rates" in options.parts:
        settings = {
            "environments": ENVIRONMENTS, "steps of each a batch": STEPS, "repetitions": options.repetitions
        }  # fmt: skip
        record("sb3_collection", settings | rates(family, task, options.repetitions), keep=True)
    if "curves" in options.parts:
        record("sb3_collection", {"curves": curves(family, task, options.seeds, options.env_steps)}, keep=True)


if __name__ == "__main__":
    main()
