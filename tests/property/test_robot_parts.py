"""Parts of a described robot by name, conditions together, bases that turn in the plane, and robots of meshes."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import yaml

from envs.check import check_task_family
from envs.mujoco import described, light
from envs.mujoco.model_files import copies_of
from envs.task import TaskError
from tests.helpers import call
from tests.property.test_robot_terms import HOPPER, begun, made, own_data

LOAD = {"load": {"change": "mass", "of": "trunk", "uniform": [0.5, 2.0]}}


def flat(result):
    """The output in one line."""
    return " ".join(result.output.split())


def test_speed_sensor_and_joints_by_name(tmp_path):
    model = HOPPER.replace("<gyro ", '<jointpos name="left_angle" joint="left"/><gyro ')
    reward = {
        "fast": {"term": "speed", "weight": 1.0},
        "part": {"term": "speed", "of": "imu", "weight": 1.0},
        "angle": {"term": "sensor", "of": "left_angle", "weight": 1.0},
        "left": {"term": "joint_velocity_squared", "of": "left", "weight": 1.0},
        "joint_velocity_squared": 1.0,
    }
    observe = [{"term": "joint_positions", "of": "right"}, {"term": "joint_velocities", "of": ["left", "right"]}]
    family = made(tmp_path, model, tasks=LOAD, observe=observe, reward=reward)
    env = family.make_vector_env([family.task(load=1.0)], 1)
    env.reset(seed=[0])
    for action in np.random.default_rng(0).uniform(-1, 1, (5, 1, 2)):
        seen, *_, info = env.step(action)
    qpos, qvel, terms = env.simulations.qpos[0], env.simulations.qvel[0], info["reward_terms"][0]
    assert terms[0] == pytest.approx(np.linalg.norm(qvel[:3]))
    assert terms[2] == pytest.approx(qpos[7], abs=2e-2), "as at the start of the last physics step"
    assert terms[3] == pytest.approx(qvel[6] ** 2)
    assert terms[4] == pytest.approx(qvel[6] ** 2 + qvel[7] ** 2)
    assert seen[0] == pytest.approx([qpos[8], qvel[6], qvel[7]], rel=1e-5)
    velocity = np.zeros(6)
    data = own_data(env, family)
    mujoco.mj_objectVelocity(family.base, data, mujoco.mjtObj.mjOBJ_SITE, 0, velocity, 0)
    assert terms[1] == pytest.approx(np.linalg.norm(velocity[3:]), abs=0.1)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"reward": {"sensor": 1.0}}, "needs `of`"),
        ({"reward": {"sensor": {"weight": 1.0, "of": "gyro"}}}, "sensor gyro has 3"),
        ({"reward": {"speed": {"weight": 1.0, "of": "imo"}}}, "imu"),
        ({"observe": [{"term": "joint_positions", "of": "lift"}]}, "did you mean left"),
        ({"observe": [{"term": "position", "of": ["imu", "trunk"]}]}, "tracks one thing"),
        ({"success": []}, None),
        ({"success": [{"term": "speed", "below": 1, "above": 0}]}, "one of below and above"),
    ],
)
def test_each_refusal_is_a_sentence(tmp_path, changed, sentence):
    changed = {"reward": {"alive": 1.0}, "tasks": LOAD} | changed
    if sentence is None:
        assert not made(tmp_path, **changed).has_success
        return
    with pytest.raises(TaskError, match=sentence):
        made(tmp_path, **changed)


def test_success_is_all_conditions_at_once(tmp_path):
    """Near the flag and slow: rushing past it is none."""
    conditions = [{"term": "distance", "of": "trunk", "to": "flag", "below": 0.5}, {"term": "speed", "below": 0.5}]
    family = made(tmp_path, tasks=LOAD, success=conditions, reward={"alive": 1.0})
    env, _ = begun_of(family)
    near, far = [2, 0, 0.45, 1, 0, 0, 0, 0, 0], [0, 0, 0.45, 1, 0, 0, 0, 0, 0]
    for place, speed, wanted in ((near, 0.0, True), (near, 2.0, False), (far, 0.0, False)):
        env.simulations.place(np.array([0]), np.array([place], float), np.array([[speed, 0, 0, 0, 0, 0, 0, 0]], float))
        info = env.step(np.zeros((1, 2)))[4]
        assert info["success"][0] == wanted


def begun_of(family):
    env = family.make_vector_env([family.task(load=1.0)], 1)
    observation, _ = env.reset(seed=[0])
    return env, observation


def test_the_check_finds_a_success_that_is_a_matter_of_course(tmp_path):
    family = made(tmp_path, tasks=LOAD, success={"term": "speed", "below": 100.0}, reward={"speed": 1.0})
    problems = [finding.problem for finding in check_task_family(family) if finding.problem]
    assert len(problems) == 1
    assert "success is reached at the first step" in problems[0]


def test_a_factor_on_nothing_is_told_apart(tmp_path):
    tasks = LOAD | {"spring": {"change": "stiffness", "of": "left", "uniform": [0.5, 2.0]}}
    family = made(tmp_path, tasks=tasks, reward={"forward_velocity": 1.0})
    problems = [finding.problem for finding in check_task_family(family) if finding.problem]
    assert len(problems) == 1
    assert "spring changes nothing" in problems[0]
    assert "write how: set" in problems[0]


EEL = """<mujoco>
  <option timestep="0.01" viscosity="0.5" density="1000"/>
  <worldbody>
    <body name="head"><joint name="x" type="slide" axis="1 0 0"/><joint name="y" type="slide" axis="0 1 0"/>
      <joint name="turn" axis="0 0 1"/><geom type="capsule" fromto="0 0 0 .1 0 0" size=".02"/>
      <body name="tail" pos="0 0 0"><joint name="bend" axis="0 0 1" range="-90 90" limited="true"/>
        <geom type="capsule" fromto="0 0 0 -.1 0 0" size=".02"/></body></body>
  </worldbody>
  <actuator><motor joint="bend" gear="0.1" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


def test_a_base_that_turns_in_the_plane_has_a_heading(tmp_path):
    (tmp_path / "eel.xml").write_text(EEL)
    data = {
        "name": "eel-v1", "mjcf": "eel.xml", "control_dt_s": 0.05, "episode_steps": 20,
        "tasks": {"aim": {"command": "heading", "uniform": [-1, 1]}},
        "observe": ["heading", "angular_velocity", "joint_positions"], "reward": {"heading_velocity": 1.0},
        "reset": {"noise": 0.3},
    }  # fmt: skip
    (tmp_path / "eel.yaml").write_text(yaml.safe_dump(data))
    family = described.load(tmp_path / "eel.yaml")
    env = family.make_vector_env([family.task(aim=0.5)], 1)
    seen, _ = env.reset(seed=[1])
    qpos, qvel = env.simulations.qpos[0], env.simulations.qvel[0]
    assert seen[0] == pytest.approx([np.cos(qpos[2]), np.sin(qpos[2]), qvel[2], qpos[3]], rel=1e-5)
    (command, *own) = family.arrows(env, 0)
    assert command.vector[:2] == pytest.approx([0.4 * np.cos(0.5), 0.4 * np.sin(0.5)])
    assert all(arrow.vector[:2] == pytest.approx(0.4 * qvel[:2]) for arrow in own)


def test_a_muscle_acts_between_0_and_1(tmp_path):
    model = EEL.replace('<motor joint="bend" gear="0.1" ctrllimited="true" ctrlrange="-1 1"/>',
                        '<muscle joint="bend" force="1" lengthrange="-1.5 1.5"/>')  # fmt: skip
    data = {"name": "eel-v1", "mjcf": "eel.xml", "control_dt_s": 0.05, "episode_steps": 20, "base": "head",
            "tasks": {"medium": {"change": "viscosity", "how": "set", "uniform": [0.1, 1]}},
            "observe": ["joint_positions"], "reward": {"forward_velocity": 1.0}}  # fmt: skip
    (tmp_path / "eel.xml").write_text(model)
    (tmp_path / "eel.yaml").write_text(yaml.safe_dump(data))
    family = described.load(tmp_path / "eel.yaml")
    env = family.make_vector_env([family.task(medium=0.5)], 1)
    env.reset(seed=[0])
    assert [env.controls(slice(None), np.array([[action]]))[0, 0] for action in (-1, 0, 1)] == [0, 0.5, 1]


# -- meshes


def meshed(folder, monkeypatch):
    """The hopper with a mesh that is seen and one that is touched, which are heavy enough to matter."""
    monkeypatch.setattr(light, "_SMALL", 0)
    corners = "0 0 0 .1 0 0 0 .1 0 0 0 .1"
    model = HOPPER.replace(
        "<worldbody>",
        f'<asset><mesh name="shell" vertex="{corners}"/><mesh name="toe" vertex="{corners}" scale=".3 .3 .3"/>'
        '<texture name="grid" type="2d" builtin="checker" width="64" height="64"/>'
        '<material name="grid" texture="grid"/></asset><worldbody>',
    ).replace(
        '<site name="imu"',
        '<geom type="mesh" mesh="shell" contype="0" conaffinity="0" density="300"/>'
        '<geom type="mesh" mesh="toe" pos="0 0 -.1"/><geom size=".01"/><site name="imu"',
    ).replace('type="plane" size="20 20 1"', 'type="plane" size="20 20 1" material="grid"')  # fmt: skip
    return made(folder, model, tasks=LOAD, reward={"speed": 1.0}, terrain={"kind": "rough"}), model


def test_what_is_only_seen_is_left_out_and_drawn(tmp_path, monkeypatch):
    family, text = meshed(tmp_path, monkeypatch)
    whole, task = mujoco.MjModel.from_xml_string(text), family.task(load=1.0, roughness_m=0.0, correlation_m=1.0)
    model = family.model(task)
    assert (whole.nmesh, model.nmesh, family.drawn_model(task).nmesh) == (2, 1, 2)
    assert model.ntexdata < whole.ntexdata
    for name in ("body_mass", "body_inertia", "body_ipos", "body_iquat"):
        assert np.array_equal(getattr(whole, name), getattr(model, name)), name
    named = [model.geom(number).name for number in range(model.ngeom)]
    assert "geom_3" in named, "those that are left are called as they were"
    assert "geom_2" not in named


def test_a_robot_without_its_shell_moves_as_the_whole_one(tmp_path, monkeypatch):
    _, text = meshed(tmp_path, monkeypatch)
    plain = made(tmp_path, text, tasks=LOAD, reward={"speed": 1.0})
    whole = mujoco.MjModel.from_xml_string(text)
    env, _ = begun_of(plain)
    data = mujoco.MjData(whole)
    data.qpos[:], data.qvel[:] = env.simulations.qpos[0], env.simulations.qvel[0]
    mujoco.mj_forward(whole, data)
    for action in np.random.default_rng(0).uniform(-1, 1, (30, 1, 2)):
        data.ctrl[:] = env.controls(slice(None), action)[0]
        env.step(action)
        mujoco.mj_step(whole, data, 10)
        assert np.allclose(env.simulations.qpos[0], data.qpos, rtol=0, atol=1e-8)


# -- files, words


def test_copies_keep_their_places(tmp_path):
    for name in ("robots/dog.yaml", "meshes/shell.obj", "robots/dog.xml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x" * 10)
    files = [tmp_path / "robots/dog.yaml", tmp_path / "robots/dog.xml", tmp_path / "robots/../meshes/shell.obj"]
    assert list(copies_of(files, 30)) == ["robots/dog.yaml", "robots/dog.xml", "meshes/shell.obj"]
    assert copies_of(files, 29) == {}


def test_describe_and_check_say_what_was_found(tmp_path):
    tasks = {"forward": {"command": "velocity", "uniform": [0, 1], "ood": [[1, 2]]}}
    made(tmp_path, tasks=tasks, observe=["joint_positions", "command"], reward={"velocity_error": -1})
    shown = flat(call("describe", str(tmp_path / "hopper.yaml")))
    assert "base: trunk" in shown
    assert "forward ~ U[0, 1]; out of distribution: (1.0, 2.0); the observation tells it" in shown
    (tmp_path / "recipe.yaml").write_text("family: hopper.yaml\nagent: rl2\n")
    shown = flat(call("check", str(tmp_path / "recipe.yaml")))
    assert "17 of 17 checks passed" in shown
    refused = call("check", str(tmp_path / "hopper.xml"))
    assert refused.exit_code == 2
    assert "hopper.xml is a model; name the YAML file" in flat(refused)
    other = HOPPER.replace("</worldbody>", '<geom name="wall" type="box" pos="5 0 0" size=".1 1 1"/></worldbody>')
    made(tmp_path, other, tasks=LOAD, terrain={"kind": "slope"}, reward={"speed": 1})
    assert "wall, flag of the model stay" not in flat(call("describe", str(tmp_path / "hopper.yaml")))
    assert "wall of the model stay where they are" in flat(call("describe", str(tmp_path / "hopper.yaml")))


def test_arrows_of_commands_and_pushes(tmp_path):
    pushes = {"every_s": 0.1, "speed_m_per_s": 2.0}
    family = made(tmp_path, pushes=pushes, start={"keyframe": "home"})
    env, _ = begun(family)
    arrows = family.arrows(env, 0)
    assert [tuple(arrow.vector.round(3)) for arrow in arrows] == [(0.2, -0.08, 0.0), (0.0, 0.16, 0.0)]
    for _ in range(6):
        env.step(np.zeros((1, 2)))
    red = [arrow for arrow in family.arrows(env, 0) if arrow.rgba[0] > 0.8]
    assert len(red) == 1
    for _ in range(8):
        env.step(np.zeros((1, 2)))
    assert len([arrow for arrow in family.arrows(env, 0) if arrow.rgba[0] > 0.8]) == 1, "the next push, at 10"
