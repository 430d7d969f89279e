"""Engines of batched physics: control steps a second of each robot, and how far each strays from MuJoCo's `mj_step`.

    python benchmarks/physics.py [--rows 100] [--repeats 40]

* loop: ours, one MjData for all rows (`envs/mujoco/engines/loop.py`).
* own data: an MjData for each row, the obvious exact way.
* rollout: `mujoco.rollout`, one call for all rows, which carries no warm start of the solver from step to step.

One thread, 100 rows; the engines take turns at every control step, so that a busy machine slows all alike, and the
figures are medians of processor time. Deviation: largest difference in qpos over 100 control steps of HalfCheetah, Ant
and a robot of ours under random actions, with 1, 3, 10 and 100 iterations of the solver.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from measure import record
from mujoco import rollout

from envs.locomotion.ant import ANT
from envs.locomotion.half_cheetah import HALF_CHEETAH
from envs.locomotion.hopper import HOPPER
from envs.locomotion.humanoid import HUMANOID
from envs.locomotion.walker2d import WALKER2D
from envs.mujoco.engines.choice import simulate
from envs.mujoco.robot import load_mjcf

QUADRUPED = Path(__file__).resolve().parents[1] / "examples" / "robots" / "quadruped.xml"
ROBOTS = {
    "HalfCheetah": (HALF_CHEETAH.path, HALF_CHEETAH.frame_skip),
    "Walker2d": (WALKER2D.path, WALKER2D.frame_skip),
    "Hopper": (HOPPER.path, HOPPER.frame_skip),
    "Ant": (ANT.path, ANT.frame_skip),
    "Humanoid": (HUMANOID.path, HUMANOID.frame_skip),
    "quadruped.xml": (QUADRUPED, 10),
}
FULL = mujoco.mjtState.mjSTATE_FULLPHYSICS
Step = Callable[[np.ndarray], np.ndarray]  # controls [rows, nu] -> qpos [rows, nq]


def start_of(model: mujoco.MjModel, rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return model.qpos0 + rng.uniform(-0.05, 0.05, (rows, model.nq)), 0.1 * rng.standard_normal((rows, model.nv))


def loop(model: mujoco.MjModel, frame_skip: int, rows: int) -> Step:
    simulations = simulate([model] * rows, frame_skip)
    simulations.place(np.arange(rows), *start_of(model, rows))

    def step(controls: np.ndarray) -> np.ndarray:
        simulations.step(slice(None), controls)
        return simulations.qpos

    return step


def own_data(model: mujoco.MjModel, frame_skip: int, rows: int) -> Step:
    each_own = [mujoco.MjData(model) for _ in range(rows)]
    for data, qpos, qvel in zip(each_own, *start_of(model, rows), strict=True):
        data.qpos[:], data.qvel[:] = qpos, qvel
        mujoco.mj_forward(model, data)
    state = np.zeros((rows, mujoco.mj_stateSize(model, FULL)))
    each = [(data, data.ctrl, row) for data, row in zip(each_own, state, strict=True)]

    def step(controls: np.ndarray) -> np.ndarray:
        for (data, ctrl, row), control in zip(each, controls, strict=True):
            ctrl[:] = control
            mujoco.mj_step(model, data, frame_skip)
            mujoco.mj_getState(model, data, row, FULL.value)
        return state[:, 1 : 1 + model.nq]

    return step


def rolled_out(model: mujoco.MjModel, frame_skip: int, rows: int) -> Step:
    roller, data = rollout.Rollout(nthread=0), mujoco.MjData(model)
    size = mujoco.mj_stateSize(model, FULL)
    state, trace = np.zeros((rows, size)), np.zeros((rows, frame_skip, size))
    state[:, 1 : 1 + model.nq], state[:, 1 + model.nq : 1 + model.nq + model.nv] = start_of(model, rows)

    def step(controls: np.ndarray) -> np.ndarray:
        held = np.repeat(controls[:, None], frame_skip, axis=1)
        roller.rollout(
            [model] * rows, [data], state, held, skip_checks=True, nstep=frame_skip, state=trace,
            control_spec=mujoco.mjtState.mjSTATE_CTRL.value,
        )  # fmt: skip
        state[:] = trace[:, -1]
        return state[:, 1 : 1 + model.nq]

    return step


ENGINES = {"loop": loop, "own data": own_data, "rollout": rolled_out}


def speeds(path: Path, frame_skip: int, rows: int, repeats: int) -> dict[str, Any]:
    """Control steps a second of processor time, and each engine's speed as a share of rollout's."""
    model = load_mjcf(path)[1]
    low, high = model.actuator_ctrlrange.T
    actions = np.random.default_rng(1).uniform(low, high, (repeats, rows, model.nu))
    engines = {name: make(model, frame_skip, rows) for name, make in ENGINES.items()}
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for controls in actions:
        for name, step in engines.items():
            began = time.process_time()
            step(controls)
            seconds[name].append(time.process_time() - began)
    rates = {name: rows / statistics.median(values) for name, values in seconds.items()}
    return {
        name: {"a second": round(rate), "of rollout": round(rate / rates["rollout"], 3)} for name, rate in rates.items()
    }


def deviations(path: Path, frame_skip: int, iterations: int) -> dict[str, float]:
    """Largest difference in qpos from MjData that `mj_step` steps, over 100 control steps of 4 rows."""
    model = copy.deepcopy(load_mjcf(path)[1])
    model.opt.iterations = iterations
    low, high = model.actuator_ctrlrange.T
    actions = np.random.default_rng(2).uniform(low, high, (100, 4, model.nu))
    reference = own_data(model, frame_skip, 4)
    engines = {name: make(model, frame_skip, 4) for name, make in ENGINES.items() if name != "own data"}
    largest = dict.fromkeys(engines, 0.0)
    for controls in actions:
        truth = reference(controls).copy()
        for name, step in engines.items():
            largest[name] = max(largest[name], float(np.abs(step(controls) - truth).max()))
    return largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    speed = {name: speeds(*robot, options.rows, options.repeats) for name, robot in ROBOTS.items()}
    strayed = {
        name: {f"{iterations} iterations": deviations(*ROBOTS[name], iterations) for iterations in (1, 3, 10, 100)}
        for name in ("HalfCheetah", "Ant", "quadruped.xml")
    }
    record("physics", {f"control steps, {options.rows} rows": speed, "largest deviation in qpos": strayed})


if __name__ == "__main__":
    main()
