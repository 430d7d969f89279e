"""Described robots where parts of the platform meet: terrain and contacts, schedules and delays, links and copies."""

from __future__ import annotations

import shutil

import mujoco
import numpy as np
import pytest
import yaml

from envs.check import check_task_family
from envs.mujoco import described, light
from envs.mujoco.model_files import files_of
from envs.task import Task, TaskError
from tests.helpers import call
from tests.property.test_robot_episodes import MOTORS, alone, started
from tests.property.test_robot_parts import LOAD
from tests.property.test_robot_terms import HOPPER, made

STILL = np.zeros((1, 2))
STANDING = [0, 0, 0.345, 1, 0, 0, 0, 0, 0]  # its feet on the plane


@pytest.mark.parametrize("kind", ["slope", "rough", "steps"])
def test_contacts_on_a_terrain_are_of_the_geoms_that_are_named(tmp_path, kind):
    reward = {
        "feet": {"term": "contact", "of": "*_foot", "weight": 1.0},
        "trunk": {"term": "contact", "of": "trunk", "weight": 1.0},
        "ground": {"term": "contact", "of": "floor", "weight": 1.0},
    }
    family = made(tmp_path, tasks=LOAD, reward=reward, terrain={"kind": kind}, terminate={"contact": ["trunk"]})
    flat = {name: distribution.corners[0] for name, distribution in family.parameters.items()}
    flat |= {name: 0.0 for name in flat if name in ("slope_deg", "roughness_m", "step_height_m")} | {"load": 1.0}
    env = family.make_vector_env([family.task(**flat)], 1)
    env.reset(seed=[0])
    env.simulations.place(np.array([0]), np.array([STANDING], float), np.zeros((1, 8)))
    paid, ended = [], False
    for _ in range(8):
        *_, terminated, _, info = env.step(STILL)
        paid.append(info["reward_terms"][0].tolist())
        ended |= bool(terminated[0])
    assert [1.0, 0.0, 1.0] in paid, "the feet on the ground"
    assert not any(trunk for _, trunk, _ in paid)
    assert not ended, "the trunk touches nothing"


def test_contact_forces_of_an_unstable_row_are_its_own(tmp_path):
    family = made(tmp_path, tasks=LOAD, observe=["joint_positions", "contact_forces"], reward={"alive": 1.0})
    env = family.make_vector_env([family.task(load=1.0)], 2)
    env.reset(seed=[0, 1])
    env.simulations.place(np.arange(2), np.array([STANDING, STANDING], float), np.zeros((2, 8)))
    env.step(np.zeros((2, 2)))
    env.simulations.qvel[0, 0] = 1e9  # flies off the scale
    seen, *_, info = env.step(np.zeros((2, 2)))
    assert info["unstable"].tolist() == [True, False]
    assert np.isfinite(seen).all()
    assert not np.array_equal(*env.simulations.sensed["cfrc_ext"]), "not its neighbour's"


def test_a_schedule_may_change_how_late_actions_are(tmp_path):
    family = alone(tmp_path, tasks={"action_delay_steps": {"action_delay": True, "choice": [0, 2]}})
    change = {"episode": 0, "step": 3, "parameters": {"action_delay_steps": 2}}
    env = family.make_vector_env([Task.of(family.name, {"action_delay_steps": 0}, schedule=[change])], 1)
    env.reset(seed=[0])
    sent = []
    for number in range(6):
        env.step(np.full((1, 2), 0.1 * (number + 1)))
        sent.append(env.simulations._controls[0, 0])
    assert sent == pytest.approx([0.1, 0.2, 0.3, 0.2, 0.3, 0.4])


def test_each_task_starts_within_its_own_limits(tmp_path):
    tasks = {"reach": {"change": "joint_limits", "of": ["left", "right"], "uniform": [0.05, 1.0]}}
    family = made(tmp_path, tasks=tasks, reset={"noise": 0.8}, reward={"alive": 1.0})
    wide, narrow = family.task(reach=1.0), family.task(reach=0.06)
    beside, _ = family.make_vector_env([narrow, wide], 1).reset(seed=[3, 4])
    alone_, _ = family.make_vector_env([wide], 1).reset(seed=[4])
    assert np.array_equal(beside[1], alone_[0])
    with pytest.raises(TaskError, match="which a task changes"):
        made(tmp_path, tasks=tasks, reward={"joint_limits": -1.0})


def test_the_model_of_an_episode_is_there_when_it_begins(tmp_path):
    """Forces and constants that follow from the model are of the episode's own, at its first step."""
    gravity = {"pull": {"change": "mass", "of": "trunk", "how": "set", "uniform": [0.1, 50.0]}}
    family = made(tmp_path, tasks=LOAD, randomize=gravity, observe=["contact_forces"], reward={"alive": 1.0})
    env = family.make_vector_env([family.task(load=1.0)], 1)
    env.reset(seed=[5])
    model = env.simulations.models[0]
    fresh = mujoco.MjData(model)
    constants = model.body_subtreemass.copy(), model.dof_M0.copy()
    mujoco.mj_setConst(model, fresh)
    assert np.array_equal(constants[0], model.body_subtreemass)
    assert np.array_equal(constants[1], model.dof_M0)


def test_commands_of_some_rows_change_while_others_have_ended(tmp_path):
    command = {"forward": {"command": "velocity", "uniform": [-1, 1], "every_s": 0.04}}
    family = alone(tmp_path, randomize=command, terminate={"tilt_above_deg": 20})
    env, _ = started(family, rows=3)
    env.simulations.qpos[1, 3:7] = 0, 1, 0, 0  # upside down: its episode ends
    for _ in range(4):
        seen, *_ = env.step(np.zeros((3, 2)))
        for row in (0, 2):
            assert seen[row, 2] == pytest.approx(env.command("forward")[row])


def test_a_push_is_not_seen_in_the_next_episode(tmp_path):
    family = alone(tmp_path, pushes={"every_s": 0.1, "speed_m_per_s": 2.0})
    env, _ = started(family)
    for _ in range(6):
        env.step(STILL)
    assert env.disturbances.seen(0, 5)[0].any()
    env.reset(options={"reset_mask": np.ones(1, bool)})
    assert not env.disturbances.seen(0, 5)[0].any()


def test_servos_are_limited_as_the_motors_were(tmp_path):
    limited = MOTORS.replace(
        'gear="20" ctrllimited', 'gear="20" forcelimited="true" forcerange="-0.5 0.25" ctrllimited'
    )
    model = alone(tmp_path, limited, actions={"kp": 40}).base
    assert model.actuator_forcerange.tolist() == [[-10.0, 5.0], [-8.0, 4.0]]


def test_a_dead_servo_holds_the_start_no_less(tmp_path):
    tasks = {"share": {"change": "strength", "of": "left", "choice": [0.0, 1.0]}}
    family = made(tmp_path, tasks=tasks, actions={"offset": "start"}, start={"keyframe": "home"}, reward={"speed": 1})
    env = family.make_vector_env([family.task(share=0.0), family.task(share=1.0)], 1)
    env.reset(seed=[0, 1])
    assert env.controls(slice(None), np.zeros((2, 2))) == pytest.approx(np.array([[0.3, -0.2]] * 2))


def test_a_goal_of_the_episode_is_shown(tmp_path):
    goal = {"place": {"command": "goal", "box": [[1, 2], [-1, 1]]}}
    family = made(tmp_path, tasks=LOAD, randomize=goal, reward={"goal_distance": -1.0})
    task = family.task(load=1.0)
    env = family.make_vector_env([task], 1)
    env.reset(seed=[0])
    assert family.goal(task) is None
    assert family.shown_goal(env, 0, task) == tuple(env.command("place")[0])


# -- light models


def meshes(folder, monkeypatch, extra="", **more):
    monkeypatch.setattr(light, "_SMALL", 0)
    shell = '<asset><mesh name="shell" vertex="0 0 0 .1 0 0 0 .1 0 0 0 .1"/></asset><worldbody>'
    geom = f'<geom type="mesh" mesh="shell" contype="0" conaffinity="0"{more.pop("geom", "")}/><site name="imu"'
    model = HOPPER.replace("<worldbody>", shell).replace('<site name="imu"', geom)
    model = model.replace("</mujoco>", extra + "</mujoco>")
    return made(folder, more.pop("edit", lambda text: text)(model), tasks=LOAD, reward={"speed": 1.0}, **more)


def test_a_robot_with_tendons_and_full_inertias_is_lightened(tmp_path, monkeypatch):
    tendon = '<tendon><spatial><site site="imu"/><geom geom="left_foot"/><site site="imu"/></spatial></tendon>'
    inertial = '<inertial pos="0 0 0" mass="3" fullinertia=".1 .2 .25 .01 .02 .03"/><geom name="trunk"'

    def edit(text):
        return text.replace('<geom name="trunk"', inertial)

    family = meshes(tmp_path, monkeypatch, tendon, edit=edit)
    whole = mujoco.MjModel.from_xml_path(str(tmp_path / "hopper.xml"))
    assert (whole.nmesh, family.base.nmesh) == (1, 0)
    assert np.array_equal(whole.body_inertia, family.base.body_inertia)


def test_what_a_ray_meets_or_a_medium_drags_is_kept(tmp_path, monkeypatch):
    ray = '<sensor><rangefinder name="ray" site="imu"/></sensor>'
    assert meshes(tmp_path, monkeypatch, ray).base.nmesh == 1
    assert meshes(tmp_path, monkeypatch, geom=' fluidshape="ellipsoid"').base.nmesh == 1
    named = '<sensor><framepos name="at" objtype="geom" objname="shell"/></sensor>'
    assert meshes(tmp_path, monkeypatch, named, geom=' name="shell"').base.nmesh == 1
    assert meshes(tmp_path, monkeypatch).base.nmesh == 0


def test_the_drawn_model_has_the_sizes_of_its_task(tmp_path):
    tasks = {"foot": {"change": "geom_size", "of": "left_foot", "uniform": [0.5, 2.0]}}
    family = made(tmp_path, tasks=tasks, reward={"speed": 1.0})
    task = family.task(foot=2.0)
    assert family.drawn_model(task).geom("left_foot").size[0] == pytest.approx(0.06)


# -- files


def trained(folder, description):
    words = ("agent=maml", "iterations=1", "agent.meta_batch_size=2", "agent.rollouts=2", "workers=0")
    small = ("evaluation.validation_tasks=1", "evaluation.held_out_tasks=1", "evaluation.rollouts=2")
    return call("train", f"family={description}", *words, *small, "--out", str(folder / "run"))


def test_a_run_of_linked_files_is_evaluated_elsewhere(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "own").mkdir()
    made(tmp_path / "lib", tasks=LOAD, reward={"speed": 1.0})
    (tmp_path / "own" / "dog.yaml").symlink_to(tmp_path / "lib" / "hopper.yaml")
    (tmp_path / "own" / "hopper.xml").symlink_to(tmp_path / "lib" / "hopper.xml")
    result = trained(tmp_path, tmp_path / "own" / "dog.yaml")
    assert result.exit_code == 0, result.output
    shutil.rmtree(tmp_path / "own")
    shutil.rmtree(tmp_path / "lib")
    assert call("evaluate", str(tmp_path / "run")).exit_code == 0


def test_a_run_goes_on_with_its_copy_when_the_original_is_broken(tmp_path):
    made(tmp_path, tasks=LOAD, reward={"speed": 1.0})
    assert trained(tmp_path, tmp_path / "hopper.yaml").exit_code == 0
    (tmp_path / "hopper.xml").unlink()
    assert call("evaluate", str(tmp_path / "run")).exit_code == 0
    (tmp_path / "hopper.yaml").write_text("nothing: 1\n")
    assert call("evaluate", str(tmp_path / "run")).exit_code == 0


def test_a_flexible_body_is_made_of_a_file_too(tmp_path):
    (tmp_path / "soft.obj").write_text("v 0 0 0\n")
    (tmp_path / "m.xml").write_text(
        '<mujoco><worldbody><flexcomp name="s" type="mesh" file="soft.obj"/></worldbody></mujoco>'
    )
    assert tmp_path / "soft.obj" in files_of(tmp_path / "m.xml")


# -- what cannot be meant

WRONG = [
    ({"tasks": {"g": {"change": "gravity", "how": "set", "box": [[0, 1], [0, 1]]}}}, "gravity is 3 numbers"),
    ({"randomize": {"action_delay_steps": {"command": "heading", "uniform": [0, 1]}}}, "the name of a delay"),
    ({"terrain": {"kind": "rough"}, "tasks": {"roughness_m": LOAD["load"]}}, "parameter of the ground rough"),
    ({"success": {"term": "foot_air_time", "of": "*_foot", "above": 1}}, "not a condition"),
    ({"tasks": {"g": {"command": "goal", "box": [[0, 1], [0, 1]], "ood": [[]]}}}, "ood lists"),
    ({"tasks": {"m": {"change": "com", "how": "add", "of": "trunk", "each": True, "box": [[0, 1]]}}}, "draws as many"),
    ({"actions": {"delay": 40}}, "as long as an episode"),
    ({"pushes": {"every_s": 0.03, "speed_m_per_s": 1}}, "no multiple of the control step of 0.02 s"),
    (
        {"terrain": {"kind": "steps"}, "tasks": {"s": {"change": "solref", "uniform": [1, 2], "each": True}}},
        "on a terrain",
    ),
    (
        {
            "tasks": {
                "m": {"change": "mass", "of": "trunk", "how": "set", "box": [[1, 2]], "ood": [[[-5, -4]], [[3, 4]]]}
            }
        },
        "would make a mass -",
    ),
]


@pytest.mark.parametrize(("changed", "sentence"), WRONG)
def test_each_refusal_is_a_sentence(tmp_path, changed, sentence):
    with pytest.raises(TaskError, match=sentence):
        made(tmp_path, **({"reward": {"alive": 1.0}} | changed))


def test_a_sound_family_on_terrain_passes(tmp_path):
    randomize = {"forward": {"command": "velocity", "uniform": [-1, 1], "every_s": 0.2}, "grip": {
        "change": "friction", "of": "floor*", "how": "set", "uniform": [0.2, 1.5]}}  # fmt: skip
    reward = {"velocity_error": -1.0, "feet": {"term": "contact", "of": "*_foot", "weight": 0.1}}
    family = made(tmp_path, tasks=LOAD, randomize=randomize, terrain={"kind": "rough"}, reward=reward)
    assert [finding for finding in check_task_family(family) if finding.problem] == []
    data = yaml.safe_load((tmp_path / "hopper.yaml").read_text())
    assert described.load(tmp_path / "hopper.yaml").description.model_dump(exclude_unset=True)["name"] == data["name"]


# -- what a newcomer met


def test_a_centre_of_mass_at_the_origin_moves(tmp_path):
    """MuJoCo takes a short cut where both frames are one; moved, the body is the one that a file would describe."""
    tasks = {"trim": {"change": "com", "of": "trunk", "how": "add", "box": [[0, 0.1], [0, 0], [0, 0.05]]}}
    family = made(tmp_path, tasks=tasks, reward={"speed": 1.0})
    model = family.model(family.task(trim=(0.1, 0.0, 0.05)))
    inertial = '<inertial pos=".1 0 .05" mass="3" diaginertia="{} {} {}"/><geom name="trunk"'
    inertia = family.base.body_inertia[1]
    written = HOPPER.replace('<geom name="trunk"', inertial.format(*inertia))
    whole = mujoco.MjModel.from_xml_string(written)
    assert whole.body_inertia[1] == pytest.approx(inertia)
    one, other = mujoco.MjData(model), mujoco.MjData(whole)
    for data in (one, other):
        data.qpos[:] = whole.key_qpos[0]
        data.qvel[3:6] = 1.0, 2.0, -1.0
    for _ in range(200):
        mujoco.mj_step(model, one)
        mujoco.mj_step(whole, other)
    assert np.allclose(one.qpos, other.qpos, rtol=0, atol=1e-8)
    assert np.abs(one.xipos[1] - one.xpos[1]).max() > 0.05


def test_noise_and_delay_leave_a_height_scan_alone(tmp_path):
    observe = [{"term": "joint_positions", "noise": 0.1, "delay": 1}]
    terrain = {"kind": "slope", "scan": [0.0, 0.5]}
    family = made(tmp_path, tasks=LOAD, observe=observe, terrain=terrain, reward={"speed": 1.0})
    task = family.sample(1, np.random.default_rng(0), "train")[0]
    env = family.make_vector_env([task], 1)
    env.reset(seed=[0])
    seen, *_ = env.step(STILL)
    plain = made(tmp_path, tasks=LOAD, observe=["joint_positions"], terrain=terrain, reward={"speed": 1.0})
    exact = plain.make_vector_env([task], 1)
    exact.reset(seed=[0])
    wanted, *_ = exact.step(STILL)
    assert seen.shape == wanted.shape == (1, 4)


NEVER = [
    ({"pushes": {"every_s": 5, "speed_m_per_s": 1}}, "so that it never comes"),
    ({"forces": {"every_s": 5, "for_s": 1, "force_n": 1}}, "so that it never comes"),
    ({"actions": {"kp": 3.0}}, "hopper.yaml: actions.kp makes position servos"),
]


@pytest.mark.parametrize(("changed", "sentence"), NEVER)
def test_the_sentence_says_where(tmp_path, changed, sentence):
    with pytest.raises(TaskError, match=sentence):
        made(tmp_path, **({"reward": {"alive": 1.0}, "tasks": LOAD} | changed))


def test_a_side_of_a_box_may_have_no_width(tmp_path):
    wind = {
        "wind": {"change": "wind", "how": "set", "box": [[-3, 3], [-3, 3], [0, 0]], "ood": [[[3, 5], [0, 0], [0, 0]]]}
    }
    family = made(tmp_path, tasks=wind, air_density=1.2, reward={"speed": 1.0})
    for split in ("train", "ood"):
        drawn = np.array([task["wind"] for task in family.sample(20, np.random.default_rng(0), split)])
        assert not drawn[:, 2].any()
        assert np.ptp(drawn[:, 0]) > 1.0


def test_describe_says_what_is_drawn_and_what_disturbs(tmp_path):
    made(
        tmp_path, tasks=LOAD, reward={"velocity_error": -1.0}, terrain={"kind": "rough"},
        randomize={"forward": {"command": "velocity", "uniform": [-1, 1], "every_s": 0.2}},
        pushes={"every_s": 0.1, "speed_m_per_s": 0.5},
    )  # fmt: skip
    shown = " ".join(call("describe", str(tmp_path / "hopper.yaml")).output.split())
    assert "drawn for every episode, and every 10 control steps: forward ~ U[-1, 1]" in shown
    assert "pushes: every_s 0.1, speed_m_per_s 0.5" in shown
    assert "terrain: rough" in shown
