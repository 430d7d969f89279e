"""Closed-loop sampling of locomotion families against MuJoCo itself, in one run.

    python benchmarks/locomotion.py

Closed loop: the trial loop as training uses it, policy, rewards, observations and storage included, one thread. Raw: a
loop in C over the initial states and controls that this very run recorded, nothing but physics steps. Beside them
Gymnasium's own environments, stepped one after the other (SyncVectorEnv) with the recorded actions.
"""

from __future__ import annotations

import statistics
import time

import gymnasium
import mujoco
import numpy as np
import torch
from measure import record
from mujoco import rollout

from agents.contract import Interface, Round
from agents.maml import MAMLAgent, MAMLConfig
from envs.mujoco.locomotion import base_model
from trainers import resolve
from trainers.process import keep_freed_memory
from trainers.sampling import Shard, random_key, run_trials

FAMILIES = {"half_cheetah_vel-v1": "HalfCheetah-v5"}
TASKS, ROLLOUTS, REPEATS = 10, 20, 5


def closed_loop(family, agent, weights, tasks) -> tuple[float, object]:
    keys = tuple(random_key(0, "training", 0, index) for index in range(len(tasks)))
    began = time.perf_counter()
    (batch,) = run_trials(agent, family, weights, Shard(tuple(tasks), (Round("support", ROLLOUTS),), keys))
    return time.perf_counter() - began, batch


def raw(model: mujoco.MjModel, frame_skip: int, starts: np.ndarray, controls: np.ndarray) -> float:
    """Seconds of a loop in C over these starts [B, state] and controls [B, L, nu]."""
    held = np.repeat(controls, frame_skip, axis=1)
    state = np.zeros((len(starts), held.shape[1], starts.shape[1]))
    with rollout.Rollout(nthread=0) as roller:
        began = time.perf_counter()
        roller.rollout(
            [model] * len(starts), [mujoco.MjData(model)], starts, held, skip_checks=True, nstep=held.shape[1],
            state=state, control_spec=mujoco.mjtState.mjSTATE_CTRL.value,
        )  # fmt: skip
        return time.perf_counter() - began


def gymnasium_loop(name: str, controls: np.ndarray, rows: int = 16) -> float:
    """Seconds of an environment step in Gymnasium's SyncVectorEnv, open loop."""
    envs = gymnasium.make_vec(name, num_envs=rows, vectorization_mode="sync")
    envs.reset(seed=0)
    began = time.perf_counter()
    for step in range(controls.shape[1]):
        envs.step(controls[:rows, step])
    return (time.perf_counter() - began) / (rows * controls.shape[1])


def main() -> None:
    keep_freed_memory()
    torch.set_num_threads(1)
    figures = {}
    for name, peer in FAMILIES.items():
        family = resolve.family(name)
        interface = Interface(family.observation_space, family.action_space, family.episode_steps)
        agent = MAMLAgent(MAMLConfig(), interface)
        weights = agent.policy.init(torch.Generator().manual_seed(0))
        tasks = family.sample(TASKS, np.random.default_rng(0), "train")
        model, skip = base_model(family.robot.file), family.robot.frame_skip
        found: dict[str, list[float]] = {"closed": [], "raw": [], "gymnasium": []}
        for _ in range(REPEATS):  # side by side, for the machine has moods
            seconds, batch = closed_loop(family, agent, weights, tasks)
            steps = batch.steps
            controls = np.clip(batch.action.reshape(-1, *batch.action.shape[3:]), -1, 1).astype(float)
            starts = np.zeros((len(controls), mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)))
            first = batch.observation[:, :, :, 0].reshape(len(controls), -1)
            starts[:, 1 + family.robot.hidden :] = first  # where it stands in the plane costs nothing
            found["closed"].append(steps / seconds)
            found["raw"].append(steps / raw(model, skip, starts, controls))
            found["gymnasium"].append(1 / gymnasium_loop(peer, controls))
        median = {what: statistics.median(values) for what, values in found.items()}
        figures[name] = {
            "rows": len(controls),
            "environment steps a second": {what: round(value) for what, value in median.items()},
            "closed loop against raw physics": round(statistics.median(np.divide(found["closed"], found["raw"])), 3),
            "closed loop against SyncVectorEnv": round(median["closed"] / median["gymnasium"], 2),
        }
    record("locomotion", figures)


if __name__ == "__main__":
    main()
