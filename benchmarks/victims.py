"""A training command that is hit by faults and resumed, as `fault_injection.py` does, and counts of what came of it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from kill_and_resume import ROOT

from trainers.runs import checkpoints
from trainers.runs.metrics import read

SMALL = [
    "iterations=40", "checkpoints.every=1", "checkpoints.keep=3", "device=cpu", "learner_threads=1",
    "agent.meta_batch_size=8", "agent.rollouts=10", "agent.task_chunk=2", "sampling.tasks_per_shard=2",
    "evaluation={every: 10, validation_tasks: 4, held_out_tasks: 4, rollouts: 4}",
]  # fmt: skip
END_S = 240.0  # for a process to end, once it has been hit
STEP_S = 120.0  # for the next meta-update


@dataclass
class Tally:
    """Counts of one kind of fault."""

    faults: int = 0
    went_on: int = 0  # without a resume
    without_sentence: int = 0  # processes that ended by themselves and said nothing
    hung: int = 0
    most_repeated: int = 0  # meta-updates computed again after one fault
    begun_anew: int = 0
    same_bits: list[bool] = field(default_factory=list)  # of each run


class Victim:
    """A training command in a process group of its own, resumed until it is through."""

    def __init__(self, folder: Path, tally: Tally, settings: list[str], environment: dict[str, str]) -> None:
        self.run, self.tally = folder / "run", tally
        self._settings, self._environment = settings, environment
        self.log = folder / "log"
        self.process = self.start("train", "point_nav_maml", "--out", str(self.run), *settings)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Another process with this command line, in the place of the one that has ended."""
        self.log.parent.mkdir(exist_ok=True)
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "trainers.cli.app", *words],
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **self._environment},
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def done(self) -> int:
        """Meta-updates in the metrics."""
        path = self.run / "metrics.jsonl"
        return len(read(path)) if path.exists() else 0

    @property
    def kept(self) -> int:
        """Iteration of the newest checkpoint."""
        return max(checkpoints.iterations(self.run / "checkpoints"), default=0)

    def reach(self, iteration: int) -> bool:
        """Wait until so many updates are done; False if the process has ended or stands still."""
        until = time.monotonic() + STEP_S
        while self.done < iteration and self.process.poll() is None:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return self.process.poll() is None

    def ended(self, wait_s: float) -> bool:
        """Whether the process ends within so long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(wait_s)
            return True
        return False

    def resume(self, *more: str) -> None:
        """Go on as a user would, and note how much is computed again."""
        before, kept = self.done, self.kept
        if before and not self.run.joinpath("checkpoints").exists():
            self.tally.begun_anew += 1
        self.tally.most_repeated = max(self.tally.most_repeated, before - kept)
        self.process = self.start("resume", str(self.run), *more)

    @property
    def said(self) -> str:
        """The last line of what it has printed."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else ""

    def kill(self) -> None:
        """End what is left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def processes_of(victim: Victim, name: str) -> list[int]:
    """Ids of the descendants of the driver whose command line holds this."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    found = []
    for process in parents:
        ancestor = process
        while ancestor in parents and ancestor != victim.process.pid:
            ancestor = parents[ancestor]
        with contextlib.suppress(OSError):
            if ancestor == victim.process.pid and name in Path(f"/proc/{process}/cmdline").read_text(errors="replace"):
                found.append(process)
    return found


def hit(victim: Victim, name: str, number: signal.Signals, rng: random.Random) -> int | None:
    """Signal one of the driver's processes of this name; its id, or None where there is none."""
    found = processes_of(victim, name)
    if not found:
        return None
    chosen = rng.choice(found)
    with contextlib.suppress(ProcessLookupError):
        os.kill(chosen, number)
    return chosen
