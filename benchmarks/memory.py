"""Memory of a whole run: the sum of what its processes hold, Ray's included, iteration by iteration.

    python benchmarks/memory.py [--iterations 200]

HalfCheetahVel, 40 tasks x 20 rollouts x 200 steps x 2 rounds, two workers. PSS counts a page shared by n processes as
1/n of a page in each.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import record


def pss_of_tree(root: int) -> int:
    """Bytes of PSS of a process and all that came of it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
    mine = {root}
    while True:
        more = {process for process, parent in parents.items() if parent in mine} - mine
        if not more:
            break
        mine |= more
    total = 0
    for process in mine:
        try:
            found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)
        except OSError:
            continue
        total += 1024 * int(found.group(1)) if found else 0
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=200)
    iterations = parser.parse_args().iterations
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        process = subprocess.Popen(
            [
                sys.executable, "-m", "trainers.cli.app", "train", "half_cheetah_vel_maml", "--out", str(run),
                "workers=2", "agent.meta_batch_size=40", "agent.rollouts=20", f"iterations={iterations}",
                "evaluation.every=0",
            ],
            stdout=subprocess.DEVNULL, env=os.environ,
        )  # fmt: skip
        peaks: dict[int, int] = {}
        while process.poll() is None:
            time.sleep(1.0)
            metrics = run / "metrics.jsonl"
            iteration = len(metrics.read_text().splitlines()) if metrics.exists() else 0
            peaks[iteration] = max(peaks.get(iteration, 0), pss_of_tree(process.pid))
    if process.returncode:
        raise SystemExit(f"the run ended with {process.returncode}")
    settled = {iteration: bytes_ for iteration, bytes_ in peaks.items() if 2 <= iteration < iterations}
    third = max(1, len(settled) // 3)
    early, late = list(settled.values())[:third], list(settled.values())[-third:]
    record(
        "memory",
        {
            "iterations": iterations,
            "largest sum of PSS, GB": round(max(peaks.values()) / 1e9, 2),
            "median peak of the first third, GB": round(sorted(early)[len(early) // 2] / 1e9, 3),
            "median peak of the last third, GB": round(sorted(late)[len(late) // 2] / 1e9, 3),
        },
    )


if __name__ == "__main__":
    main()
