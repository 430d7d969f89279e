"""Price of nodes that die: runs on three Ray nodes, one of which is killed and replaced now and then.

    python benchmarks/node_loss.py [--every 40] [--only RECIPE]...

The nodes are those of Ray's test cluster, all on this machine, with a CPU each. A run is the command `acclimate train`
with three workers; the driver is on the head's node, and a node that is killed is one of the others, with all of its
processes and what lies in its object store. Beside it the same run undisturbed, and in one process. Recipes that are
not measured keep their figures in the record.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

# Before Ray is imported, which reads them then: no other cluster is touched, and none needs a token.
os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": tempfile.mkdtemp(prefix="ray-", dir="/tmp")}

from kill_and_resume import command, finished, result
from measure import record
from ray.cluster_utils import Cluster

from trainers.runs.metrics import read
from trainers.runs.provenance import provenance

SETTINGS = ["device=cpu", "learner_threads=1", "checkpoints.every=10", "evaluation.every=20"]
RECIPES = {
    "point_nav_maml": ["iterations=80", "agent.meta_batch_size=8", "sampling.tasks_per_shard=1"],
    "point_nav_pearl": ["iterations=160", "agent.gradient_steps=100"],
}
STORE_BYTES = 200_000_000


def add_node(cluster: Cluster) -> None:
    """Another node; where the machine is too busy for Ray to start it within its 60 s, once more."""
    for again in (True, True, False):
        try:
            cluster.add_node(object_store_memory=STORE_BYTES)
        except Exception:  # Ray raises no kind of its own
            if not again:
                raise
        else:
            return


def disturbed(cluster: Cluster, every: float, *words: str) -> list[float]:
    """Run the command, while every so many seconds a node that is not the head is killed and replaced: the moments."""
    rng, moments, began = random.Random(0), [], time.perf_counter()
    process = command(*words)
    while True:
        try:
            _, output = process.communicate(timeout=every)
        except subprocess.TimeoutExpired:
            moments.append(round(time.perf_counter() - began, 1))
            victim = rng.choice(sorted(cluster.worker_nodes, key=lambda node: node.node_id))
            cluster.remove_node(victim, allow_graceful=False)
            add_node(cluster)
            continue
        if process.returncode:
            raise SystemExit(f"{' '.join(words)} failed: {output.decode()}")
        return moments


def measure(cluster: Cluster, recipe: str, every: float) -> dict[str, Any]:
    """The figures of one recipe."""
    words = ["train", recipe, *SETTINGS, *RECIPES[recipe]]
    nodes = [f"cluster={cluster.address}", "workers=3"]
    with tempfile.TemporaryDirectory() as folder:
        alone, calm, lossy = (Path(folder) / name for name in ("alone", "calm", "lossy"))
        finished(*words, "workers=0", "--out", str(alone))
        finished(*words, *nodes, "--out", str(calm))
        moments = disturbed(cluster, every, *words, *nodes, "--out", str(lossy))
        expected = result(alone)
        same = {
            one.name: {name: value == expected[name] for name, value in result(one).items()} for one in (calm, lossy)
        }
        spent = {one.name: read(one / "metrics.jsonl")[-1]["seconds_elapsed"] for one in (alone, calm, lossy)}
        used = json.loads((lossy / "provenance.json").read_text())["nodes"]
    return {
        "commit": provenance()["commit"],
        "settings": words[2:],
        "nodes killed, after (s)": moments,
        "nodes used": len(used),
        "the same as in one process": same,
        "bit-identical": all(all(one.values()) for one in same.values()),
        "seconds in one process, on nodes, on nodes that die": [round(value, 1) for value in spent.values()],
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--every", type=float, default=40.0, help="seconds between two kills")
    arguments.add_argument("--only", action="append", choices=RECIPES)
    options = arguments.parse_args()
    cluster = Cluster(
        initialize_head=True, head_node_args={"include_dashboard": False, "object_store_memory": STORE_BYTES}
    )
    try:
        for _ in range(2):
            add_node(cluster)
        figures = {recipe: measure(cluster, recipe, options.every) for recipe in options.only or RECIPES}
    finally:
        cluster.shutdown()
        shutil.rmtree(os.environ["RAY_TMPDIR"], ignore_errors=True)
    record("node_loss", figures, keep=True)


if __name__ == "__main__":
    main()
