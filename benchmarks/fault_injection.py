"""Injected faults of every kind: no run lost, none begun anew, and the bits of a run that nobody disturbed.

    python benchmarks/fault_injection.py [--faults 200] [--only KIND]... [--seed 0]

Small runs of MAML (and for faults of learners, with two of them) go on while one fault after the other hits them, at
random moments. A run that was hit goes on by itself, or stops with a sentence and is resumed, as a user would do. For
each kind: how many faults, how many were survived without a resume, how often a process ended without a sentence, how
many meta-updates were computed again at the most (a checkpoint is written after each), runs begun anew, and whether
tensors, metrics and adaptation rows are those of the undisturbed run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kill_and_resume import ROOT
from measure import record
from stopping import comparable
from victims import END_S, SMALL, Tally, Victim, hit

from trainers.runs import checkpoints

MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


# -- one fault each: whether the process is expected to end

Fault = Callable[[Victim, random.Random], bool]


def killed(name: str, *, ends: bool) -> Fault:
    """SIGKILL to one of these processes."""

    def fault(victim: Victim, rng: random.Random) -> bool:
        hit(victim, name, signal.SIGKILL, rng)
        return ends

    return fault


def halted(name: str, seconds: float) -> Fault:
    """SIGSTOP to one of these processes, and SIGCONT so much later."""

    def fault(victim: Victim, rng: random.Random) -> bool:
        chosen = hit(victim, name, signal.SIGSTOP, rng)
        time.sleep(seconds)
        if chosen is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chosen, signal.SIGCONT)
        return False

    return fault


def slowed(victim: Victim, rng: random.Random) -> bool:
    """One worker gets a tenth of its time for three seconds."""
    for _ in range(30):
        halted("ray::Worker", 0.09)(victim, rng)
        time.sleep(0.01)
    return False


def driver_killed(victim: Victim, rng: random.Random) -> bool:
    victim.process.send_signal(signal.SIGKILL)
    return True


def terminated(victim: Victim, rng: random.Random) -> bool:
    os.killpg(victim.process.pid, signal.SIGTERM)
    return True


def damaged(cut: bool) -> Fault:
    """The driver is killed, and its newest checkpoint truncated or a bit of it flipped."""

    def fault(victim: Victim, rng: random.Random) -> bool:
        victim.process.send_signal(signal.SIGKILL)
        victim.process.wait()
        newest = checkpoints.newest(victim.run / "checkpoints")
        file = newest / rng.choice(["tensors.safetensors", "state.json"])
        content = bytearray(file.read_bytes())
        if cut:
            content = content[: rng.randrange(len(content))]
        else:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(bytes(content))
        victim.resume()
        refused = victim.ended(END_S) and "--checkpoint" in victim.said.replace("\n", " ") + victim.log.read_text()
        victim.tally.without_sentence += not refused
        earlier = sorted(checkpoints.iterations(victim.run / "checkpoints"))[-2]
        victim.tally.most_repeated = max(victim.tally.most_repeated, victim.done - earlier)
        victim.process = victim.start("resume", str(victim.run), "--checkpoint", str(earlier))
        return False

    return fault


def full_disk(victim: Victim, rng: random.Random) -> bool:
    """Nothing is left of the run's file system, until the process has ended."""
    filler = victim.run.parent / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"0" * 4096):
            pass
    if victim.ended(END_S):
        victim.tally.without_sentence += "space" not in victim.log.read_text(errors="replace")
    filler.unlink()
    return True


KINDS: dict[str, tuple[int, Fault, list[str], dict[str, str]]] = {
    # weight, fault, settings, environment
    "worker killed": (30, killed("ray::Worker", ends=False), ["workers=2"], {}),
    "worker stopped for 4 s": (12, halted("ray::Worker", 4.0), ["workers=2"], {}),
    "slow node": (10, slowed, ["workers=2"], {}),
    "learner killed": (16, killed("ray::LearnerProcess", ends=False), ["workers=1", "learners=2"], {}),
    "raylet killed": (16, killed("raylet/raylet", ends=True), ["workers=2"], {}),
    "GCS killed": (12, killed("gcs_server", ends=True), ["workers=2"], {}),
    "GCS stopped for 3 s": (8, halted("gcs_server", 3.0), ["workers=2"], {}),
    "driver's connection lost for 3 s": (8, halted("raylet/raylet", 3.0), ["workers=2"], {}),
    "driver killed": (28, driver_killed, ["workers=2"], {}),
    "SIGTERM": (28, terminated, ["workers=2"], {}),
    "checkpoint truncated": (10, damaged(cut=True), ["workers=0"], {}),
    "checkpoint flipped": (10, damaged(cut=False), ["workers=0"], {}),
    "disk full": (8, full_disk, ["workers=0"], {}),
    # 150 MB of trials an update, which learners get as references, in a store of 100 MB: Ray takes no less than 79.
    "object store too small": (
        4, slowed, ["workers=2", "learners=1", "family=wide_family:Wide", "agent.rollouts=80", "iterations=12"],
        {
            "RAY_DEFAULT_OBJECT_STORE_MEMORY_PROPORTION": f"{100e6 / MEMORY:.6f}",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'benchmarks'}",
        },
    ),
}  # fmt: skip


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 60 MB (needs root)."""
    place = folder / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def chain(kind: str, faults: int, folder: Path, expected: dict[str, object], rng: random.Random) -> Tally:
    """Runs that are hit again and again, until there have been so many faults."""
    _, fault, settings, environment = KINDS[kind]
    tally, number = Tally(), 0
    while tally.faults < faults:
        number += 1
        place = folder / f"{kind.replace(' ', '-')}-{number}"
        with small_disk(folder) if kind == "disk full" else contextlib.nullcontext(place) as home:
            home.mkdir(exist_ok=True)
            victim = Victim(home, tally, [*SMALL, *settings], environment)
            try:
                one_run(victim, fault, faults, rng)
                tally.same_bits.append(victim.process.returncode == 0 and comparable(victim.run) == expected)
            finally:
                victim.kill()
        if not tally.same_bits[-1]:
            print(f"  {kind}: other bits, exit {victim.process.returncode}, {victim.said}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
    return tally


def one_run(victim: Victim, fault: Fault, faults: int, rng: random.Random) -> None:
    """Hit one run every few updates until it is through."""
    tally, at = victim.tally, 0
    while True:
        at = max(at, victim.kept, victim.done) + rng.randint(1, 4)
        if at >= 40 or tally.faults == faults or not victim.reach(at):
            if victim.process.poll() is None and not victim.ended(END_S):
                tally.hung += 1
                victim.kill()
            if victim.process.returncode == 0:
                return
            victim.resume()
            continue
        time.sleep(rng.uniform(0.0, 0.3))
        tally.faults += 1
        before = victim.process
        ends = fault(victim, rng)
        if ends and not victim.ended(END_S):
            tally.hung += 1
            victim.kill()
        if victim.process.poll() is None:
            tally.went_on += victim.process is before
        elif victim.process.returncode != 0:
            silent = victim.process.returncode >= 0 and not victim.said
            tally.without_sentence += silent or "Traceback" in victim.log.read_text(errors="replace")
            victim.resume()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--faults", type=int, default=200)
    arguments.add_argument("--only", action="append", choices=KINDS)
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    rng = random.Random(options.seed)
    weights = sum(weight for weight, *_ in KINDS.values())
    with tempfile.TemporaryDirectory() as home:
        folder, expected = Path(home), {}
        for kind in options.only or KINDS:
            weight, _, settings, environment = KINDS[kind]
            faults = max(1, round(options.faults * weight / weights))
            numbers = tuple(one for one in settings if not one.startswith(("workers", "learners")))
            if numbers not in expected:
                place = folder / f"straight{len(expected)}"
                straight = Victim(place, Tally(), [*SMALL, *numbers, "workers=0"], environment)
                assert straight.process.wait() == 0, straight.said
                expected[numbers] = comparable(straight.run)
            began = time.monotonic()
            tally = chain(kind, faults, folder, expected[numbers], rng)
            minutes = (time.monotonic() - began) / 60
            runs = {"runs": len(tally.same_bits), "same_bits": sum(tally.same_bits)}
            found: dict[str, Any] = vars(tally) | runs | {"minutes": minutes}
            print(kind, json.dumps(found), flush=True)
            record("fault_injection", {kind: found}, keep=True)


if __name__ == "__main__":
    main()
