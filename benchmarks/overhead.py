"""Price of checkpoints and evaluations in a default run.

    python benchmarks/overhead.py

Trains the recipe of the README's first command as it is, and adds up the time in Loop.checkpoint and Loop.measure.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from measure import record, spread

from trainers.recipes.schema import Recipe
from trainers.training import loop, running, setup
from trainers.training.loop import Loop


class Timed(Loop):
    """A loop that keeps the book of its own overhead."""

    seconds: dict[str, list[float]] = {"checkpoint": [], "validation": [], "held-out": []}

    def checkpoint(self) -> None:
        began = time.perf_counter()
        super().checkpoint()
        self.seconds["checkpoint"].append(time.perf_counter() - began)

    def measure(self, split: str) -> Any:
        began = time.perf_counter()
        rows = super().measure(split)
        self.seconds[split].append(time.perf_counter() - began)
        return rows


def main() -> None:
    loop.Loop = Timed  # type: ignore[misc]
    recipe = Recipe.load("point_nav_maml")
    with tempfile.TemporaryDirectory() as folder:
        run = setup.create_run(recipe, Path(folder) / "run")
        began = time.perf_counter()
        running.run(run)
        whole = time.perf_counter() - began
    figures: dict[str, Any] = {"iterations": recipe.iterations, "seconds of the run": round(whole, 1)}
    for name, seconds in Timed.seconds.items():
        figures[name] = {
            "seconds": spread(seconds),
            "one, share of the run (%)": round(100 * sorted(seconds)[len(seconds) // 2] / whole, 2),
            "all, share of the run (%)": round(100 * sum(seconds) / whole, 2),
        }
    record("overhead", figures)


if __name__ == "__main__":
    main()
