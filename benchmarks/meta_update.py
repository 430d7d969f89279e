"""Seconds of a whole meta-update, sampling and learning, at 20 tasks x 20 rollouts x 100 steps, 2x64, two Ray workers.

Bar for MAML-TRPO: 2.5 s (pytorch-maml-rl: 6.2 s at its shipped settings on two cores). Action scale: ours acts in
[-1, 1], scaled to 0.1 m; pytorch-maml-rl in units of 0.1 m.

    python benchmarks/meta_update.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from measure import record, spread

from trainers.recipes.schema import Recipe
from trainers.runs.metrics import read
from trainers.training import running


def measure(*overrides: str) -> dict[str, dict[str, float]]:
    recipe = Recipe.load(
        "point_nav_maml_trpo", ["iterations=15", "evaluation.every=0", "checkpoints.every=15", *overrides]
    )
    with tempfile.TemporaryDirectory() as folder:
        running.train(recipe, Path(folder) / "run")
        lines = read(Path(folder) / "run" / "metrics.jsonl")[3:]
    return {
        "sampling (s)": spread([line["seconds_sampling"] for line in lines]),
        "learning (s)": spread([line["seconds_learning"] for line in lines]),
        "meta-update (s)": spread([line["seconds_sampling"] + line["seconds_learning"] for line in lines]),
    }


def main() -> None:
    record(
        "meta_update",
        {
            "MAML-TRPO, 10 CG iterations": measure(),
            "MAML-TRPO, 5 tasks differentiated at once": measure("agent.task_chunk=5"),
            "clipped surrogate, 5 epochs": measure("agent.outer={name: clip}"),
        },
    )


if __name__ == "__main__":
    main()
