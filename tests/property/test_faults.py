"""Workers that die or stall change nothing but the time: the same bits, and the others do their work."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest

from envs.navigation.point_nav import PointNav
from tests.helpers import small_maml, some_tasks
from trainers.errors import RunError
from trainers.sampling.samplers import RaySampler
from trainers.sampling.trial_loop import make_shards, random_key, run_trials

pytestmark = pytest.mark.ray
FAMILY = PointNav()


class Slow(PointNav):
    """Each step of a shard waits a little, so that there is a middle of a shard to die in."""

    def make_vector_env(self, tasks, rows):
        env = super().make_vector_env(tasks, rows)
        step = env.step

        def slowly(action):
            time.sleep(0.002)
            return step(action)

        env.step = slowly
        return env


@pytest.fixture(scope="module")
def sampler():
    agent, learner = small_maml()
    made = RaySampler(agent, Slow(), 3)
    yield made, agent, learner
    made.close()


def shards_of(agent, count=9, seed=0):
    tasks = some_tasks(count, seed=seed)
    keys = [random_key(seed, "training", 0, index) for index in range(count)]
    return make_shards(tasks, agent.trial_rounds(1, 3), keys, 1)


def process_ids(made):
    return made._ray.get([actor.__ray_call__.remote(lambda _: os.getpid()) for actor in made.actors])


def same_as_in_process(answers, agent, learner, shards):
    for answer, shard in zip(answers, shards, strict=True):
        for one, other in zip(answer, run_trials(agent, FAMILY, learner.weights(), shard), strict=True):
            assert all(np.array_equal(mine, other.arrays()[name]) for name, mine in one.arrays().items())


def test_a_worker_killed_in_the_middle_of_a_shard(sampler):
    made, agent, learner = sampler
    shards = shards_of(agent)
    victim = process_ids(made)[2]
    killer = threading.Timer(0.3, os.kill, (victim, signal.SIGKILL))
    killer.start()
    same_as_in_process(made.run(learner.weights(), shards), agent, learner, shards)
    assert not killer.is_alive()
    for _ in range(2):  # and the platform goes on afterwards
        same_as_in_process(made.run(learner.weights(), shards), agent, learner, shards)


def test_a_worker_that_stands_still_is_not_waited_for_and_comes_back(sampler):
    made, agent, learner = sampler
    victim = process_ids(made)[1]
    os.kill(victim, signal.SIGSTOP)
    try:
        for seed in (1, 2):  # its unfinished shard of the first call is nobody's in the second
            shards = shards_of(agent, seed=seed)
            same_as_in_process(made.run(learner.weights(), shards), agent, learner, shards)
        assert len(made._calls) == 1, "it is still busy with the shard that was done elsewhere"
    finally:
        os.kill(victim, signal.SIGCONT)
    deadline = time.monotonic() + 30
    while made._calls and time.monotonic() < deadline:
        shards = shards_of(agent, seed=3)
        same_as_in_process(made.run(learner.weights(), shards), agent, learner, shards)
    assert not made._calls, "it takes shards again"
    assert sorted(made._idle) == [0, 1, 2]


def test_a_worker_that_cannot_be_started_is_a_sentence(sampler, monkeypatch):
    made, agent, learner = sampler

    class Gone(made._ray.exceptions.RayError):
        pass

    def lost(_):
        raise Gone("the node is gone")

    monkeypatch.setattr(made._ray, "get", lost)
    with pytest.raises(RunError, match=r"a Ray worker cannot be used \(the node is gone\); .*resume the run"):
        made.run(learner.weights(), shards_of(agent, count=2))
