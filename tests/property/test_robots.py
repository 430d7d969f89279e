"""Every robot moves as Gymnasium's v5 environment does, and has the reward of its family's docstring."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from envs.locomotion.ant import ANT, AntDir, AntFwdBack, AntGoal, AntRun, AntVel
from envs.locomotion.half_cheetah import HALF_CHEETAH, HalfCheetahRandParams, HalfCheetahRun
from envs.locomotion.hopper import HOPPER, HopperRandParams, HopperVel
from envs.locomotion.humanoid import HUMANOID, HumanoidDir
from envs.locomotion.walker2d import WALKER2D, Walker2dRandParams, Walker2dRun, Walker2dVel
from envs.mujoco.engines.choice import simulate
from envs.mujoco.robot import base_model

PEERS = {
    "HalfCheetah-v5": HALF_CHEETAH,
    "Ant-v5": ANT,
    "Walker2d-v5": WALKER2D,
    "Hopper-v5": HOPPER,
    "Humanoid-v5": HUMANOID,
}


def actions_of(space, count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(space.low, space.high, (count, *space.shape))


@pytest.mark.parametrize(("peer", "robot"), PEERS.items())
def test_motion_is_gymnasiums(peer, robot):
    """Every robot follows it through 100 control steps."""
    env = gymnasium.make(peer).unwrapped
    env.reset(seed=0)
    # A second row is stepped between: nothing of it, the solver's warm start least, may stay with the first.
    batched = simulate([base_model(robot.path)] * 2, robot.frame_skip, robot.sensed)
    other = actions_of(env.action_space, 100, seed=9)
    batched.place(np.array([1]), env.data.qpos[None] + 0.05, env.data.qvel[None] + 0.5)
    assert batched.frame_skip == env.frame_skip
    batched.place(np.array([0]), env.data.qpos[None].copy(), env.data.qvel[None].copy())
    # What the peer's reset left in its solver is not part of the state.
    env.data.qacc_warmstart[:] = 0
    env.set_state(env.data.qpos.copy(), env.data.qvel.copy())
    for step, action in enumerate(actions_of(env.action_space, 100)):
        batched.step(slice(None), np.stack([action, other[step]]))
        env.step(action)
        tolerance = 1e-8
        assert np.abs(batched.qpos[0] - env.data.qpos).max() < tolerance, step
        assert np.abs(batched.qvel[0] - env.data.qvel).max() < tolerance, step
    env.close()


def test_observations_are_gymnasiums():
    for peer, family in (("Humanoid-v5", HumanoidDir()), ("Walker2d-v5", Walker2dVel()), ("Hopper-v5", HopperVel())):
        env = gymnasium.make(peer).unwrapped
        env.reset(seed=0)
        batched = family.make_vector_env(family.sample(1, np.random.default_rng(0), "train"), 1)
        batched.reset(seed=[0])
        batched.simulations.place(np.array([0]), env.data.qpos[None].copy(), env.data.qvel[None].copy())
        action = actions_of(env.action_space, 1)
        observation, *_ = batched.step(action)
        expected, *_ = env.step(action[0])
        assert np.allclose(observation[0], expected, rtol=1e-4, atol=1e-4), peer


def ant(command):
    """The reward of an Ant family by hand, from what its simulation says."""

    def of(before, env, action):
        after = env.simulations.qpos[0]
        velocity = (after[:2] - before[:2]) / 0.05
        forces = np.clip(env.simulations.sensed["cfrc_ext"][0], -1, 1)
        return command(velocity, after) - 0.5e-3 * np.square(forces).sum(), np.square(action).sum()

    return of


def ant_dir(before, env, action):
    task_reward, effort = ant(lambda v, p: v @ [np.cos(0.7), np.sin(0.7)])(before, env, action)
    return task_reward - 0.5 * effort + 1


def ant_fwd_back(before, env, action):
    task_reward, effort = ant(lambda v, p: -v[0])(before, env, action)
    return task_reward - 0.5 * effort + 1


def ant_vel(before, env, action):
    task_reward, effort = ant(lambda v, p: -abs(v[0] - 1.2))(before, env, action)
    return task_reward + 1.0 - 0.5e-2 * effort + 0.05


def ant_goal(before, env, action):
    task_reward, effort = ant(lambda v, p: -abs(p[0] - 1.0) - abs(p[1] + 0.5))(before, env, action)
    return task_reward - 0.1 * effort


def walker_vel(before, env, action):
    speed = (env.simulations.qpos[0, 0] - before[0]) / 0.008
    return 2.0 - abs(speed - 0.8) - 1e-3 * np.square(action).sum()


@pytest.mark.parametrize(
    ("family", "parameters", "by_hand"),
    [
        (AntDir, {"direction_rad": 0.7}, ant_dir),
        (AntFwdBack, {"direction": -1}, ant_fwd_back),
        (AntVel, {"velocity_m_per_s": 1.2}, ant_vel),
        (AntGoal, {"goal_m": (1.0, -0.5)}, ant_goal),
        (Walker2dVel, {"velocity_m_per_s": 0.8}, walker_vel),
        (HopperVel, {"velocity_m_per_s": 0.8}, walker_vel),
    ],
)
def test_rewards_are_their_formulas(family, parameters, by_hand):
    env = family().make_vector_env([family().task(**parameters)], 1)
    env.reset(seed=[0])
    for action in actions_of(env.single_action_space, 8):
        before = env.simulations.qpos[0].copy()
        _, reward, terminated, *_ = env.step(action[None])
        if terminated[0]:
            break
        assert reward[0] == pytest.approx(by_hand(before, env, action), abs=1e-12)


def test_the_humanoids_metre_counts_five_times():
    """A fall straight down earns nothing along x or y; moved by hand 3 mm along the direction it earns 0.25."""
    family = HumanoidDir()
    env = family.make_vector_env([family.task(direction_rad=0.0)], 1)
    env.reset(seed=[0])
    mass = family.base.body_mass
    for action in actions_of(env.single_action_space, 5):
        before = mass @ env.simulations.sensed["xipos"][0, :, 0] / mass.sum()
        _, reward, *_ = env.step(action[None])
        after = mass @ env.simulations.sensed["xipos"][0, :, 0] / mass.sum()
        contact = min(0.5e-6 * np.square(env.simulations.sensed["cfrc_ext"][0]).sum(), 10)
        expected = 0.25 * (after - before) / 0.003 - 0.1 * np.square(action).sum() - contact + 5
        assert reward[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("peer", "family", "weight"),
    [
        ("HalfCheetah-v5", HalfCheetahRun, 0.05),
        ("Ant-v5", AntRun, 0.5),
        ("Walker2d-v5", Walker2dRun, 1e-3),
        ("Hopper-v5", HopperRandParams, 1e-3),
    ],
)
def test_returns_are_gymnasiums(peer, family, weight):
    """The same policy (a random linear one, with noise) over whole episodes: means agree within their errors."""

    class Plain(family):
        """The robot as its file has it."""

        name = "plain-v1"
        parameters = AntDir.parameters  # not read by the reward
        changes = {}

    rng = np.random.default_rng(0)
    settings = {"ctrl_cost_weight": weight, "max_episode_steps": 200}
    env = gymnasium.make(peer, **settings)
    batched = Plain().make_vector_env([Plain().task(direction_rad=0.0)], 40)
    size = env.unwrapped.observation_space.shape[0]
    mapping = 0.3 * rng.standard_normal((size, *env.action_space.shape))
    low, high = env.action_space.low, env.action_space.high
    if peer == "Ant-v5":  # observes contact forces, which ours does not
        mapping[27:] = 0

    def act(observation, noise):
        return np.clip(observation @ mapping[: observation.shape[-1]] + 0.5 * noise, low, high)

    theirs = []
    for seed in range(40):
        observation, _ = env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(act(observation, rng.standard_normal(low.shape)))
            total, over = total + reward, terminated or truncated
        theirs.append(total)
    env.close()
    observation, _ = batched.reset(seed=list(range(1000, 1040)))
    ours, running = np.zeros(40), np.ones(40, bool)
    while running.any():
        observation, reward, terminated, truncated, _ = batched.step(
            act(observation, rng.standard_normal((40, *low.shape)))
        )
        ours += reward
        running &= ~(terminated | truncated)
    error = np.hypot(np.std(ours), np.std(theirs)) / np.sqrt(40)
    assert abs(ours.mean() - np.mean(theirs)) < 4 * error


def test_contact_forces_are_there_where_they_are_observed():
    """The old ports of AntGoal read zeros: nobody had computed them."""
    family = AntGoal()
    env = family.make_vector_env([family.task(goal_m=(0.0, 0.0))], 1)
    env.reset(seed=[0])
    for _ in range(20):
        observation, *_ = env.step(np.zeros((1, 8)))
    assert np.abs(observation[0, 29:]).max() > 0.1
    env.simulations.place(np.array([0]), np.array([[0, 0, 5.0, 1, 0, 0, 0, *[0.0] * 8]]), np.zeros((1, 14)))
    observation, *_ = env.step(np.zeros((1, 8)))
    assert not observation[0, 29:].any(), "nothing is touched in the air"


@pytest.mark.parametrize("family", [HalfCheetahRandParams(), Walker2dRandParams(), HopperRandParams()])
def test_bodies_are_scaled_from_the_originals_and_share_nothing(family):
    first, second = family.sample(2, np.random.default_rng(0), "train")
    original = family.base.body_mass.copy()
    models = [family.model(first), family.model(second), family.model(first)]
    assert np.array_equal(family.base.body_mass, original)
    assert np.array_equal(models[0].body_mass, models[2].body_mass)
    for model, task in zip(models, (first, second, first), strict=True):
        scale = np.array(task["mass_scale"])
        assert np.allclose(model.body_mass[1:], original[1:] * scale)
        assert np.allclose(model.body_inertia[1:], family.base.body_inertia[1:] * scale[:, None])
        assert np.allclose(model.dof_damping, family.base.dof_damping * np.array(task["damping_scale"]))
        # mj_setConst was called: what MuJoCo derives from masses follows them.
        assert np.allclose(model.body_subtreemass[0], model.body_mass.sum())
    assert models[0].body_mass[1] != models[1].body_mass[1]
