"""Learners that share an update come to the bits of one alone: every algorithm, with teams of threads.

But for TRPO, whose forward derivatives torch keeps for the whole process: it is in test_learner_group.py, in processes.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from agents.team import Alone, microbatches, sum_parts
from envs.navigation.point_nav import PointNav
from tests.helpers import TINY_PEARL, sample, some_tasks
from trainers.recipes.assembling import build
from trainers.recipes.schema import Recipe

CPU = torch.device("cpu")
MAML = ["agent.meta_batch_size=5", "agent.rollouts=4", "agent.hidden_sizes=[16, 16]", "agent.task_chunk=2"]
IN_CONTEXT = ["agent.meta_batch_size=6", "agent.microbatches=3", "agent.num_minibatches=2", "agent.update_epochs=2"]
CASES = {
    "maml": ("point_nav_maml", MAML),
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


@pytest.mark.parametrize("name", CASES)
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
