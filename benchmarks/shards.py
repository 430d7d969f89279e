"""Cost of a shard of every shipped recipe, and how many an iteration has.

    python benchmarks/shards.py [RECIPE ...]

Processor seconds of one thread, so that other work on the machine does not count, that sampling a full shard of a usual
iteration takes, median of three after a first one. With few shards an iteration a further worker adds nothing: recipes
whose shard costs over 50 ms have at least 8, or one for each task. A test compares this record with the recipes.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from measure import record, spread

from trainers.process import keep_freed_memory
from trainers.recipes import loading, registry
from trainers.recipes.assembling import build
from trainers.recipes.schema import Recipe
from trainers.sampling.planned_tasks import planned_tasks
from trainers.sampling.random_streams import random_key
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials
from trainers.training.setup import frozen_task_sets

ITERATION = 1  # an off-policy agent's first one is another
REPEATS = 3


def measure(recipe: Recipe) -> dict[str, Any]:
    """Shards of an iteration, and the seconds of one."""
    family = registry.family(recipe.family, task_in_observation=recipe.task_in_observation)
    agent, learner = build(recipe, family, torch.device("cpu"))
    plan, size = learner.plan(ITERATION), recipe.sampling.tasks_per_shard
    tasks = planned_tasks(plan, family, frozen_task_sets(recipe, family).get("train"), recipe.seed, ITERATION)
    keys = [random_key(recipe.seed, "training", ITERATION, trial) for trial in range(len(tasks) * plan.trials_per_task)]
    shards = make_shards(tasks, plan.rounds, keys, size)
    weights, seconds = learner.weights(), []
    for _ in range(1 + REPEATS):
        began = time.process_time()
        run_trials(agent, family, weights, shards[0])
        seconds.append(time.process_time() - began)
    return {
        "tasks an iteration": len(tasks),
        "tasks a shard": size,
        "shards an iteration": len(shards),
        "seconds of a shard": spread([round(one, 4) for one in seconds[1:]]),
    }


def main() -> None:
    keep_freed_memory()
    torch.set_num_threads(1)
    names = sys.argv[1:] or sorted(path.stem for path in loading.SHIPPED.glob("*.yaml"))
    figures = {}
    for name in names:
        figures[name] = measure(Recipe.load(name))
        print(name, figures[name], flush=True)
    record("shards", figures, keep=bool(sys.argv[1:]))


if __name__ == "__main__":
    main()
