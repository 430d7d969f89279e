"""Nodes of a cluster that come and go, lack the user's files, or lie on other machines: the same bits."""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.navigation.point_nav import PointNav
from tests.helpers import small_maml, some_tasks
from tests.ray_nodes import ray_nodes
from trainers.cluster import connection
from trainers.cluster.addresses import named
from trainers.cluster.connection import Connection
from trainers.cluster.nodes import sources
from trainers.errors import ClusterError
from trainers.recipes import registry
from trainers.recipes.schema import Recipe
from trainers.runs import checkpoints
from trainers.sampling.random_streams import random_key
from trainers.sampling.ray_sampler import RaySampler
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials
from trainers.stopping import StopRequest
from trainers.training import running

pytestmark = pytest.mark.ray
NO_HANG_S = 120  # nothing waits this long unless something is broken


class Waiting(PointNav):
    """Who finds `<folder>/armed` stays in its shard, and says in `<folder>/node` where; not so on the node `spared`."""

    def __init__(self, folder: Path, spared: str) -> None:
        super().__init__()
        self.folder, self.spared, self.driver = folder, spared, os.getpid()

    def make_vector_env(self, tasks, rows):
        env = super().make_vector_env(tasks, rows)
        step, armed = env.step, self.folder / "armed"

        def stepped(action):
            while os.getpid() != self.driver and armed.exists():
                import ray

                node = ray.get_runtime_context().get_node_id()
                if node == self.spared:  # until another one is there
                    time.sleep(0.01)
                    continue
                try:
                    armed.rename(self.folder / "taken")
                except FileNotFoundError:
                    break  # somebody else was first
                (self.folder / "node.part").write_text(node)
                (self.folder / "node.part").rename(self.folder / "node")
                time.sleep(NO_HANG_S)
                raise AssertionError("its node was not taken away")
            return step(action)

        env.step = stepped
        return env


@pytest.fixture(scope="module")
def cluster():
    """Three nodes of a CPU each, of which the first, the head, is the driver's."""
    with ray_nodes() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def sampler(cluster):
    """One of three workers, and the nodes that it notes; it holds all CPUs from now on."""
    noted = []
    made = RaySampler(3, connection=Connection(3, StopRequest(), named(cluster.address)), note_nodes=noted.append)
    yield made, noted
    made.close()


def shards_of(agent, count=6, seed=0):
    keys = [random_key(seed, "training", 0, index) for index in range(count)]
    return make_shards(some_tasks(count, seed=seed), agent.trial_rounds(1, 3), keys, 1)


def all_ready(made, agent, learner):
    """Sample until every worker takes part."""
    while len(made._idle) < len(made.actors):
        made.run(agent, PointNav(), learner.weights(), shards_of(agent))
    made.run(agent, PointNav(), learner.weights(), shards_of(agent))


def same_as_in_process(answers, agent, learner, shards):
    for answer, shard in zip(answers, shards, strict=True):
        for one, other in zip(answer, run_trials(agent, PointNav(), learner.weights(), shard), strict=True):
            assert all(np.array_equal(mine, other.arrays()[name]) for name, mine in one.arrays().items())


def trained(folder, family, *overrides):
    """The weights after a small run, and its provenance."""
    small = [
        "iterations=3", "agent.meta_batch_size=6", "agent.rollouts=4", "agent.hidden_sizes=[16, 16]", "device=cpu",
        "sampling.tasks_per_shard=1", "learner_threads=1",
        "evaluation={every: 2, validation_tasks: 3, held_out_tasks: 4, rollouts: 3}", f"family={registry.give(family)}",
    ]  # fmt: skip
    outcome = running.train(Recipe.load("point_nav_maml", [*small, *overrides]), folder)
    _, state = checkpoints.load(checkpoints.newest(folder / "checkpoints"), "maml")
    return state["learner"]["parameters"], outcome.run.provenance()


def test_a_run_whose_node_dies_in_a_shard_gives_the_bits_of_one_in_process(cluster, tmp_path):
    family = Waiting(tmp_path, spared=cluster.head)
    expected, provenance = trained(tmp_path / "expected", family, "workers=0")
    assert "nodes" not in provenance
    (tmp_path / "armed").touch()
    with ThreadPoolExecutor(1) as beside:
        running = beside.submit(trained, tmp_path / "run", family, f"cluster={cluster.address}", "workers=3")
        while not (tmp_path / "node").exists() and not running.done():
            time.sleep(0.05)
        lost = (tmp_path / "node").read_text()
        cluster.replace(lost)
        weights, provenance = running.result(NO_HANG_S)
    assert all(torch.equal(expected[name], weights[name]) for name in expected)
    nodes = {node["id"]: node for node in provenance["nodes"]}
    assert {lost, cluster.head} < set(nodes)
    assert all(node["sources"] == sources() for node in nodes.values())


def test_a_trial_batch_that_lay_on_a_dead_node_is_sampled_again(cluster, sampler, monkeypatch):
    """It was done, and not fetched yet."""
    agent, learner = small_maml()
    (made, noted), shards = sampler, shards_of(agent, count=3)
    take_in, replaced = made._take_in, []

    def late(job):
        if not replaced and len(made._calls) == 3:
            made._ray.wait(list(made._calls), num_returns=3, timeout=NO_HANG_S, fetch_local=False)
            nodes = [found["id"] for found in made._ray.get([actor.describe.remote() for actor in made.actors])]
            replaced.append(cluster.replace(next(one for one in nodes if one != cluster.head)))
        take_in(job)

    all_ready(made, agent, learner)
    monkeypatch.setattr(made, "_take_in", late)
    large = [replace(shard, rounds=agent.trial_rounds(1, 200)) for shard in shards]  # too large for Ray's messages
    same_as_in_process(made.run(agent, PointNav(), learner.weights(), large), agent, learner, large)
    all_ready(made, agent, learner)
    assert replaced[0] in {node["id"] for node in noted[-1]}, "the node that came is used"


def test_a_process_stays_with_the_cluster_that_it_has_joined(cluster, sampler):
    host, _, port = cluster.address.rpartition(":")
    for place in (cluster.address, f"localhost:{port}"):
        assert not connection.start(1, StopRequest(), named(place))
    for place in (f"{host}:1", f"10.255.255.1:{port}"):
        with pytest.raises(ClusterError, match=rf"{place}, but this process has joined the Ray at {host}:{port}"):
            connection.start(1, StopRequest(), named(place))


OWN_FAMILY = """
from envs.navigation.point_nav import PointNav
from own_helpers.shifts import shift


class Shifted(PointNav):
    def make_vector_env(self, tasks, rows):
        import own_late

        assert shift() == own_late.SHIFT
        return super().make_vector_env(tasks, rows)
"""


def test_a_familys_module_reaches_nodes_that_lack_it(sampler, tmp_path, monkeypatch):
    """With the package and the module that it imports, at the top or in a function."""
    source = tmp_path / "source"
    (source / "own_helpers").mkdir(parents=True)
    (source / "own_family.py").write_text(OWN_FAMILY)
    (source / "own_helpers" / "__init__.py").touch()
    (source / "own_helpers" / "number.txt").write_text("3")
    (source / "own_helpers" / "shifts.py").write_text(
        "from pathlib import Path\n\ndef shift():\n    return int(Path(__file__).with_name('number.txt').read_text())\n"
    )
    (source / "own_late.py").write_text("SHIFT = 3\n")
    monkeypatch.syspath_prepend(source)
    family = registry.family("own_family:Shifted")
    agent, learner = small_maml()
    shards = shards_of(agent)
    made, _ = sampler
    made._give(agent, family)
    shutil.move(source, tmp_path / "away")
    same_as_in_process(made.run(agent, family, learner.weights(), shards), agent, learner, shards)
