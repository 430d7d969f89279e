"""A GRU over a whole sequence on the CPU, its gradient written out. Cho et al. 2014 (arXiv:1406.1078).

Autograd over single steps spends most of its time on bookkeeping at the sizes of meta-RL (25 to 200 rows, 64 to 128
units). Here a step forward is two products and four element-wise operations into buffers, a step backward one product
and four; everything that needs no earlier step is done once for all of them. `benchmarks/rl2_update.py` times it beside
torch's, which stays the twin in the tests.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class GRUSequence(torch.autograd.Function):
    """Hidden states of all steps, as torch's GRU defines them:

        r, z = sigmoid(W x + b + V h + c),   m = V_n h + c_n,   n = tanh(W_n x + b_n + r m),   h' = (1 - z) n + z h

    Args of `apply`:
        inputs: [L, B, I] float, x.
        hidden: [B, H] float, h before the first step.
        input_weight: [3 H, I] float, W of r, z and n, one below the other.
        hidden_weight: [3 H, H] float, V.
        input_bias: [3 H] float, b.
        hidden_bias: [3 H] float, c.

    Returns:
        [L, B, H]; differentiable once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        hidden: Tensor,
        input_weight: Tensor,
        hidden_weight: Tensor,
        input_bias: Tensor,
        hidden_bias: Tensor,
    ) -> Tensor:
        steps, rows, size = len(inputs), *hidden.shape
        input_products = torch.addmm(input_bias, inputs.flatten(0, 1), input_weight.t()).view(steps, rows, 3 * size)
        input_products[..., : 2 * size] += hidden_bias[: 2 * size]
        gates = inputs.new_empty(steps, rows, 2 * size)  # r and z
        remembered, new = inputs.new_empty(steps, rows, size), inputs.new_empty(steps, rows, size)  # m and n
        states = inputs.new_empty(steps + 1, rows, size)
        states[0] = hidden
        to_gates, to_new, bias = hidden_weight[: 2 * size].t(), hidden_weight[2 * size :].t(), hidden_bias[2 * size :]
        for before, after, input_gates, input_new, r_z, r, z, m, n in zip(
            states[:-1], states[1:], input_products[..., : 2 * size], input_products[..., 2 * size :],
            gates, gates[..., :size], gates[..., size:], remembered, new, strict=True,
        ):  # fmt: skip
            torch.addmm(input_gates, before, to_gates, out=r_z).sigmoid_()
            torch.addmm(bias, before, to_new, out=m)
            torch.addcmul(input_new, r, m, out=n).tanh_()
            torch.lerp(n, before, z, out=after)
        ctx.save_for_backward(inputs, input_weight, hidden_weight, states, gates, remembered, new)
        return states[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, input_weight, hidden_weight, states, gates, m, n = ctx.saved_tensors
        steps, rows, size = n.shape
        r, z, before = gates[..., :size], gates[..., size:], states[:-1]
        # Factors from the gradient of h' to that of each gate's pre-activation; of n, to V_n h + c_n behind r.
        grad_new_factor = (1 - z) * (1 - n * n)
        factors = inputs.new_empty(steps, rows, 3, size)
        torch.mul(grad_new_factor * m, r * (1 - r), out=factors[:, :, 0])
        torch.mul((before - n) * z, 1 - z, out=factors[:, :, 1])
        torch.mul(grad_new_factor, r, out=factors[:, :, 2])
        sums, grad_states = torch.empty_like(factors), torch.empty_like(n)
        flat = sums.view(steps, rows, 3 * size)
        running, kept = gradient[-1], torch.empty_like(n[0])
        for step in range(steps - 1, -1, -1):
            grad_states[step] = running
            torch.mul(factors[step], running.unsqueeze(1), out=sums[step])
            torch.mul(running, z[step], out=kept)
            running = torch.addmm(kept, flat[step], hidden_weight)
            if step:
                running += gradient[step - 1]
        grad_hidden_weight = flat.flatten(0, 1).t() @ before.flatten(0, 1)
        grad_hidden_bias = flat.sum((0, 1))
        torch.mul(grad_new_factor, grad_states, out=sums[:, :, 2])
        grad_input_weight = flat.flatten(0, 1).t() @ inputs.flatten(0, 1)
        grad_inputs = flat @ input_weight if ctx.needs_input_grad[0] else None
        return grad_inputs, running, grad_input_weight, grad_hidden_weight, flat.sum((0, 1)), grad_hidden_bias
