"""Step signals: what a step tells beyond the reward, who declares it and who may read it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from envs.check import check_task_family
from envs.locomotion.half_cheetah import HalfCheetahVel
from envs.mujoco import described
from envs.navigation.point_nav import PointNav
from envs.navigation.point_robot import PointRobot, SparsePointRobot
from envs.signals import STEP_SIGNALS, declared_by, readable_by, stack_signals
from envs.tabular.bandit import Bandit2Arms
from envs.tabular.grid_navi import GridNavi
from tests.helpers import LineFamily, LineWalk, small_maml
from tests.unit.test_structure import ROOT
from trainers.recipes import registry
from trainers.sampling.shards import Shard
from trainers.sampling.trial_loop import run_trials


def test_who_may_read_what():
    assert set(readable_by("agents")) == {"unstable"}
    assert "success" in readable_by("rows")
    assert "dense_reward" not in readable_by("rows")
    assert "dense_reward" in readable_by("learners")


def test_families_declare_what_they_give():
    arm = described.load(ROOT / "examples" / "robots" / "arm.yaml")
    assert declared_by(PointNav()) == declared_by(PointRobot()) == declared_by(GridNavi()) == ("success",)
    assert declared_by(SparsePointRobot()) == ("success", "dense_reward")
    assert declared_by(arm) == ("success", "reward_terms")
    assert declared_by(Bandit2Arms()) == declared_by(HalfCheetahVel()) == ()


def successes(family, task, actions):
    env = family.make_vector_env([task], 1)
    env.reset(seed=[0])
    return [env.step(np.array([action]))[4]["success"].tolist() for action in actions]


def test_success_by_hand():
    # Two steps of 0.1 m to the right: the goal is 0.1 m away, then here, and the episode is over.
    nav = PointNav()
    assert successes(nav, nav.task(goal_m=(0.2, 0.0)), [(1.0, 0.0)] * 2) == [[False], [True]]
    sparse = SparsePointRobot()
    # The goal (1, 0) is within 0.2 m from x = 0.8 on: after 9 steps of 0.09 m (0.81), not after 8 (0.72).
    reached = successes(sparse, sparse.task(angle_rad=0.0), [(0.9, 0.0)] * 10)
    assert reached == [[False]] * 8 + [[True]] * 2
    grid = GridNavi()
    # Cell 2 is two steps to the right; a third leaves it.
    right = 2
    assert successes(grid, grid.task(goal=2), [right] * 3) == [[False], [True], [False]]


def test_the_arm_succeeds_within_its_radius():
    """`goal_reached` of the arm pays its weight of 1 within 0.08 m of the goal, and `success` says the same."""
    arm = described.load(ROOT / "examples" / "robots" / "arm.yaml")
    poses = np.random.default_rng(0).uniform(*arm.base.jnt_range.T, (400, arm.base.nq))

    def play(goal):
        env = arm.make_vector_env([arm.task(goal_m=goal, tool_kg=0.5)], len(poses))
        env.reset(seed=list(range(len(poses))))
        env.simulations.place(np.arange(len(poses)), poses, np.zeros((len(poses), arm.base.nv)))
        for _ in range(5):
            *_, info = env.step(np.zeros((len(poses), *arm.action_space.shape), np.float32))
            yield env.simulations.sensed["site_xpos"][:, 0].copy(), info

    visited = np.concatenate([tip for tip, _ in play((0.3, 0.3, 0.3))])
    inside = visited[np.all((visited > 0.15) & (visited < 0.5), axis=1)]
    goal = tuple(inside[0].tolist())  # a place where a row's tip passes
    successes = []
    for tip, info in play(goal):
        near = np.linalg.norm(tip - goal, axis=1) <= 0.08
        assert np.array_equal(info["success"], near)
        assert np.array_equal(info["reward_terms"][:, list(arm.reward_terms).index("there")], near)
        successes.append(info["success"])
    assert np.any(successes)
    assert not np.all(successes)


class SuccessfulLine(LineFamily):
    """A user's environments that give `success` at the last step alone, as a number."""

    has_success = True

    def make_env(self, task):
        env = LineWalk(task["target_m"])
        step = env.step

        def with_success(action):
            *rest, terminated, truncated, info = step(action)
            return *rest, terminated, truncated, info | ({"success": 1.0} if terminated else {"success": 0.0})

        env.step = with_success
        return env


def test_single_environments_give_it_too():
    assert not [finding for finding in check_task_family(SuccessfulLine()) if finding.problem]
    infos = [{"success": 1.0, "own": 3}, {}, {"success": 0.0}]
    assert {name: values.tolist() for name, values in stack_signals(infos).items()} == {"success": [True, False, False]}
    assert stack_signals([{}, {"own": 1}]) == {}


class Undeclared(SuccessfulLine):
    has_success = False


class NeverGiven(LineFamily):
    has_success = True


class WronglyShaped(GridNavi):
    def make_vector_env(self, tasks, rows):
        env = super().make_vector_env(tasks, rows)
        step = env.step

        def with_column(actions):
            *rest, info = step(actions)
            return *rest, {"success": info["success"][:, None]}

        env.step = with_column
        return env


@pytest.mark.parametrize(
    ("family", "says"),
    [
        (Undeclared, "the step info holds success; declare it by `has_success`"),
        (NeverGiven, "it declares success by `has_success`, but a step info lacks it"),
        (WronglyShaped, r"the step info success is bool of shape (2, 1), not bool of shape (2,)"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_is_given_and_what_is_declared_must_agree(family, says):
    problems = {finding.check: finding.problem for finding in check_task_family(family()) if finding.problem}
    assert says in problems["its step signals are those that it declares"]


def test_the_table_needs_no_torch():
    code = "import sys, envs.signals; assert 'torch' not in sys.modules; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(signal.readers for signal in STEP_SIGNALS.values())


def test_the_trial_loop_records_the_signals_and_agents_get_their_own():
    class Reads:
        """The agent, and all that it is given."""

        def __init__(self, agent):
            self.agent, self.transitions, self.batches = agent, [], []

        def __getattr__(self, name):
            return getattr(self.agent, name)

        def observe(self, weights, state, transition):
            self.transitions.append(set(transition))
            return self.agent.observe(weights, state, transition)

        def adapt(self, weights, state, batch):
            self.batches.append(batch)
            return self.agent.adapt(weights, state, batch)

    arm = registry.family(str(ROOT / "examples" / "robots" / "arm.yaml"))
    for family, given in ((SparsePointRobot(), {"success", "dense_reward"}), (arm, {"success", "reward_terms"})):
        agent, learner = small_maml(family=family)
        reads = Reads(agent)
        (task,) = family.sample(1, np.random.default_rng(0), "train")
        shard = Shard((task,), agent.trial_rounds(1, 2), ((0, 0),))
        support, query = run_trials(reads, family, learner.weights(), shard)
        for one in (support, query):
            assert one.success.dtype == bool
            assert one.success.shape == one.reward.shape
            assert not (one.success & ~one.valid).any(), "padding reads as nothing"
            assert one.reward_terms.shape == (*one.reward.shape, len(family.reward_terms))
            assert (one.dense_reward is not None) == ("dense_reward" in given)
        assert not any(names & {"success", "dense_reward", "reward_terms"} for names in reads.transitions)
        assert all("unstable" in names for names in reads.transitions)
        (batch,) = reads.batches
        assert batch.success is None
        assert batch.dense_reward is None
        assert batch.reward_terms.shape[-1] == 0


def test_success_is_where_the_goal_is():
    family = PointNav()
    agent, learner = small_maml(family=family)
    shard = Shard((family.task(goal_m=[0.05, 0.0]),), agent.trial_rounds(1, 20), ((0, 1),))
    batch = run_trials(agent, family, learner.weights(), shard)[0]
    near = (np.abs(batch.next_observation - np.array([0.05, 0.0], np.float32)) < 0.01).all(-1)
    assert 0 < near.sum() < batch.valid.sum()
    assert np.array_equal(batch.success, near & batch.valid)
    silent = LineFamily()
    agent, learner = small_maml(family=silent)
    shard = Shard(tuple(silent.sample(1, np.random.default_rng(0), "train")), agent.trial_rounds(1, 2), ((0, 1),))
    assert run_trials(agent, silent, learner.weights(), shard)[0].success is None
