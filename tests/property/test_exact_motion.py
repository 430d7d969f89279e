"""Every robot moves, to 1e-8 over 100 control steps, as an `MjData` of its own that `mj_step` steps."""

from __future__ import annotations

import copy
from pathlib import Path

import mujoco
import numpy as np
import pytest

import envs
from envs.mujoco import described
from envs.mujoco.locomotion import Locomotion
from envs.task import Task
from trainers.recipes import registry

STEPS = 100
TOLERANCE = 1e-8
ROBOTS = Path(__file__).resolve().parents[2] / "examples" / "robots"
EXAMPLES = sorted(path.stem for path in ROBOTS.glob("*.yaml") if "mjcf" in path.read_text())
MUJOCO_FAMILIES = [name for name, place in envs.FAMILIES.items() if place.startswith("envs.locomotion.")]

# A walker on four legs whose contacts need more solver iterations than it is given.
FEW_ITERATIONS = """
<mujoco>
  <option timestep="0.002" iterations="{iterations}" ls_iterations="4"/>
  <default><geom friction="1"/><motor ctrllimited="true" ctrlrange="-1 1" gear="12"/></default>
  <worldbody>
    <geom name="floor" type="plane" size="20 20 1"/>
    <body name="trunk" pos="0 0 .22"><freejoint/><geom type="box" size=".2 .1 .04" mass="6"/>
      {legs}
    </body>
  </worldbody>
  <actuator>{motors}</actuator>
</mujoco>
"""
LEG = """<body name="{name}" pos="{x} {y} 0"><joint name="{name}" axis="0 1 0" damping=".5" range="-60 60"/>
<geom type="capsule" fromto="0 0 0 0 0 -.2" size=".02" mass=".4"/></body>"""
CORNERS = {"fl": (0.2, 0.12), "fr": (0.2, -0.12), "bl": (-0.2, 0.12), "br": (-0.2, -0.12)}
DESCRIPTION = """
name: walker-v1
mjcf: walker.xml
control_dt_s: 0.02
episode_steps: 100
tasks: {{load: {{change: mass, of: trunk, uniform: [0.8, 1.2]}}}}
observe: [height, gravity_direction, joint_positions{term}]
reward: {{forward_velocity: 1.0}}
reset: {{noise: 0.02}}
"""


class OwnData:
    """The reference: one `MjData` and one model of its own, which nothing else steps."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.put_model(model)
        self.data = mujoco.MjData(self.model)

    def put_model(self, model: mujoco.MjModel) -> None:
        self.model = copy.deepcopy(model)
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET

    def reset(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:], self.data.qvel[:] = qpos, qvel
        mujoco.mj_forward(self.model, self.data)

    def step(self, control: np.ndarray, frame_skip: int) -> None:
        self.data.ctrl[:] = control
        mujoco.mj_step(self.model, self.data, frame_skip)

    @property
    def stable(self) -> bool:
        state = np.concatenate([self.data.qpos, self.data.qvel])
        return bool(np.all(np.abs(state) < 1e10))


def play_beside(family: Locomotion, tasks: list[Task], resets: dict[int, list[int]], seed: int = 0) -> int:
    """Play random actions with the family's rows and with the reference, side by side.

    Args:
        resets: rows to reset by mask, by step; a row whose episode is over stands still until then.

    Returns:
        how many control steps were compared.
    """
    env = family.make_vector_env(tasks, 1)
    simulations, skip = env.simulations, family.robot.frame_skip
    references = [OwnData(family.model(task.segments[0][1])) for task in tasks]
    env.reset(seed=list(range(seed, seed + len(tasks))))
    for row, reference in enumerate(references):
        reference.reset(simulations.qpos[row], simulations.qvel[row])
    low, high = env.single_action_space.low, env.single_action_space.high
    actions = np.random.default_rng(seed).uniform(low, high, (STEPS, len(tasks), len(low)))
    running, elapsed, episode = (np.ones(len(tasks), bool), *np.zeros((2, len(tasks)), int))
    compared = 0
    for step, action in enumerate(actions):
        if rows := resets.get(step):
            mask = np.isin(np.arange(len(tasks)), rows)
            env.reset(options={"reset_mask": mask})
            running, episode = running | mask, episode + mask
            elapsed[mask] = 0
            for row in rows:
                references[row] = OwnData(family.model(active(tasks[row], episode[row], 0)))
                references[row].reset(simulations.qpos[row], simulations.qvel[row])
        before = simulations.qpos.copy()
        controls = np.zeros((len(tasks), simulations.models[0].nu))
        controls[running] = env.controls(np.flatnonzero(running), action[running])
        *_, terminated, truncated, info = env.step(action)
        for row in np.flatnonzero(running):
            reference = references[row]
            now = active(tasks[row], episode[row], elapsed[row])
            if now != active(tasks[row], episode[row], max(0, elapsed[row] - 1)):
                reference.put_model(family.model(now))
            if family.push is not None:
                pushed, _ = env.disturbances.seen(row, 1)
                reference.data.qvel[list(family.push.entries)] += pushed[: len(family.push.entries)]
            reference.step(controls[row], skip)
            unstable = bool(info["unstable"][row]) if "unstable" in info else False
            assert unstable == (not reference.stable), (step, row)
            if unstable:
                assert np.array_equal(simulations.qpos[row], before[row])
                continue
            assert np.abs(simulations.qpos[row] - reference.data.qpos).max() < TOLERANCE, (step, row)
            assert np.abs(simulations.qvel[row] - reference.data.qvel).max() < TOLERANCE, (step, row)
            compared += 1
        standing = ~running
        assert np.array_equal(simulations.qpos[standing], before[standing])
        elapsed += running
        running &= ~(terminated | truncated)
    env.close()
    return compared


def active(task: Task, episode: int, step: int) -> Task:
    return task.segments[task.segment_at(int(episode), int(step))][1]


@pytest.mark.parametrize("name", MUJOCO_FAMILIES)
def test_every_family_moves_as_mujoco_does(name):
    family = registry.family(name)
    tasks = family.sample(2, np.random.default_rng(1), "train")
    # Robots that fall are put on their feet again now and then.
    compared = play_beside(family, tasks, {20: [0], 40: [0, 1], 60: [1], 80: [0, 1]})
    assert compared >= 60


@pytest.mark.parametrize("iterations", [1, 3, 10, 100])
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_moves_as_mujoco_does(name, iterations):
    family = described.load(ROBOTS / f"{name}.yaml")
    family.base.opt.iterations = iterations
    tasks = family.sample(2, np.random.default_rng(1), "train")
    compared = play_beside(family, tasks, {20: [0], 40: [0, 1], 60: [1], 80: [0, 1]})
    assert compared >= 60


@pytest.fixture
def walker(tmp_path):
    """Makes the walker's family for a number of solver iterations."""

    def make(iterations: int, *, sensed: bool) -> Locomotion:
        legs = "".join(LEG.format(name=name, x=x, y=y) for name, (x, y) in CORNERS.items())
        # Two motors, and two that follow their control with a delay: these have an activation of their own.
        delayed = 'dyntype="filter" dynprm="0.05" gainprm="12" ctrllimited="true" ctrlrange="-1 1"'
        motors = "".join(f'<motor joint="{name}"/>' for name in ("fl", "fr"))
        motors += "".join(f'<general joint="{name}" {delayed}/>' for name in ("bl", "br"))
        model = FEW_ITERATIONS.format(iterations=iterations, legs=legs, motors=motors)
        (tmp_path / "walker.xml").write_text(model)
        term = ", {term: position, of: trunk}" if sensed else ""
        (tmp_path / "walker.yaml").write_text(DESCRIPTION.format(term=term))
        return described.load(tmp_path / "walker.yaml")

    return make


@pytest.mark.parametrize("sensed", [False, True], ids=["states", "sensed"])
@pytest.mark.parametrize("iterations", [1, 2, 5, 100])
def test_models_with_few_solver_iterations_move_as_mujoco_moves_them(walker, iterations, sensed):
    family = walker(iterations, sensed=sensed)
    tasks = family.sample(3, np.random.default_rng(2), "train")
    assert play_beside(family, tasks, {30: [1], 50: [0, 2]}) >= 150


@pytest.mark.parametrize("iterations", [1, 100])
def test_bodies_that_change_while_they_move(walker, iterations):
    family = walker(iterations, sensed=False)
    lighter = {"parameters": {"load": 0.8}}
    tasks = [
        Task.of(family.name, {"load": 1.2}, schedule=[{"episode": 0, "step": 12} | lighter]),
        Task.of(family.name, {"load": 1.1}, schedule=[{"episode": 1, "step": 7} | lighter]),
        Task.of(family.name, {"load": 1.0}, schedule=[{"episode": 1, "step": 0} | lighter]),
        Task.of(family.name, {"load": 1.0}),
    ]
    assert play_beside(family, tasks, {40: [0, 1, 2, 3]}) >= 200


def test_the_solver_matters_here(walker):
    """The control of this file: without its warm start, the walker with one iteration is elsewhere at once."""
    family = walker(1, sensed=False)
    model = family.model(family.task(load=1.0))
    warm, cold = OwnData(model), OwnData(model)
    for one in (warm, cold):
        one.reset(model.qpos0, np.zeros(model.nv))
    apart = []
    for control in np.random.default_rng(0).uniform(-1, 1, (10, model.nu)):
        cold.data.qacc_warmstart[:] = 0
        for one in (warm, cold):
            one.step(control, family.robot.frame_skip)
        apart.append(np.abs(warm.data.qpos - cold.data.qpos).max())
    assert max(apart) > 0.01


def test_an_unstable_row_stands_and_the_others_move_on(walker):
    family = walker(2, sensed=True)
    tasks = family.sample(3, np.random.default_rng(3), "train")
    env = family.make_vector_env(tasks, 1)
    env.reset(seed=[0, 1, 2])
    simulations = env.simulations
    references = [OwnData(family.model(task)) for task in tasks]
    wild = simulations.qvel.copy()
    wild[1] = 1e9
    simulations.place(np.arange(3), simulations.qpos.copy(), wild)
    start = simulations.qpos.copy()
    for row in (0, 2):
        references[row].reset(simulations.qpos[row], simulations.qvel[row])
    for step, control in enumerate(np.random.default_rng(4).uniform(-1, 1, (20, 3, 4))):
        *_, terminated, _, info = env.step(control)
        if step == 0:
            assert info["unstable"].tolist() == [False, True, False]
        assert terminated.tolist() == [False, True, False]
        assert np.array_equal(simulations.qpos[1], start[1])
        for row in (0, 2):
            references[row].step(control[row], family.robot.frame_skip)
            assert np.abs(simulations.qpos[row] - references[row].data.qpos).max() < TOLERANCE
    # A new episode of the row owes nothing to the one that ended.
    env.reset(options={"reset_mask": np.array([False, True, False])})
    references[1].reset(simulations.qpos[1], simulations.qvel[1])
    for control in np.random.default_rng(5).uniform(-1, 1, (20, 3, 4)):
        *_, info = env.step(control)
        assert "unstable" not in info
        references[1].step(control[1], family.robot.frame_skip)
        assert np.abs(simulations.qpos[1] - references[1].data.qpos).max() < TOLERANCE
