"""Workers that die or stall change nothing but the time: the same bits, and the others do their work."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from envs.navigation.point_nav import PointNav
from tests.helpers import small_maml, some_tasks
from trainers.cluster.readiness import Readiness
from trainers.errors import ClusterError, SamplingError
from trainers.sampling import ray_sampler
from trainers.sampling.random_streams import random_key
from trainers.sampling.ray_sampler import RaySampler
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials
from trainers.stopping import StopRequest

pytestmark = pytest.mark.ray
FAMILY = PointNav()
NO_HANG_S = 300  # no test waits this long unless something is broken


class Logged(PointNav):
    """Each shard leaves its process id in `<folder>/log`; who finds `<folder>/die` kills its process amid a shard."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def make_vector_env(self, tasks, rows):
        with (self.folder / "log").open("a") as log:
            log.write(f"{os.getpid()}\n")
        env = super().make_vector_env(tasks, rows)
        step, steps = env.step, iter(range(10**9))

        def stepped(action):
            if next(steps) == 50 and (self.folder / "die").exists():
                try:
                    (self.folder / "die").rename(self.folder / f"died-{os.getpid()}")
                except FileNotFoundError:
                    pass  # another worker was first
                else:
                    os.kill(os.getpid(), signal.SIGKILL)
            return step(action)

        env.step = stepped
        return env

    def workers_seen(self) -> set[int]:
        """The processes that began a shard since the last call."""
        seen = {int(line) for line in (self.folder / "log").read_text().split()}
        (self.folder / "log").write_text("")
        return seen


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    agent, learner = small_maml()
    family = Logged(tmp_path_factory.mktemp("faults"))
    made = RaySampler(3)
    yield made, agent, learner, family
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


def wait_for_all(made):
    """Every worker is done with what it was given, also with what nobody waits for."""
    answers = list(made._calls)
    if answers:
        _, unfinished = made._ray.wait(answers, num_returns=len(answers), timeout=NO_HANG_S)
        assert not unfinished


def test_a_worker_killed_in_the_middle_of_a_shard(sampler):
    made, agent, learner, family = sampler
    shards = shards_of(agent)
    before = set(process_ids(made))
    (family.folder / "die").touch()
    same_as_in_process(made.run(agent, family, learner.weights(), shards), agent, learner, shards)
    (died,) = family.folder.glob("died-*")
    assert int(died.name.removeprefix("died-")) in before
    for _ in range(2):  # and the platform goes on afterwards
        same_as_in_process(made.run(agent, family, learner.weights(), shards), agent, learner, shards)
    assert len(set(process_ids(made)) - before) == 1, "its place was taken"


def test_a_worker_that_stands_still_is_not_waited_for_and_comes_back(sampler):
    """Neither call waits for the clock: the worker stands until both returned, and goes on when the test says so."""
    made, agent, learner, family = sampler
    wait_for_all(made)  # so that the worker takes a shard of the next call
    victim = process_ids(made)[1]
    os.kill(victim, signal.SIGSTOP)
    try:
        left = []
        for seed in (1, 2):  # its unfinished shard of the first call is nobody's in the second
            shards = shards_of(agent, seed=seed)
            same_as_in_process(made.run(agent, family, learner.weights(), shards), agent, learner, shards)
            ((answer, call),) = ((answer, call) for answer, call in made._calls.items() if call.worker == 1)
            assert call.shard is None, "nobody waits for its answer"
            left.append(answer)
        assert left[0] == left[1], "it is still busy with the shard that was done elsewhere"
    finally:
        os.kill(victim, signal.SIGCONT)
    wait_for_all(made)
    family.workers_seen()
    shards = shards_of(agent, seed=3)
    same_as_in_process(made.run(agent, family, learner.weights(), shards), agent, learner, shards)
    assert victim in family.workers_seen(), "it takes shards again"
    assert left[0] not in made._calls


def test_a_worker_that_cannot_be_started_is_a_sentence(sampler, monkeypatch):
    made, agent, learner, family = sampler

    class Gone(made._ray.exceptions.RayError):
        pass

    def lost(_):
        raise Gone("the node is gone")

    monkeypatch.setattr(made._ray, "get", lost)
    with pytest.raises(ClusterError, match=r"a Ray worker cannot be used \(the node is gone\); .*resume the run"):
        made.run(agent, family, learner.weights(), shards_of(agent, count=2))


class Crashing(PointNav):
    """Its simulator takes the process down."""

    def make_vector_env(self, tasks, rows):
        os._exit(139)


class Hanging(PointNav):
    """Its simulator never comes back."""

    def make_vector_env(self, tasks, rows):
        time.sleep(NO_HANG_S)


def test_a_shard_whose_workers_all_die_is_given_up_and_its_task_named(sampler):
    made, agent, learner, _ = sampler
    wait_for_all(made)
    with pytest.raises(SamplingError, match=r"3 workers ended, one after the other.*task {'goal_m': .*workers=0"):
        made.run(agent, Crashing(), learner.weights(), shards_of(agent, count=1))


def test_workers_killed_for_memory_are_named_with_what_to_lower(sampler, monkeypatch):
    made, agent, learner, _ = sampler
    wait_for_all(made)
    monkeypatch.setattr(ray_sampler, "out_of_memory_kills", lambda: made._kills + 1)
    with pytest.raises(ClusterError, match=r"killed for lack of memory .*; lower workers, sampling.tasks_per_shard"):
        made.run(agent, Crashing(), learner.weights(), shards_of(agent, count=1))


def test_the_only_shard_of_a_call_is_taken_over_from_a_worker_that_stands_still(sampler, monkeypatch):
    """No shard of this call is done that could say how long one takes: earlier calls', or a fixed time, do."""
    made, agent, learner, family = sampler
    made.run(agent, family, learner.weights(), shards_of(agent))
    wait_for_all(made)
    for seed, earlier in ((4, True), (5, False)):
        if not earlier:
            made._durations.clear()
            monkeypatch.setattr(made, "FIRST_OVERDUE_S", 0.5)
        victim = process_ids(made)[made._idle[-1]]  # who gets the next shard
        os.kill(victim, signal.SIGSTOP)
        try:
            shards = shards_of(agent, count=1, seed=seed)
            same_as_in_process(made.run(agent, family, learner.weights(), shards), agent, learner, shards)
            assert made._calls, "the one that stands still has it too"
        finally:
            os.kill(victim, signal.SIGCONT)
        wait_for_all(made)
        made.run(agent, family, learner.weights(), shards_of(agent))  # takes its late answer in


def test_shards_that_no_worker_finishes_are_given_up_and_their_task_named(sampler, monkeypatch):
    made, agent, learner, _ = sampler
    monkeypatch.setattr(made, "_timeout_s", 2.0)
    with pytest.raises(
        SamplingError, match=r"no worker has sampled task {'goal.* within 2 s.*sampling.shard_timeout_s"
    ):
        made.run(agent, Hanging(), learner.weights(), shards_of(agent, count=1))


def test_workers_without_a_free_cpu_are_waited_for_aloud_and_not_for_ever(sampler, monkeypatch):
    _, agent, learner, family = sampler
    said = []
    monkeypatch.setattr(Readiness, "NOTICE_S", 0.1)
    monkeypatch.setattr(Readiness, "START_S", 2.0)
    second = RaySampler(2, StopRequest(said.append))
    try:
        with pytest.raises(
            ClusterError, match=r"2 of 2 workers are not ready.* has 3, 0 of them free; that was so for"
        ):
            second.run(agent, family, learner.weights(), shards_of(agent, count=2))
        (one,) = said
        assert "each needs a CPU, and Ray on this machine has 3, 0 of them free; if none becomes free within 2 s" in one
    finally:
        second.close()


def test_ray_is_in_a_session_of_its_own_and_its_death_is_a_sentence_within_seconds(sampler):
    """Last, for it takes Ray away."""
    made, agent, learner, _ = sampler
    ours = [
        info.process.pid for infos in made._ray._private.worker._global_node.all_processes.values() for info in infos
    ]
    assert ours
    assert all(os.getsid(one) != os.getsid(0) for one in ours)
    (raylet,) = made._ray._private.worker._global_node.all_processes["raylet"]
    os.kill(raylet.process.pid, signal.SIGKILL)
    raylet.process.wait()  # a call into Ray while it is dying would end this process
    with pytest.raises(ClusterError, match="Ray's raylet process has ended"):
        made.run(agent, Hanging(), learner.weights(), shards_of(agent, count=2))
