"""Comparisons: figures of contestants from rows with known returns; tables, CSV and LaTeX of them."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from rich.console import Console

from trainers.cli.compare import print_comparison
from trainers.errors import UsageError
from trainers.evaluation import comparison_metrics as metrics
from trainers.evaluation.benchmark import RECORD
from trainers.evaluation.comparison import compare_folder, compare_runs, comparisons_of
from trainers.evaluation.comparison_metrics import table
from trainers.evaluation.comparison_tables import answer, as_csv, as_latex, missing, rows_of_text
from trainers.evaluation.dataset import Dataset
from trainers.reporting.page import write_page
from trainers.runs.rows import ROWS
from trainers.runs.run_folder import Run

FAMILY, STEPS = "half_cheetah_vel_u03-v1", 200


def rows(returns_TP, seed=0, split="held-out", charge="online", per_point=STEPS, rollouts=1, first=0):
    """Rows of one seed: T tasks, P adaptation steps, one episode each."""
    found = []
    for task, returns in enumerate(returns_TP):
        for point, value in enumerate(returns):
            for rollout in range(rollouts):
                found.append(
                    {
                        "run_id": "r", "agent": "a", "iteration": 1, "training_seed": seed, "family": FAMILY,
                        "split": split, "task_set_hash": "h", "task": task + first,
                        "parameters": json.dumps({"velocity_m_per_s": 0.5 + task}),
                        "repeat": 0, "adaptation_step": point, "rollout": rollout,
                        "policy": "stochastic" if charge == "online" else "deterministic", "charge": charge,
                        "env_steps_before": point * per_point,
                        "env_steps_after": (point + (charge == "online")) * per_point,
                        "return": float(value), "length": STEPS, "success": None, "segments": "0",
                    }
                )  # fmt: skip
    data = {name: [one[name] for one in found] for name in ROWS.names}
    return pa.table({name: pa.array(data[name]).cast(ROWS.field(name).type) for name in ROWS.names}, schema=ROWS)


RANDOM = [[-100.0, -100.0], [-200.0, -200.0]]
ORACLE = [[0.0, 0.0], [0.0, 0.0]]
# Seeds of an agent: at first as random, then 90 % and 70 % of the gap on the tasks, give or take a seed's own 5 points.
AGENT = [[[-100.0, -10.0 + shift], [-200.0, -60.0 + shift]] for shift in (-5.0, 0.0, 5.0)]


@pytest.fixture
def folder(tmp_path):
    dataset = Dataset(tmp_path)
    entrants = []

    def add(label, kind, agent, tables, about=None):
        for seed, of_seed in enumerate(tables):
            dataset.write(dataset.part(label, f"held-out-{seed}", 0, {"label": label}), of_seed, {})
            entrants.append(
                {"label": label, "kind": kind, "agent": agent, "seed": seed, "family": FAMILY, "about": about or {}}
            )

    add("agent", "run", "rl2", [rows(AGENT[seed], seed) for seed in range(3)])
    add("random", "baseline", "random", [rows(RANDOM)])
    add("the oracle", "oracle", "pearl", [rows(ORACLE)])
    record = {"suite": {"name": "small-v1", "digest": "d"}, "entrants": entrants, "missing": [], "provenance": {}}
    (tmp_path / RECORD).write_text(json.dumps(record))
    return tmp_path


def test_the_figures_of_an_agent(folder):
    (comparison,) = compare_folder(folder)
    row = metrics.table(comparison)[0]
    assert row["zero_shot"]["value"] == -150.0
    # Last: (-10 - 60) / 2 = -35, of the seeds -40, -35, -30.
    assert row["last"]["value"] == pytest.approx(-35.0)
    assert row["seed_means"] == [-40.0, -35.0, -30.0]
    # The gap is (100 + 200) / 2 = 150, and -35 is 150 - 35 = 115 above random: 76.7 %.
    assert row["gap_closed"]["value"] == pytest.approx(115 / 150, abs=1e-6)
    # By trapezoids over the budget between the first and the last point: (-150 - 35) / 2.
    assert row["area"]["value"] == pytest.approx(-92.5)
    assert row["worst_decile"]["value"] == pytest.approx(-60.0)  # of fewer than ten tasks the worst one
    # 80 % of each task's gap is -20 and -40: reached on the first task by all seeds after 200 steps, else never.
    steps = row["steps_to_80"]
    assert (steps["runs"], steps["censored"]) == (6, 3)
    assert steps["median"] == 200
    assert steps["budget"] == 400
    assert row["spread"]["seeds"] == pytest.approx(5.0)


def test_steps_of_runs_that_never_get_there_are_more_than_the_budget(folder):
    (comparison,) = compare_folder(folder)
    lazy = metrics.steps_summary(np.array([[400.0, 400.0, 100.0]]), np.array([[True, True, False]]))
    assert lazy["median"] is None, "half of them and more never got there"
    assert metrics.steps_cell(lazy) == "≥ 400 (2 of 3 never)"
    row = next(row for row in metrics.table(comparison) if row["contestant"] == "random")
    assert metrics.steps_cell(row["steps_to_80"]) == "≥ 400 (2 of 2 never)"


def test_online_and_probe_rows_are_never_mixed(tmp_path, folder):
    dataset = Dataset(folder)
    for seed in range(3):
        table = pa.concat_tables([rows(AGENT[seed], seed), rows([[7.0, 7.0], [7.0, 7.0]], seed, charge="probe")])
        dataset.write(dataset.part("agent", f"held-out-{seed}", 0, {"label": "agent"}), table.unify_dictionaries(), {})
    (comparison,) = compare_folder(folder)
    agent = comparison.contenders[0]
    assert agent.curve().returns_STP[..., -1].mean() == pytest.approx(-35.0)
    assert set(agent.curve("held-out", "probe").returns_STP.reshape(-1)) == {7.0}
    assert metrics.table(comparison)[0]["last"]["value"] == pytest.approx(-35.0)


def test_a_price_is_a_ratio_paired_by_task_with_censored_runs_named(folder):
    dataset = Dataset(folder)
    record = json.loads((folder / RECORD).read_text())
    # From scratch: on the first task 80 % after 2,000 steps, on the second never.
    slow = rows([[-100.0, -50.0, -5.0], [-200.0, -150.0, -100.0]], per_point=1000)
    dataset.write(dataset.part("SB3 PPO", "held-out-0", 0, {"label": "x"}), slow, {})
    record["entrants"].append(
        {"label": "SB3 PPO", "kind": "from scratch", "agent": "sb3_ppo", "seed": 0, "family": FAMILY, "about": {}}
    )
    (folder / RECORD).write_text(json.dumps(record))
    (comparison,) = compare_folder(folder)
    agent, scratch = comparison.contenders[0], comparison.contenders[-1]
    found = metrics.price(comparison, agent, scratch)
    # First task: 2,000 against 200 steps. Second: both never, at least 3,000 against at least 400.
    assert found["ratio"]["value"] == pytest.approx(np.sqrt(2000 / 200 * 3000 / 400), rel=0.02)
    assert {(one["contestant"], one["task"]) for one in found["censored"]} == {("agent", 1), ("SB3 PPO", 1)}
    assert "from scratch: SB3 PPO 2,000 (1 of 2 never)" in answer(comparison)
    assert found["bound"] == "about ", "both are censored"
    assert json.loads(json.dumps(found)) == found, "plain data, as the page needs it"
    # Learners from scratch play some of the tasks only: the price is that of those.
    dataset.write(
        dataset.part("SB3 PPO", "held-out-0", 0, {"label": "x"}), rows([[-100.0, -50.0, -5.0]], per_point=1000), {}
    )
    (comparison,) = compare_folder(folder)
    (found,) = metrics.prices(comparison)
    assert (found["tasks"], found["censored"], found["bound"]) == (1, [], "")
    assert found["ratio"]["value"] == pytest.approx(2000 / 200, rel=0.02)
    assert write_page([comparison], folder / "report.html").stat().st_size > 500_000


def test_pairs_are_of_tasks_that_both_played(folder):
    dataset = Dataset(folder)
    dataset.write(dataset.part("random", "held-out-0", 0, {"label": "random"}), rows(RANDOM[:1]), {})
    (comparison,) = compare_folder(folder)
    pair = next(one for one in metrics.pairs(comparison) if (one["one"], one["other"]) == ("agent", "random"))
    assert pair["tasks"] == 1
    assert pair["difference"]["value"] == pytest.approx(90.0)
    assert pair["improvement"]["value"] == 1.0
    assert comparison.shared_tasks() == [0]


def test_a_missing_seed_is_named_and_the_rest_comes_out(folder):
    record = json.loads((folder / RECORD).read_text())
    record["entrants"].append(record["entrants"][0] | {"seed": 3})
    record["missing"] = [{"contestant": "other", "why": "it is no run folder"}]
    (folder / RECORD).write_text(json.dumps(record))
    (comparison,) = compare_folder(folder)
    assert missing(comparison) == ["other: it is no run folder", "agent: seed 3 has no rows"]
    assert metrics.table(comparison)[0]["seeds"] == 3


def test_csv_holds_every_figure_and_latex_compiles_in_mind(folder):
    comparisons = compare_folder(folder)
    frame = pd.read_csv(io.StringIO(as_csv(comparisons)))
    assert frame["contestant"].tolist() == ["agent", "random", "the oracle"]
    assert frame["last_value"][0] == pytest.approx(-35.0)
    assert frame["last_low"][0] < -35 < frame["last_high"][0]
    text = as_latex(comparisons)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert "95 \\%" in text
    assert r"half\_cheetah\_vel\_u03-v1" in text
    header, lines = rows_of_text(comparisons[0])
    assert all(len(line) == len(header) for line in lines)


@pytest.mark.parametrize("width", [60, 125, 180, 220])
def test_the_table_fits_the_terminal(folder, width):
    (comparison,) = compare_folder(folder)
    out = io.StringIO()
    print_comparison(comparison, Console(file=out, width=width, force_terminal=False))
    printed = out.getvalue().splitlines()
    rows = [line for line in printed if line.startswith(("agent", "random", "the oracle"))]
    assert len(rows) == 3, "one line each"
    assert all(len(line) <= width for line in rows)
    assert ("a wider terminal" in out.getvalue()) == (width < 172)


def test_a_folder_that_is_no_comparison_is_refused_in_a_sentence(tmp_path, folder):
    with pytest.raises(UsageError, match="no comparison"):
        compare_folder(tmp_path / "nothing")
    with pytest.raises(UsageError, match="stands alone"):
        comparisons_of([folder, folder])
    for broken in ("{", '{"suite": null, "entrants": [], "missing": []}', '{"suite": {}, "entrants": [1]}'):
        (folder / RECORD).write_text(broken)
        with pytest.raises(UsageError, match="that can be read"):
            compare_folder(folder)


def test_parts_that_cannot_be_read_are_named_and_the_rest_comes_out(folder):
    dataset = Dataset(folder)
    half, empty = (next(part for part in dataset.parts() if f"agent/held-out-{seed}" in str(part)) for seed in (0, 1))
    half.write_bytes(half.read_bytes()[:100])
    dataset.write(empty, ROWS.empty_table(), {})
    (comparison,) = compare_folder(folder)
    assert [one.label for one in comparison.contenders] == ["agent", "random", "the oracle"]
    sentences = missing(comparison)
    assert sum("cannot be read; run the benchmark again" in sentence for sentence in sentences) == 2
    assert "agent: seed 0 has no rows" in sentences
    assert not dataset.holds(half)
    assert not dataset.holds(empty)


def test_what_has_no_rows_is_named(folder):
    shutil.rmtree(folder / "rows" / "contestant=random")
    (comparison,) = compare_folder(folder)
    assert "random: it has no rows that can be compared" in missing(comparison)
    assert table(comparison)


def test_tasks_that_a_reference_lacks_are_left_out_of_what_needs_it(folder):
    dataset = Dataset(folder)
    for part in (folder / "rows" / "contestant=random").iterdir():
        part.unlink()
    dataset.write(dataset.part("random", "held-out-0", 0, {}), rows(RANDOM[:1]), {})
    (comparison,) = compare_folder(folder)
    row = table(comparison)[0]
    assert row["gap_closed"]["value"] == pytest.approx(0.9)
    assert row["tasks"] == 2


def test_labels_that_need_quoting_are_lines_of_their_own(tmp_path):
    dataset = Dataset(tmp_path)
    labels = ["a/b", "a-b", "ä", "ö", "50 % = half", "run, untrained"]
    for number, label in enumerate(labels):
        dataset.write(dataset.part(label, "held-out", 0, {}), rows([[float(number), float(number)]]), {})
    frame = dataset.frame()
    assert frame.groupby("contestant")["return"].mean().to_dict() == {
        label: float(number) for number, label in enumerate(labels)
    }
    read = pd.read_parquet(tmp_path / "rows")
    assert set(read["contestant"].astype(str)) == set(labels), "pandas reads the same names"


def test_references_close_none_and_all_of_the_gap(folder):
    (comparison,) = compare_folder(folder)
    closed = {row["contestant"]: row["gap_closed"] for row in table(comparison)}
    assert closed["random"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert closed["the oracle"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_the_gap_moves_with_the_tasks_in_its_interval(tmp_path):
    """An agent that closes 90 % of the gap on every task does so without doubt, however wide the gaps are."""
    rng = np.random.default_rng(0)
    low = -rng.uniform(10, 400, 12)
    about = {"run": "r"}
    record = {"suite": {"name": "small-v1", "digest": "d"}, "missing": [], "provenance": {}, "entrants": []}
    dataset = Dataset(tmp_path)
    for label, kind, share in (("agent", "run", 0.9), ("random", "baseline", 0.0), ("best", "oracle", 1.0)):
        for seed in range(3 if kind == "run" else 1):
            returns = [[value, value * (1 - share)] for value in low] if share else [[value, value] for value in low]
            dataset.write(dataset.part(label, f"held-out-{seed}", 0, {}), rows(returns, seed), {})
            record["entrants"].append(
                {"label": label, "kind": kind, "agent": label, "seed": seed, "family": FAMILY, "about": about}
            )
    (tmp_path / RECORD).write_text(json.dumps(record))
    (comparison,) = compare_folder(tmp_path)
    closed = table(comparison)[0]["gap_closed"]
    assert [closed[name] for name in ("value", "low", "high")] == pytest.approx([0.9, 0.9, 0.9])


def test_the_trained_budget_is_read_where_it_is_on_a_long_curve(tmp_path):
    returns = [[float(point) for point in range(100)]]
    recipe = {"evaluation": {"rounds": 9}}
    entrant = {
        "label": "a", "kind": "run", "agent": "a", "seed": 0, "family": FAMILY,
        "about": {"trained_episodes": 10, "recipe": recipe},
    }  # fmt: skip
    record = {"suite": {"name": "s-v1", "digest": "d"}, "missing": [], "provenance": {}, "entrants": [entrant]}
    dataset = Dataset(tmp_path)
    dataset.write(dataset.part("a", "held-out", 0, {}), rows(returns), {})
    (tmp_path / RECORD).write_text(json.dumps(record))
    (comparison,) = compare_folder(tmp_path)
    (row,) = table(comparison)
    assert row["few_shot"]["value"] == 9.0
    assert row["area"]["value"] == pytest.approx(49.5)


def test_a_run_that_lacks_its_rows_or_is_a_copy_is_named_and_the_others_come_out(tmp_path):
    runs = tmp_path / "point_nav_rl2"
    shutil.copytree("docs/results/point_nav_rl2", runs)
    shutil.copytree(runs / "seed-0", runs / "seed-9")
    shutil.rmtree(runs / "seed-1" / "checkpoints")
    comparison = compare_runs([runs])
    assert comparison.contenders[0].seeds == (0, 2)
    sentences = missing(comparison)
    assert any("has no checkpoint" in sentence for sentence in sentences)
    assert any("a copy counts once" in sentence for sentence in sentences)


def test_runs_of_different_families_or_tasks_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="of one family"):
        compare_runs(["docs/results/point_nav_maml", "docs/results/grid_navi_rl2"])
    other = tmp_path / "other"
    shutil.copytree("docs/results/point_nav_maml/seed-0", other)
    shutil.copytree("docs/results/point_nav_maml/tasks", other / "tasks")
    run = Run.open(other)
    table = run.rows()
    column = pa.array(["0000"] * len(table)).cast(ROWS.field("task_set_hash").type)
    run.write_rows(table.set_column(ROWS.get_field_index("task_set_hash"), "task_set_hash", column))
    with pytest.raises(UsageError, match="different held-out tasks"):
        compare_runs(["docs/results/point_nav_maml/seed-1", other])


def test_runs_are_named_as_in_a_benchmark_and_counted_once():
    comparison = compare_runs(["a=docs/results/point_nav_maml/seed-0", "b=docs/results/point_nav_maml/seed-1"])
    assert [one.label for one in comparison.contenders] == ["a", "b"]
    with pytest.raises(UsageError, match="is named twice"):
        compare_runs(["docs/results/point_nav_maml", "docs/results/point_nav_maml"])
