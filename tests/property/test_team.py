"""Learners that share an update come to the bits of one alone: every algorithm, with teams of threads.

But for TRPO, whose forward derivatives torch keeps for the whole process: it is in processes, which need no Ray here.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch

from agents.team import Alone, microbatches, sum_parts
from envs.navigation.point_nav import PointNav
from tests.helpers import TINY_PEARL, sample, some_tasks
from trainers.cluster.team import ProcessTeam
from trainers.recipes.assembling import build
from trainers.recipes.schema import Recipe

CPU = torch.device("cpu")
MAML = ["agent.meta_batch_size=5", "agent.rollouts=4", "agent.hidden_sizes=[16, 16]", "agent.task_chunk=2"]
IN_CONTEXT = ["agent.meta_batch_size=6", "agent.microbatches=3", "agent.num_minibatches=2", "agent.update_epochs=2"]
CASES = {
    "maml": ("point_nav_maml", MAML),
    "maml_trpo": ("point_nav_maml_trpo", MAML),
    "maml_step_sizes": ("point_nav_metasgd", MAML),
    "reptile": ("point_nav_reptile", MAML),
    "rl2": ("point_nav_rl2", IN_CONTEXT),
    "rl2_bptt": ("point_nav_rl2", [*IN_CONTEXT, "agent.bptt_steps=30"]),
    "varibad": ("point_nav_varibad", IN_CONTEXT),
    "varibad_into_encoder": ("point_nav_varibad", [*IN_CONTEXT, "agent.policy_into_encoder=true"]),
    "pearl": ("point_nav_maml", [*TINY_PEARL, "agent.meta_batch_size=3", "agent.microbatches=3"]),
}
FINER = {"rl2", "varibad", "varibad_into_encoder", "pearl"}


class Meeting:
    """Where threads leave what they have computed."""

    def __init__(self, size):
        self.barrier = threading.Barrier(size, timeout=60)
        self.blocks = [[] for _ in range(size)]


class ThreadTeam:
    def __init__(self, rank, size, meeting):
        self.rank, self.size, self._meeting = rank, size, meeting
        self.computed = 0

    def map(self, lengths, compute):
        """Every other part is this thread's: not the blocks that processes take, and the sums are the same."""
        own = {part: compute(part) for part in range(self.rank, len(lengths), self.size)}
        assert all(value.shape == (lengths[part],) for part, value in own.items())
        self.computed += len(own)
        self._meeting.blocks[self.rank] = own
        self._meeting.barrier.wait()
        everything = {part: value for block in self._meeting.blocks for part, value in block.items()}
        self._meeting.barrier.wait()
        return [everything[part] for part in range(len(lengths))]


def recipe(name, *more):
    shipped, small = CASES[name]
    return Recipe.load(shipped, ["device=cpu", "workers=0", *small, *more])


def two_updates(name, team, *more):
    """A learner after two updates on trials of its own first weights."""
    one, family = recipe(name, *more), PointNav()
    agent, learner = build(one, family, CPU)
    learner.join(team)
    first = build(one, family, CPU)[1]
    metrics = []
    for iteration in range(2):
        plan = first.plan(iteration)
        tasks = some_tasks(plan.tasks if isinstance(plan.tasks, int) else len(plan.tasks))
        metrics.append(learner.update(sample(agent, first, tasks, plan.rounds, iteration=iteration)))
    return learner, metrics


def tensors_of(state):
    if isinstance(state, torch.Tensor):
        return [state]
    if isinstance(state, dict):
        return [tensor for key in sorted(state, key=str) for tensor in tensors_of(state[key])]
    return [tensor for one in state for tensor in tensors_of(one)] if isinstance(state, (list, tuple)) else []


@pytest.mark.parametrize("name", [name for name in CASES if name != "maml_trpo"])
def test_a_team_of_any_size_comes_to_the_bits_of_one(name):
    alone, expected = two_updates(name, Alone())
    assert alone.parts() >= 3
    wanted = tensors_of(alone.state_dict())
    for size in (2, 3):
        meeting = Meeting(size)
        teams = [ThreadTeam(rank, size, meeting) for rank in range(size)]
        with ThreadPoolExecutor(size) as threads:
            for learner, metrics in threads.map(lambda team: two_updates(name, team), teams):
                assert metrics == expected
                found = tensors_of(learner.state_dict())
                assert len(found) == len(wanted)
                assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
        assert all(team.computed for team in teams), "each has done a share"


SHARED = [(6, 6, 3), (5,), (2, 0, 4, 4, 1, 1, 1)]
"""Lengths of parts: as many as processes, fewer, more; in all of them some differ."""


def in_a_process(rank, size, folder):
    """One process of a team: saves what it gets of some maps, and of TRPO's updates."""
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(str(folder / "store"), size)
    wait = timedelta(seconds=120)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=wait)
    team, computed = ProcessTeam(CPU), []

    def part(number, length):
        computed.append(number)
        return torch.arange(length) + 10.0 * number

    found = [team.map(lengths, lambda number, of=lengths: part(number, of[number])) for lengths in SHARED]
    counted = team.floats
    learner, metrics = two_updates("maml_trpo", team)
    torch.save((found, computed, counted, metrics, tensors_of(learner.state_dict())), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_processes_share_parts_of_any_lengths_and_trpos_updates(tmp_path):
    size = 3
    processes = torch.multiprocessing.start_processes(
        in_a_process, args=(size, tmp_path), nprocs=size, join=False, start_method="spawn"
    )
    ends = time.monotonic() + 300
    while not processes.join(timeout=5):
        if time.monotonic() > ends:
            for process in processes.processes:
                process.kill()
            pytest.fail("the processes did not end within 300 s")
    alone, expected = two_updates("maml_trpo", Alone())
    wanted, everything = tensors_of(alone.state_dict()), []
    for rank in range(size):
        found, computed, floats, metrics, state = torch.load(tmp_path / f"{rank}.pt")
        everything += computed
        for parts, lengths in zip(found, SHARED, strict=True):
            assert [part.tolist() for part in parts] == [
                [entry + 10.0 * number for entry in range(length)] for number, length in enumerate(lengths)
            ]
        # The largest blocks are 6 of (6 | 6 | 3), 5 of ( | | 5) and 8 of (2 0 | 4 4 | 1 1 1), from each of two others.
        assert floats == 2 * (6 + 5 + 8)
        assert metrics == expected
        assert all(torch.equal(one, other) for one, other in zip(state, wanted, strict=True))
    assert sorted(everything) == sorted(number for lengths in SHARED for number in range(len(lengths))), "once each"


@pytest.mark.parametrize("name", sorted(FINER))
def test_the_gradient_of_a_minibatch_is_that_of_its_parts(name, monkeypatch):
    """Two updates in three parts and in one: the same but for rounding, which Adam's first steps would enlarge."""
    step, taken = torch.optim.Adam.step, []

    def watched(self):
        taken.append(torch.cat([value.grad.flatten() for value in self.param_groups[0]["params"]]))
        return step(self)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    more = ("agent.learning_rate=1e-6", *(["agent.vae_learning_rate=1e-6"] if "varibad" in name else []))
    (cut, some), (_, other) = (two_updates(name, Alone(), *more, f"agent.microbatches={n}") for n in (3, 1))
    assert cut.parts() == 3
    for one, another in zip(some, other, strict=True):
        assert one == pytest.approx(another, rel=2e-3, abs=1e-5)
    half = len(taken) // 2
    for one, another in zip(taken[:half], taken[half:], strict=True):
        assert float((one - another).norm()) < 1e-4 * float(another.norm())


def test_a_part_that_is_left_out_is_found():
    """The sabotage: a team that loses the last part does not come to the same gradient."""

    class Forgetful(Alone):
        def map(self, lengths, compute):
            *kept, last = super().map(lengths, compute)
            return [*kept, torch.zeros_like(last)]

    (alone, _), (other, _) = two_updates("maml", Alone()), two_updates("maml", Forgetful())
    assert any(not torch.equal(value, other.parameters[key]) for key, value in alone.parameters.items())


def test_sums_are_in_order_and_empty_parts_are_left_out():
    big, small = torch.tensor([1e8]), torch.tensor([1.0])
    assert float(sum_parts([big, small, -big])) == 0.0  # 1 is lost beside 1e8 in float32: order counts
    assert float(sum_parts([big, -big, small])) == 1.0
    assert [part.tolist() for part in microbatches(torch.arange(2), 3)] == [[0], [1]]
