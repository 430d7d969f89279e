"""Seconds from process start to the first evaluation above -18 on the paper's 40 goals, after one inner step.

Everything counts: imports, `ray.init`, two workers, training, the evaluations on the way (40 goals x 40 rollouts, every
second meta-update). Bar: 25 s. pytorch-maml-rl needs 112 to 160 s to -18 on its training tasks. Action scale: ours
acts in [-1, 1], scaled to 0.1 m; pytorch-maml-rl in units of 0.1 m.

    python benchmarks/time_to_threshold.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import record, spread

from trainers.runs.metrics import read

THRESHOLD = -18.0
HERE = Path(__file__).resolve().parent


def measure(seed: int) -> tuple[float, int]:
    """(seconds, meta-updates) to the threshold."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = ["train", "point_nav_maml", "--out", str(run), f"seed={seed}", "evaluation.every=2"]
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "trainers.cli.app", *words, "family=paper_goals:PaperGoals"],
            env={**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"},
            stdout=subprocess.DEVNULL,
        )
        metrics = run / "metrics.jsonl"
        try:
            while process.poll() is None:
                time.sleep(0.05)
                for line in read(metrics) if metrics.is_file() else []:
                    if line.get("validation_return_round_1", THRESHOLD) > THRESHOLD:
                        return time.perf_counter() - began, int(line["iteration"])
        finally:
            process.terminate()
            process.wait()
    raise SystemExit(f"seed {seed} ended below {THRESHOLD}")


def main() -> None:
    found = [measure(seed) for seed in (0, 1, 2)]
    seconds, updates = zip(*found, strict=True)
    record("time_to_threshold", {"seconds": spread(seconds), "meta-updates": spread(updates), "each": found})


if __name__ == "__main__":
    main()
