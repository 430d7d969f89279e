"""The GRU with its gradient written out, against torch's by autograd."""

from __future__ import annotations

import pytest
import torch

from agents.functional.gru import GRUSequence


def example(steps, rows, inputs, size, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = (steps, rows, inputs), (rows, size), (3 * size, inputs), (3 * size, size), (3 * size,), (3 * size,)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def by_torch(inputs, hidden, *parameters):
    return torch.gru(inputs, hidden[None], list(parameters), True, 1, 0.0, False, False, False)[0]


@pytest.mark.parametrize(("steps", "rows", "inputs", "size"), [(1, 1, 1, 1), (2, 3, 4, 5), (13, 6, 2, 7)])
@pytest.mark.parametrize("seed", range(3))
def test_states_and_every_gradient_are_those_of_torch(steps, rows, inputs, size, seed):
    arguments = example(steps, rows, inputs, size, seed)
    weight = torch.randn(steps, rows, size, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    found = []
    for function in (GRUSequence.apply, by_torch):
        states = function(*arguments)
        found.append([states, *torch.autograd.grad((weight * states).sum(), arguments)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


def test_gradients_are_finite_differences():
    assert torch.autograd.gradcheck(GRUSequence.apply, example(3, 2, 3, 4, 0))


def test_a_loss_of_the_last_state_alone_reaches_the_first_input():
    inputs, *others = example(6, 2, 3, 4, 5)
    ours, theirs = (
        torch.autograd.grad(function(inputs, *others)[-1].sum(), inputs)[0]
        for function in (GRUSequence.apply, by_torch)
    )
    assert ours[0].abs().max() > 0
    torch.testing.assert_close(ours, theirs)


def test_it_is_differentiable_once_and_says_so():
    arguments = example(2, 1, 2, 3, 0)
    (gradient,) = torch.autograd.grad(GRUSequence.apply(*arguments).square().sum(), arguments[3], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
