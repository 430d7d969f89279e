"""Robots of others that once went wrong: what is right for each, and changes that mean what mechanics says."""

from __future__ import annotations

import shutil
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

from envs.check import check_task_family
from envs.mujoco import described
from envs.mujoco.changes import Change
from envs.mujoco.model_files import files_of
from envs.task import TaskError
from tests.helpers import call

CASES = Path(__file__).parents[1] / "cases" / "robots"


def family_of(name, folder=None, **changed):
    """The case as a family; `changed` are keys of its description in their place."""
    if folder is None:
        return described.load(CASES / f"{name}.yaml")
    for file in CASES.glob("*.xml"):
        shutil.copy(file, folder)
    data = yaml.safe_load((CASES / f"{name}.yaml").read_text()) | changed
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return described.load(folder / f"{name}.yaml")


def problems(family):
    return [finding.problem for finding in check_task_family(family) if finding.problem]


# -- strength

ACTUATORS = {
    "motor": '<motor name="m" joint="hinge" gear="5" ctrllimited="true" ctrlrange="-1 1"/>',
    "limited motor": '<motor name="m" joint="hinge" gear="5" ctrllimited="true" ctrlrange="-1 1" forcerange="-.2 .2"/>',
    "position servo": '<position name="m" joint="hinge" kp="100" kv="3" ctrllimited="true" ctrlrange="-1 1"/>',
    "velocity servo": '<velocity name="m" joint="hinge" kv="7" ctrllimited="true" ctrlrange="-1 1"/>',
    "muscle": '<muscle name="m" tendon="cable" force="100" ctrllimited="true" ctrlrange="0 1"/>',
    "muscle of its own force": '<muscle name="m" tendon="cable" ctrllimited="true" ctrlrange="0 1"/>',
    "tendon": '<motor name="m" tendon="cable" gear="4" ctrllimited="true" ctrlrange="-1 1"/>',
    "general": '<general name="m" joint="hinge" gainprm="9" biastype="affine" biasprm="2 -9 -1" ctrllimited="true"'
    ' ctrlrange="-1 1"/>',
    "damper": '<damper name="m" joint="hinge" kv="2" ctrlrange="0 1"/>',
}  # fmt: skip
ARM = """<mujoco><option gravity="0 0 0"/><worldbody><site name="o" pos="-.1 0 .05"/>
<body name="arm"><joint name="hinge" axis="0 -1 0" range="-60 60" limited="true" damping="1"/>
<geom type="capsule" fromto="0 0 0 .3 0 0" size=".02" mass="1"/><site name="i" pos=".15 0 .05"/></body></worldbody>
<tendon><spatial name="cable"><site site="o"/><site site="i"/></spatial></tendon>
<actuator>{}</actuator></mujoco>"""


def force(model, angle, speed, control, activation=0.6):
    """Torque on the hinge."""
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:], data.ctrl[:] = angle, speed, control
    if model.na:
        data.act[:] = activation
    mujoco.mj_forward(model, data)
    return float(data.qfrc_actuator[0])


@pytest.mark.parametrize("kind", ACTUATORS)
@pytest.mark.parametrize("strength", [0.5, 0.0, 1.5])
def test_strength_is_a_share_of_the_force_in_every_state(kind, strength):
    spec = mujoco.MjSpec.from_string(ARM.format(ACTUATORS[kind]))
    whole, weak = spec.compile(), spec.compile()
    Change("strength").apply(weak, strength, "strength")
    mujoco.mj_setConst(weak, mujoco.MjData(weak))
    states = [(0.3, 0.2, 0.8), (-0.5, -1.0, 0.1), (0.0, 0.0, 1.0)]
    forces = [force(whole, *state) for state in states]
    assert [force(weak, *state) for state in states] == pytest.approx([strength * one for one in forces])
    assert any(forces)


def test_a_weak_servo_goes_to_the_same_place():
    spec = mujoco.MjSpec.from_string(ARM.format(ACTUATORS["position servo"]))
    for strength in (1.0, 0.5):
        model = spec.compile()
        Change("strength").apply(model, strength, "strength")
        data = mujoco.MjData(model)
        data.ctrl[:] = 0.8
        mujoco.mj_step(model, data, 5000)
        assert data.qpos[0] == pytest.approx(0.8, abs=1e-3)


def test_a_limit_of_force_on_the_joint_weakens_with_its_only_motor():
    text = ARM.format(ACTUATORS["motor"]).replace('damping="1"', 'damping="1" actuatorfrcrange="-2 2"')
    model = mujoco.MjSpec.from_string(text).compile()
    Change("strength").apply(model, 0.5, "strength")
    assert force(model, 0.0, 0.0, 1.0) == pytest.approx(1.0)


def test_kp_kd_and_force_limits_of_servos():
    spec = mujoco.MjSpec.from_string(ARM.format(ACTUATORS["position servo"].replace("kp=", 'forcerange="-50 50" kp=')))
    model = spec.compile()
    Change("kp").apply(model, 0.5, "kp")
    Change("kd", "set").apply(model, 4.0, "kd")
    assert force(model, 0.3, 0.2, 0.8) == pytest.approx(50 * (0.8 - 0.3) - 4 * 0.2)
    Change("force_limit", "set").apply(model, 10.0, "force_limit")
    assert force(model, -0.5, 0.0, 1.0) == pytest.approx(10.0)
    motor = mujoco.MjSpec.from_string(ARM.format(ACTUATORS["motor"])).compile()
    for field, says in (("kp", "is a motor, which has no kp"), ("force_limit", "m has no forcerange")):
        with pytest.raises(TaskError, match=says):
            Change(field).apply(motor, 0.5, field)


def test_masses_limits_friction_and_sizes_by_hand():
    spec = mujoco.MjSpec.from_string(ARM.format(ACTUATORS["motor"]))
    model, changed = spec.compile(), spec.compile()
    Change("com", "add").apply(changed, (0.01, 0.0, -0.02), "com")
    assert changed.body_ipos[1] == pytest.approx(model.body_ipos[1] + [0.01, 0.0, -0.02])
    Change("joint_limits").apply(changed, 0.5, "limits")
    assert changed.jnt_range[0] == pytest.approx(np.deg2rad([-30, 30]))
    Change("frictionloss", "set").apply(changed, 0.3, "loss")
    assert changed.dof_frictionloss[0] == 0.3
    Change("solref", "set").apply(changed, 0.05, "solref")
    assert changed.geom_solref[0] == pytest.approx([0.05, model.geom_solref[0, 1]])
    with pytest.raises(TaskError, match="com cannot be changed by how: scale"):
        Change("com")
    Change("geom_size").apply(changed, 2.0, "size")
    compiled = mujoco.MjSpec.from_string(ARM.format(ACTUATORS["motor"]).replace('size=".02"', 'size=".04"')).compile()
    assert changed.geom_size[0, 0] == pytest.approx(compiled.geom_size[0, 0])


def test_geoms_that_grow_collide_where_they_are():
    ball = '<mujoco><worldbody><geom type="plane" size="5 5 1"/><body pos="0 0 {}"><freejoint/><geom size="{}"/></body>'
    ball += "</worldbody></mujoco>"
    model = mujoco.MjSpec.from_string(ball.format(0.5, 0.1)).compile()
    Change("geom_size", "scale", ("geom_1",)).apply(model, 3.0, "size")
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data, 2000)
    assert data.qpos[2] == pytest.approx(0.3, abs=2e-3), "it rests on its new radius"


# -- the cases


@pytest.mark.parametrize("name", ["posgear", "muscle"])
def test_gear_of_a_servo_or_a_muscle_is_refused_and_strength_is_not(tmp_path, name):
    with pytest.raises(TaskError, match="change strength"):
        family_of(name)
    data = yaml.safe_load((CASES / f"{name}.yaml").read_text())["tasks"]
    data["strength"]["change"] = "strength"
    assert family_of(name, tmp_path, tasks=data).parameters


def test_the_base_is_what_the_actuators_move(tmp_path):
    dog = family_of("objectfirst")
    env = dog.make_vector_env([dog.task(v=0.5)], 1)
    observation, _ = env.reset(seed=[0])
    assert observation[0, 0] == pytest.approx(0.3), "the dog's height, not the ball's"
    with pytest.raises(TaskError, match="velocity_error needs a base that moves along x"):
        family_of("slides")
    puck = family_of("slides", tmp_path, base="puck")
    assert puck.make_vector_env(puck.sample(1, np.random.default_rng(0), "train"), 1).reset()[0].shape == (1, 2)
    gantry = family_of("allslides")
    assert gantry.observation_space.shape == (6,)
    with pytest.raises(TaskError, match="no body is called pluck; did you mean puck"):
        family_of("slides", tmp_path, base="pluck")
    with pytest.raises(TaskError, match="base is upper, but that body has neither a free joint nor slides"):
        family_of("slides", tmp_path, base="upper")


def test_a_robot_that_observes_nothing_is_refused(tmp_path):
    with pytest.raises(TaskError, match="observe names terms that are empty for this robot"):
        family_of("allslides", tmp_path, base="gantry", observe=["joint_positions", "joint_velocities"])


def test_tilt_is_from_the_start(tmp_path):
    family = family_of("rotated")
    assert problems(family) == []
    env = family.make_vector_env(family.sample(1, np.random.default_rng(0), "train"), 1)
    env.reset(seed=[0])
    *_, terminated, _, info = env.step(np.zeros((1, 1)))
    assert not terminated[0]
    assert info["reward_terms"][0, 1] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "says"),
    [("deadaction", "the reward is the same whatever the robot does"), ("priority", "higher priority decides")],
)
def test_what_changes_nothing_is_found(name, says):
    (found,) = problems(family_of(name))
    assert says in found


def test_the_floor_is_the_level_plane_that_can_be_touched(tmp_path):
    family = family_of("decor")
    model = family.model(family.sample(1, np.random.default_rng(0), "train")[0])
    assert model.geom("backdrop").contype == 0
    assert model.geom("floor").type == mujoco.mjtGeom.mjGEOM_PLANE
    assert np.allclose(model.geom("floor").quat, [1, 0, 0, 0])


def test_a_floor_stays_at_its_height(tmp_path):
    family = family_of("lowfloor")
    env = family.make_vector_env(family.sample(1, np.random.default_rng(0), "train"), 1)
    assert env.reset(seed=[0])[0][0, 0] == pytest.approx(0.11), "above the floor below"
    steps = family_of("lowfloor", tmp_path, terrain={"kind": "steps"}, tasks=None, reward={"forward_velocity": 1.0})
    task = steps.sample(1, np.random.default_rng(0), "train")[0]
    model = steps.model(task)
    first = model.geom("floor_box_0")
    assert model.geom("floor").pos[2] == pytest.approx(-0.5)
    assert first.pos[2] + first.size[2] == pytest.approx(float(steps.elevation(task)(first.pos[:1], np.zeros(1))[0]))
    assert steps.elevation(task)(np.zeros(1), np.zeros(1))[0] == pytest.approx(-0.5)
    again = steps.model(task)
    assert np.array_equal(again.geom_pos, model.geom_pos), "the second model of a task is the first"


def test_sensors_of_force_work_with_changed_bodies():
    assert problems(family_of("accel")) == []


def test_agents_act_in_the_unit_range():
    newton, unit = family_of("newton"), family_of("unit")
    for family in (newton, unit):
        assert family.action_space.high.tolist() == [1.0]
    task = {"goal_m": (0.1, 0.2)}
    played = []
    for family in (newton, unit):
        env = family.make_vector_env([family.task(**task)], 1)
        env.reset(seed=[0])
        played.append([env.step(np.full((1, 1), 0.4))[0][0] for _ in range(20)])
    assert np.allclose(*played), "80 N m at 1, in both"


def test_every_file_of_a_model_is_in_its_hash(tmp_path):
    before = family_of("scene", tmp_path)
    assert [file.name for file in files_of(tmp_path / "scene.xml")] == ["scene.xml", "part.xml"]
    part = tmp_path / "part.xml"
    part.write_text(part.read_text().replace('mass="1"', 'mass="5"'))
    assert described.load(tmp_path / "scene.yaml").digest != before.digest
    part.unlink()
    with pytest.raises(TaskError, match=r"part\.xml"):
        described.load(tmp_path / "scene.yaml")


def test_wildcards_leave_free_joints_alone():
    family = family_of("freedamp")
    task = family.task(joint_damping=1.0, rotor=0.05)
    model = family.model(task)
    assert np.array_equal(model.dof_damping, [0] * 6 + [1.1])
    env = family.make_vector_env([task], 1)
    env.reset(seed=[0])
    speed = np.zeros((1, 7))
    speed[0, 0] = 1.0
    env.simulations.place(np.array([0]), env.simulations.qpos[:1].copy(), speed)
    for _ in range(20):
        env.step(np.zeros((1, 1)))
    assert env.simulations.qvel[0, 0] == pytest.approx(1.0, abs=0.02), "nothing brakes it in empty space"


def test_names_are_taken_as_they_are_written():
    with pytest.raises(TaskError, match="no actuator is called hip; known are cable"):
        family_of("tendonname")
    bracketed = family_of("brackets")
    assert bracketed.model(bracketed.task(m=2.0)).body_mass[1] == pytest.approx(2 * bracketed.base.body_mass[1])


def test_the_command_shows_names_with_brackets(tmp_path):
    for file in ("brackets.xml", "brackets.yaml"):
        shutil.copy(CASES / file, tmp_path)
    path = tmp_path / "brackets.yaml"
    path.write_text(path.read_text().replace('"leg[0]"', '"leg[1]"'))
    assert "did you mean leg[0]?" in " ".join(call("check", path).output.split())


@pytest.mark.parametrize("name", ["oneiter", "oneiter_sensed"])
def test_few_solver_iterations_move_as_in_mujoco(name):
    family = family_of(name)
    assert problems(family) == []
