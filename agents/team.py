"""Learners that share a meta-update: who computes which part, and in which order the parts are summed.

A learner cuts its update into parts that its recipe fixes, whatever the number of learners, and sums them in their
order: so one learner and several come to the same bits. What is cheap (statistics, permutations, noise) each does for
itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor


class Team(Protocol):
    """The learners of a group, as one of them sees it.

    Attributes:
        rank: of this learner, from 0.
        size: learners of the group.
    """

    rank: int
    size: int

    def map(self, lengths: Sequence[int], compute: Callable[[int], Tensor]) -> list[Tensor]:
        """The flat tensors compute(i), each of lengths[i] numbers, of every part i, in their order.

        Each part is computed by one learner, and all learners get all: every one calls this in the same order.
        """


class Alone:
    """The team of one."""

    rank, size = 0, 1

    def map(self, lengths: Sequence[int], compute: Callable[[int], Tensor]) -> list[Tensor]:
        return [compute(part) for part in range(len(lengths))]


ALONE = Alone()


class TeamMember:
    """Base of learners that can share their updates (`agents.contract.TeamLearner`).

    Attributes:
        team: the learners that it shares them with.
    """

    team: Team = ALONE

    def join(self, team: Team) -> None:
        """Share every update from now on."""
        self.team = team


def blocks(length: int, count: int) -> list[range]:
    """`count` consecutive ranges of nearly equal length that together are range(length)."""
    return [range(*ends) for ends in pairwise(number * length // count for number in range(count + 1))]


def sum_parts(parts: Sequence[Tensor]) -> Tensor:
    """The sum of tensors of one shape, from the first to the last: floating-point sums depend on their order."""
    summed = parts[0]
    for part in parts[1:]:
        summed = summed + part
    return summed


def mean_of_parts(team: Team, parts: int, length: int, compute: Callable[[int], Tensor]) -> Tensor:
    """The mean of compute(i), [length], over the parts."""
    return sum_parts(team.map([length] * parts, compute)) / parts


def microbatches(indices: Tensor, count: int) -> list[Tensor]:
    """Indices [n] in `count` parts of nearly equal length, without the empty ones."""
    return [part for part in torch.tensor_split(indices, count) if len(part)]


def take_gradient(
    team: Team,
    parameters: Mapping[str, Tensor],
    parts: int,
    loss_of: Callable[[int], tuple[Tensor, Tensor]],
    *,
    terms: int,
) -> Tensor:
    """Set the parameters' gradients to those of the sum of the parts' losses; returns the sum of the parts' terms.

    Args:
        team: the learners that share the parts.
        parameters: by name.
        parts: how many there are.
        loss_of: part -> (its loss, its loss terms [terms] without gradients).
        terms: how many these are.

    Returns:
        [terms].
    """
    leaves = list(parameters.values())
    sizes = [leaf.numel() for leaf in leaves]

    def of_part(part: int) -> Tensor:
        loss, loss_terms = loss_of(part)
        gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
        return torch.cat([*(gradient.flatten() for gradient in gradients), loss_terms])

    *gradients, summed = sum_parts(team.map([sum(sizes) + terms] * parts, of_part)).split([*sizes, terms])
    for leaf, gradient in zip(leaves, gradients, strict=True):
        leaf.grad = gradient.view_as(leaf)
    return summed


@torch.no_grad()
def compute_trials(
    team: Team,
    trials: int,
    count: int,
    shapes: Mapping[str, tuple[int, ...]],
    compute: Callable[[slice], Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """Tensors [K, B, ...] of B trials, without gradients, of which each learner computes those of some trials.

    Args:
        team: the learners that share them.
        trials: B.
        count: parts that the trials are cut into, as far as they go.
        shapes: by name, [K, ...] of one trial.
        compute: slice of the trials -> their tensors [K, b, ...] by the same names.

    Returns:
        the tensors of all trials by name, float32.
    """
    pieces = blocks(trials, min(count, trials))
    lengths = [len(piece) for piece in pieces]
    sizes = [math.prod(shape) for shape in shapes.values()]

    def of_piece(part: int) -> Tensor:
        tensors = compute(slice(pieces[part].start, pieces[part].stop))
        return torch.cat([tensors[name].flatten() for name in shapes])

    flat = team.map([length * sum(sizes) for length in lengths], of_piece)
    found: dict[str, list[Tensor]] = {name: [] for name in shapes}
    for one, length in zip(flat, lengths, strict=True):
        for (name, shape), values in zip(shapes.items(), one.split([length * size for size in sizes]), strict=True):
            found[name].append(values.view(shape[0], length, *shape[1:]))
    return {name: torch.cat(parts, 1) for name, parts in found.items()}
