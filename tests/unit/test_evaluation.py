import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from agents.contract import Round, RoundBatch
from envs.tabular.grid_navi import GridNavi
from envs.task import Task, TaskSet
from tests.helpers import small_maml
from trainers.errors import RunFolderError
from trainers.evaluation.curves import Curve, curve, summary
from trainers.evaluation.evaluator import EvaluationJob, Origin, evaluate, rows_of
from trainers.evaluation.statistics import interval
from trainers.recipes.schema import Evaluation
from trainers.runs.rows import ROWS
from trainers.runs.rows import read as read_rows
from trainers.sampling.random_streams import PURPOSES
from trainers.sampling.samplers import LocalSampler

TASKS = TaskSet("f-v1", "held-out", tuple(Task.of("f-v1", {"x": float(i)}, i) for i in range(2)))


def batch(rewards, lengths, episode=None, success=None):
    """A round of 2 tasks, 1 trial, 2 rollouts, 3 steps."""
    reward = np.broadcast_to(np.array(rewards, np.float32)[:, None, :, None], (2, 1, 2, 3)).copy()
    valid = np.arange(3) < np.array(lengths)[:, None, :, None]
    empty = np.zeros((2, 1, 2, 3))
    counted = np.zeros((2, 1, 2, 3), np.int32) if episode is None else np.broadcast_to(episode, (2, 1, 2, 3))
    return RoundBatch(
        "r", empty, empty, empty, reward, empty, valid, counted, *[empty] * 4, np.zeros((2, 1)), success=success
    )


def rows(batches, rounds, seed=0):
    return rows_of(tuple(batches), rounds, TASKS, Origin("r", "a", seed, 5)).to_pandas()


def test_all_rollouts_are_charged_to_the_budget():
    # Task 0 spends 3 + 1 = 4 steps in the first round, task 1 spends 2 + 2.
    first = batch([[1, 2], [3, 4]], [[3, 1], [2, 2]])
    second = batch([[5, 6], [7, 8]], [[1, 1], [3, 3]])
    frame = rows([first, second], [Round("support", 2), Round("query", 2)])
    task = frame[frame.task == 0]
    assert task.adaptation_step.tolist() == [0, 0, 1, 1]
    assert task.env_steps_before.tolist() == [0, 0, 4, 4]
    assert task.env_steps_after.tolist() == [4, 4, 6, 6]
    assert task["return"].tolist() == [3 * 1, 1 * 2, 5, 6]
    assert task.length.tolist() == [3, 1, 1, 1]
    assert set(frame.charge) == {"online"}
    assert frame.success.isna().all()
    assert set(frame.training_seed) == {0}
    assert set(frame.iteration) == {5}


def test_probes_are_free_and_never_mixed_with_online_rows():
    probe = Round("probe", 2, deterministic=True, probe=True)
    rounds = [probe, Round("support", 2), probe, Round("query", 2)]
    batches = [batch([[i, i], [i, i]], [[3, 3], [3, 3]]) for i in (10, 1, 20, 2)]
    table = rows_of(tuple(batches), rounds, TASKS, Origin("r", "a", 0, 0))
    frame = table.to_pandas()
    probes = frame[frame.charge == "probe"]
    assert probes.env_steps_before.tolist() == probes.env_steps_after.tolist()
    assert sorted(set(probes.env_steps_before)) == [0, 6]
    assert curve([table], "stochastic").mean.tolist() == [3, 6]
    assert curve([table], "deterministic").mean.tolist() == [30, 60]
    assert curve([table], "deterministic").env_steps.tolist() == [0, 6]


def test_episodes_of_a_row_are_points_one_after_the_other():
    one = batch([[1, 1], [1, 1]], [[3, 3], [3, 3]], episode=np.array([0, 0, 1]))
    frame = rows([one], [Round("only", 2, episodes=2)])
    task = frame[(frame.task == 0) & (frame.rollout == 0)]
    assert task.adaptation_step.tolist() == [0, 1]
    assert task["return"].tolist() == [2, 1]
    assert task.env_steps_before.tolist() == [0, 4]
    assert task.env_steps_after.tolist() == [4, 6]


def test_interquartile_mean_and_mean():
    returns = np.array([0.0, 1, 2, 3, 4, 5, 6, 100])[None, :, None]  # middle half: 2, 3, 4, 5
    result = Curve("stochastic", np.zeros(1), returns, [{}] * 8)
    assert result.iqm.tolist() == [3.5]
    assert result.mean.tolist() == [121 / 8]


def test_the_interval_widens_with_seeds_that_disagree():
    rng = np.random.default_rng(0)
    tasks = rng.normal(size=(1, 40, 1))
    agree = Curve("stochastic", np.zeros(1), np.repeat(tasks, 3, 0), [])
    differ = Curve("stochastic", np.zeros(1), tasks + np.array([-3.0, 0, 3])[:, None, None], [])
    narrow, wide = (np.ptp(one.interval()[0]) for one in (agree, differ))
    assert wide > 4 * narrow
    # Over tasks alone it is the textbook interval of a mean: 2 * 1.96 * sd / sqrt(n).
    assert narrow == pytest.approx(2 * 1.96 * tasks.std() / np.sqrt(40), rel=0.1)


def test_an_episode_succeeds_if_any_of_its_steps_does():
    """Task 0: rollout 0 succeeds at its second step, rollout 1 after its end, which counts nothing. Task 1: never."""
    success = np.zeros((2, 1, 2, 3), bool)
    success[0, 0, 0, 1] = success[0, 0, 1, 2] = True
    first = batch([[1, 2], [3, 4]], [[3, 1], [2, 2]], success=success)
    table = rows_of((first,), [Round("query", 2)], TASKS, Origin("r", "a", 0, 1))
    assert table["success"].to_pylist() == [True, False, False, False]
    found = curve([table, table], "stochastic")
    assert found.success_STP.tolist() == [[[0.5], [0.0]]] * 2
    assert summary(found, TASKS)["success_rate"] == [0.25]
    silent = rows_of((batch([[1, 2], [3, 4]], [[3, 1], [2, 2]]),), [Round("query", 2)], TASKS, Origin("r", "a", 0, 1))
    assert set(silent["success"].to_pylist()) == {None}
    assert curve([silent], "stochastic").success_STP is None
    assert curve([silent, table], "stochastic").success_STP is None, "a share of half the seeds is nobody's"
    assert "success_rate" not in summary(curve([silent], "stochastic"), TASKS)


def test_success_of_each_episode_of_a_row():
    success = np.zeros((2, 1, 2, 3), bool)
    success[:, 0, :, 2] = True
    one = batch([[1, 1], [1, 1]], [[3, 3], [3, 3]], episode=np.array([0, 0, 1]), success=success)
    frame = rows([one], [Round("only", 2, episodes=2)])
    assert frame[(frame.task == 0) & (frame.rollout == 0)].success.tolist() == [False, True]


def test_summary_has_the_documented_keys():
    table = rows_of((batch([[1, 2], [3, 4]], [[3, 1], [2, 2]]),), [Round("query", 2)], TASKS, Origin("r", "a", 0, 0))
    summarised = summary(curve([table, table], "stochastic"), TASKS)
    assert set(summarised) == {
        "family", "split", "task_set_hash", "policy", "training_seeds", "adaptation_step", "env_steps", "mean", "iqm",
        "ci95", "tasks", "task_count", "share_above_zero",
    }  # fmt: skip
    assert summarised["adaptation_step"] == [0]
    assert summarised["training_seeds"] == 2
    # Task 0: rollouts return 3 and 2, task 1: 6 and 8.
    assert summarised["tasks"] == [
        {"parameters": {"x": 0.0}, "returns": [2.5]},
        {"parameters": {"x": 1.0}, "returns": [7.0]},
    ]
    assert summarised["mean"] == [4.75]
    assert summarised["share_above_zero"] == [1.0]
    assert summarised["task_count"] == 2


def test_gains_and_totals_are_paired_by_task():
    """Two tasks far apart, each gains 1 to 2: the gain's interval is that of the gains, not of the returns."""
    returns = np.array([[[0.0, 1.0], [100.0, 102.0]]])
    result = Curve("stochastic", np.zeros(2), returns, [{}, {}])
    assert result.gains_ST.tolist() == [[1.0, 2.0]]
    assert result.totals_ST.tolist() == [[1.0, 202.0]]
    assert summary(result, TASKS)["share_above_zero"] == [0.5, 1.0]  # of the tasks, at each step
    summarised = summary(result, TASKS)
    assert summarised["gain"]["mean"] == 1.5
    # Student's t of one degree of freedom: 12.706 times sd / sqrt(2) = 0.5 and 100.5.
    assert summarised["gain"]["ci95"] == pytest.approx([1.5 - 6.353, 1.5 + 6.353], abs=1e-3)
    assert summarised["trial_total"]["ci95"] == pytest.approx([101.5 - 1276.97, 101.5 + 1276.97], abs=1e-2)
    shared = Curve("stochastic", np.zeros(2), returns, [{}, {}], rollouts=2)
    assert shared.totals_ST is None, "rollouts that share an adaptation are no one trial"
    assert "trial_total" not in summary(shared, TASKS)


def test_the_interval_of_very_many_tasks_is_the_textbooks():
    values = np.random.default_rng(0).normal(size=(1, 12_000))
    low, high = interval(values)
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(12_000), rel=0.1)


def test_a_summary_of_very_many_returns_lists_the_first():
    summarised = summary(Curve("stochastic", np.zeros(100), np.zeros((1, 300, 100)), [{}] * 300), TASKS)
    assert (summarised["task_count"], len(summarised["tasks"])) == (300, 200)


def test_rows_name_the_segment_of_a_schedule_that_held():
    """Episodes of 3 steps; the task changes at step 1 of episode 1: whole, switching, changed."""
    schedule = ({"episode": 1, "step": 1, "parameters": {"x": 9.0}},)
    tasks = TaskSet(
        "f-v1", "held-out", (Task.of("f-v1", {"x": 0.0}, 0, schedule), Task.of("f-v1", {"x": 1.0}, 1))
    )  # fmt: skip
    rounds = [Round("support", 2)] * 2 + [Round("query", 2)]
    batches = tuple(batch([[1, 2], [3, 4]], [[3, 1], [2, 2]]) for _ in rounds)
    frame = rows_of(batches, rounds, tasks, Origin("r", "a", 0, 5)).to_pandas()
    long = frame[(frame.task == 0) & (frame.rollout == 0)]
    short = frame[(frame.task == 0) & (frame.rollout == 1)]
    assert long.segments.tolist() == ["0", "0-1", "1"]
    assert short.segments.tolist() == ["0", "0", "1"], "an episode that ended before the change saw nothing of it"
    assert set(frame[frame.task == 1].segments) == {"0"}
    assert json.loads(long.parameters.iloc[0])["schedule"] == [dict(schedule[0])]


def test_validation_trials_have_noise_of_their_own():
    """In a finite family its tasks are the held-out ones: `best` is not chosen by the noise that it is tested with."""
    family = GridNavi()
    agent, learner = small_maml(family=family)
    settings = Evaluation(rounds=1, rollouts=2, repeats=2, seed=5)
    keys, tables = {}, {}

    class Spy(LocalSampler):
        def run(self, agent, family, weights, shards):
            keys[split] = [key for shard in shards for key in shard.keys]
            return super().run(agent, family, weights, shards)

    for split in ("validation", "held-out"):
        task_set = family.task_set(split, 21, 0)
        job = EvaluationJob(agent, family, learner.weights(), task_set, settings, 10, Origin(None, "maml", 0, 0))
        tables[split] = evaluate(job, Spy()).to_pandas()
    assert list(tables["validation"].parameters) == list(tables["held-out"].parameters)
    assert not set(keys["validation"]) & set(keys["held-out"])
    assert all(key[1] == PURPOSES["evaluation"] for key in keys["held-out"]), "as in every earlier version"
    assert (tables["validation"]["return"] != tables["held-out"]["return"]).any()


def test_rows_of_earlier_versions_are_read(tmp_path):
    """Version 1 knew neither schedules, run ids nor agents, and called an adaptation step a point."""
    path = tmp_path / "adaptation.parquet"
    today = rows_of((batch([[1, 2], [3, 4]], [[3, 1], [2, 2]]),), [Round("query", 2)], TASKS, Origin("r", "a", 0, 1))
    pq.write_table(today, path)
    assert read_rows(path, "other", "other") == today, "what a file says of its run is left as it is"
    names = ["point" if name == "adaptation_step" else name for name in today.schema.names]
    old = today.rename_columns(names).drop_columns(["segments", "run_id", "agent"])
    pq.write_table(old, path)
    read = read_rows(path, "0123", "maml")
    assert read.schema.equals(ROWS)
    assert {name: set(read[name].to_pylist()) for name in ("segments", "run_id", "agent")} == {
        "segments": {"0"}, "run_id": {"0123"}, "agent": {"maml"},
    }  # fmt: skip
    assert read["adaptation_step"].to_pylist() == today["adaptation_step"].to_pylist()
    assert set(read_rows(path)["run_id"].to_pylist()) == {None}
    pq.write_table(old.drop_columns(["success"]), path)
    with pytest.raises(RunFolderError, match="other columns"):
        read_rows(path)
    pq.write_table(old.append_column("more", old["task"]), path)
    with pytest.raises(RunFolderError, match="other columns"):
        read_rows(path)
