"""Do published means hang on last bits? Stored robots' weights under three instruction sets of one processor.

    python benchmarks/instruction_sets.py [--repeats 4] [RECIPES]

Each published robot is measured on its held-out tasks with `ATEN_CPU_CAPABILITY` default, avx2 and the machine's own,
in processes of their own: other last bits, so in time other motion. The means of the last adaptation step should lie
within a quarter of their 95 % interval's width of each other. One training seed in a finite family has no interval:
there the spread stands beside the mean.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from measure import record

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
SETS = {"default": "default", "avx2": "avx2", "own": None}
ROBOTS = ("half_cheetah", "walker2d", "ant")


def measured(recipe: str, capability: str | None, repeats: int) -> dict[str, Any]:
    """The summary of a published recipe in a process that computes so."""
    environment = {name: value for name, value in os.environ.items() if name != "ATEN_CPU_CAPABILITY"}
    if capability is not None:
        environment["ATEN_CPU_CAPABILITY"] = capability
    command = [
        sys.executable, "-m", "trainers.cli.app", "evaluate", str(RESULTS / recipe), "--repeats", str(repeats),
        "--json", "-",
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Measure every robot, and say which hang on last bits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*")
    parser.add_argument("--repeats", type=int, default=4)
    options = parser.parse_args()
    names = options.recipes or sorted(
        path.parent.name for path in RESULTS.glob("*/summary.json") if path.parent.name.startswith(ROBOTS)
    )
    figures = {}
    for recipe in names:
        found = {name: measured(recipe, capability, options.repeats) for name, capability in SETS.items()}
        means = {name: one["mean"][-1] for name, one in found.items()}
        spread = max(means.values()) - min(means.values())
        figures[recipe] = {"mean": {name: round(value, 2) for name, value in means.items()}}
        if (interval := found["own"]["ci95"][-1]) is None:  # one training seed on all the tasks that there are
            figures[recipe] |= {"interval": None, "spread over the mean's size": round(spread / abs(means["own"]), 4)}
        else:
            low, high = interval
            figures[recipe] |= {
                "interval": [round(low, 2), round(high, 2)],
                "spread over the interval's width": round(spread / (high - low), 3),
                "within a quarter": spread <= (high - low) / 4,
            }
        print(recipe, figures[recipe], flush=True)
        record("instruction_sets", {recipe: figures[recipe] | {"repeats": options.repeats}}, keep=True)


if __name__ == "__main__":
    main()
