"""Families out of MJCF and YAML: mechanics holds on a puck, every mistake is a sentence, robots of our own conform."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
import yaml

from envs.check import check_task_family
from envs.locomotion.walker2d import WALKER2D
from envs.mujoco import described
from envs.mujoco.observation_terms import OBSERVATIONS
from envs.mujoco.reward_terms import REWARDS
from envs.mujoco.terrains import TERRAINS
from envs.task import TaskError
from tests.helpers import call
from trainers.recipes import registry
from trainers.recipes.assembling import build
from trainers.recipes.schema import Recipe

ROBOTS = Path(__file__).parents[2] / "examples" / "robots"
PUCK = """
<mujoco>
  <option timestep="0.002"/>
  <worldbody>
    <geom name="floor" type="plane" size="50 50 1" friction="0.2 0 0" condim="3"/>
    <body name="puck" pos="0 0 0.1">
      <joint name="along" type="slide" axis="1 0 0"/>
      <joint name="above" type="slide" axis="0 0 1"/>
      <geom name="box" type="box" size="0.1 0.1 0.1" mass="1" friction="0.2 0 0" condim="3"/>
      <site name="top" pos="0 0 0.1"/>
    </body>
  </worldbody>
  <actuator><motor name="push" joint="along" gear="10" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>
"""
TRACK = {
    "name": "puck-v1",
    "mjcf": "puck.xml",
    "base": "puck",
    "control_dt_s": 0.02,
    "episode_steps": 50,
    "observe": ["position", "linear_velocity", "height"],
    "reward": {"forward_velocity": 1.0, "effort": {"term": "action_squared", "weight": -0.1}},
}


SCALED = {"mass_scale": {"change": "mass", "of": "puck", "uniform": [0.5, 2.0]}}


def puck(folder, tasks=SCALED, model=PUCK, **changed):
    """A family of pucks with these task parameters."""
    (folder / "puck.xml").write_text(model)
    data = TRACK | {"tasks": tasks} | changed
    path = folder / "puck.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in data.items() if value is not None}, sort_keys=False))
    return described.load(path)


def slide(family, parameters, speed=0.0, push=0.0, steps=25, height=0.0, start=0.0):
    """(path [steps, x], velocity along x after them) of a puck."""
    env = family.make_vector_env([family.task(**parameters)], 1)
    env.reset(seed=[0])
    env.simulations.place(np.array([0]), np.array([[start, height]]), np.array([[speed, 0.0]]))
    path = []
    for _ in range(steps):
        env.step(np.array([[push]]))
        path.append(env.simulations.qpos[0, 0])
    return np.array(path), env.simulations.qvel[0, 0]


SMOOTH = PUCK.replace('friction="0.2 0 0"', 'friction="0 0 0"')


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_twice_the_mass_is_half_the_acceleration(tmp_path, scale):
    family = puck(tmp_path, model=SMOOTH)
    _, velocity = slide(family, {"mass_scale": scale}, push=0.5)
    assert velocity == pytest.approx(0.5 * 10 / scale * 0.5, rel=0.01)  # F / m * 0.5 s


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_twice_the_friction_is_twice_the_braking(tmp_path, scale):
    family = puck(tmp_path, {"grip": {"change": "friction", "uniform": [0.5, 2.0]}})
    _, velocity = slide(family, {"grip": scale}, speed=3.0)
    assert velocity == pytest.approx(3.0 - 0.2 * scale * 9.81 * 0.5, rel=0.05)  # v - mu g t


@pytest.mark.parametrize("gravity", [4.0, 9.81, 15.0])
def test_braking_grows_with_gravity(tmp_path, gravity):
    family = puck(tmp_path, {"g": {"change": "gravity", "how": "set", "uniform": [4.0, 15.0]}})
    _, velocity = slide(family, {"g": gravity}, speed=3.0)
    assert velocity == pytest.approx(3.0 - 0.2 * gravity * 0.5, rel=0.05)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_a_weak_motor_pushes_less_and_a_dead_one_not_at_all(tmp_path, strength):
    family = puck(tmp_path, {"strength": {"change": "gear", "of": "push", "uniform": [0, 1]}}, model=SMOOTH)
    _, velocity = slide(family, {"strength": strength}, push=1.0)
    assert velocity == pytest.approx(10 * strength * 0.5, rel=0.01, abs=1e-9)


@pytest.mark.parametrize("damping", [1.0, 2.0])
def test_damping_is_an_exponential_decay(tmp_path, damping):
    family = puck(
        tmp_path, {"c": {"change": "damping", "of": "along", "how": "set", "uniform": [0, 4]}}, model=SMOOTH
    )  # fmt: skip
    _, velocity = slide(family, {"c": damping}, speed=2.0)
    assert velocity == pytest.approx(2.0 * np.exp(-damping * 0.5), rel=0.01)


@pytest.mark.parametrize("degrees", [-8.0, 4.0, 8.0])
def test_a_slope_pulls_by_its_sine(tmp_path, degrees):
    sphere = SMOOTH.replace('type="box" size="0.1 0.1 0.1"', 'type="sphere" size="0.1"')
    family = puck(tmp_path, model=sphere, terrain={"kind": "slope"})
    angle = np.deg2rad(degrees)
    # Four metres up the slope; the centre of a ball there, beside one on the plane.
    touching = 4.0 * np.tan(angle) + 0.1 / np.cos(angle) - 0.1
    _, velocity = slide(family, {"mass_scale": 1.0, "slope_deg": degrees}, height=touching, start=5.0)
    # The acceleration along the slope is g sin, its part along x g sin cos.
    assert velocity == pytest.approx(-9.81 * np.sin(angle) * np.cos(angle) * 0.5, rel=0.05)


def test_wind_in_air_drags_and_twice_the_wind_drags_four_times(tmp_path):
    family = puck(
        tmp_path, {"wind": {"change": "wind", "how": "set", "uniform": [-40, 40]}}, model=SMOOTH, air_density=1.2
    )  # fmt: skip
    slow, fast = (slide(family, {"wind": wind}, steps=5)[1] for wind in (10.0, 20.0))
    assert slow > 0
    assert fast / slow == pytest.approx(4.0, rel=0.1)


def test_reward_terms_are_told_one_by_one_and_sum_to_the_reward(tmp_path):
    family = puck(tmp_path)
    assert family.reward_terms == ("forward_velocity", "effort")
    env = family.make_vector_env([family.task(mass_scale=1.0)], 2)
    env.reset(seed=[0, 1])
    _, reward, _, _, info = env.step(np.array([[1.0], [0.5]]))
    assert info["reward_terms"].shape == (2, 2)
    assert np.allclose(info["reward_terms"].sum(1), reward)
    assert np.allclose(info["reward_terms"][:, 1], [-0.1, -0.025])


def test_terminations_are_what_they_say(tmp_path):
    family = puck(tmp_path, terminate={"height_above_m": 0.5})
    env = family.make_vector_env([family.task(mass_scale=1.0)], 2)
    env.reset(seed=[0, 1])
    env.simulations.place(np.arange(2), np.array([[0.0, 0.0], [0.0, 0.6]]), np.zeros((2, 2)))
    assert env.step(np.zeros((2, 1)))[2].tolist() == [False, True]


FILES = sorted(ROBOTS.glob("*.yaml"))
DESCRIPTIONS = [path for path in FILES if "mjcf:" in path.read_text()]


@pytest.mark.parametrize("path", DESCRIPTIONS, ids=lambda path: path.stem)
def test_robots_of_our_own_conform(path):
    family = described.load(path)
    assert not [finding for finding in check_task_family(family) if finding.problem]
    assert pickle.loads(pickle.dumps(family)).digest == family.digest


@pytest.mark.parametrize("path", [path for path in FILES if path not in DESCRIPTIONS], ids=lambda path: path.stem)
def test_their_recipes_load(path):
    recipe = Recipe.load(path)
    assert ROBOTS.parents[1] / recipe.family in DESCRIPTIONS
    build(recipe, registry.family(recipe.family), torch.device("cpu"))


def test_a_quadruped_sees_and_is_paid_by_hand():
    family = described.load(ROBOTS / "quadruped.yaml")
    task = family.sample(1, np.random.default_rng(0), "train")[0]
    env = family.make_vector_env([task], 1)
    env.reset(seed=[0])
    for _ in range(5):
        before = env.simulations.qpos[0].copy()
        observation, reward, *_ = env.step(np.full((1, 8), 0.3))
    qpos, qvel = env.simulations.qpos[0], env.simulations.qvel[0]
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, qpos[3:7])
    rotation = rotation.reshape(3, 3)
    expected = [
        [qpos[2]], rotation.T @ [0, 0, -1], rotation.T @ qvel[:3], qvel[3:6], qpos[7:], qvel[6:],
    ]  # fmt: skip
    assert np.allclose(observation[0], np.concatenate(expected), atol=1e-5)
    speed = (qpos[0] - before[0]) / 0.02
    expected_reward = -abs(speed - task["velocity_m_per_s"]) + 1.0 - 0.02 * 8 * 0.09 - 0.2 * (1 - rotation[2, 2])
    assert reward[0] == pytest.approx(expected_reward, abs=1e-9)


def test_a_planar_robot_is_read_by_its_slides_and_hinge(tmp_path):
    """Gymnasium's Walker2d as a description: what is observed is what its joints say."""
    data = TRACK | {
        "name": "walker-v1",
        "mjcf": str(WALKER2D.path),
        "base": None,
        "control_dt_s": 0.008,
        "observe": [
            "height", "pitch", "linear_velocity", "angular_velocity", "joint_positions", "joint_velocities",
        ],
        "tasks": {"strength": {"change": "gear", "of": "*", "uniform": [0.5, 1.0], "each": True}},
        "reward": {"forward_velocity": 1.0, "tilt": -1.0, "height": 0.5},
        "terminate": {"height_below_m": 0.8, "tilt_above_deg": 57.0},
    }  # fmt: skip
    (tmp_path / "walker.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    family = described.load(tmp_path / "walker.yaml")
    assert family.parameters["strength"].shape == (6,)
    env = family.make_vector_env(family.sample(1, np.random.default_rng(0), "train"), 1)
    env.reset(seed=[0])
    before = env.simulations.qpos[0, 0]
    observation, _, _, _, info = env.step(np.full((1, 6), 0.5))
    qpos, qvel = env.simulations.qpos[0], env.simulations.qvel[0]
    expected = [qpos[1:3], qvel[:2], qvel[2:3], qpos[3:], qvel[3:]]
    assert np.allclose(observation[0], np.concatenate(expected), atol=1e-5)
    expected_terms = [(qpos[0] - before) / 0.008, -(1 - np.cos(qpos[2])), 0.5 * qpos[1]]
    assert np.allclose(info["reward_terms"][0], expected_terms)
    lying = env.simulations.qpos[:1].copy()
    lying[0, 1:3] = 1.2, 1.1
    env.simulations.place(np.array([0]), lying, np.zeros((1, 9)))
    assert env.step(np.zeros((1, 6)))[2][0], "it leans by more than 57 degrees"


def test_an_arms_tip_is_followed():
    family = described.load(ROBOTS / "arm.yaml")
    task = family.task(goal_m=(0.3, 0.2, 0.4), tool_kg=0.5)
    env = family.make_vector_env([task], 1)
    env.reset(seed=[0])
    observation, _, _, _, info = env.step(np.ones((1, 3)))
    tip = env.simulations.sensed["site_xpos"][0, 0]
    assert np.allclose(observation[0, 6:9], tip, atol=1e-6)
    assert info["reward_terms"][0, 0] == pytest.approx(-np.linalg.norm(tip - [0.3, 0.2, 0.4]))
    assert family.goal(task) == (0.3, 0.2, 0.4)


def test_the_guide_names_every_term_and_field():
    from envs.mujoco.changes import FIELDS

    text = (ROBOTS.parents[1] / "docs" / "own-robot.md").read_text()
    for word in (*OBSERVATIONS, *REWARDS, *FIELDS, *TERRAINS):
        assert f"`{word}`" in text, word


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"tasks": {"m": {"change": "mass", "of": "pluck", "uniform": [1, 2]}}},
            "no body is called pluck; did you mean puck",
        ),
        ({"tasks": {"m": {"change": "mass", "of": "leg_*", "uniform": [1, 2]}}}, "no body is called leg_*"),
        ({"tasks": {"m": {"change": "weight", "uniform": [1, 2]}}}, "a model has no weight to change"),
        ({"tasks": {"m": {"change": "mass", "uniform": [-1, 2]}}}, "m would make a mass -1 kg, but it must be"),
        ({"tasks": {"m": {"change": "friction", "uniform": [-1, 2]}}}, "m would make a friction"),
        ({"tasks": {"m": {"change": "mass", "uniform": [2, 1]}}}, "goes from a lower to a higher end, not from 2 to 1"),
        ({"tasks": {"m": {"change": "mass"}}}, "a distribution is one of uniform, log_uniform, box, choice, not none"),
        ({"tasks": {"m": {"uniform": [1, 2]}}}, "one of change, command, sensor_delay or action_delay"),
        ({"tasks": {"m": {"change": "mass", "uniforme": [1, 2]}}}, "did you mean uniform"),
        ({"tasks": None}, "nothing varies between tasks"),
        ({"observe": ["heihgt"]}, "there is no observation term heihgt; did you mean height"),
        ({"observe": ["gravity_direction"]}, "the term gravity_direction needs a free base"),
        ({"observe": [{"term": "position", "of": "tip"}]}, "there is no site or body tip; did you mean top"),
        ({"reward": {"forward_velocty": 1.0}}, "no reward term forward_velocty; did you mean forward_velocity"),
        ({"reward": {"velocity_error": -1.0}}, "needs a task parameter with `command: velocity`"),
        ({"control_dt_s": 0.003}, "no multiple of the model's physics step of 0.002 s"),
        ({"mjcf": "pluck.xml"}, "there is no file"),
        ({"name": "Puck"}, "name is 'Puck'"),
        ({"terrain": {"kind": "hills"}}, "terrain.kind is 'hills'"),
        ({"terrain": {"kind": "steps", "distributions": {"heihgt": {"uniform": [0, 1]}}}}, "has no parameter heihgt"),
        ({"terrain": {"kind": "waves", "distributions": {"wave_length_m": {"uniform": [1, 99]}}}}, "m goes to 99"),
        ({"terrain": {"kind": "steps", "distributions": {"step_length_m": {"uniform": [0, 1]}}}}, "m goes to 0"),
        ({"tasks": {"m": {"change": "mass", "of": [], "uniform": [1, 2]}}}, "tasks.m.of"),
        ({"tasks": {"m": {"change": "mass", "uniform": [1, 2], "ood": [[3, 3]]}}}, "an ood interval goes from"),
        ({"tasks": {"g": {"command": "goal", "size": 2, "choice": [1, 2]}}}, "a goal has size 2 (x, y) or 3"),
        ({"tasks": {"v": {"command": "velocity", "size": 3, "uniform": [1, 2]}}}, "only a goal has a size"),
        (
            {"tasks": {n: {"command": "velocity", "uniform": [1, 2]} for n in "vw"}},
            "w and v both command a velocity",
        ),
        ({"tasks": {"m": {"change": "mass", "choice": [1, 2], "each": True}}}, "each draws a value of a uniform"),
        (
            {"tasks": {"g": {"change": "gravity", "how": "set", "uniform": [1, 2], "each": True}}},
            "there is one gravity in the world",
        ),
        (
            {"tasks": {"sensor_delay_steps": {"sensor_delay": True, "choice": [-5, 2]}}},
            "a delay is a choice of whole control steps",
        ),
        (
            {"tasks": {"sensor_delay_steps": {"sensor_delay": True, "uniform": [0, 2]}}},
            "a delay is a choice of whole control steps",
        ),
        (
            {
                "tasks": {"g": {"command": "goal", "size": 2, "uniform": [1, 2]}},
                "reward": {"goal_distance": -1.0},
            },
            "compares a goal of 2 entries with a place of 1",
        ),
        ({"reward": {"tilt": -1.0}}, "the term tilt needs a base that can lean"),
        ({"terminate": {"tilt_above_deg": 30}}, "this robot's base cannot lean"),
        ({"observe": [{"term": "height", "of": "top"}]}, "tracks nothing"),
        ({"frame_skip": 3}, "there is no key frame_skip"),
    ],
)  # fmt: skip
def test_every_mistake_is_a_sentence(tmp_path, changed, says):
    with pytest.raises(TaskError) as error:
        puck(tmp_path, **changed)
    assert says in str(error.value)
    assert str(tmp_path / "puck.yaml") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (PUCK.replace('ctrllimited="true" ctrlrange="-1 1"', ""), "actuator push has no control range"),
        (PUCK[: PUCK.index("<actuator>")] + "</mujoco>", "has no actuators"),
    ],
)
def test_robots_that_could_not_move_are_refused(tmp_path, model, says):
    with pytest.raises(TaskError, match=says):
        puck(tmp_path, model=model)


def test_a_terrain_needs_a_base_that_moves_and_a_floor(tmp_path):
    arm = yaml.safe_load((ROBOTS / "arm.yaml").read_text()) | {"terrain": {"kind": "slope"}}
    (tmp_path / "arm.xml").write_text((ROBOTS / "arm.xml").read_text())
    (tmp_path / "arm.yaml").write_text(yaml.safe_dump(arm))
    with pytest.raises(TaskError, match="a terrain is for robots whose base moves"):
        described.load(tmp_path / "arm.yaml")
    with pytest.raises(TaskError, match="has no level plane in its worldbody"):
        puck(tmp_path, model=PUCK.replace('type="plane" size="50 50 1"', 'type="box" size="50 50 1"'),
             terrain={"kind": "steps"})  # fmt: skip


@pytest.mark.parametrize("kind", TERRAINS)
def test_every_ground_takes_a_robot_of_our_own(tmp_path, kind):
    """The tutorial's terrain, on the quadruped; what varies of the floor varies of all the ground."""
    data = yaml.safe_load((ROBOTS / "quadruped.yaml").read_text()) | {"terrain": {"kind": kind}}
    data["tasks"]["ground_friction"]["of"] = "floor*"
    (tmp_path / "quadruped.xml").write_text((ROBOTS / "quadruped.xml").read_text())
    (tmp_path / "dog.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    family = described.load(tmp_path / "dog.yaml")
    task = family.sample(1, np.random.default_rng(0), "train")[0]
    model = family.model(task)
    ground = [geom for geom in range(model.ngeom) if model.geom(geom).name.startswith("floor")]
    scale = task["ground_friction"]
    if kind != "friction":
        assert np.allclose(model.geom_friction[ground, 0], 0.9 * scale)
    env = family.make_vector_env([task], 2)
    env.reset(seed=[0, 1])
    assert np.isfinite(env.step(np.zeros((2, 8)))[0]).all()


def test_masses_of_frames_and_joints_of_bases_are_no_obstacle(tmp_path):
    framed = PUCK.replace('<site name="top"', '<body name="frame"><site name="eye"/></body><site name="top"')
    family = puck(tmp_path, {"m": {"change": "mass", "uniform": [0.5, 2.0], "each": True}}, model=framed)
    assert family.parameters["m"].shape == (1,)
    grip = {"grip": {"change": "friction", "how": "set", "uniform": [0.1, 0.5]}}
    family = puck(tmp_path, grip)
    model = family.model(family.task(grip=0.3))
    assert np.allclose(model.geom_friction[:, 0], 0.3)
    assert np.array_equal(model.geom_friction[:, 1:], family.base.geom_friction[:, 1:])
    dog = yaml.safe_load((ROBOTS / "quadruped.yaml").read_text())
    dog["tasks"]["damp"] = {"change": "damping", "uniform": [0.5, 2.0], "each": True}
    (tmp_path / "quadruped.xml").write_text((ROBOTS / "quadruped.xml").read_text())
    (tmp_path / "dog.yaml").write_text(yaml.safe_dump(dog, sort_keys=False))
    assert described.load(tmp_path / "dog.yaml").parameters["damp"].shape == (8,), "a free joint is none of them"


def test_air_density_reaches_commands_too(tmp_path):
    tasks = {"v": {"command": "velocity", "uniform": [0, 1]}}
    family = puck(tmp_path, tasks, air_density=1.2, reward={"velocity_error": -1.0})
    assert family.model(family.task(v=0.5)).opt.density == 1.2
    assert family.base.opt.density == 0.0


def test_an_edited_model_is_read_again(tmp_path):
    family = puck(tmp_path)
    heavier = puck(tmp_path, model=PUCK.replace('mass="1"', 'mass="3"'))
    assert heavier.base.body_mass[1] == 3.0
    with pytest.raises(TaskError, match="was changed while it was in use"):
        pickle.loads(pickle.dumps(family))


def test_a_model_that_does_not_compile_and_a_file_that_is_none(tmp_path):
    with pytest.raises(TaskError, match="does not compile as MJCF"):
        puck(tmp_path, model="<mujoco><worldbody><geom/></worldbody>")
    with pytest.raises(TaskError, match="does not compile as MJCF"):
        puck(tmp_path, model=PUCK.replace('joint="along"', 'joint="beside"'))
    with pytest.raises(TaskError, match="is not a YAML description"):
        registry.family(str(tmp_path / "nothing.yaml"))
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(TaskError, match="it must be a mapping"):
        registry.family(str(tmp_path / "list.yaml"))


def test_a_run_knows_its_family_again(tmp_path):
    """Trained on a described family, a run holds its terms' metrics and refuses changed files."""
    import json

    family = puck(tmp_path, episode_steps=10)
    path = tmp_path / "puck.yaml"
    result = call(
        "train", "point_nav_maml", "--out", str(tmp_path / "run"), f"family={path}", "iterations=1", "workers=0",
        "agent.rollouts=2", "agent.meta_batch_size=2", "evaluation.validation_tasks=2", "evaluation.held_out_tasks=2",
        "evaluation.rollouts=2",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    total = line["reward_term_forward_velocity"] + line["reward_term_effort"]
    assert total == pytest.approx(line["return_round_1"], rel=1e-4, abs=1e-5)
    assert line["unstable_episodes"] == 0
    assert call("evaluate", str(tmp_path / "run")).exit_code == 0
    path.write_text(path.read_text().replace("forward_velocity: 1.0", "forward_velocity: 2.0"))
    assert call("evaluate", str(tmp_path / "run")).exit_code == 0, "the run keeps a copy of its own"
    shutil.rmtree(tmp_path / "run" / "family")
    again = call("evaluate", str(tmp_path / "run"))
    assert again.exit_code == 2
    assert "is not what" in again.output
    assert family.digest
