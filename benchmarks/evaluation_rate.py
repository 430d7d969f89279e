"""Price of `acclimate benchmark` around its sampling: 1,000 HalfCheetahVel tasks, 3 episodes, RL², two workers.

    python benchmarks/evaluation_rate.py [--tasks 1000] [--workers 2]

The same shards with the same agent twice in one run, in turn: by the sampler alone, whose results are thrown away, and
by the benchmark, which makes rows of them and puts them on disk. Beside the rates the driver's resident memory when a
tenth, half and all of the rows are there.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import yaml
from measure import record

from trainers.evaluation.benchmark import BenchmarkRequest, measure, prepare
from trainers.recipes import registry
from trainers.sampling.samplers import make_sampler

FAMILY, RUN = "half_cheetah_vel_u03-v1", "docs/results/half_cheetah_vel_u03_rl2/seed-0"


def suite(folder: Path, tasks: int) -> Path:
    """A suite of so many held-out tasks, three episodes each."""
    digest = registry.family(FAMILY).task_set("held-out", tasks, 7).digest
    held_out = {"count": tasks, "seed": 7, "hash": digest}
    path = folder / "suite.yaml"
    families = [{"family": FAMILY, "held_out": held_out}]
    path.write_text(
        yaml.safe_dump({"name": "rate-v1", "families": families, "episodes": 3, "repeats": 1, "policy": "stochastic"})
    )
    return path


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    """Measure both ways."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    rates: dict[str, list[float]] = {"sampler": [], "benchmark": []}
    memory: list[list[float]] = []
    with tempfile.TemporaryDirectory() as kept:
        named = suite(Path(kept), options.tasks)
        for turn in range(options.times):
            ready = prepare(
                BenchmarkRequest(str(named), Path(kept) / f"out-{turn}", (f"rl2={RUN}",), (), options.workers)
            )
            (entrant,) = ready.entries.entrants
            cells = ready.todo[0]
            agent, weights = entrant.acting
            sampler = make_sampler(options.workers)
            sampler.run(agent, entrant.family, weights, [cells[0].work], lambda place, result: None)  # warm up
            began = time.perf_counter()
            sampler.run(agent, entrant.family, weights, [cell.work for cell in cells], lambda place, result: None)
            rates["sampler"].append(ready.env_steps / (time.perf_counter() - began))
            sampler.close()
            held: list[float] = []
            times: list[float] = []

            def note(label: str, env_steps: int, held: list[float] = held, times: list[float] = times) -> None:
                held.append(resident_mb())
                times.append(time.perf_counter())

            measure(ready, note)
            # From the first part on: starting Ray and its workers is no sampling.
            steps = sum(cell.env_steps for cell in cells[1:])
            rates["benchmark"].append(steps / (times[-1] - times[0]))
            memory.append([held[len(held) // 10], held[len(held) // 2], held[-1]])
            print({name: round(values[-1]) for name, values in rates.items()}, [round(one) for one in memory[-1]])
    shares = sorted(one / other for one, other in zip(rates["benchmark"], rates["sampler"], strict=True))
    record(
        "evaluation_rate",
        {
            "tasks": options.tasks, "workers": options.workers,
            "environment steps a second": {name: [round(one) for one in values] for name, values in rates.items()},
            "benchmark against sampler": {
                "median": round(shares[len(shares) // 2], 3), "all": [round(one, 3) for one in shares]
            },
            "driver's memory after a tenth, half, all (MB)": [[round(one) for one in run] for run in memory],
            "driver's peak (MB)": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
