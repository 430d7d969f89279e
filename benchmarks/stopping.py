"""SIGTERM to the process group in each agent's longest phase: seconds to the exit, and whether the bits stay.

    python benchmarks/stopping.py [--tries 10] [--only AGENT]...

Each try is `acclimate train` with two Ray workers in a process group of its own, as Slurm and `timeout` make one. The
whole group is sent SIGTERM in one phase (sampling, learning, validating, the evaluation at the end), a random time
after it began; then `acclimate resume` goes on to the end, and the tensors, metrics and adaptation rows are compared
with those of an undisturbed run. A wrapper around the training loop tells the phases.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kill_and_resume import result
from measure import record

from trainers.runs import checkpoints
from trainers.runs.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
COMMON = ["learner_threads=1", "device=cpu", "checkpoints.every=1000"]
EVALUATION = "evaluation={every: 2, validation_tasks: 10, held_out_tasks: 20, rounds: 1, rollouts: %s}"
RUNS = {
    "maml": ("point_nav_maml", ["iterations=4", "agent.meta_batch_size=10", EVALUATION % 20]),
    "reptile": ("point_nav_reptile", ["iterations=4", "agent.meta_batch_size=10", EVALUATION % 20]),
    "rl2": ("grid_navi_rl2", ["iterations=4", "sampling.tasks_per_shard=8", EVALUATION % 1]),
    "varibad": (
        "grid_navi_varibad",
        ["iterations=4", "sampling.tasks_per_shard=8", "agent.vae_updates=10", EVALUATION % 1],
    ),
    "pearl": (
        "sparse_point_robot_pearl",
        ["iterations=3", "agent.gradient_steps=100", EVALUATION.replace("rounds: 1", "rounds: 3") % 1],
    ),
}
PHASES = ("sampling", "learning", "validating", "evaluating")
# Runs the command while it writes "phase" lines to a file: where the loop is.
WRAPPER = """
import sys
from trainers.training.loop import Loop
import trainers.training.loop as loop
out = open(sys.argv.pop(1), "w", buffering=1)
def told(name, original):
    def wrapped(self, *arguments, **options):
        phase = name if name != "measuring" else "validating" if arguments[0] == "validation" else "evaluating"
        print(phase, self.progress.iteration, file=out)
        result = original(self, *arguments, **options)
        print("-", self.progress.iteration, file=out)
        return result
    return wrapped
Loop.sample = told("sampling", Loop.sample)
Loop.measure = told("measuring", Loop.measure)
init = Loop.__init__
def learning(self, *arguments):
    init(self, *arguments)
    update = self.learner.update
    def wrapped(batch):
        print("learning", self.progress.iteration, file=out)
        learned = update(batch)
        print("-", self.progress.iteration, file=out)
        return learned
    self.learner.update = wrapped
Loop.__init__ = learning
from trainers.cli.app import entry
entry()
"""


def start(phases: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRAPPER, str(phases), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def finish(phases: Path, *words: str) -> None:
    process = start(phases, *words)
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{' '.join(words)} failed: {output}")


def await_phase(process: subprocess.Popen[str], phases: Path, wanted: str, iteration: int) -> None:
    while process.poll() is None:
        if phases.exists() and f"{wanted} {iteration}\n" in phases.read_text():
            return
        time.sleep(0.01)
    sys.exit(f"the run ended before {wanted}: {process.stdout.read() if process.stdout else ''}")


def stopped(folder: Path, name: str, phase: str, delay: float) -> dict[str, object]:
    """One try: the seconds from SIGTERM to the exit, its code, and how far the run was."""
    recipe, settings = RUNS[name]
    total = int(settings[0].partition("=")[2])
    iteration = {"sampling": 1, "learning": 1, "validating": 2, "evaluating": total}[phase]
    run, phases = folder / "run", folder / "phases"
    for old in (run, phases):
        shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink(missing_ok=True)
    process = start(phases, "train", recipe, "--out", str(run), *COMMON, *settings, "workers=2")
    await_phase(process, phases, phase, iteration)
    time.sleep(delay)
    began = time.perf_counter()
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate()
    seconds = time.perf_counter() - began
    kept = checkpoints.iterations(run / "checkpoints")[-1]
    code = process.returncode
    finish(phases, "resume", str(run), "workers=0")  # the same bits
    return {"phase": phase, "delay": round(delay, 2), "seconds": round(seconds, 2), "code": code, "kept": kept}


def straight(folder: Path, name: str) -> dict[str, object]:
    """The result of a run that nobody disturbs."""
    recipe, settings = RUNS[name]
    finish(folder / "phases", "train", recipe, "--out", str(folder / name), *COMMON, *settings, "workers=0")
    return comparable(folder / name)


def comparable(run: Path) -> dict[str, object]:
    """The result but whose its rows are: equal in two runs that are the same."""
    found: dict[str, Any] = result(run)
    rows = [{key: value for key, value in row.items() if key != "run_id"} for row in found["rows"]]
    return found | {"rows": rows}


def summed_up(tries: list[dict[str, Any]]) -> dict[str, object]:
    seconds = [one["seconds"] for one in tries]
    return {
        "commit": provenance()["commit"],
        "tries": len(tries),
        "exit 143 within 10 s": sum(one["code"] == 143 and one["seconds"] <= 10 for one in tries),
        "bit-identical after resume": sum(one["same"] for one in tries),
        "seconds to the exit, median and most": [statistics.median(seconds), max(seconds)],
        "each": tries,
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--tries", type=int, default=10)
    arguments.add_argument("--only", action="append", choices=RUNS)
    options = arguments.parse_args()
    names, rng = options.only or list(RUNS), random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        expected = {name: straight(folder, name) for name in names}
        tries: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for number in range(options.tries):
            for name in names:
                one = stopped(folder, name, PHASES[number % len(PHASES)], rng.uniform(0.0, 0.3))
                tries[name].append(one | {"same": comparable(folder / "run") == expected[name]})
                print(name, json.dumps(tries[name][-1]), flush=True)
            record("stopping", {name: summed_up(done) for name, done in tries.items()}, keep=True)


if __name__ == "__main__":
    main()
