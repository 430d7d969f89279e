"""Learners from elsewhere on a small budget: what they are charged, what they leave, and how they fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import sb3_contrib
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from gymnasium.spaces.utils import flatdim
from stable_baselines3.common.vec_env import VecNormalize

from envs.navigation.point_nav import PointNav
from tests.helpers import LineFamily
from trainers.baselines import LEARNERS, rllib_learners
from trainers.baselines.contestants import Contest, Contestant, Settings, contestant_class
from trainers.baselines.metering import Meter, Probes, probe_steps
from trainers.baselines.sb3_learners import PPO, acting
from trainers.baselines.sb3_recurrent import EPISODES, Features, RecurrentPPO, TrialEnv
from trainers.baselines.sb3_vec_env import SB3VecEnv
from trainers.cluster.parcels import packed
from trainers.errors import UsageError
from trainers.evaluation.benchmark import BenchmarkRequest, prepare
from trainers.runs.rows import ROWS
from trainers.sampling.ray_worker import Worker

ROOT = Path(__file__).resolve().parents[2]

# Environment steps: enough for an episode of each row.
BUDGETS = {
    "sb3_ppo": 900, "sb3_sac": 110, "sb3_td3": 110, "sb3_tqc": 110, "sb3_recurrent_ppo": 200,
    "rllib_ppo": 900, "rllib_sac": 105,
}  # fmt: skip
SCRATCH = [name for name in LEARNERS if name != "sb3_recurrent_ppo"]
NAMES = [pytest.param(name, marks=[pytest.mark.ray] if "rllib" in name else []) for name in LEARNERS]
LINE_ROWS = {"sb3_ppo": 8, "rllib_ppo": 8}  # side by side; others have one
LINE_BUDGETS = {"sb3_ppo": 300, "rllib_ppo": 300, "rllib_sac": 14}  # others 30


@pytest.fixture
def ray_for(request):
    """A Ray that runs, for learners that need one."""
    if "rllib" in request.node.callspec.params.get("name", "rllib"):
        request.getfixturevalue("shared_ray")


def contest(name, family, budget, seed=0, tasks=1, episodes=3):
    kind = contestant_class(name) if isinstance(name, str) else name
    columns = {
        "run_id": None, "agent": str(name), "iteration": 0, "training_seed": seed, "family": family.name,
        "split": "held-out", "task_set_hash": "0",
    }  # fmt: skip
    drawn = tuple(family.sample(tasks, np.random.default_rng(5), "held-out"))
    return Contest(kind(Settings(budget, episodes, 2)), drawn, seed, tuple(columns.items()))


def test_every_learner_has_a_budget_here():
    assert set(BUDGETS) == set(LEARNERS)


@pytest.fixture
def few_updates(monkeypatch):
    """RLlib takes more than 0.1 s for a gradient step of SAC; a few will do."""
    whole = rllib_learners.SAC.configure
    late = {"num_steps_sampled_before_learning_starts": 95}
    monkeypatch.setattr(rllib_learners.SAC, "configure", lambda self: whole(self).training(**late))


@pytest.mark.parametrize("name", NAMES)
def test_a_learner_leaves_rows_of_point_nav(name, ray_for, few_updates):
    rows = contest(name, PointNav(), BUDGETS[name]).run(PointNav())
    assert not isinstance(rows, str), rows
    assert rows.schema.equals(ROWS)
    frame = rows.to_pandas()
    assert set(frame["charge"]) == ({"online", "probe"} if name in SCRATCH else {"online"})
    assert frame["success"].notna().all()
    assert frame["return"].max() < 0.0  # minus distances


@cache
def played(name):
    """The meter of a learner on the line, whose episodes have up to 12 steps."""
    one = contest(name, LineFamily(), LINE_BUDGETS.get(name, 30))
    meter = Meter(one.contestant.settings.env_steps)
    one.contestant.run(LineFamily(), one.tasks, one.seed, meter)
    return meter


@pytest.mark.parametrize("name", NAMES)
def test_a_learner_does_the_same_twice(name, ray_for):
    meter, rows = played(name), contest(name, LineFamily(), LINE_BUDGETS.get(name, 30)).run(LineFamily())
    assert rows.num_rows == len(meter.episodes) > 0
    assert rows["return"].to_pylist() == [one["return"] for one in meter.episodes]
    assert rows["env_steps_after"].to_pylist() == [one["env_steps_after"] for one in meter.episodes]
    if "rllib" not in name:
        assert not rows.equals(contest(name, LineFamily(), LINE_BUDGETS.get(name, 30), seed=1).run(LineFamily()))


@pytest.mark.parametrize("name", [param for param in NAMES if param.values[0] in SCRATCH])
def test_every_step_on_the_task_is_charged_and_no_other(name, ray_for):
    meter, side_by_side = played(name), LINE_ROWS.get(name, 1)
    fragment = meter.budget // side_by_side if name == "rllib_ppo" else 1
    assert meter.budget <= meter.spent < meter.budget + side_by_side * (fragment + 1)
    online = [episode for episode in meter.episodes if episode["charge"] == "online"]
    unfinished = meter.spent - sum(episode["length"] for episode in online)
    assert 0 <= unfinished < side_by_side * LineFamily.episode_steps
    for row in range(side_by_side):
        own = [episode for episode in online if episode["rollout"] == row]
        assert all(2 <= one["length"] <= one["env_steps_after"] - one["env_steps_before"] for one in own)
    probes = [episode for episode in meter.episodes if episode["charge"] == "probe"]
    assert all(probe["env_steps_before"] == probe["env_steps_after"] for probe in probes)
    assert {probe["policy"] for probe in probes} == {"deterministic"}
    begun = sorted({(probe["adaptation_step"], probe["env_steps_before"]) for probe in probes})
    assert [number for number, _ in begun] == list(range(len(begun)))
    assert begun[0][1] == 0
    assert begun[-1][1] == meter.spent
    assert len(probes) == 2 * len(begun)


@pytest.mark.parametrize("name", [*SCRATCH[:1], *(pytest.param("rllib_ppo", marks=pytest.mark.ray),)])
def test_a_budget_shorter_than_an_episode_is_a_sentence(name, ray_for):
    said = contest(name, PointNav(), 20).run(PointNav())
    assert said.endswith("its budget of 20 environment steps ended before its first episode did"), said


class Raises(Contestant):
    label, package = "Raises", "none"

    def run(self, family, tasks, seed, meter):
        raise RuntimeError("tensor of\n   size 7")


class Starves(Raises):
    label = "Starves"

    def run(self, family, tasks, seed, meter):
        raise MemoryError


class Idles(Raises):
    label = "Idles"

    def run(self, family, tasks, seed, meter):
        meter.spent = 20


class Leaves(Raises):
    label = "Leaves"

    def run(self, family, tasks, seed, meter):
        sys.exit(3)


class Nothing(Raises):
    label = "Nothing"

    def run(self, family, tasks, seed, meter):
        pass


def keeping(called, spent=10, *, total=1.0, length=10, task=0):
    """A contestant that keeps one episode of these figures."""

    class Keeps(Raises):
        label = called

        def run(self, family, tasks, seed, meter):
            meter.spent = spent
            meter.add("online", 0, 0, total, length, None, task=task)

    return Keeps


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Raises, "Raises, seed 4, task 0: RuntimeError: tensor of size 7"),
        (Starves, "Starves, seed 4, task 0: there is not enough memory for it"),
        (Idles, "Idles, seed 4, task 0: its budget of 20 environment steps ended before its first episode did"),
        (Leaves, "Leaves, seed 4, task 0: SystemExit: 3"),
        (Nothing, "Nothing, seed 4, task 0: it returned without an episode that its meter kept"),
        (keeping("A", total=float("nan")), "A, seed 4, task 0: the return of its episode 0 is nan, no finite number"),
        (keeping("A", total="1"), "A, seed 4, task 0: the return of its episode 0 is '1', no finite number"),
        (keeping("A", length=0), "A, seed 4, task 0: its episode 0 has 0 steps"),
        (keeping("A", task=99), "A, seed 4, task 0: its episode 0 is of task 99, which it was not to play"),
        (
            keeping("A", spent=200),
            "A, seed 4, task 0: it spent 200 of 20 environment steps; let it stop when its meter is exhausted",
        ),
    ],
)
def test_a_failure_is_a_sentence(kind, says):
    threads = torch.get_num_threads()
    assert contest(kind, PointNav(), 20, seed=4).run(PointNav()) == says
    assert torch.get_num_threads() == threads


def test_an_unknown_learner_is_refused(tmp_path):
    with pytest.raises(UsageError, match="did you mean sb3_ppo"):
        prepare(BenchmarkRequest("point_nav", tmp_path / "out", (), ("sb3_pp",)))


def test_a_contestant_of_ones_own_is_named_by_its_module():
    assert contestant_class(f"{Raises.__module__}:Raises") is Raises
    assert contestant_class("agents.baselines.uniform:Random") is None


# -- probes


def test_probes_are_due_at_fixed_numbers_of_steps():
    assert probe_steps(100_000)[:3] == [0, 500, 809]
    assert probe_steps(100_000)[-1] == 100_000
    assert len(probe_steps(100_000)) == 13
    meter = Meter(1000)
    family = PointNav()
    probes = Probes(meter, family, family.task(goal_m=(0.3, 0.0)), 2, seed=0)
    for spent in (0, 4, 5, 5, 400, 400, 1003, 1003):
        meter.spent = spent
        probes.update(lambda observation: np.tile([1.0, 0.0], (len(observation), 1)))
    taken = [(one["adaptation_step"], one["env_steps_before"]) for one in meter.episodes[::2]]
    assert taken == [(0, 0), (1, 5), (2, 400), (3, 1003)]
    assert {one["length"] for one in meter.episodes} == {3}  # three steps of 0.1 m
    assert all(one["success"] for one in meter.episodes)
    assert meter.spent == 1003


def test_a_probe_of_sb3_acts_on_normalised_observations_without_noise():
    family = PointNav()
    env = VecNormalize(SB3VecEnv(family, family.sample(1, np.random.default_rng(0), "train"), 8))
    model = PPO(Settings(2048, 1, 1)).make(env, seed=0)
    model.learn(2048)
    observation = np.array([[0.2, -0.1], [0.0, 0.3]], np.float32)
    act = acting(model)
    expected = model.policy.predict(env.normalize_obs(observation), deterministic=True)[0]
    assert np.array_equal(act(observation), expected)
    assert np.array_equal(act(observation), act(observation))
    assert not np.allclose(expected, model.policy.predict(observation, deterministic=True)[0])


@pytest.mark.ray
def test_a_probe_of_rllib_acts_on_normalised_observations_without_noise(shared_ray):
    from ray.rllib.utils.filter import RunningStat

    family = PointNav()
    one = rllib_learners.PPO(Settings(800, 1, 1))
    task = family.task(goal_m=(0.3, 0.0))
    with rllib_learners.quiet():
        algorithm = one.in_this_process(family, task, 0).build_algo()
        algorithm.train()
    observation = np.array([[0.2, -0.1], [0.0, 0.3], [3.0, 3.0]], np.float32)
    act, runner = one.acting(algorithm), algorithm.env_runner
    before = runner.get_state("env_to_module_connector")
    found = act(observation)
    (state,) = before["env_to_module_connector"]["MeanStdFilter"][None]["running_stats"]
    statistics = RunningStat.from_state(state)
    assert statistics.n == 800 + 8  # every observation once, first ones too
    assert str(before) == str(runner.get_state("env_to_module_connector"))
    seen = (observation - statistics.mean) / statistics.std
    with torch.no_grad():
        given = torch.as_tensor(np.clip(seen, -10, 10), dtype=torch.float32)
        means = runner.module.forward_inference({"obs": given})["action_dist_inputs"][:, :2].numpy()
    np.testing.assert_allclose(found, np.clip(means, -1, 1), atol=1e-5)
    algorithm.stop()


# -- where there is Ray, and where there is none


@pytest.mark.ray
def test_a_learner_of_rllib_does_the_same_in_a_worker_that_has_all_cpus(shared_ray):
    import ray

    one = contest("rllib_ppo", LineFamily(), 300)
    expected = one.run(LineFamily())
    worker = ray.remote(num_cpus=4)(Worker).remote()
    assert ray.get(worker.run.remote(0, [ray.put(packed(None, LineFamily(), elsewhere=False))], {}, one)).equals(
        expected
    )
    ray.kill(worker)


ALONE = """
import ray
from tests.helpers import LineFamily
from tests.property.test_contestants import contest
rows = contest("rllib_ppo", LineFamily(), 300).run(LineFamily())
assert not ray.is_initialized()
print(rows["env_steps_after"].to_pylist()[-1])
"""


@pytest.mark.ray
def test_a_learner_of_rllib_brings_a_ray_where_none_runs(tmp_path, shared_ray):
    """And leaves neither it nor files, and says nothing."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE], env=os.environ | {"HOME": str(tmp_path)}, cwd=ROOT, capture_output=True,
        text=True, timeout=120, check=True,
    )  # fmt: skip
    assert int(done.stdout) == played("rllib_ppo").episodes[-1]["env_steps_after"]
    assert done.stderr == ""
    assert not list(tmp_path.glob("ray_results/*"))


# -- trials


def test_a_trial_is_one_episode_on_one_task():
    """Walks to the right from about 0: rewards are minus the distances to the target, which is drawn for each trial."""
    env = TrialEnv(LineFamily(), np.random.SeedSequence(3))
    targets = []
    for _ in range(6):
        seen, _ = env.reset()
        assert seen.shape == (1 + 1 + 1 + 1,)
        assert abs(seen[0]) <= 0.1
        assert seen[1:].tolist() == [0.0, 0.0, 0.0]
        ends, of_trial, total = 0, [], 0
        while ends < EPISODES:
            before = seen
            seen, reward, terminated, truncated, _ = env.step(np.array([3.0], np.float32))  # clipped to 1
            total += 1
            assert seen[1:3].tolist() == [1.0, np.float32(reward)]
            ends += int(seen[3])
            place = float(before[0]) + 1.0
            of_trial.append((place, reward))
            moved_back = bool(seen[3]) and not terminated
            assert abs(seen[0]) <= 0.1 if moved_back else seen[0] == pytest.approx(place, abs=1e-5)
            assert terminated == (ends == EPISODES)
            assert not truncated
        assert total <= EPISODES * LineFamily.episode_steps
        possible = [{round(place + sign * reward, 4) for sign in (1, -1)} for place, reward in of_trial]
        (target,) = set.intersection(*possible)
        targets.append(target)
    assert len(set(targets)) == 6
    again = TrialEnv(LineFamily(), np.random.SeedSequence(3))
    assert np.array_equal(again.reset()[0], TrialEnv(LineFamily(), np.random.SeedSequence(3)).reset()[0])


@pytest.mark.parametrize(
    ("observed", "acted", "values", "expected"),
    [
        (Discrete(3), Discrete(2, start=5), (2, 6), [0, 0, 1, 0, 1, -2.5, 1]),
        (Box(-1, 1, (2,)), MultiDiscrete([2, 3]), ([0.5, -1.0], [1, 0]), [0.5, -1, 0, 1, 1, 0, 0, -2.5, 1]),
        (Box(-1, 1, (1,)), MultiBinary(2), ([0.5], [1, 0]), [0.5, 1, 0, -2.5, 1]),
    ],
)
def test_features_hold_all_that_rl2_reads(observed, acted, values, expected):
    features = Features(observed, acted)
    observation, action = (np.array([value]) for value in values)
    vector = features(observation, action, np.array([-2.5]), np.array([True]))
    assert features.space.contains(vector[0])
    assert vector[0].tolist() == expected
    assert features(observation, None, np.zeros(1), np.zeros(1))[0][flatdim(observed) :].sum() == 0


def test_a_trial_on_each_held_out_task_is_measured_from_its_first_step(monkeypatch):
    family, starts = LineFamily(), []
    predict = sb3_contrib.RecurrentPPO.predict
    monkeypatch.setattr(
        sb3_contrib.RecurrentPPO, "predict",
        lambda self, seen, state, episode_start: (
            starts.append(episode_start), predict(self, seen, state=state, episode_start=episode_start)
        )[1],
    )  # fmt: skip
    one = contest("sb3_recurrent_ppo", family, 200, tasks=4, episodes=5)
    frame = one.run(family).to_pandas()
    assert starts[0].all()
    assert not np.any(starts[1:])  # the LSTM is kept over the trial
    assert len(frame) == 4 * 5
    assert set(frame["policy"]) == {"stochastic"}
    for task, own in frame.groupby("task"):
        assert own["adaptation_step"].tolist() == [0, 1, 2, 3, 4]
        lengths = own["length"].tolist()
        assert own["env_steps_before"].tolist() == [0, *np.cumsum(lengths)[:-1]]
        assert own["env_steps_after"].tolist() == np.cumsum(lengths).tolist()
        assert json.loads(own["parameters"].iloc[0]) == dict(one.tasks[task].parameters)
    assert frame["length"].nunique() > 1  # the tasks' trials end at different times
    assert len(starts) == frame.groupby("task")["length"].sum().max()


def test_training_takes_the_budget_and_no_step_more():
    one, meter = RecurrentPPO(Settings(333, 1, 1)), Meter(333)
    model = one.train(LineFamily(), seed=0)
    assert model.num_timesteps == 336  # 16 rows at a time
    one.measure(model, LineFamily(), tuple(LineFamily().sample(1, np.random.default_rng(0), "held-out")), 0, meter)
    assert meter.spent == 0  # a meter of each task counts
    assert len(meter.episodes) == 1
