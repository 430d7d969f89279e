"""Perceptrons side by side, such as twin critics, with their gradients by hand; parameters kept in one vector.

At the sizes of an actor and its critics autograd's book-keeping costs as much as the matrix products, and so do an
optimiser's calls tensor by tensor. Here a layer is a product, ReLU is done in place, gradients are written where the
optimiser finds them. Shapes: E networks, T rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from agents.functional.parameters import Parameters

Layers = list[tuple[Tensor, Tensor]]  # weights [E, in, out], biases [E, 1, out]

# A gradient through ReLU, in place: one pass, where masking takes two.
_through_relu = torch.ops.aten.threshold_backward.grad_input

# CPU libraries are slow at products with a thin matrix, such as a critic's last layer; those of the transposes, in the
# other order, are thin on the side that costs nothing.
THIN = 16  # columns


def layers_of(parameters: Parameters) -> Layers:
    """The layers in parameters named as by `init_mlp`, in order."""
    return [(parameters[f"weight_{one}"], parameters[f"bias_{one}"]) for one in range(len(parameters) // 2)]


def forward(layers: Layers, inputs: Tensor) -> list[Tensor]:
    """What every network makes of the same rows [T, in], ReLU between its layers: what each layer sees, then outputs.

    Returns:
        [E, T, in], [E, T, hidden] ..., [E, T, out]; the last one is what acting needs, `backward` needs all.
    """
    seen = [inputs.expand(len(layers[0][0]), *inputs.shape)]
    for weight, bias in layers[:-1]:
        seen.append(torch.baddbmm(bias, seen[-1], weight).relu_())
    weight, bias = layers[-1]
    if weight.shape[-1] < THIN:
        return [*seen, torch.baddbmm(bias.mT, weight.mT, seen[-1].mT).mT]
    return [*seen, torch.baddbmm(bias, seen[-1], weight)]


def backward(
    layers: Layers, seen: Sequence[Tensor], gradient: Tensor, into: Layers, learned: int | None = None
) -> Tensor:
    """Gradients of a scalar by the layers' parameters, and by what the first layer gives.

    Args:
        layers: those of `forward`, at least two.
        seen: what it returned.
        gradient: [E, T, out], of the scalar by the outputs.
        into: where the gradients of weights and biases are written.
        learned: they come from the first so many rows alone, while all are passed through; None means all.

    Returns:
        [E, T, hidden]; its product with the first weights' transpose is the gradient by the inputs.
    """
    for place in reversed(range(len(layers))):
        mine, read = gradient[:, :learned], seen[place][:, :learned]
        if mine.shape[-1] < THIN:
            into[place][0].copy_(torch.bmm(mine.mT, read).mT)
        else:
            torch.bmm(read.mT, mine, out=into[place][0])
        torch.sum(mine, 1, keepdim=True, out=into[place][1])
        if place:
            weight = layers[place][0].mT
            gradient = gradient * weight if len(weight[0]) == 1 else torch.bmm(gradient, weight)
            _through_relu(gradient, seen[place], 0, grad_input=gradient)
    return gradient
