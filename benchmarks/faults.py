"""Price of a dead and of a stalled worker: the same bits, and how much longer the iteration takes.

    python benchmarks/faults.py

Three Ray workers share twelve shards. Dead: one is killed in the middle of a shard. Stalled: one gets a tenth of its
time for the whole iteration (stopped for 90 of every 100 ms). Beside it what no remedy would cost: the same stall while
overdue shards are not given to others.
"""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from measure import record, spread

from agents.contract import TrialBatch
from envs.navigation.point_nav import PointNav
from trainers.recipes import registry
from trainers.recipes.assembling import build
from trainers.recipes.schema import Recipe
from trainers.sampling.random_streams import random_key
from trainers.sampling.ray_sampler import RaySampler
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials
from trainers.training.setup import choose_device

TASKS, TASKS_PER_SHARD, WORKERS, REPEATS = 48, 4, 3, 7


@contextmanager
def stalled(process_id: int) -> Iterator[None]:
    """The process runs for 10 of every 100 ms."""
    over = threading.Event()

    def hold() -> None:
        while not over.is_set():
            os.kill(process_id, signal.SIGSTOP)
            over.wait(0.09)
            os.kill(process_id, signal.SIGCONT)
            over.wait(0.01)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        os.kill(process_id, signal.SIGCONT)


@contextmanager
def killed(process_id: int, after: float) -> Iterator[None]:
    timer = threading.Timer(after, os.kill, (process_id, signal.SIGKILL))
    timer.start()
    try:
        yield
    finally:
        timer.join()


def same(one: list[TrialBatch], other: list[TrialBatch]) -> bool:
    pairs = [(a, b) for first, second in zip(one, other, strict=True) for a, b in zip(first, second, strict=True)]
    return all(np.array_equal(a.arrays()[name], b.arrays()[name]) for a, b in pairs for name in a.arrays())


def main() -> None:
    recipe = Recipe.load("point_nav_maml")
    family = PointNav()
    agent, learner = build(recipe, registry.family(recipe.family), choose_device("cpu"))
    tasks = family.sample(TASKS, np.random.default_rng(0), "train")
    keys = [random_key(0, "training", 0, index) for index in range(TASKS)]
    shards = make_shards(tasks, learner.plan(0).rounds, keys, TASKS_PER_SHARD)
    weights = learner.weights()
    expected = [run_trials(agent, family, weights, shard) for shard in shards]
    sampler = RaySampler(WORKERS)
    ids = sampler._ray.get([actor.__ray_call__.remote(lambda _: os.getpid()) for actor in sampler.actors])
    answers = []

    def iteration() -> float:
        began = time.perf_counter()
        answers.append(sampler.run(agent, family, weights, shards))
        return time.perf_counter() - began

    for _ in range(3):
        iteration()  # workers import and warm up
    normal, stall, bare = [], [], []
    for _ in range(REPEATS):  # side by side, for the machine has moods
        normal.append(iteration())
        with stalled(ids[0]):
            stall.append(iteration())
        while sampler._calls:  # until the stalled worker is back
            iteration()
        with stalled(ids[0]):
            sampler.OVERDUE = 1e6
            bare.append(iteration())
            del sampler.OVERDUE
    usual = statistics.median(normal)
    with killed(ids[1], 0.3 * usual):
        dead = iteration()
    after = [iteration() for _ in range(3)]
    sampler.close()
    figures = {
        "workers, shards": [WORKERS, len(shards)],
        "bit-identical in all iterations": all(same(expected, one) for one in answers),
        "usual iteration (s)": spread(normal),
        "one worker stalled 10 times (s)": spread(stall),
        "ratio of medians": statistics.median(stall) / usual,
        "stalled, overdue shards left to it (ratio)": statistics.median(bare) / usual,
        "one worker killed in a shard (s, ratio)": [dead, dead / usual],
        "the iterations after it (ratio)": [one / usual for one in after],
    }
    record("faults", figures)


if __name__ == "__main__":
    main()
