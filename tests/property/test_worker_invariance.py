"""The same run gives the same bits in process and on any number of Ray workers, and run twice."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
import torch

from tests.helpers import TINY_PEARL
from trainers.errors import USER_ERRORS, SamplingError
from trainers.recipes.schema import Recipe
from trainers.runs import checkpoints
from trainers.runs.metrics import read
from trainers.training import running

SMALL = [
    "iterations=3",
    "agent.meta_batch_size=5",
    "agent.rollouts=4",
    "agent.hidden_sizes=[16, 16]",
    "sampling.tasks_per_shard=2",
    "evaluation={every: 2, validation_tasks: 3, held_out_tasks: 4, rollouts: 3}",
    "device=cpu",
    "learner_threads=1",
]


ALGORITHMS = {"maml": [], "pearl": TINY_PEARL}


def run(folder, workers, *more, algorithm="maml"):
    overrides = [*SMALL, *ALGORITHMS[algorithm], f"workers={workers}", *more]
    recipe = Recipe.load("point_nav_maml", overrides)
    running.train(recipe, folder)
    schema = json.loads((folder / "metrics.schema.json").read_text())
    metrics = [
        {name: value for name, value in line.items() if not schema[name]["timing"]}
        for line in read(folder / "metrics.jsonl")
    ]
    _, state = checkpoints.load(checkpoints.newest(folder / "checkpoints"), algorithm)
    rows = pq.read_table(folder / "adaptation.parquet").drop_columns("run_id")  # which tells one run from another
    return metrics, state["learner"]["parameters"], rows


def same(one, other):
    assert one[0] == other[0]
    assert all(torch.equal(one[1][name], other[1][name]) for name in one[1])
    assert one[2] == other[2]


def test_a_run_twice_is_the_same_run(tmp_path):
    first = run(tmp_path / "a", 0)
    same(first, run(tmp_path / "b", 0))
    other = run(tmp_path / "c", 0, "seed=1")
    assert first[0] != other[0]


@pytest.mark.ray
@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize(("algorithm", "numbers"), [("maml", (1, 2, 3)), ("pearl", (2,))])
def test_any_number_of_workers_gives_the_same_bits(tmp_path, algorithm, numbers):
    """The sampler is the same for every algorithm; PEARL shows that one that is sampled while it learns is no other."""
    local = run(tmp_path / "0", 0, algorithm=algorithm)
    for workers in numbers:
        same(local, run(tmp_path / str(workers), workers, algorithm=algorithm))


@pytest.mark.ray
@pytest.mark.usefixtures("shared_ray")
def test_a_users_error_in_a_worker_is_still_a_sentence(tmp_path):
    with pytest.raises(SamplingError, match=r"reward nan at step 2.*of task"):
        run(tmp_path / "run", 1, "family=tests.property.broken:NanFamily")
    assert issubclass(SamplingError, USER_ERRORS)
    assert (tmp_path / "run" / "checkpoints" / "iteration-000000").is_dir(), "what was written stays"
