import json

import pytest

from agents.contract import MetricInfo
from trainers.cli.console import arrows, totals
from trainers.errors import MetricError
from trainers.runs.metrics import LOOP_METRICS, MetricLog, describe, read, selected_steps, thinned


def test_a_line_per_iteration_and_every_metric_described_once(tmp_path):
    table = describe({"loss": MetricInfo("nats", "what is lost")}, train_steps=2, test_steps=3)
    log = MetricLog(tmp_path, table)
    log.write({"iteration": 1, "loss": 0.5})
    log.write({"iteration": 2, "loss": 0.25, "validation_return_round_2": -1.0})
    log.close()
    assert read(tmp_path / "metrics.jsonl")[1] == {"iteration": 2, "loss": 0.25, "validation_return_round_2": -1.0}
    schema = json.loads((tmp_path / "metrics.schema.json").read_text())
    assert schema["loss"] == {"unit": "nats", "meaning": "what is lost", "timing": False}
    assert {name for name, info in schema.items() if info["timing"]} == {
        "seconds_sampling",
        "seconds_learning",
        "worker_idle_share",
        "learner_idle_share",
        "steps_per_second",
        "seconds_elapsed",
    }
    assert "return_round_1" in schema
    assert "return_round_2" not in schema


@pytest.mark.parametrize("values", [{"iteration": 1, "mystery": 0.0}, {"iteration": 1, "loss": float("nan")}])
def test_what_is_undescribed_or_not_finite_is_refused_and_not_written(tmp_path, values):
    log = MetricLog(tmp_path, describe({"loss": MetricInfo("", "")}, 1, 1))
    with pytest.raises(MetricError, match=r"mystery is not described|loss is nan at iteration 1"):
        log.write(values)
    log.close()
    assert read(tmp_path / "metrics.jsonl") == []


def test_a_learner_may_not_describe_the_loops_metrics_again():
    with pytest.raises(MetricError, match="iteration"):
        describe({"iteration": LOOP_METRICS["iteration"]}, 1, 1)


def test_arrows():
    metrics = {"return_round_0": -40.12, "return_round_10": 1.0, "return_round_2": -11.0}
    assert arrows(metrics, "return_round_") == "-40.1 → -11.0 → 1.0", "by number, not by letter"
    many = {f"return_round_{point}": float(point) for point in range(12)}
    assert arrows(many, "return_round_") == "0.0 → 11.0"
    assert totals({"trial_return": 66.5}, "trial_return") == ", trial 66.50"
    assert totals(metrics, "trial_return") == ""
    assert arrows(metrics, "validation_return_round_") == ""


def test_long_curves_are_told_by_some_of_their_points():
    assert selected_steps(4) == [0, 1, 2, 3]
    assert selected_steps(100) == [0, 1, 4, 9, 19, 49, 99]
    assert selected_steps(30)[-1] == 29
    table = describe({}, train_steps=100, test_steps=100, train_totals=True, test_totals=True)
    assert {"return_round_99", "validation_return_round_49", "trial_return", "validation_trial_return"} <= set(table)
    assert "return_round_2" not in table
    assert "trial_return" not in describe({}, 2, 2)


def test_thinned_metrics_keep_evenly_spaced_lines_the_validated_ones_and_the_last():
    lines = [{"iteration": one, "loss": one / 3} for one in range(1, 251)]
    lines[99]["validation_return_round_0"] = -1.0
    kept = thinned(lines)
    assert [line["iteration"] for line in kept] == sorted({*range(3, 251, 3), 100, 250})
    assert kept[0] == {"iteration": 3, "loss": 1.0}
    assert kept[1]["loss"] == 2.0
    assert thinned(lines[:1]) == [{"iteration": 1, "loss": 0.3333333}]
    assert [line["iteration"] for line in thinned(lines[:100])] == list(range(1, 101))
