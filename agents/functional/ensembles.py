"""The ensemble critic: multi-layer perceptrons side by side, such as twin critics, their gradients written out.

At the sizes of an actor and its critics autograd's bookkeeping costs as much as the matrix products. Here a layer is
one batched product, ReLU is done in place, and gradients are written where the optimiser finds them. Shapes:
E networks, T rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from agents.functional.parameters import Parameters

Layers = list[tuple[Tensor, Tensor]]  # weights [E, in, out], biases [E, 1, out]

# A gradient through ReLU, in place: one pass, where masking takes two.
_relu_backward = torch.ops.aten.threshold_backward.grad_input

# CPU libraries are slow at products with a narrow matrix, such as a critic's last layer. The product of the transposes,
# in reverse order, has the narrow matrix on the side that costs nothing.
NARROW = 16  # columns


def layers_of(parameters: Parameters) -> Layers:
    """The layers of perceptrons whose parameters are named as by `agents.nets.mlp.init_mlp`.

    Args:
        parameters: `weight_0`, `bias_0`, `weight_1`, ...

    Returns:
        (weights, biases) of each layer, in order; no copies.
    """
    return [(parameters[f"weight_{layer}"], parameters[f"bias_{layer}"]) for layer in range(len(parameters) // 2)]


def forward(layers: Layers, inputs: Tensor) -> list[Tensor]:
    """Forward pass of every network on the same rows, ReLU between layers.

    Args:
        layers: of E networks.
        inputs: [T, in] float.

    Returns:
        the input of each layer and then the outputs: [E, T, in], [E, T, hidden] ..., [E, T, out]. Acting needs the last
        one alone, `backward` all of them.
    """
    activations = [inputs.expand(len(layers[0][0]), *inputs.shape)]
    for weight, bias in layers[:-1]:
        activations.append(torch.baddbmm(bias, activations[-1], weight).relu_())
    weight, bias = layers[-1]
    if weight.shape[-1] < NARROW:
        return [*activations, torch.baddbmm(bias.mT, weight.mT, activations[-1].mT).mT]
    return [*activations, torch.baddbmm(bias, activations[-1], weight)]


def backward(
    layers: Layers, activations: Sequence[Tensor], gradient: Tensor, into: Layers, learned: int | None = None
) -> Tensor:
    """Gradients of a scalar with respect to the layers' parameters and the first layer's pre-activations.

    Args:
        layers: those of `forward`, at least two.
        activations: as `forward` returned them.
        gradient: [E, T, out], of the scalar with respect to the outputs.
        into: where the gradients of weights and biases are written.
        learned: number of leading rows that the parameters' gradients are summed over, while all rows are passed
            through; None means all.

    Returns:
        [E, T, hidden]; its product with the transposed first weights is the gradient with respect to the inputs.
    """
    for layer in reversed(range(len(layers))):
        grad_output, layer_input = gradient[:, :learned], activations[layer][:, :learned]
        if grad_output.shape[-1] < NARROW:
            into[layer][0].copy_(torch.bmm(grad_output.mT, layer_input).mT)
        else:
            torch.bmm(layer_input.mT, grad_output, out=into[layer][0])
        torch.sum(grad_output, 1, keepdim=True, out=into[layer][1])
        if layer:
            weight = layers[layer][0].mT
            gradient = gradient * weight if len(weight[0]) == 1 else torch.bmm(gradient, weight)
            _relu_backward(gradient, activations[layer], 0, grad_input=gradient)
    return gradient
