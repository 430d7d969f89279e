"""Kills a training driver at random moments with SIGKILL, resumes it, and compares with a run that nobody disturbed.

    python benchmarks/kill_and_resume.py [--tries 10] [--only RECIPE]...

Each try is the command `acclimate train`, killed after a random time between its start and the end of training, then
`acclimate resume`, which is killed at random as well in every other try, until one of them gets through. Recipes that
are not measured keep their figures in the record.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
from measure import record

from trainers.runs import checkpoints
from trainers.runs.metrics import read
from trainers.runs.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ["iterations=20", "checkpoints.every=3", "evaluation.every=5", "workers=2", "learner_threads=1"]
RECIPES = {
    "point_nav_maml": ["agent.meta_batch_size=10"],
    "grid_navi_rl2": ["sampling.tasks_per_shard=20"],
    "grid_navi_varibad": ["sampling.tasks_per_shard=20", "agent.vae_updates=5"],
    "sparse_point_robot_pearl": ["sampling.tasks_per_shard=5", "agent.gradient_steps=50"],
}


def command(*words: str) -> subprocess.Popen[bytes]:
    """`acclimate` in a process group of its own, so that a kill of the driver hits nobody else."""
    return subprocess.Popen(
        [sys.executable, "-m", "trainers.cli.app", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def killed_after(seconds: float, *words: str) -> bool:
    """Runs the command and kills its driver after so long; whether it was still running."""
    process = command(*words)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def finished(*words: str) -> None:
    process = command(*words)
    _, output = process.communicate()
    if process.returncode:
        sys.exit(f"{' '.join(words)} failed: {output.decode()}")


def result(run: Path) -> dict[str, object]:
    """Everything that must be equal: the final tensors and counters, the metrics but times, the adaptation rows."""
    newest = checkpoints.newest(run / "checkpoints")
    schema = json.loads((run / "metrics.schema.json").read_text())
    return {
        "tensors": (newest / "tensors.safetensors").read_bytes(),
        "state": (newest / "state.json").read_bytes(),
        "metrics": [{k: v for k, v in line.items() if not schema[k]["timing"]} for line in read(run / "metrics.jsonl")],
        "rows": pq.read_table(run / "adaptation.parquet").drop_columns("run_id").to_pylist(),
    }


def disturb(recipe: str, tries: int) -> dict[str, object]:
    """The figures of one recipe."""
    settings = SETTINGS + RECIPES[recipe]
    rng = random.Random(0)
    records = []
    with tempfile.TemporaryDirectory() as folder:
        straight = Path(folder) / "straight"
        began = time.perf_counter()
        finished("train", recipe, "--out", str(straight), *settings)
        whole = time.perf_counter() - began
        expected = result(straight)
        for number in range(tries):
            run = Path(folder) / f"try-{number}"
            moments = []
            kills = 1 + number % 2
            while True:
                words = ["resume", str(run)] if run.exists() else ["train", recipe, "--out", str(run), *settings]
                if len(moments) == kills:
                    finished(*words)
                    break
                after = rng.uniform(0.1, 0.9) * whole
                if killed_after(after, *words):
                    done = max(checkpoints.iterations(run / "checkpoints"), default=None) if run.exists() else None
                    lines = len(read(run / "metrics.jsonl")) if (run / "metrics.jsonl").exists() else 0
                    moments.append({"seconds": round(after, 2), "iterations": lines, "checkpoint": done})
                elif run.exists():  # through before the kill, which is drawn again in a fresh run
                    shutil.rmtree(run)
                    moments.clear()
            mine = result(run)
            same = {name: mine[name] == expected[name] for name in expected}
            records.append({"killed": moments, "the same": same})
            print(json.dumps(records[-1]), flush=True)
    return {
        "commit": provenance()["commit"],
        "seconds of a run": round(whole, 1),
        "tries": tries,
        "bit-identical": sum(all(one["the same"].values()) for one in records),
        "each": records,
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--tries", type=int, default=10)
    arguments.add_argument("--only", action="append", choices=RECIPES)
    options = arguments.parse_args()
    chosen = options.only or RECIPES
    record("kill_and_resume", {recipe: disturb(recipe, options.tries) for recipe in chosen}, keep=True)


if __name__ == "__main__":
    main()
