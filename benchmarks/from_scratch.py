"""Learners from scratch of a suite on a machine without Ray, such as one that is lent for minutes: a process each.

    python benchmarks/from_scratch.py SUITE OUT.tar --learners sb3_sac sb3_ppo --processes 16 --seconds 560

Plays the contests of a suite that `acclimate benchmark SUITE --baselines NAME...` would play, in the order of the
learners, and puts the parts of its dataset into OUT.tar as they come. Unpacked into the --out of that command they are
found there, and it plays the rest.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tarfile
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch

from trainers.evaluation.dataset import Dataset
from trainers.evaluation.entering import enter
from trainers.evaluation.entrants import Cell, Entrant
from trainers.evaluation.suites import load_suite
from trainers.process import keep_freed_memory
from trainers.runs.provenance import provenance


def play(entrant: Entrant, cell: Cell) -> Any:
    """(What comes of a cell, seconds), on one thread."""
    keep_freed_memory()
    torch.set_num_threads(1)
    began = time.perf_counter()
    return cell.work.run(entrant.family), time.perf_counter() - began  # type: ignore[union-attr]


def pack(folder: Path, out: Path) -> None:
    """The dataset's parts in one file, put in place as a whole."""
    writing = out.with_name(f".{out.name}.writing")
    with tarfile.open(writing, "w") as tar:
        tar.add(folder / "rows", "rows")
    writing.replace(out)


def main() -> None:
    """Play what fits into the time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite")
    parser.add_argument("out", type=Path)
    parser.add_argument("--learners", nargs="+", required=True)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=540.0)
    options = parser.parse_args()
    began = time.perf_counter()
    suite, here = load_suite(options.suite), provenance()
    made = {name: here[name] for name in ("commit", "versions", "machine")}
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        dataset = Dataset(folder)
        dataset.folder.mkdir()
        entrants = enter(suite, [], options.learners).entrants
        work = [(entrant, cell) for entrant in entrants for cell in entrant.cells(suite, dataset)]
        print(f"{len(work)} contests on {options.processes} processes, {here['machine']['processor']}", flush=True)
        pool = ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn"))
        running = {pool.submit(play, *one): one for one in work}
        while running and (left := options.seconds - (time.perf_counter() - began)) > 0:
            finished, _ = wait(running, timeout=left, return_when=FIRST_COMPLETED)
            for one in finished:
                entrant, cell = running.pop(one)
                rows, seconds = one.result()
                if isinstance(rows, str):
                    print(rows, flush=True)
                    continue
                dataset.write(cell.part, rows, made)
                print(f"{entrant.label} seed {entrant.seed} task {cell.first}: {seconds:.0f} s", flush=True)
            if finished:
                pack(folder, options.out)
        print(f"{len(running)} left after {time.perf_counter() - began:.0f} s", flush=True)
        for process in pool._processes.values():  # those that are still at it: the time is over
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)


if __name__ == "__main__":
    main()
