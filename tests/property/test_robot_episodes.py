"""A described robot whose episodes differ, which is disturbed, or whose actions are late or converted."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from envs.check import check_task_family
from envs.distributions import Box
from envs.task import TaskError
from tests.property.test_robot_terms import BASE, HOPPER, made

STILL = np.zeros((1, 2))
FORWARD = {"command": "velocity", "uniform": [-1.0, 1.0]}
FLOOR = {"floor": {"change": "friction", "of": "floor", "how": "set", "uniform": [0.1, 2.0]}}


def alone(folder, model=HOPPER, **changed):
    """The hopper that observes one command, which `randomize` gives, and of whose tasks only the load differs."""
    base = {
        "tasks": {"load": {"change": "mass", "of": "trunk", "uniform": [0.5, 2.0]}},
        "randomize": {"forward": FORWARD},
        "observe": ["joint_positions", "command"],
        "reward": {"velocity_error": -1.0},
    }
    return made(folder, model, **(base | changed))


def started(family, rows=1, seed=0, load=1.0):
    env = family.make_vector_env([family.task(load=load)], rows)
    observation, _ = env.reset(seed=[seed] * rows)
    return env, observation


def test_a_command_is_drawn_for_every_episode_from_the_rows_own_seed(tmp_path):
    family = alone(tmp_path)
    env, first = started(family)
    second, _ = env.reset(options={"reset_mask": np.ones(1, bool)})
    again, _ = env.reset(seed=[0])
    assert first[0, 2] != second[0, 2]
    assert first[0, 2] == again[0, 2]
    assert family.observed_parameters == (), "it is no parameter of the task"


def test_a_command_changes_within_the_episode_after_the_reward(tmp_path):
    family = alone(tmp_path, randomize={"forward": FORWARD | {"every_s": 0.1}}, reward={"velocity_error": -1.0})
    env, observation = started(family)
    seen = [observation[0, 2]]
    for _ in range(11):
        x = env.simulations.qpos[0, 0]
        observation, reward, *_ = env.step(STILL)
        moved = (env.simulations.qpos[0, 0] - x) / 0.02
        assert reward[0] == pytest.approx(-abs(moved - seen[-1]), abs=1e-5), "paid for the command that was seen"
        seen.append(observation[0, 2])
    changes = np.flatnonzero(np.diff(seen))
    assert changes.tolist() == [4, 9], "every 0.1 s of 0.02 s steps"


def test_rows_do_not_disturb_each_others_draws(tmp_path):
    family = alone(tmp_path, randomize={"forward": FORWARD | {"every_s": 0.06}} | FLOOR)
    env, _ = started(family, rows=3, seed=5)
    lone, _ = started(family, seed=5)
    for _ in range(8):
        together, alone_, *_ = env.step(np.zeros((3, 2)))[0], lone.step(STILL)[0]
        assert np.allclose(together, alone_)


def test_a_change_of_an_episode_is_of_its_row_alone(tmp_path):
    family = alone(tmp_path, randomize={"forward": FORWARD} | FLOOR)
    env = family.make_vector_env([family.task(load=2.0)], 2)
    env.reset(seed=[0, 1])
    frictions = [model.geom_friction[0, 0] for model in env.simulations.models]
    assert len(set(frictions)) == 2
    assert all(model.body_mass[1] == pytest.approx(6.0) for model in env.simulations.models), "with the task's change"
    env.reset(options={"reset_mask": np.array([True, False])})
    after = [model.geom_friction[0, 0] for model in env.simulations.models]
    assert after[0] != frictions[0]
    assert after[1] == frictions[1]
    assert family.base.geom_friction[0, 0] == 1.0


def test_forces_act_for_their_time_and_are_plain_mujocos(tmp_path):
    forces = {"of": "trunk", "force_n": 50.0, "every_s": 0.1, "for_s": 0.04}
    family = alone(tmp_path, forces=forces)
    env, _ = started(family, load=1.0)
    model = env.simulations.models[0]
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = env.simulations.qpos[0], env.simulations.qvel[0]
    mujoco.mj_forward(model, data)
    acted = []
    for _ in range(13):
        data.ctrl[:] = env.controls(slice(None), STILL)[0]
        env.step(STILL)
        data.xfrc_applied[1, :2] = env.disturbances.forces[0]
        mujoco.mj_step(model, data, 10)
        acted.append(bool(env.disturbances.forces.any()))
        assert np.allclose(data.qpos, env.simulations.qpos[0], rtol=0, atol=1e-12)
    assert acted == [False] * 5 + [True] * 2 + [False] * 3 + [True] * 2 + [False]
    env.reset(options={"reset_mask": np.ones(1, bool)})
    assert not env.disturbances.forces.any(), "no force outlives its episode"


def test_actions_are_late(tmp_path):
    tasks = {"action_delay_steps": {"action_delay": True, "choice": [0, 2]}}
    family = alone(tmp_path, tasks=tasks, actions={"delay": 1})
    actions = np.array([[[0.1, 0.2]], [[0.3, 0.4]], [[0.5, 0.6]], [[0.7, 0.8]], [[0.9, 1.0]]])
    for delay in (0, 2):
        env = family.make_vector_env([family.task(action_delay_steps=delay)], 1)
        env.reset(seed=[0])
        controls = []
        for action in actions:
            controls.append(env.controls(slice(None), action)[0])
            env.step(action)
        late = delay + 1
        wanted = np.concatenate([np.zeros((late, 2)), actions[:-late, 0]])
        assert np.allclose(controls, wanted * [1.0, 1.0] + [0.0, 0.5])


MOTORS = HOPPER.replace(
    '<position name="left" joint="left" kp="30" ctrllimited="true" ctrlrange="-1 1"/>',
    '<motor name="left" joint="left" gear="20" ctrllimited="true" ctrlrange="-1 1"/>',
).replace(
    '<position name="right" joint="right" kp="30" ctrllimited="true" ctrlrange="-0.5 1.5"/>',
    '<motor name="right" joint="right" gear="-10" ctrllimited="true" ctrlrange="-0.4 0.8"/>',
)


def test_motors_become_servos_with_the_torque_that_they_had(tmp_path):
    family = alone(tmp_path, MOTORS, actions={"kp": 40, "kd": 2, "offset": "start"}, start={"keyframe": "home"})
    model = family.base
    data = mujoco.MjData(model)
    data.qpos[:] = model.key_qpos[0]
    data.qvel[6:] = 0.1, -0.2
    data.ctrl[:] = 0.5, 0.1
    mujoco.mj_forward(model, data)
    assert data.actuator_force == pytest.approx([40 * (0.5 - 0.3) - 2 * 0.1, min(40 * (0.1 + 0.2) + 2 * 0.2, 4.0)])
    data.ctrl[:] = 1.0, 1.0
    data.qpos[7:], data.qvel[:] = (-1.0, -1.0), 0.0
    mujoco.mj_forward(model, data)
    assert data.actuator_force == pytest.approx([20.0, 4.0]), "no more than gear and control range give"
    assert model.actuator_ctrlrange == pytest.approx(model.jnt_range[1:])
    env, _ = started(family)
    assert env.controls(slice(None), STILL)[0] == pytest.approx([0.3, -0.2])


def test_a_goal_in_a_box(tmp_path):
    goal = {"command": "goal", "box": [[0.5, 1.0], [-0.2, 0.2]], "ood": [[[1.0, 2.0], [0.2, 0.4]]], "unit": "m"}
    family = made(tmp_path, tasks={"goal": goal}, observe=["joint_positions", "command"], reward={"goal_distance": -1})
    for split, low, high in (("train", [0.5, -0.2], [1, 0.2]), ("ood", [1, 0.2], [2, 0.4])):
        drawn = np.array([task["goal"] for task in family.sample(200, np.random.default_rng(0), split)])
        assert (drawn >= low).all()
        assert (drawn <= high).all()
        assert np.ptp(drawn, axis=0) == pytest.approx(np.subtract(high, low), rel=0.05)
    with pytest.raises(TaskError, match="outside"):
        family.task(goal=(1.5, 0.0))


def test_a_box_of_other_sides_is_refused():
    with pytest.raises(TaskError, match="sides"):
        Box(((0, 1), (0, 1)), ood=(((0, 1),),))


WRONG = [
    ({"forward": FORWARD | {"ood": [[1, 2]]}}, "ood is of task parameters"),
    ({"weight": {"change": "mass", "of": "trunk", "uniform": [1, 2], "every_s": 1}}, "only a command"),
    ({"forward": FORWARD | {"every_s": 0.001}}, "less than a control step"),
    ({"weight": {"change": "mass", "of": "trunc", "uniform": [1, 2]}}, "did you mean trunk"),
    (
        {"weight": {"change": "mass", "of": "trunk", "how": "set", "uniform": [-1, 2]}},
        "randomize.weight would make a mass -1",
    ),
]


@pytest.mark.parametrize(("randomize", "sentence"), WRONG)
def test_what_cannot_be_drawn_is_refused(tmp_path, randomize, sentence):
    with pytest.raises(TaskError, match=sentence):
        alone(tmp_path, randomize=randomize, reward={"alive": 1.0}, observe=["joint_positions"])


def test_a_command_is_given_once(tmp_path):
    with pytest.raises(TaskError, match="both command a velocity"):
        made(tmp_path, randomize={"again": FORWARD})
    with pytest.raises(TaskError, match="forward is drawn twice"):
        made(tmp_path, randomize={"forward": {"command": "heading", "uniform": [0, 1]}})


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"actions": {"kd": 1.0}}, "give kp too"),
        ({"actions": {"kp": 10.0}}, "actuator left is none"),
        ({"forces": {"of": "trunc", "force_n": 1, "every_s": 1, "for_s": 0.1}}, "did you mean trunk"),
        ({"forces": {"of": "flag", "force_n": 1, "every_s": 1, "for_s": 0.1}}, "fixed to the world"),
        ({"forces": {"force_n": 1, "every_s": 0.1, "for_s": 0.2}}, "longer than"),
        ({"camera": "trak"}, "no camera is called trak"),
        ({"tasks": {"late": {"action_delay": True, "choice": [0, 1]}}}, "is called action_delay_steps"),
        ({"tasks": BASE["tasks"] | {"goal": {"command": "goal", "box": [[0, 1]]}}}, "size 2"),
    ],
)
def test_each_refusal_is_a_sentence(tmp_path, changed, sentence):
    with pytest.raises(TaskError, match=sentence):
        made(tmp_path, **changed)


def test_the_check_sees_a_randomization_that_does_nothing(tmp_path):
    nothing = {"air": {"change": "wind", "how": "set", "uniform": [-3, 3]}}
    family = alone(tmp_path, randomize={"forward": FORWARD} | nothing)
    problems = [finding.problem for finding in check_task_family(family) if finding.problem]
    assert len(problems) == 1
    assert "randomize.air changes nothing" in problems[0]
    assert "air_density" in problems[0]


def test_a_sound_family_with_everything_passes(tmp_path):
    family = alone(
        tmp_path, MOTORS,
        randomize={"forward": FORWARD | {"every_s": 0.2}} | FLOOR,
        forces={"force_n": 10, "every_s": 0.3, "for_s": 0.1},
        pushes={"every_s": 0.2, "speed_m_per_s": 0.3},
        actions={"kp": 40, "kd": 1, "delay": 1, "smoothing": 0.3},
        reset={"noise": 0.02},
    )  # fmt: skip
    assert [finding for finding in check_task_family(family) if finding.problem] == []
