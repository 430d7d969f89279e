"""The batched engine is MuJoCo: parity with Gymnasium's v5 environments, rows that share nothing, honest failures."""

from __future__ import annotations

import gymnasium
import mujoco
import numpy as np
import pytest

from envs.locomotion.half_cheetah import HALF_CHEETAH, HalfCheetahDir, HalfCheetahVel
from envs.mujoco.engines.loop import LoopSimulations
from envs.mujoco.robot import base_model

ENGINES = [LoopSimulations]
CHEETAH = HALF_CHEETAH.path


def states(count, seed=0):
    rng = np.random.default_rng(seed)
    model = base_model(CHEETAH)
    return model.qpos0 + rng.uniform(-0.1, 0.1, (count, model.nq)), 0.1 * rng.standard_normal((count, model.nv))


def controls(count, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 6))


@pytest.mark.parametrize("engine", ENGINES)
def test_one_step_is_gymnasiums(engine):
    """From the same state and action, over a whole episode of states: qpos and qvel to 1e-8."""
    peer = gymnasium.make("HalfCheetah-v5").unwrapped
    peer.reset(seed=0)
    simulations = engine([base_model(CHEETAH)], peer.frame_skip)
    for control in controls(200):
        simulations.place(np.array([0]), peer.data.qpos[None].copy(), peer.data.qvel[None].copy())
        simulations.step(slice(None), control[None])
        peer.step(control)
        assert np.abs(simulations.qpos[0] - peer.data.qpos).max() < 1e-8
        assert np.abs(simulations.qvel[0] - peer.data.qvel).max() < 1e-8


@pytest.mark.parametrize(
    ("family", "parameters", "formula"),
    [
        (HalfCheetahVel, {"velocity_m_per_s": 1.3}, lambda v, a: -abs(v - 1.3) - 0.05 * np.square(a).sum()),
        (HalfCheetahDir, {"direction": -1}, lambda v, a: -v - 0.05 * np.square(a).sum()),
    ],
)
def test_rewards_are_their_formulas(family, parameters, formula):
    env = family().make_vector_env([family().task(**parameters)], 1)
    observation, _ = env.reset(seed=[0])
    for control in controls(20):
        before = env.simulations.qpos[0, 0]
        observation, reward, terminated, _, _ = env.step(control[None])
        assert reward[0] == pytest.approx(formula((env.simulations.qpos[0, 0] - before) / 0.05, control), abs=1e-12)
        expected = np.concatenate([env.simulations.qpos[0, 1:], env.simulations.qvel[0]])
        assert np.array_equal(observation[0], expected.astype(np.float32))
        assert not terminated[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_that_stand_still_do_not_move_and_the_others_do_not_notice(engine):
    model = base_model(CHEETAH)
    all_three, alone = engine([model] * 3, 5), engine([model], 5)
    positions, velocities = states(3)
    all_three.place(np.arange(3), positions, velocities)
    alone.place(np.array([0]), positions[1:2], velocities[1:2])
    all_three.step(np.array([1]), controls(1))
    alone.step(slice(None), controls(1))
    assert np.array_equal(all_three.qpos[[0, 2]], positions[[0, 2]])
    assert np.array_equal(all_three.qpos[1], alone.qpos[0])
    assert np.array_equal(all_three.qvel[1], alone.qvel[0])


@pytest.mark.parametrize("engine", ENGINES)
def test_models_of_two_tasks_never_share_state(engine):
    light = base_model(CHEETAH)
    heavy = mujoco.MjModel.from_xml_path(gymnasium.make("HalfCheetah-v5").unwrapped.fullpath)
    heavy.opt.gravity[:] *= 2
    both = engine([light, heavy, light], 5)
    positions, velocities = states(1)
    both.place(np.arange(3), positions.repeat(3, 0), velocities.repeat(3, 0))
    for seed in range(5):
        both.step(slice(None), controls(1, seed).repeat(3, 0))
    assert np.array_equal(both.qpos[0], both.qpos[2])
    assert np.abs(both.qpos[0] - both.qpos[1]).max() > 1e-3
    assert light.opt.gravity[2] == -9.81


@pytest.mark.parametrize("engine", ENGINES)
def test_an_unstable_simulation_is_marked_and_stays_finite(engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = base_model(CHEETAH)
    simulations = engine([model] * 2, 5)
    positions, velocities = states(2)
    velocities[0] = 1e9
    simulations.place(np.arange(2), positions, velocities)
    simulations.step(slice(None), controls(2))
    assert simulations.unstable.tolist() == [True, False]
    assert np.array_equal(simulations.qpos[0], positions[0]), "it stands where it was, not at MuJoCo's initial pose"
    assert np.isfinite(simulations.qpos).all()
    simulations.place(np.array([0]), *states(1))
    simulations.step(slice(None), controls(2))
    assert not simulations.unstable.any(), "a new episode starts afresh"
    assert not list(tmp_path.iterdir()), "MuJoCo's own log is not left behind"


def test_an_unstable_episode_ends_finitely():
    family = HalfCheetahVel()
    env = family.make_vector_env([family.task(velocity_m_per_s=1.0)], 2)
    env.reset(seed=[0, 1])
    env.simulations.qvel[1] = 1e9
    observation, reward, terminated, _, info = env.step(np.zeros((2, 6)))
    assert terminated.tolist() == [False, True]
    assert np.isfinite(observation[0]).all()
    assert np.isfinite(reward).all()
    assert info["unstable"].tolist() == [False, True]
