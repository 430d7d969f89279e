"""Closed-loop sampling of locomotion families against MuJoCo itself and against other ways to step it, in one run.

    python benchmarks/locomotion.py [--trained RUN] [--envpool PYTHON] [--robots half_cheetah ant ...]

Closed loop: the trial loop as training uses it, policy, rewards, observations and storage included, one thread. Raw: a
loop in C over the initial states and controls that this very run recorded, nothing but physics steps; and a loop in
Python of an MjData for each row, of processor time. Beside them
Gymnasium's SyncVectorEnv and AsyncVectorEnv, and EnvPool where a Python that has it is named, each with the same policy
in the loop. `--trained` takes a run folder whose policy is measured as well as a random one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import torch
from measure import record
from mujoco import rollout

from agents.contract import Round
from agents.maml import MAMLAgent, MAMLConfig
from envs.mujoco.locomotion import Locomotion
from trainers.process import keep_freed_memory
from trainers.recipes import registry
from trainers.recipes.registry import interface_of
from trainers.runs.run_folder import Run
from trainers.sampling.random_streams import random_key
from trainers.sampling.ray_sampler import RaySampler
from trainers.sampling.shards import Shard
from trainers.sampling.trial_loop import run_trials

PEERS = {
    "half_cheetah_vel-v1": "HalfCheetah-v5",
    "ant_dir-v1": "Ant-v5",
    "walker2d_vel-v1": "Walker2d-v5",
    "humanoid_dir-v1": "Humanoid-v5",
}
VARIED = ("half_cheetah_rand_params-v1", "walker2d_rand_params-v1", "half_cheetah_steps-v1", "half_cheetah_rough-v1")
TASKS, ROLLOUTS, REPEATS = 10, 20, 3


def shard_of(family: Locomotion, tasks: int = TASKS, rounds: int = 1, first: int = 0) -> Shard:
    drawn = family.sample(tasks, np.random.default_rng(first), "train")
    keys = tuple(random_key(0, "training", first, index) for index in range(tasks))
    return Shard(tuple(drawn), tuple([Round("support", ROLLOUTS)] * rounds), keys)


def closed_loop(family, agent, weights, shard) -> tuple[float, object]:
    began = time.perf_counter()
    (batch,) = run_trials(agent, family, weights, shard)
    return time.perf_counter() - began, batch


def recorded(
    family: Locomotion, shard: Shard, batch
) -> tuple[list[mujoco.MjModel], np.ndarray, np.ndarray, np.ndarray]:
    """Of each row: its model, the controls [steps, nu] of its batch, its length, and what was observed first."""
    models = [model for task in shard.tasks for model in [family.model(task)] * ROLLOUTS]
    low, high = models[0].actuator_ctrlrange.T
    controls = np.clip(batch.action.reshape(-1, *batch.action.shape[3:]), low, high).astype(float)
    lengths = batch.valid.reshape(len(models), -1).sum(1)
    return models, controls, lengths, batch.observation[:, :, :, 0].reshape(len(models), -1)


def raw(family: Locomotion, shard: Shard, batch) -> float:
    """Control steps a second of a loop in C from this batch's initial states, under its controls."""
    # Only as long as each episode went: what lies on the ground touches more, and is slower to step.
    models, controls, lengths, seen = recorded(family, shard, batch)
    first, skip = models[0], family.robot.frame_skip
    starts = np.zeros((len(models), mujoco.mj_stateSize(first, mujoco.mjtState.mjSTATE_FULLPHYSICS)))
    hidden = family.robot.hidden  # where it stands in the plane costs nothing
    known = first.nq - hidden + first.nv
    starts[:, 1 + hidden : 1 + hidden + known] = seen[:, :known]
    held = np.repeat(controls, skip, axis=1)
    data, state = [mujoco.MjData(first)], np.zeros((1, held.shape[1], starts.shape[1]))
    with rollout.Rollout(nthread=0) as roller:
        began = time.perf_counter()
        for row, (model, length) in enumerate(zip(models, skip * lengths, strict=True)):
            roller.rollout(
                [model], data, starts[row : row + 1], np.ascontiguousarray(held[row : row + 1, :length]),
                skip_checks=True, nstep=int(length), state=np.ascontiguousarray(state[:, :length]),
                control_spec=mujoco.mjtState.mjSTATE_CTRL.value,
            )  # fmt: skip
        return int(lengths.sum()) / (time.perf_counter() - began)


def own_data(family: Locomotion, shard: Shard, batch) -> float:
    """Control steps a second of processor time of a bare loop: an MjData for each row, under the same controls."""
    models, controls, lengths, seen = recorded(family, shard, batch)
    skip, hidden = family.robot.frame_skip, family.robot.hidden
    each = []
    for model, observed in zip(models, seen, strict=True):
        data = mujoco.MjData(model)
        data.qpos[hidden:] = observed[: model.nq - hidden]
        data.qvel[:] = observed[model.nq - hidden : model.nq - hidden + model.nv]
        mujoco.mj_forward(model, data)
        each.append((model, data, data.ctrl))
    began = time.process_time()
    for step in range(int(lengths.max())):
        for row in np.flatnonzero(lengths > step).tolist():
            model, data, ctrl = each[row]
            ctrl[:] = controls[row, step]
            mujoco.mj_step(model, data, skip)
    return int(lengths.sum()) / (time.process_time() - began)


def loop_against_own_data(family: Locomotion, agent, weights, repeats: int = 5) -> dict[str, float]:
    """The closed loop's speed as a share of the bare loop's, of processor time, measured side by side."""
    ratios = []
    for number in range(repeats):
        shard = shard_of(family, first=number)
        began = time.process_time()
        (batch,) = run_trials(agent, family, weights, shard)
        ratios.append(batch.steps / (time.process_time() - began) / own_data(family, shard, batch))
    return {"median": round(median(ratios), 3), "min": round(min(ratios), 3), "max": round(max(ratios), 3)}


def peer(name: str, mode: str, envs: int, agent, weights, steps: int) -> float:
    """Control steps a second of Gymnasium's vector environments, one policy for all, in the loop."""
    made = gymnasium.make_vec(name, num_envs=envs, vectorization_mode=mode)
    observation, _ = made.reset(seed=0)
    size, state = agent.policy.input_size, agent.begin_trial(weights, 1)
    low, high = made.single_action_space.low, made.single_action_space.high
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    for _ in range(steps):
        noise = rng.standard_normal((1, envs, agent.policy.noise_size), dtype=np.float32)
        action, _, _ = agent.act(weights, state, observation[None, :, :size].astype(np.float32), noise)
        observation, *_ = made.step(np.clip(action[0], low, high))
    rate = envs * steps / (time.perf_counter() - began)
    made.close()
    return rate


ENVPOOL = """
import json, sys, time
import envpool, numpy as np
name, envs, steps, inputs, outputs = sys.argv[1], *map(int, sys.argv[2:6])
made = envpool.make(name, env_type="gymnasium", num_envs=envs, num_threads=1)
observation, _ = made.reset()
rng = np.random.default_rng(0)
sizes = [inputs, 64, 64, outputs]
weights = [rng.standard_normal((a, b)).astype(np.float32) / np.sqrt(a) for a, b in zip(sizes, sizes[1:])]
low, high = made.action_space.low, made.action_space.high
began = time.perf_counter()
for _ in range(steps):
    hidden = observation[:, :inputs].astype(np.float32)
    for number, weight in enumerate(weights):
        hidden = hidden @ weight
        hidden = np.tanh(hidden) if number < 2 else hidden
    action = hidden + rng.standard_normal(hidden.shape, dtype=np.float32)
    observation, *_ = made.step(np.clip(action, low, high).astype(np.float64))
print(json.dumps(envs * steps / (time.perf_counter() - began)))
"""


def envpool(python: str, name: str, agent, outputs: int) -> float:
    words = [python, "-c", ENVPOOL, name, str(TASKS * ROLLOUTS), "60", str(agent.policy.input_size), str(outputs)]
    return float(json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1]))


def agent_of(family: Locomotion):
    interface = interface_of(family)
    agent = MAMLAgent(MAMLConfig(), interface)
    return agent, agent.policy.init(torch.Generator().manual_seed(0))


def median(values: list[float]) -> float:
    return statistics.median(values)


def loop_against_raw(family: Locomotion, agent, weights, repeats: int = REPEATS) -> tuple[float, float, float]:
    """Medians of closed loop and raw, control steps a second, and of their ratio, measured side by side."""
    pairs = []
    for _ in range(repeats):  # the machine has moods
        shard = shard_of(family)
        seconds, batch = closed_loop(family, agent, weights, shard)
        pairs.append((batch.steps / seconds, raw(family, shard, batch)))
    return (
        median([closed for closed, _ in pairs]),
        median([bare for _, bare in pairs]),
        median([closed / bare for closed, bare in pairs]),
    )


def robots(names: list[str], trained: Path | None, python: str | None) -> dict[str, object]:
    found = {}
    for name in names:
        family = registry.family(name)
        agent, weights = agent_of(family)
        closed, bare, ratio = loop_against_raw(family, agent, weights)
        sync = peer(PEERS[name], "sync", TASKS * ROLLOUTS, agent, weights, 20)
        asynchronous = peer(PEERS[name], "async", 16, agent, weights, 60)
        figures = {
            "rows": TASKS * ROLLOUTS,
            "control steps a second": {
                "closed": round(closed), "raw": round(bare), "sync": round(sync), "async (16)": round(asynchronous),
            },
            "closed against raw, random policy": round(ratio, 3),
            "closed against a bare loop of MjData": loop_against_own_data(family, agent, weights),
            "closed against SyncVectorEnv": round(closed / sync, 2),
            "closed against AsyncVectorEnv": round(closed / asynchronous, 2),
        }  # fmt: skip
        if trained is not None and Run.open(trained).recipe.family == name:
            agent, weights, _ = Run.open(trained).load(family)
            figures["closed against raw, trained policy"] = round(loop_against_raw(family, agent, weights)[2], 3)
        if python is not None:
            rate = envpool(python, PEERS[name], agent, family.action_space.shape[0])
            figures["control steps a second"]["envpool"] = round(rate)
            figures["closed against EnvPool, one thread"] = round(closed / rate, 2)
        print(name, figures, flush=True)
        found[name] = figures
    return found


def varied_models() -> dict[str, object]:
    """Families whose model changes with the task: the loop with model building, and a thousand tasks prepared."""
    found = {}
    for name in VARIED:
        family = registry.family(name)
        agent, weights = agent_of(family)
        closed, bare, ratio = loop_against_raw(family, agent, weights, 3)
        tasks = family.sample(1000, np.random.default_rng(1), "train")
        began = time.perf_counter()
        for task in tasks:
            family.model(task)
        found[name] = {
            "control steps a second": {"closed": round(closed), "raw": round(bare)},
            "closed against raw, building included": round(ratio, 3),
            "seconds to prepare 1,000 tasks": round(time.perf_counter() - began, 2),
        }
        print(name, found[name], flush=True)
    return found


def workers() -> dict[str, object]:
    """Two Ray workers against one, and sampling with adaptation against the bare closed loop on two workers."""
    family = registry.family("half_cheetah_vel-v1")
    agent, weights = agent_of(family)
    rates = {}
    for count in (1, 2):
        sampler = RaySampler(count)
        sampler.run(agent, family, weights, [shard_of(family, 2, first=number) for number in range(count)])  # imports
        for what, rounds in (("bare", 1), ("adapting", 2)):
            measured = []
            for _ in range(3):
                shards = [shard_of(family, 5, rounds, number) for number in range(4)]
                began = time.perf_counter()
                batches = sampler.run(agent, family, weights, shards)
                steps = sum(one.steps for batch in batches for one in batch)
                measured.append(steps / (time.perf_counter() - began))
            rates[f"{count} workers, {what}"] = median(measured)
        sampler.close()
    physics = {count: physics_processes(count) for count in (1, 2)}
    figures = {name: round(rate) for name, rate in rates.items()}
    gain, bare_gain = rates["2 workers, bare"] / rates["1 workers, bare"], physics[2] / physics[1]
    return {
        "control steps a second": figures | {f"{count} raw processes": round(rate) for count, rate in physics.items()},
        "two workers against one": round(gain, 2),
        "two raw processes against one": round(bare_gain, 2),
        "the one against the other": round(gain / bare_gain, 3),
        "adapting against bare, 2 workers": round(rates["2 workers, adapting"] / rates["2 workers, bare"], 3),
    }


PHYSICS = """
import time
import mujoco, numpy as np
from mujoco import rollout
from envs.locomotion.half_cheetah import HALF_CHEETAH
from envs.mujoco.robot import base_model
model = base_model(HALF_CHEETAH.path)
starts = np.zeros((100, mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)))
controls = np.repeat(np.random.default_rng(0).uniform(-1, 1, (100, 200, 6)), 5, axis=1)
with rollout.Rollout(nthread=0) as roller:
    for repeat in range(2):
        began = time.perf_counter()
        roller.rollout([model] * 100, [mujoco.MjData(model)], starts, controls, skip_checks=True, nstep=1000,
                       state=np.zeros((100, 1000, starts.shape[1])), control_spec=mujoco.mjtState.mjSTATE_CTRL.value)
print(20000 / (time.perf_counter() - began))
"""


def physics_processes(count: int) -> float:
    """Control steps a second of this many processes of nothing but physics, together."""
    import sys

    running = [
        subprocess.Popen([sys.executable, "-c", PHYSICS], stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    return sum(float(process.communicate()[0]) for process in running)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trained", type=Path)
    parser.add_argument("--envpool", help="a Python that has EnvPool")
    parser.add_argument(
        "--bare", action="store_true", help="measure the closed loop against bare loops of MjData alone"
    )
    parser.add_argument("--robots", nargs="*", default=[name.partition("_")[0] for name in PEERS])
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    names = [name for name in PEERS if name.startswith(tuple(arguments.robots))]
    if arguments.bare:
        ratios = {}
        for name in names:
            family = registry.family(name)
            ratios[name] = loop_against_own_data(family, *agent_of(family))
            print(name, ratios[name], flush=True)
        record("locomotion", {"closed against a bare loop of MjData": ratios}, keep=True)
        return
    figures = {
        "robots": robots(names, arguments.trained, arguments.envpool),
        "families whose model varies": varied_models(),
        "workers": workers(),
    }
    record("locomotion", figures)


if __name__ == "__main__":
    main()
