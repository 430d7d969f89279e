"""A hundred and more damaged, foreign and hostile run folders: each refused by a sentence, none executed, none changed.

`evaluate` and `resume` are tried on every one, and the folder must be byte for byte as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load, save

from tests.helpers import TINY
from trainers.errors import USER_ERRORS
from trainers.evaluation.run_evaluation import EvaluationRequest, evaluate_runs
from trainers.recipes.schema import Recipe
from trainers.runs import checkpoints
from trainers.runs.run_folder import Run
from trainers.training import running, setup

LAST = "checkpoints/iteration-000002"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    running.train(Recipe.load("point_nav_maml", TINY), out)
    return out


@pytest.fixture
def run(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "run"))


def contents(folder):
    """Every file and link; a pipe is only named."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


def refused(folder, *, also_by_evaluate=True):
    """Both commands refuse the folder with a user's error of one line, and leave it as it is."""
    before = contents(folder)
    attempts = [lambda: running.run(setup.open_for_resume(folder, ["iterations=3"]))]
    if also_by_evaluate:
        attempts.append(lambda: evaluate_runs(EvaluationRequest(folder, "held-out")))
    for attempt in attempts:
        with pytest.raises(USER_ERRORS) as caught:
            attempt()
        text = str(caught.value)
        assert 20 < len(text) < 900, text
        assert "\n" not in text
        assert contents(folder) == before


class Bomb:
    """Whoever unpickles it fails the test."""

    def __reduce__(self):
        return (pytest.fail, ("foreign data was executed",))


def reseal(state_file: Path, change) -> None:
    """A forger's checkpoint: changed, with its checksums made right again."""
    content = json.loads(state_file.read_text())
    content.pop("sha256")
    change(content)
    binary = (state_file.parent / "tensors.safetensors").read_bytes()
    content["tensors_sha256"] = hashlib.sha256(binary).hexdigest()
    content["sha256"] = checkpoints._digest(content)
    state_file.write_text(json.dumps(content))


# -- damage: cuts and flipped bits, 40 of them


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", ["state.json", "tensors.safetensors"])
def test_a_damaged_checkpoint(run, name, seed):
    rng = random.Random(seed)
    path = run / LAST / name
    content = path.read_bytes()
    place = rng.randrange(len(content))
    if seed % 2:
        path.write_bytes(content[:place])
    else:
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :])
    refused(run)


# -- foreign files in every place, 36 of them

FOREIGN = {
    "a pickle": pickle.dumps(Bomb()),
    "a torch file": b"PK\x03\x04" + pickle.dumps(Bomb()),
    "nothing": b"",
    "noise": random.Random(0).randbytes(4000),
    "deep JSON": b"[" * 200_000,
    "another JSON": b'{"a": [1, 2, {"b": null}]}',
}
PLACES = [
    "config.yaml",
    "tasks/held-out.json",
    f"{LAST}/state.json",
    f"{LAST}/tensors.safetensors",
    "metrics.jsonl",
    "adaptation.parquet",
]
ONLY_RESUME_READS = ("metrics.jsonl", "adaptation.parquet")


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("place", PLACES)
def test_a_foreign_file(run, place, content):
    (run / place).write_bytes(content)
    refused(run, also_by_evaluate=place not in ONLY_RESUME_READS)


# -- forgeries whose checksums are right, and other malice


def forge_missing_parameters(run):
    reseal(run / LAST / "state.json", lambda c: c["state"].update({"$items": []}))


def forge_no_tensor(run):
    reseal(run / LAST / "state.json", lambda c: c.update(state={"$tensor": "nowhere"}))


def forge_a_list(run):
    reseal(run / LAST / "state.json", lambda c: c.update(state=[1, 2, 3]))


def forge_another_algorithm(run):
    reseal(run / LAST / "state.json", lambda c: c.update(algorithm="reptile"))


def forge_an_algorithm_that_is_no_word(run):
    reseal(run / LAST / "state.json", lambda c: c.update(algorithm={"$items": []}))


def forge_another_iteration(run):
    reseal(run / LAST / "state.json", lambda c: c.update(iteration=10**9))


def forge_an_iteration_that_is_a_word(run):
    reseal(run / LAST / "state.json", lambda c: c.update(iteration="../../x"))


def forge_negative_steps(run):
    def change(content):
        items = content["state"]["$items"]
        items[[key for key, _ in items].index("environment_steps")][1] = -5

    reseal(run / LAST / "state.json", change)


def forge_tensors(run, change):
    path = run / LAST / "tensors.safetensors"
    tensors = load(path.read_bytes())
    path.write_bytes(save({name: change(value) for name, value in tensors.items()}))
    reseal(run / LAST / "state.json", lambda content: None)


def forge_nan(run):
    forge_tensors(run, lambda value: torch.full_like(value, float("nan")) if value.is_floating_point() else value)


def forge_infinite(run):
    forge_tensors(run, lambda value: torch.full_like(value, float("inf")) if value.is_floating_point() else value)


def forge_other_shapes(run):
    forge_tensors(run, lambda value: torch.cat([value, value]) if value.ndim else value)


def forge_other_types(run):
    forge_tensors(run, lambda value: value.double())


def rename_the_checkpoint(run):
    (run / LAST).rename(run / "checkpoints" / "iteration-000009")


def empty_the_checkpoint(run):
    for path in (run / LAST).iterdir():
        path.unlink()


def remove_all_checkpoints(run):
    shutil.rmtree(run / "checkpoints")


def a_checkpoint_that_is_a_file(run):
    shutil.rmtree(run / LAST)
    (run / LAST).write_text("here I am")


def a_pipe_for_a_checkpoint(run):
    (run / LAST / "state.json").unlink()
    os.mkfifo(run / LAST / "state.json")


def a_device_for_tensors(run):
    (run / LAST / "tensors.safetensors").unlink()
    (run / LAST / "tensors.safetensors").symlink_to("/dev/zero")


def yaml_that_constructs(run):
    (run / "config.yaml").write_text('!!python/object/apply:os.system ["touch hostile"]\n')


def yaml_that_explodes(run):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (run / "config.yaml").write_text("\n".join(lines) + "\n")


def recipe_with(run, **changed):
    content = yaml.safe_load((run / "config.yaml").read_text())
    content.update(changed)
    (run / "config.yaml").write_text(yaml.safe_dump(content))


def a_family_out_of_the_run_folder(run):
    (run / "evil.py").write_text("raise SystemExit('executed')\n")
    recipe_with(run, family="run.evil:Family")


def a_family_of_the_standard_library(run):
    recipe_with(run, family="antigravity:fly")


def a_function_as_a_family(run):
    recipe_with(run, family="shutil:rmtree")


def a_relative_family(run):
    recipe_with(run, family="..evil:Family")


def an_agent_that_is_a_path(run):
    recipe_with(run, agent={"name": "../evil.py"})


def an_unknown_key(run):
    recipe_with(run, pickle="file.pkl")


def negative_iterations(run):
    recipe_with(run, iterations=-1, seed="x")


def tasks_outside_their_law(run):
    path = run / "tasks" / "held-out.json"
    content = json.loads(path.read_text())
    content["tasks"][0] = {"goal_m": [1e9, 0]}
    path.write_text(json.dumps(content))


def tasks_changed(run):
    path = run / "tasks" / "held-out.json"
    content = json.loads(path.read_text())
    content["tasks"][0] = {"goal_m": [0.1, 0.1]}
    path.write_text(json.dumps(content))


def no_tasks(run):
    shutil.rmtree(run / "tasks")


FOR_BOTH = [
    forge_missing_parameters, forge_no_tensor, forge_a_list, forge_another_algorithm,
    forge_an_algorithm_that_is_no_word, forge_another_iteration, forge_an_iteration_that_is_a_word,
    forge_negative_steps, forge_nan, forge_infinite, forge_other_shapes, forge_other_types, rename_the_checkpoint,
    empty_the_checkpoint, remove_all_checkpoints, a_checkpoint_that_is_a_file, a_pipe_for_a_checkpoint,
    a_device_for_tensors, yaml_that_constructs, yaml_that_explodes, a_family_out_of_the_run_folder,
    a_family_of_the_standard_library, a_function_as_a_family, a_relative_family, an_agent_that_is_a_path,
    an_unknown_key, negative_iterations, tasks_outside_their_law, tasks_changed,
]  # fmt: skip


@pytest.mark.parametrize("attack", FOR_BOTH, ids=lambda attack: attack.__name__)
def test_malice(run, attack, monkeypatch):
    monkeypatch.chdir(run.parent)
    monkeypatch.syspath_prepend(run.parent)
    attack(run)
    refused(run)
    assert not (run.parent / "hostile").exists()


# -- what only a run that goes on reads


def metrics_with_a_hole(run):
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text(lines[1])


def metrics_of_words(run):
    (run / "metrics.jsonl").write_text('{"iteration": 1, "loss": "low"}\n' * 2)


def metrics_that_are_missing(run):
    (run / "metrics.jsonl").unlink()


def rows_that_are_missing(run):
    (run / "adaptation.parquet").unlink()


def rows_of_something_else(run):
    pq.write_table(pa.table({"iteration": [1, 2]}), run / "adaptation.parquet")


def rows_cut(run):
    content = (run / "adaptation.parquet").read_bytes()
    (run / "adaptation.parquet").write_bytes(content[: len(content) // 2])


def provenance_of_noise(run):
    (run / "provenance.json").write_text("[]")


def provenance_of_numbers(run):
    (run / "provenance.json").write_text('{"versions": 5}')


def a_link_out_of_the_folder(run):
    target = run.parent / "precious"
    target.write_text("precious")
    (run / "metrics.jsonl").rename(run.parent / "aside")
    (run / "metrics.jsonl").symlink_to(target)


def a_linked_folder_of_checkpoints(run):
    (run / "checkpoints").rename(run.parent / "elsewhere")
    (run / "checkpoints").symlink_to(run.parent / "elsewhere")


def no_validation_tasks(run):
    (run / "tasks" / "validation.json").unlink()


FOR_RESUME = [
    metrics_with_a_hole, metrics_of_words, metrics_that_are_missing, rows_that_are_missing, rows_of_something_else,
    rows_cut, provenance_of_noise, provenance_of_numbers,
    a_link_out_of_the_folder, a_linked_folder_of_checkpoints, no_validation_tasks,
    no_tasks,
]  # fmt: skip


@pytest.mark.parametrize("attack", FOR_RESUME, ids=lambda attack: attack.__name__)
def test_malice_against_a_run_that_goes_on(run, attack):
    attack(run)
    around = contents(run.parent)
    refused(run, also_by_evaluate=False)
    assert contents(run.parent) == around, "nothing outside the folder was touched either"


def test_there_are_more_than_a_hundred_of_them():
    assert 40 + len(FOREIGN) * len(PLACES) + len(FOR_BOTH) + len(FOR_RESUME) >= 100


def test_the_folder_that_all_this_is_done_to_is_sound(run):
    assert evaluate_runs(EvaluationRequest(run, "held-out"))["training_seeds"] == 1
    assert running.run(setup.open_for_resume(run, ["iterations=3"])).iteration == 3
    assert Run.open(run).recipe.iterations == 3
