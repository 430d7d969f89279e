"""A description of a robot: every term, condition and way to act, by hand."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import yaml

from envs.check import check_task_family, leak
from envs.mujoco import described
from envs.task import TaskError

HOPPER = """<mujoco>
  <option timestep="0.002"/>
  <worldbody>
    <geom name="floor" type="plane" size="20 20 1"/>
    <body name="trunk" pos="0 0 .45"><freejoint/>
      <geom name="trunk" type="box" size=".15 .1 .05" mass="3"/>
      <site name="imu" pos=".1 0 0"/>
      <body name="left" pos="0 .1 -.05"><joint name="left" axis="0 1 0" range="-60 60" limited="true" damping=".5"/>
        <geom type="capsule" fromto="0 0 0 0 0 -.25" size=".02" mass=".3"/>
        <geom name="left_foot" type="sphere" pos="0 0 -.27" size=".03" mass=".1"/></body>
      <body name="right" pos="0 -.1 -.05"><joint name="right" axis="0 1 0" range="-60 60" limited="true" damping=".5"/>
        <geom type="capsule" fromto="0 0 0 0 0 -.25" size=".02" mass=".3"/>
        <geom name="right_foot" type="sphere" pos="0 0 -.27" size=".03" mass=".1"/></body>
    </body>
    <body name="flag" pos="2 0 .5"><geom name="flag" size=".05" contype="0" conaffinity="0"/></body>
  </worldbody>
  <actuator>
    <position name="left" joint="left" kp="30" ctrllimited="true" ctrlrange="-1 1"/>
    <position name="right" joint="right" kp="30" ctrllimited="true" ctrlrange="-0.5 1.5"/>
  </actuator>
  <sensor><gyro name="gyro" site="imu"/><framequat name="frame" objtype="site" objname="imu"/></sensor>
  <keyframe><key name="home" qpos="0 0 .4 1 0 0 0 .3 -.2"/></keyframe>
</mujoco>
"""
BASE = {
    "name": "hopper-v1",
    "mjcf": "hopper.xml",
    "control_dt_s": 0.02,
    "episode_steps": 40,
    "tasks": {
        "forward": {"command": "velocity", "uniform": [0.2, 1.0]},
        "aside": {"command": "lateral_velocity", "uniform": [-0.5, 0.5]},
        "turn": {"command": "yaw_rate", "uniform": [-1.0, 1.0]},
    },
    "observe": ["joint_positions"],
    "reward": {"linear_velocity_error": -1.0, "yaw_rate_error": -1.0},
}
TASK = {"forward": 0.5, "aside": -0.2, "turn": 0.4}


def made(folder, model=HOPPER, **changed):
    (folder / "hopper.xml").write_text(model)
    (folder / "hopper.yaml").write_text(yaml.safe_dump(BASE | changed, sort_keys=False))
    return described.load(folder / "hopper.yaml")


def begun(family, rows=1, seed=0, **task):
    env = family.make_vector_env([family.task(**(TASK | task))], rows)
    observation, _ = env.reset(seed=[seed] * rows)
    return env, observation


def own_data(env, family):
    """The state of row 0 in an MjData of its own."""
    data = mujoco.MjData(family.base)
    data.qpos[:], data.qvel[:] = env.simulations.qpos[0], env.simulations.qvel[0]
    mujoco.mj_forward(family.base, data)
    return data


# -- observations


def test_last_action_command_and_sensors_by_name(tmp_path):
    observe = ["last_action", "command", {"term": "command", "of": "turn"}, {"term": "sensor", "of": "gyro"}]
    family = made(tmp_path, observe=observe)
    env, first = begun(family)
    assert first[0, :6] == pytest.approx([0, 0, 0.5, -0.2, 0.4, 0.4])
    seen, *_ = env.step(np.array([[0.3, -0.7]]))
    assert seen[0, :2] == pytest.approx([0.3, -0.7])
    assert seen[0, 6:] == pytest.approx(env.simulations.sensed["sensordata"][0, :3], abs=1e-6)
    again, _ = env.reset(options={"reset_mask": np.ones(1, bool)})
    assert not again[0, :2].any(), "an episode begins without a last action"
    assert leak(family) is None, "what is commanded is told by declaration"
    silent = made(tmp_path, observe=["joint_positions", "command"], name="other-v1")
    assert silent.observed_parameters == ("forward", "aside", "turn")


def test_orientation_and_velocity_of_a_part(tmp_path):
    parts = [{"term": name, "of": "imu"} for name in ("orientation", "linear_velocity", "angular_velocity")]
    family = made(tmp_path, observe=parts, reset={"noise": 0.3})
    env, first = begun(family, seed=3)
    data = own_data(env, family)
    assert first[0, :6] == pytest.approx(data.site_xmat[0].reshape(3, 3)[:, :2].reshape(-1), abs=1e-6)
    velocity = np.zeros(6)
    mujoco.mj_objectVelocity(family.base, data, mujoco.mjtObj.mjOBJ_SITE, 0, velocity, 0)
    assert first[0, 6:9] == pytest.approx(velocity[3:], abs=1e-5)
    assert first[0, 9:] == pytest.approx(velocity[:3], abs=1e-5)


def test_noise_and_delay_of_a_term_alone(tmp_path):
    exact = ["joint_positions", "last_action", "joint_velocities"]
    noisy = [{"term": "joint_positions", "noise": 0.1}, {"term": "last_action", "delay": 2}, "joint_velocities"]
    plain, other = made(tmp_path, observe=exact), None
    env, _ = begun(plain)
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 1, 2))
    wanted = np.array([env.step(action)[0][0] for action in actions])
    other = made(tmp_path, observe=noisy, name="noisy-v1")
    runs = []
    for _ in range(2):
        env, _ = begun(other)
        runs.append(np.array([env.step(action)[0][0] for action in actions]))
    assert np.array_equal(*runs), "the noise is the row's own, from its seed"
    seen = runs[0]
    assert np.allclose(seen[:, 4:], wanted[:, 4:]), "the physics is the same"
    difference = seen[:, :2] - wanted[:, :2]
    assert 0.02 < difference.std() < 0.3
    assert np.allclose(seen[2:, 2:4], wanted[:-2, 2:4])
    assert not seen[1, 2:4].any(), "nothing was done two steps before"


# -- rewards


def term_of(family, env, action):
    return env.step(np.asarray(action)[None])[4]["reward_terms"][0]


def test_commanded_velocities_are_those_of_the_bases_frame(tmp_path):
    family = made(tmp_path, reset={"noise": 0.3})
    env, _ = begun(family, seed=5)
    values = term_of(family, env, [0.1, 0.2])
    data = own_data(env, family)
    rotation = data.xmat[1].reshape(3, 3)
    own = rotation.T @ env.simulations.qvel[0, :3]
    assert values[0] == pytest.approx(-np.hypot(own[0] - 0.5, own[1] + 0.2), abs=1e-6)
    assert values[1] == pytest.approx(-abs(env.simulations.qvel[0, 5] - 0.4), abs=1e-6)


def test_terms_of_actions_joints_and_parts(tmp_path):
    reward = {
        "action_rate": 1.0, "torque": 1.0, "joint_limits": {"weight": 1.0, "soft": 0.1},
        "reach": {"term": "distance", "of": "imu", "to": "flag", "weight": 1.0},
        "left": {"term": "torque", "of": "left", "weight": 1.0},
    }  # fmt: skip
    family = made(tmp_path, reward=reward)
    env, _ = begun(family)
    term_of(family, env, [0.3, 0.2])
    values = term_of(family, env, [0.5, -0.2])
    assert values[0] == pytest.approx(0.2**2 + 0.4**2)
    forces = env.simulations.sensed["actuator_force"][0]
    assert values[1] == pytest.approx(np.square(forces).sum())
    assert values[4] == pytest.approx(forces[0] ** 2)
    angles = env.simulations.qpos[0, 7:]
    assert values[2] == pytest.approx(np.maximum(np.abs(angles) - 0.1 * np.deg2rad(60), 0).sum())
    gap = env.simulations.sensed["site_xpos"][0, 0] - [2.0, 0.0, 0.5]
    assert values[3] == pytest.approx(np.linalg.norm(gap))


def test_feet_are_paid_where_they_land_for_the_time_that_they_flew(tmp_path):
    air = {"term": "foot_air_time", "of": "*_foot", "weight": 1.0, "threshold_s": 0.1}
    family = made(tmp_path, reward={"air": air, "down": {"term": "contact", "of": "*_foot", "weight": 1.0}})
    env, _ = begun(family)
    falls, values = 0, []
    for _ in range(40):
        values.append(term_of(family, env, [0.0, 0.0]))
        falls += 1
        if values[-1][0]:
            break
    (landed, touching) = values[-1]
    assert touching == 1.0
    feet = env.simulations.sensed["geom_touched"][0, [3, 5]]
    assert landed == pytest.approx(feet.sum() * (0.02 * falls - 0.1), abs=1e-9)
    assert falls > 3, "it falls some centimetres first"


def test_kernels(tmp_path):
    reward = {
        "plain": {"term": "yaw_rate_error", "weight": 1.0},
        "peak": {"term": "yaw_rate_error", "weight": 2.0, "exp": 0.5},
        "near": {"term": "yaw_rate_error", "weight": 1.0, "tolerance": {"low": 0.0, "high": 0.1, "margin": 1.0}},
        "in": {"term": "yaw_rate_error", "weight": 1.0, "tolerance": {"low": 0.0, "high": 9.0}},
    }
    family = made(tmp_path, reward=reward)
    env, _ = begun(family)
    error, peak, near, inside = term_of(family, env, [0.0, 0.0])
    assert peak == pytest.approx(2 * np.exp(-((error / 0.5) ** 2)))
    assert near == pytest.approx(0.1 ** ((error - 0.1) ** 2))
    assert inside == 1.0


# -- endings, success, starts, actions, pushes


def test_contact_ends_an_episode_and_success_is_a_condition(tmp_path):
    family = made(tmp_path, terminate={"contact": ["*_foot"]})
    env, _ = begun(family)
    ended = [bool(env.step(np.zeros((1, 2)))[2][0]) for _ in range(20)]
    touched = env.simulations.sensed["geom_touched"][0, [3, 5]]
    assert ended.index(True) > 2
    assert touched.any()
    condition = {"term": "height", "below": 0.44}
    family = made(tmp_path, success=condition, terminate={"success": True}, reward={"alive": 1.0, "torque": -0.1})
    assert family.has_success
    env, _ = begun(family)
    for _ in range(20):
        _, _, terminated, _, info = env.step(np.zeros((1, 2)))
        assert info["success"][0] == terminated[0] == (env.simulations.qpos[0, 2] < 0.44)
        if terminated[0]:
            break
    assert terminated[0]


def test_starts_at_a_keyframe_or_with_joints_placed(tmp_path):
    env, observation = begun(made(tmp_path, start={"keyframe": "home"}))
    assert env.simulations.qpos[0] == pytest.approx([0, 0, 0.4, 1, 0, 0, 0, 0.3, -0.2])
    _, observation = begun(made(tmp_path, start={"joints": {"left": -0.5}}))
    assert observation[0] == pytest.approx([-0.5, 0.0])
    family = made(tmp_path, start={"joints": {"left": np.pi / 3 - 0.01}}, reset={"noise": 0.5})
    env, observation = begun(family, rows=1)
    for seed in range(20):
        observation, _ = env.reset(seed=[seed])
        assert abs(observation[0, 0]) <= np.deg2rad(60) + 1e-6
        assert np.linalg.norm(env.simulations.qpos[0, 3:7]) == pytest.approx(1.0)


def test_noise_by_joint_place_and_yaw(tmp_path):
    reset = {"joints": {"le*": 0.2}, "velocity_noise": 0.0, "position_m": 0.5, "yaw_deg": 90}
    family = made(tmp_path, reset=reset)
    env, _ = begun(family)
    states = np.array([env.reset(seed=[seed]) and env.simulations.qpos[0].copy() for seed in range(50)])
    assert not states[:, 8].any(), "the right joint has no noise"
    assert 0.05 < np.abs(states[:, 7]).mean() < 0.15
    assert 0.1 < np.abs(states[:, :2]).mean() < 0.4
    assert np.abs(states[:, :2]).max() <= 0.5
    assert not states[:, 4:6].any(), "it turns about the vertical alone"
    yaw = 2 * np.arctan2(states[:, 6], states[:, 3])
    assert 0.5 < np.abs(yaw).mean() < 1.1
    assert np.abs(yaw).max() <= np.pi / 2 + 1e-9
    assert not env.simulations.qvel.any()


def test_actions_are_targets_around_the_start(tmp_path):
    family = made(tmp_path, start={"keyframe": "home"}, actions={"scale": 0.25, "offset": "start"})
    env, _ = begun(family)
    assert env.controls(slice(None), np.array([[1.0, -1.0]]))[0] == pytest.approx([0.55, -0.45])
    assert env.controls(slice(None), np.array([[9.0, -9.0]]))[0] == pytest.approx([1.0, -0.5]), "within the range"
    family = made(tmp_path)
    env, _ = begun(family)
    assert env.controls(slice(None), np.array([[1.0, 1.0]]))[0] == pytest.approx([1.0, 1.5])
    family = made(tmp_path, actions={"smoothing": 0.75})
    env, _ = begun(family)
    sent = []
    for _ in range(3):
        sent.append(env.controls(slice(None), np.ones((1, 2)))[0, 0])
        env.step(np.ones((1, 2)))
    assert sent == pytest.approx([0.25, 0.4375, 0.578125])


def test_pushes_come_when_they_are_due_and_are_the_rows_own(tmp_path):
    calm, pushed = made(tmp_path), made(tmp_path, name="pushed-v1", pushes={"every_s": 0.1, "speed_m_per_s": 2.0})
    paths = []
    for family in (calm, pushed, pushed):
        env, _ = begun(family)
        speeds = []
        for _ in range(12):
            env.step(np.zeros((1, 2)))
            speeds.append(env.simulations.qvel[0, :2].copy())
        paths.append(np.array(speeds))
    assert np.array_equal(paths[1], paths[2])
    assert np.array_equal(paths[0][:5], paths[1][:5]), "until 0.1 s"
    assert np.abs(paths[0][5] - paths[1][5]).max() > 0.05


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"start": {"keyframe": "hom"}}, "no keyframe is called hom; did you mean home?"),
        ({"start": {"joints": {"lef": 0.1}}}, "no joint is called lef; did you mean left?"),
        ({"start": {"joints": {"left": 3.0}}}, "left starts at 3, outside its limits"),
        ({"observe": [{"term": "sensor", "of": "gyr"}]}, "no sensor is called gyr; did you mean gyro?"),
        ({"observe": ["sensor"]}, "the term sensor needs `of`: a sensor"),
        ({"observe": ["orientation"]}, "the term orientation needs `of`: a site or body"),
        ({"observe": [{"term": "command", "of": "forwards"}]}, "forwards, which is no command; did you mean forward?"),
        ({"reward": {"distance": {"of": "imu", "weight": 1.0}}}, "the term distance needs `to`"),
        ({"reward": {"contact": 1.0}}, "the term contact needs `of`, names of geoms"),
        ({"reward": {"contact": {"of": "foot", "weight": 1.0}}}, "no geom is called foot"),
        ({"reward": {"alive": {"weight": 1.0, "exp": 1.0, "tolerance": {"low": 0, "high": 1}}}}, "has one kernel"),
        ({"terminate": {"contact": ["trnk"]}}, "no geom is called trnk; did you mean trunk?"),
        ({"terminate": {"success": True}}, "nothing says when there is one; add success"),
        ({"success": {"term": "height"}}, "a condition has one of below and above"),
        ({"success": {"term": "heights", "below": 1}}, "there is no reward term heights; did you mean height"),
        ({"reset": {"joints": {"middle": 0.1}}}, "no joint is called middle"),
        ({"base": "none", "reset": {"yaw_deg": 10}, "reward": {"alive": 1.0}}, "reset.yaw_deg turns a free base"),
        ({"pushes": {"every_s": 0.001, "speed_m_per_s": 1}}, "less than a control step"),
        ({"base": "none", "pushes": {"every_s": 1, "speed_m_per_s": 1}, "reward": {"alive": 1.0}}, "whose base moves"),
    ],
)  # fmt: skip
def test_every_mistake_is_a_sentence(tmp_path, changed, says):
    with pytest.raises(TaskError) as error:
        made(tmp_path, **changed)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_robot_that_says_all_of_it_conforms(tmp_path):
    family = made(
        tmp_path,
        tasks=BASE["tasks"] | {"strength": {"change": "strength", "uniform": [0.5, 1.0]}},
        observe=[
            "height", "gravity_direction", {"term": "angular_velocity", "noise": 0.01}, "joint_positions",
            {"term": "joint_velocities", "delay": 1}, "last_action", "command",
        ],
        reward={
            "linear_velocity_error": {"weight": 1.0, "exp": 0.5}, "yaw_rate_error": {"weight": 0.5, "exp": 0.5},
            "action_rate": -0.01, "torque": -1e-4, "foot_air_time": {"of": "*_foot", "weight": 0.5},
        },
        start={"keyframe": "home"}, actions={"scale": 0.5, "offset": "start"}, reset={"noise": 0.02},
        terminate={"contact": ["trunk"], "tilt_above_deg": 70}, pushes={"every_s": 0.4, "speed_m_per_s": 0.3},
    )  # fmt: skip
    assert [finding.problem for finding in check_task_family(family) if finding.problem] == []
