"""Learning on a GPU: every algorithm learns there, what it learns is what the CPU learns, and how long it takes.

    make gpu-check                                  the small cases, and their throughput, into gpu-check.json
    python benchmarks/gpu.py OUT.json [--quick]     with recipes at full size, unless quick

Plays the golden record's small cases with `device: cpu` and `device: cuda` and compares the metrics of the first
meta-update, for which both had the same weights and the same trials: they may differ by rounding alone. Then times
meta-updates of shipped recipes at full size on both (median `seconds_learning`, the first one left out). Sampling is in
this process. Without a GPU it says so and is done: what can be checked then is tests/property/test_placement.py.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from golden import cases, command

# Left out: Ray, warm starts from other cases, and what adds no learning of its own.
SKIPPED = ("ray", "warm_start", "resumed", "family_", "described_", "own_region")
FULL_SIZE = (
    "point_nav_maml", "point_nav_maml_trpo", "point_nav_reptile", "bandit_5_arms_100_pulls_rl2",
    "tabular_mdp_10_episodes_rl2", "grid_navi_rl2", "grid_navi_varibad", "half_cheetah_vel_u03_rl2",
    "half_cheetah_vel_u03_varibad", "sparse_point_robot_pearl",
)  # fmt: skip
ROUNDING = 2e-2  # relative to 1 + |value|: metrics are means over minibatches that rounding may reorder
BUDGET_S = 420.0


def lines_of(recipe: dict[str, Any] | str, *overrides: str) -> list[dict[str, float]]:
    """The metrics of a run of this recipe, with these overrides."""
    with tempfile.TemporaryDirectory() as folder:
        name = recipe
        if isinstance(recipe, dict):
            name = str(Path(folder) / "recipe.yaml")
            Path(name).write_text(yaml.safe_dump(recipe))
        command("train", str(name), "--out", f"{folder}/run", *overrides)
        return [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]


def largest_difference(one: dict[str, float], other: dict[str, float]) -> tuple[float, str]:
    """Between two metrics lines, timings left out."""
    timings = ("seconds", "steps_per_second")
    return max(
        (abs(value - other[name]) / (1 + abs(value)), name)
        for name, value in one.items()
        if not name.startswith(timings)
    )


def main() -> None:
    if not torch.cuda.is_available():
        print(
            f"no GPU that torch {torch.__version__} can use is here, so there is nothing to check on one; that no "
            "operation mixes devices is tested without (tests/property/test_placement.py)"
        )
        return
    began = time.monotonic()
    out, quick = Path(sys.argv[1]), "--quick" in sys.argv  # now: the command line is played through sys.argv
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cases": {},
        "full": {},
    }
    for name, case in cases().items():
        if any(word in name for word in SKIPPED):
            continue
        case.pop("then", None)
        case |= {"workers": 0, "iterations": 3}
        try:
            cpu, cuda = (lines_of(case, f"device={device}") for device in ("cpu", "cuda"))
            difference, metric = largest_difference(cpu[0], cuda[0])
            verdict = "equal" if difference <= ROUNDING else "DIFFERS"
            rates = {device: lines[-1]["steps_per_second"] for device, lines in (("cpu", cpu), ("cuda", cuda))}
            found["cases"][name] = {"verdict": verdict, "difference": difference, "metric": metric, "steps/s": rates}
        except Exception as error:  # whatever goes wrong on the GPU is the finding
            found["cases"][name] = {"verdict": "FAILS", "error": f"{type(error).__name__}: {error}"[:600]}
        print(name, found["cases"][name], flush=True)
    for name in () if quick else FULL_SIZE:
        if time.monotonic() - began > BUDGET_S:
            break
        settings = [
            "iterations=4",
            "workers=0",
            "evaluation={every: 0, validation_tasks: 2, held_out_tasks: 2, rollouts: 1}",
        ]
        seconds: dict[str, Any] = {}
        try:
            for device in ("cpu", "cuda"):
                timed = lines_of(name, *settings, f"device={device}", "learner_threads=auto")
                seconds[device] = statistics.median(line["seconds_learning"] for line in timed[1:])
        except Exception as error:
            seconds["error"] = f"{error}"[:600]
        found["full"][name] = seconds
        print(name, seconds, flush=True)
    out.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(any(one["verdict"] != "equal" for one in found["cases"].values()))


if __name__ == "__main__":
    main()
