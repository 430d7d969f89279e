"""Trackers are told what the run folder says; the key of Weights & Biases is told to nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.contract import MetricInfo
from tests.helpers import TINY
from trainers.errors import RecipeError, TrackerError
from trainers.evaluation.curves import layers_of
from trainers.recipes.schema import Recipe
from trainers.reporting import plots
from trainers.reporting.trackers import label
from trainers.runs.metrics import read
from trainers.training import running, setup

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    *TINY,
    "iterations=4",
    "evaluation={every: 2, validation_tasks: 3, held_out_tasks: 2, rollouts: 2}",
    "checkpoints.every=2",
]
KEY = "c0ffee" * 6 + "c0de"


def recipe(*more):
    return Recipe.load("point_nav_maml", [*SMALL, *more])


def events(folder):
    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0, "tensors": 0, "scalars": 0})
    found.Reload()
    return found


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A run with TensorBoard that stops after 2 meta-updates and goes on to 4."""
    out = tmp_path_factory.mktemp("tracked") / "run"
    running.train(recipe("tensorboard=true", "iterations=2"), out)
    running.run(setup.open_for_resume(out, ["iterations=4"]))
    return out


def test_tensorboard_has_every_metric_with_its_unit_once(tracked):
    found = events(tracked)
    lines = read(tracked / "metrics.jsonl")
    schema = json.loads((tracked / "metrics.schema.json").read_text())
    for name in lines[-1]:
        info = MetricInfo(schema[name]["unit"], schema[name]["meaning"], schema[name]["timing"])
        logged = {event.step: event.value for event in found.Scalars(label(name, info))}
        expected = {int(line["iteration"]): line[name] for line in lines if name in line}
        assert logged.keys() == expected.keys()
        assert logged == pytest.approx(expected, rel=1e-5)
    assert "return/return_round_1 (reward)" in found.Tags()["scalars"]
    assert "timing/steps_per_second (steps per s)" in found.Tags()["scalars"]


def test_tensorboard_has_tables_recipe_provenance_and_a_picture_for_each_evaluation(tracked):
    found = events(tracked)
    texts = {tag: found.Tensors(tag) for tag in found.Tags()["tensors"]}
    table = texts["adaptation/validation (return by adaptations)/text_summary"]
    assert [event.step for event in table] == [2, 4]
    rows = pq.read_table(tracked / "adaptation.parquet").to_pandas()
    chosen = rows[(rows["iteration"] == 4) & (rows["split"] == "validation") & (rows["task"] == 1)]
    means = chosen.groupby("adaptation_step")["return"].mean().round(2).tolist()
    (line,) = [line for line in table[-1].tensor_proto.string_val[0].decode().splitlines() if line.startswith("| 1 |")]
    assert [float(cell) for cell in line.split("|")[3:5]] == means
    assert "family: point_nav-v1" in texts["recipe/text_summary"][0].tensor_proto.string_val[0].decode()
    assert "commit" in texts["provenance/text_summary"][0].tensor_proto.string_val[0].decode()
    assert "| steps_per_second | steps/s |" in texts["metrics/text_summary"][0].tensor_proto.string_val[0].decode()
    assert [event.step for event in found.Images("adaptation/validation")] == [2, 4]


def test_the_picture_grows_a_layer_at_each_evaluation(tracked):
    rows = pq.read_table(tracked / "adaptation.parquet")
    first = rows.filter(np.array(rows["iteration"]) == 2)
    drawn = []
    for part in (first, rows):
        layers = layers_of("validation", part)
        figure = plots.adaptation_layers(layers)
        drawn.append(len(figure.axes[0].get_lines()))
        assert plots.pixels(figure).std() > 10, "it is no empty page"
    assert drawn == [1, 2]


def test_wandb_offline_and_the_key_goes_nowhere(tmp_path):
    """While the run goes on and afterwards: no file under the run folder or home, no output, no process list has it."""
    words = ["train", "point_nav_maml", "--out", str(tmp_path / "run"), *SMALL, "wandb=offline"]
    home = tmp_path / "home"
    home.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "trainers.cli.app", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "WANDB_API_KEY": KEY, "HOME": str(home)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path,
    )  # fmt: skip
    seen = set()
    while process.poll() is None:
        for one in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.add(one.read_bytes())
            except OSError:
                continue  # it ended meanwhile
        time.sleep(0.1)
    printed = process.stdout.read()
    assert process.returncode == 0, printed
    assert any(b"wandb" in line for line in seen), "its own process was looked at"
    assert not any(KEY.encode() in line for line in seen)
    assert KEY not in printed
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    tables = [path for path in files if path.name.endswith(".table.json")]
    data = [json.loads(path.read_text()) for path in tables]
    curves = [one for one in data if one["columns"][:3] == ["iteration", "task", "parameters"]]
    # Two validations of 3 tasks, then both together; the held-out ones at the end: 2 points of each curve.
    assert sorted(len(one["data"]) for one in curves) == [2 * 2, 3 * 2, 2 * 3 * 2]
    assert len([path for path in files if "media/images/adaptation" in str(path)]) == 3
    (binary,) = [path for path in files if path.suffix == ".wandb"]
    content = binary.read_bytes()
    assert b"return_round_1 (reward)" in content
    assert b"point_nav-v1" in content


@pytest.mark.parametrize("word", ["off", "offline"])
def test_wandb_words_are_yaml_words(word):
    assert recipe(f"wandb={word}").wandb == word
    assert recipe().wandb == "off"


def test_wandb_on_is_refused_with_what_there_is():
    with pytest.raises(RecipeError, match=r"wandb is true.*but must be off, offline or online"):
        recipe("wandb=on")


def test_a_tracker_that_cannot_start_is_a_sentence_and_changes_nothing(tmp_path, monkeypatch):
    import wandb

    def refuse(**_):
        raise wandb.errors.UsageError("No API key configured.")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(TrackerError, match=r"wandb=online: .*No API key configured.*wandb login.*wandb=offline"):
        running.train(recipe("wandb=online"), tmp_path / "run")
    assert running.run(setup.open_for_resume(tmp_path / "run", ["wandb=off"])).iteration == 4
