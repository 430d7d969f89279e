"""The ground a robot stands on is the ground that its family says, its tasks differ, and mechanics holds on it."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

import envs.locomotion.terrains
from envs.locomotion.faults import (
    AntWeakMotor,
    HalfCheetahGravity,
    HalfCheetahLateSensors,
    HalfCheetahMotorFails,
    HalfCheetahPayload,
    HalfCheetahWind,
)
from envs.locomotion.half_cheetah import HalfCheetahVel
from envs.mujoco.terrains import TERRAINS
from envs.mujoco.terrains.base import SQUARE, STRIP
from envs.mujoco.terrains.height_fields import Mixed, Rough, Waves
from envs.task import Choice, Task, TaskError, Uniform
from trainers.recipes import registry

KINDS = ("slope", "steps", "gaps", "friction", "waves", "rough", "mixed")
FAMILIES = [f"{robot}_{kind}-v1" for robot in ("half_cheetah", "walker2d", "ant") for kind in KINDS]


def tasks_of(family, count=2):
    return family.sample(count, np.random.default_rng(3), "train")


def ground_below(model, data, x, y):
    """Height of the first thing of the world that a ray straight down meets."""
    geom = np.zeros(1, np.int32)
    distance = mujoco.mj_ray(model, data, np.array([x, y, 20.0]), np.array([0, 0, -1.0]), None, 1, -1, geom)
    assert distance >= 0
    return 20.0 - distance


@pytest.mark.parametrize("name", FAMILIES)
def test_the_ground_is_where_the_family_says(name):
    """Rays against `elevation`, far from the robot: what terminations and height scans are computed from."""
    family = registry.family(name)
    heights = []
    for task in tasks_of(family):
        model = family.model(task)
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        elevation = family.elevation(task)
        rng = np.random.default_rng(0)
        x = rng.uniform(3.0, 12.0, 60)
        y = np.zeros(60) if family.terrain.extent.planar else rng.uniform(-10, 10, 60)
        found = np.array([ground_below(model, data, *place) for place in zip(x, y, strict=True)])
        # A height field joins its grid's points by planes; a box's edge may fall either side of a point.
        close = np.abs(found - elevation(x, y)) < 0.035
        assert close.mean() > 0.95, (found, elevation(x, y))
        heights.append(found)
    if "friction" not in name:
        assert np.abs(heights[0] - heights[1]).max() > 0.01


@pytest.mark.parametrize("name", FAMILIES)
def test_the_start_is_level_and_clear(name):
    family = registry.family(name)
    env = family.make_vector_env(tasks_of(family, 4), 1)
    env.reset(seed=[0, 1, 2, 3])
    for row, model in enumerate(env.simulations.models):
        data = mujoco.MjData(model)
        data.qpos[:] = env.simulations.qpos[row]
        mujoco.mj_forward(model, data)
        depth = min([contact.dist for contact in data.contact[: data.ncon]], default=0.0)
        assert depth > -0.12, "it starts no deeper in the ground than the reset's noise puts it on the plane"


@pytest.mark.parametrize("name", FAMILIES)
def test_the_first_observation_tells_nothing_and_nobody_falls_at_once(name):
    """With one seed, tasks at the ends of their distributions begin alike, and no row is over after a step."""
    family = registry.family(name)
    ends = [
        family.task(**{key: pick(distribution.extremes) for key, distribution in family.parameters.items()})
        for pick in (min, max)
    ]  # fmt: skip
    env = family.make_vector_env(ends, 20)
    observation, _ = env.reset(seed=list(range(20)) * 2)
    assert np.array_equal(observation[:20], observation[20:])
    _, _, terminated, *_ = env.step(np.zeros(env.action_space.shape))
    assert terminated.mean() < 0.03  # the plane's own: noise may lift an Ant's torso to a metre


def test_beyond_a_field_the_plane_goes_on():
    family = registry.family("ant_waves-v1")
    task = tasks_of(family)[0]
    model = family.model(task)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    elevation = family.elevation(task)
    for x, y in ((17.0, 0.0), (0.0, -18.0), (22.0, 22.0)):
        assert ground_below(model, data, x, y) == pytest.approx(
            float(elevation(np.array([x]), np.array([y]))[0]), abs=0.01
        )


@pytest.mark.parametrize("kind", TERRAINS.values(), ids=TERRAINS)
@pytest.mark.parametrize("extent", [STRIP, SQUARE], ids=["strip", "square"])
def test_a_ground_takes_the_ends_of_its_own_distributions_and_refuses_what_it_cannot_shape(kind, extent):
    terrain = kind(extent)
    for name, distribution in terrain.parameters.items():
        kind(extent, **{name: Choice(tuple(distribution.extremes))})
        with pytest.raises(TaskError, match=f"{name} goes to 999, but this ground can be shaped from"):
            kind(extent, **{name: Uniform(distribution.low, 999.0)})


def test_a_robot_stands_on_every_kind_of_ground():
    """Dropped half a second's walk away from the start, it comes to rest on the ground and not in or under it."""
    for name in FAMILIES:
        if not name.startswith("half_cheetah") or "gaps" in name:
            continue
        family = registry.family(name)
        task = tasks_of(family)[1]
        env = family.make_vector_env([task], 1)
        env.reset(seed=[0])
        qpos = family.base.qpos0.copy()
        height = float(family.elevation(task)(np.linspace(5.5, 6.5, 50), np.zeros(50)).max())
        qpos[0], qpos[1] = 6.0, height + 0.2
        env.simulations.place(np.array([0]), qpos[None], np.zeros((1, 9)))
        for _ in range(30):
            env.step(np.zeros((1, 6)))
        x, z = env.simulations.qpos[0, :2]
        ground = float(family.elevation(task)(np.array([x]), np.zeros(1))[0])
        # z = 0 is the initial pose, the torso 0.7 m up; lying down it is lower, but never at the ground's level.
        assert -0.65 < z - ground < 0.3, (name, z, ground)


def test_one_task_is_one_ground_and_two_tasks_never_share_it():
    family = envs.locomotion.terrains.HalfCheetahRough()
    first, second = tasks_of(family)
    one, other, again = family.model(first), family.model(second), family.model(first)
    assert np.array_equal(one.hfield_data, again.hfield_data)
    assert not np.allclose(one.hfield_data, other.hfield_data)
    one.hfield_data[:] = 0
    assert again.hfield_data.any()
    renumbered = family.task(**first.parameters)
    assert np.array_equal(family.model(renumbered).hfield_data, again.hfield_data), "the index is no part of it"


def test_a_rough_surface_has_its_deviation_and_correlation():
    terrain = Rough(SQUARE)
    surface = terrain.elevation({"roughness_m": 0.05, "correlation_m": 0.8}, "0123456789abcdef")
    along, across = np.linspace(3, 15, 200)[None], np.linspace(3, 15, 200)[:, None]
    heights = surface(along, across)
    assert np.std(heights) == pytest.approx(0.05, rel=0.15)
    by_point = surface(np.broadcast_to(along, (200, 200)), np.broadcast_to(across, (200, 200)))
    assert np.allclose(heights, by_point, atol=1e-9), "a grid at once is its points one by one"
    # Covariance exp(-d^2 / (2 l^2)) at d = l is exp(-1/2) = 0.61 of the variance.
    shift = round(0.8 / (12 / 199))
    product = np.mean(heights[:, :-shift] * heights[:, shift:]) / np.mean(heights**2)
    assert product == pytest.approx(0.61, abs=0.15)


@pytest.mark.parametrize("name", ["half_cheetah_mixed_scan-v1", "walker2d_mixed_scan-v1", "ant_mixed_scan-v1"])
def test_a_scan_is_the_height_above_the_ground_ahead(name):
    family = registry.family(name)
    plain = registry.family(name.replace("_scan", ""))
    task = tasks_of(family)[0]
    env = family.make_vector_env([task], 1)
    observation, _ = env.reset(seed=[0])
    assert observation.shape[1] == plain.observation_space.shape[0] + len(family.scan)
    robot, qpos = family.robot, env.simulations.qpos[0]
    x = qpos[0] + np.array(family.scan)
    y = np.zeros_like(x) if family.terrain.extent.planar else np.full_like(x, qpos[1])
    expected = qpos[robot.height] - family.elevation(task)(x, y)
    assert np.allclose(observation[0, -len(family.scan) :], expected, atol=1e-6)


def test_ground_that_its_field_cannot_show_is_refused():
    with pytest.raises(
        TaskError, match=r"wave_length_m goes to 99, but this ground can be shaped from 0\.4 to 60 only"
    ):
        Waves(STRIP, wave_length_m=Uniform(1.0, 99.0))
    with pytest.raises(TaskError, match="Mixed has no parameter wave_heihgt_m"):
        Mixed(STRIP, wave_heihgt_m=Uniform(0.0, 0.1))


def test_patches_are_as_slippery_as_their_task_says():
    """In the model, and in motion: with the same push a cheetah slides farther on the smoother patch."""
    family = registry.family("half_cheetah_friction-v1")
    tasks = [family.task(patch_friction=friction, patch_length_m=2.0) for friction in (0.05, 0.6)]
    for task in tasks:
        model = family.model(task)
        frictions = [geom for geom in range(model.ngeom) if model.geom(geom).name.startswith("floor_")]
        sliding = model.geom_friction[frictions, 0]
        assert np.allclose(sliding[1::2], task["patch_friction"])
        assert np.allclose(sliding[::2], family.base.geom("floor").friction[0])
    slid = []
    for task in tasks:
        env = family.make_vector_env([task], 1)
        env.reset(seed=[0])
        qpos = family.base.qpos0.copy()
        qpos[0] = 2.0  # the middle of the first patch
        velocity = np.zeros(9)
        velocity[0] = 1.0
        env.simulations.place(np.array([0]), qpos[None], velocity[None])
        for _ in range(10):
            env.step(np.zeros((1, 6)))
        slid.append(env.simulations.qpos[0, 0] - 2.0)
    assert slid[0] > slid[1] + 0.02


def test_the_ground_does_not_change_its_shape_within_a_trial():
    family = registry.family("half_cheetah_rough-v1")
    first, second = tasks_of(family)
    schedule = ({"episode": 1, "step": 0, "parameters": second.parameters},)
    with pytest.raises(TaskError, match="cannot change within a trial"):
        family.check_task(Task.of(family.name, first.parameters, 0, schedule))


def test_a_command_that_switches_keeps_its_fractions():
    family = HalfCheetahVel()
    schedule = ({"episode": 0, "step": 1, "parameters": {"velocity_m_per_s": 1.9}},)
    task = Task.of(family.name, {"velocity_m_per_s": 1}, 0, schedule)
    assert Task.from_json(task.to_json()) == task
    env = family.make_vector_env([task], 1)
    env.reset(seed=[0])
    rewards = [env.step(np.zeros((1, 6)))[1][0] for _ in range(2)]
    env.reset(seed=[0])
    before = env.simulations.qpos[0, 0]
    env.step(np.zeros((1, 6)))
    middle = env.simulations.qpos[0, 0]
    env.step(np.zeros((1, 6)))
    after = env.simulations.qpos[0, 0]
    assert rewards[0] == pytest.approx(-abs((middle - before) / 0.05 - 1.0))
    assert rewards[1] == pytest.approx(-abs((after - middle) / 0.05 - 1.9))


def test_families_without_ood_tasks_say_so():
    rng = np.random.default_rng(0)
    with pytest.raises(TaskError, match="declares no ood range"):
        AntWeakMotor().sample(1, rng, "ood")
    (task,) = HalfCheetahMotorFails().sample(1, rng, "ood")
    assert sum(strength < 1 for strength in task.segments[1][1]["motor_strength"]) == 2


# -- what robots meet in the field


def fall(family, task, steps=6):
    """(time s, qvel) of a HalfCheetah that falls freely from 5 m."""
    env = family.make_vector_env([task], 1)
    env.reset(seed=[0])
    qpos = family.base.qpos0.copy()
    qpos[1] = 5.0
    env.simulations.place(np.array([0]), qpos[None], np.zeros((1, 9)))
    for _ in range(steps):
        env.step(np.zeros((1, 6)))
    return 0.05 * steps, env.simulations.qvel[0]


@pytest.mark.parametrize("gravity", [5.0, 9.81, 15.0])
def test_gravity_is_what_it_says(gravity):
    """Free fall: the velocity is -g t."""
    time, velocity = fall(HalfCheetahGravity(), HalfCheetahGravity().task(gravity_m_per_s2=gravity))
    assert velocity[1] == pytest.approx(-gravity * time, rel=1e-3)


def test_a_payload_weighs_and_falls_like_everything_else():
    family = HalfCheetahPayload()
    light, heavy = family.model(family.task(payload_kg=0.0)), family.model(family.task(payload_kg=5.0))
    assert heavy.body_mass.sum() - light.body_mass.sum() == pytest.approx(5.0)
    assert np.array_equal(heavy.body_inertia, light.body_inertia), "a point mass at the centre"
    time, velocity = fall(family, family.task(payload_kg=5.0))
    assert velocity[1] == pytest.approx(-9.81 * time, rel=1e-3)


def test_wind_pushes_and_without_a_medium_it_would_not():
    family = HalfCheetahWind()
    pushed = [fall(family, family.task(wind_m_per_s=speed))[1][0] for speed in (-20.0, 0.0, 20.0)]
    assert pushed[0] < -0.01 < 0.01 < pushed[2]
    assert abs(pushed[1]) < 1e-2

    class Vacuum(HalfCheetahWind):
        air_density = 0.0

    assert abs(fall(Vacuum(), Vacuum().task(wind_m_per_s=20.0))[1][0]) < 1e-9


def play(env, seed, episodes, steps=200):
    """qpos of every step of some episodes under fixed actions."""
    actions = np.random.default_rng(5).uniform(-1, 1, (steps, 1, 6))
    paths = []
    for episode in range(episodes):
        env.reset(seed=[seed], options={"episode": episode})
        path = []
        for action in actions:
            env.step(action)
            path.append(env.simulations.qpos[0].copy())
        paths.append(np.array(path))
    return paths


def test_a_motor_fails_when_its_schedule_says_and_not_before():
    family = HalfCheetahMotorFails()
    (task,) = family.sample(1, np.random.default_rng(0), "train")
    assert [when for when, _ in task.segments] == [(0, 0), (1, 100)]
    whole = family.task(motor_strength=(1.0,) * 6)
    broken = family.task(**task.segments[1][1].parameters)
    scheduled, healthy, weak = (play(family.make_vector_env([one], 1), 7, 3) for one in (task, whole, broken))
    assert np.array_equal(scheduled[0], healthy[0])
    assert np.array_equal(scheduled[1][:100], healthy[1][:100])
    assert np.abs(scheduled[1][100:] - healthy[1][100:]).max() > 1e-3
    assert np.array_equal(scheduled[2], weak[2])


def test_rows_switch_alone_and_back_at_the_next_trial():
    family = HalfCheetahMotorFails()
    (task,) = family.sample(1, np.random.default_rng(0), "train")
    whole = family.task(motor_strength=(1.0,) * 6)
    env = family.make_vector_env([task, whole], 2)
    actions = np.random.default_rng(5).uniform(-1, 1, (200, 1, 6)).repeat(4, 1)
    for _ in range(2):  # two trials: the second begins whole again
        env.reset(seed=[7] * 4)
        for action in actions:
            env.step(action)
        env.reset(options={"reset_mask": np.ones(4, bool)})
        for step, action in enumerate(actions):
            env.step(action)
            weak = [(model.actuator_gear < family.base.actuator_gear).any() for model in env.simulations.models]
            assert weak == [step >= 100] * 2 + [False] * 2


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_sensors_are_late_by_their_delay(delay):
    family = HalfCheetahLateSensors()
    late, prompt = (family.make_vector_env([family.task(sensor_delay_steps=d)], 1) for d in (delay, 0))
    actions = np.random.default_rng(5).uniform(-1, 1, (10, 1, 6))
    seen, true = ([env.reset(seed=[0])[0]] for env in (late, prompt))
    for action in actions:
        seen.append(late.step(action)[0])
        true.append(prompt.step(action)[0])
    for step in range(11):
        assert np.array_equal(seen[step], true[max(step - delay, 0)])
