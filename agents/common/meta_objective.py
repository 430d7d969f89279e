"""The meta-objective of gradient-based meta-learning: its exact meta-gradient and its Fisher information, no state.

Methods named for one task know no task axis; `over_tasks` adds it by `torch.func.vmap`, there and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from agents.functional.inner_loop import StepSize, adapt, scale_step, split_tasks, subtract, task_chunk_size
from agents.functional.parameters import Parameters, flatten, unflatten
from agents.functional.policy_losses import clipped_surrogate, likelihood_ratio, log_likelihood
from agents.nets.policies import Distribution, Policy
from agents.team import ALONE, Team, sum_parts

InnerObjective = Literal["likelihood_ratio", "log_likelihood"]
ActingDistributions = Callable[[int], list[Distribution]]  # of each round, of the tasks of a chunk by its number
STEP_SIZE = "step_size/"  # before a parameter's name: its learned step sizes, among the meta-parameters


class Steps(NamedTuple):
    """One round as flat steps T = R * L, ready for the losses: of B tasks, or of one (no B) inside `vmap`."""

    features: Tensor  # [B, T, O]
    action: Tensor  # [B, T, ...]
    advantage: Tensor  # [B, T], normalised per task
    log_prob: Tensor  # [B, T], of the acting policy
    weight: Tensor  # [B, T], 1 / valid steps, 0 for padding


class LossTerms(NamedTuple):
    """Means over tasks at some meta-parameters."""

    loss: float
    kl: float  # nats, from the adapted policies that acted
    entropy: float  # nats, of the last adapted policy


@dataclass(frozen=True)
class MetaObjective:
    """The outer loss of meta-parameters. Finn et al. 2017, algorithm 3; Rothfuss et al. 2019, eq. 12-14.

    Attributes:
        policy: the policy whose parameters are adapted.
        step_sizes: one for each of the K inner steps; where step sizes are learned, their ratio to the first scales
            the learned ones.
        inner_objective: the loss that an inner step descends.
        outer_loss_weights: of the policies after the last inner steps, summing to 1: (1.0,) is the loss of theta_K
            alone, (w_1, ..., w_K) that of the policies after every inner step.
        clip_range: epsilon of the clipped surrogate; None for the plain likelihood ratio (TRPO).
        inner_kl_coef: weight of the KL of the policies before the last one, from those that acted.
        first_order: inner gradients are constants to the outer derivative (FOMAML).
        task_chunk: tasks differentiated at once; None: as many as memory should hold (`task_chunk_size`).
        team: the learners that share the chunks.

    The meta-parameters are the policy's, and with learned step sizes (Meta-SGD) as many again, named `step_size/...`.
    """

    policy: Policy
    step_sizes: tuple[float, ...]
    inner_objective: InnerObjective
    outer_loss_weights: tuple[float, ...] = (1.0,)
    clip_range: float | None = None
    inner_kl_coef: float = 0.0
    first_order: bool = False
    task_chunk: int | None = None
    team: Team = ALONE

    # -- one task

    def inner_loss(self, parameters: Parameters, steps: Steps) -> Tensor:
        """The loss that one inner step descends: minus the expected advantage."""
        log_prob = self.policy.log_prob(self.policy.distribution(parameters, steps.features), steps.action)
        if self.inner_objective == "log_likelihood":
            return log_likelihood(log_prob, steps.advantage, steps.weight)
        return likelihood_ratio(log_prob, steps.log_prob, steps.advantage, steps.weight)

    def distributions(self, parameters: Parameters, rounds: list[Steps]) -> list[Distribution]:
        """Action distributions of theta_k at the steps of round k, k = 0 ... K."""
        start, step_sizes = self.unpack(parameters)
        supports = rounds[: len(self.step_sizes)]
        chain = adapt(start, supports, self.inner_loss, step_sizes, first_order=self.first_order)
        return [self.policy.distribution(theta, steps.features) for theta, steps in zip(chain, rounds, strict=True)]

    def unpack(self, parameters: Parameters) -> tuple[Parameters, list[StepSize]]:
        """Meta-parameters as (theta_0, the step size of each inner step)."""
        theta, learned = split_step_sizes(parameters)
        if not learned:
            return theta, list(self.step_sizes)
        return theta, [scale_step(learned, ratio) for ratio in self._ratios]

    @property
    def _ratios(self) -> list[float]:
        return [size / self.step_sizes[0] for size in self.step_sizes]

    @property
    def _outer_rounds(self) -> slice:
        return slice(len(self.step_sizes) + 1 - len(self.outer_loss_weights), None)

    def task_loss(self, parameters: Parameters, rounds: list[Steps], old: list[Distribution]) -> tuple[Tensor, Tensor]:
        """Outer loss of one task, and [loss, KL from `old`, entropy], whose gradients are not used."""
        new = self.distributions(parameters, rounds)
        divergence = torch.stack(
            [
                (steps.weight * self.policy.kl(before, after)).sum()
                for steps, before, after in zip(rounds, old, new, strict=True)
            ]
        )
        outer = zip(new[self._outer_rounds], rounds[self._outer_rounds], strict=True)
        loss = self._weighed([self._surrogate(distribution, steps) for distribution, steps in outer])
        if self.inner_kl_coef and self.step_sizes:
            loss = loss + self.inner_kl_coef * divergence[:-1].mean()
        entropy = (rounds[-1].weight * self.policy.entropy(new[-1])).sum()
        return loss, torch.stack([loss, self._weighed(divergence[self._outer_rounds].unbind()), entropy])

    def _weighed(self, of_rounds: Sequence[Tensor]) -> Tensor:
        """Scalars of the outer rounds, weighed and summed."""
        return sum_parts([weight * one for weight, one in zip(self.outer_loss_weights, of_rounds, strict=True)])

    def _surrogate(self, distribution: Distribution, steps: Steps) -> Tensor:
        log_prob = self.policy.log_prob(distribution, steps.action)
        if self.clip_range is None:
            return likelihood_ratio(log_prob, steps.log_prob, steps.advantage, steps.weight)
        return clipped_surrogate(log_prob, steps.log_prob, steps.advantage, steps.weight, clip_range=self.clip_range)

    # -- all tasks

    def over_tasks(self, function: Callable[..., Any], parameters: Parameters, *data: Any) -> Any:
        """`function(parameters, *data of one task)` for every task of `data`, results stacked along a leading axis."""
        return torch.func.vmap(function, in_dims=(None, *[0] * len(data)))(parameters, *data)

    def acting_distributions(self, parameters: Parameters, rounds: list[Steps]) -> ActingDistributions:
        """`distributions` of the tasks at the parameters that acted, constants: what KL is measured from.

        Those of a chunk are computed when they are first asked for: a learner of a team needs those of its own alone.
        """
        chunks = self._chunks(rounds)

        @cache
        @torch.no_grad()
        def of_chunk(part: int) -> list[Distribution]:
            of_rounds = self.over_tasks(self.distributions, parameters, chunks[part])
            return [tuple(value.contiguous() for value in distribution) for distribution in of_rounds]

        return of_chunk

    def meta_gradient(
        self, parameters: Parameters, rounds: list[Steps], old: ActingDistributions
    ) -> tuple[Parameters, LossTerms]:
        """Exact gradient of the mean outer loss over tasks, through every inner step; and its loss terms."""

        def total(theta: Parameters, *chunk: Any) -> tuple[Tensor, Tensor]:
            losses, terms = self.over_tasks(self.task_loss, theta, *chunk)
            return losses.sum(), terms.sum(0)

        chunks = self._chunks(rounds)

        def of_chunk(part: int) -> Tensor:
            gradient, terms = torch.func.grad(total, has_aux=True)(parameters, chunks[part], old(part))
            return torch.cat([flatten(gradient), terms.detach()])

        entries = sum(value.numel() for value in parameters.values())
        summed = sum_parts(self.team.map([entries + 3] * len(chunks), of_chunk)) / len(rounds[0].weight)
        return unflatten(summed[:entries], parameters), LossTerms(*summed[entries:].tolist())

    def loss_terms(self, parameters: Parameters, rounds: list[Steps], old: ActingDistributions) -> LossTerms:
        """Outer loss, KL and entropy at these parameters."""
        chunks = self._chunks(rounds)

        def of_chunk(part: int) -> Tensor:
            return self.over_tasks(self.task_loss, parameters, chunks[part], old(part))[1].flatten()

        with torch.no_grad():
            terms = self.team.map([3 * len(chunk[0].weight) for chunk in chunks], of_chunk)
        return LossTerms(*torch.cat(terms).view(-1, 3).mean(0).tolist())

    def fisher_product(self, parameters: Parameters, rounds: list[Steps], damping: float) -> Callable[[Tensor], Tensor]:
        """v [P] -> (F + damping I) v, F the Hessian at `parameters` of the mean KL between adapted policies.

        The KL's gradient is zero here, so F holds no second derivative of the inner steps: with J_k = I - a_k H_k the
        Jacobian of inner step k and G_k the Fisher information of the policy after k steps,

            F = sum over k of the outer loss of w_k (J_k-1 ... J_0)^T G_k (J_k-1 ... J_0).

        A learned step size adds the column -slope_k to J_k; with `first_order` every H_k counts as 0.
        H_k is symmetric, so one retained backward graph of the inner gradient serves J v and J^T w alike: half the
        price of differentiating the whole chain forwards and backwards anew.
        """
        chunks = self._chunks(rounds)
        linear: dict[int, Callable[[Parameters], Parameters]] = {}  # of the chunks that this learner computes
        tasks = len(rounds[0].weight)

        def product(vector: Tensor) -> Tensor:
            tangent = unflatten(vector, parameters)

            def of_chunk(part: int) -> Tensor:
                if part not in linear:
                    linear[part] = self._linearise(parameters, chunks[part])
                return flatten(linear[part](tangent))

            return sum_parts(self.team.map([len(vector)] * len(chunks), of_chunk)) / tasks + damping * vector

        return product

    def _linearise(self, parameters: Parameters, rounds: list[Steps]) -> Callable[[Parameters], Parameters]:
        """v -> F v summed over these tasks."""
        tasks = len(rounds[0].weight)
        theta, step_sizes = self.unpack(copy_per_task(parameters, tasks))
        slopes: list[Parameters] = []
        hessians: list[Callable[[Parameters], Parameters]] = []
        fishers: list[Callable[[Parameters], Parameters] | None] = []
        for k, steps in enumerate(rounds):
            fishers.append(partial(self._policy_fisher, theta, steps) if k >= self._outer_rounds.start else None)
            if k < len(step_sizes):
                slope, vjp = torch.func.vjp(partial(self._inner_gradients, steps), theta)  # type: ignore[misc]
                hessians.append(_zeros_like if self.first_order else partial(_constant_vjp, vjp))
                slopes.append({name: value.detach() for name, value in slope.items()})
                theta = subtract(theta, scale_step(slopes[k], step_sizes[k]))

        # A tangent is (of theta_k, of the learned step sizes a): d theta_k+1 = (I - a H) d theta_k - slope * d a.
        def jvp_step(k: int, tangent: Parameters, rates: Parameters) -> Parameters:
            step = scale_step(hessians[k](tangent), step_sizes[k])
            of_rates = {name: self._ratios[k] * slopes[k][name] * value for name, value in rates.items()}
            return subtract(tangent, {name: value + of_rates.get(name, 0) for name, value in step.items()})

        def vjp_step(k: int, cotangent: Parameters, rates: Parameters) -> tuple[Parameters, Parameters]:
            rates = {name: rate - self._ratios[k] * slopes[k][name] * cotangent[name] for name, rate in rates.items()}
            return subtract(cotangent, hessians[k](scale_step(cotangent, step_sizes[k]))), rates

        def product(vector: Parameters) -> Parameters:
            tangent, rates = split_step_sizes(copy_per_task(vector, tasks))
            images: list[Parameters | None] = []
            for k, fisher in enumerate(fishers):
                images.append(None if fisher is None else fisher(tangent))
                if k < len(hessians):
                    tangent = jvp_step(k, tangent, rates)
            cotangent, grad_rates = _zeros_like(tangent), _zeros_like(rates)
            for k in range(len(fishers) - 1, -1, -1):
                if k < len(hessians):
                    cotangent, grad_rates = vjp_step(k, cotangent, grad_rates)
                image = images[k]
                if image is not None:
                    weight = self.outer_loss_weights[k - self._outer_rounds.start]
                    cotangent = {name: value + weight * image[name] for name, value in cotangent.items()}
            return {name: value.sum(0) for name, value in join_step_sizes(cotangent, grad_rates).items()}

        return product

    def _inner_gradients(self, steps: Steps, theta: Parameters) -> Parameters:
        """Gradients of the inner loss, each task at its own parameters [B, ...]."""
        return torch.func.vmap(torch.func.grad(self.inner_loss))(theta, steps)

    def _policy_fisher(self, theta: Parameters, steps: Steps, tangent: Parameters) -> Parameters:
        """G v of each task: the Fisher information of its policy at its own parameters, over its steps."""

        def distribution(at: Parameters) -> Distribution:
            return self.policy.distribution(at, steps.features)

        output, output_tangent = torch.func.jvp(distribution, (theta,), (tangent,))  # type: ignore[misc]
        weight = steps.weight.unsqueeze(-1)
        _, vjp = torch.func.vjp(distribution, theta)  # type: ignore[misc]
        (image,) = vjp(tuple(part * weight for part in self.policy.fisher(output, output_tangent)))
        return {name: value.detach() for name, value in image.items()}

    def _chunks(self, rounds: list[Steps]) -> list[list[Steps]]:
        weight = rounds[0].weight
        tasks, steps = weight.shape
        steps *= self.policy.encoder.memory_factor
        return split_tasks(rounds, tasks, task_chunk_size(self.task_chunk, steps, weight.device))


def split_step_sizes(parameters: Parameters) -> tuple[Parameters, Parameters]:
    """Meta-parameters as (the policy's, their learned step sizes by the same names; empty where none are learned)."""
    theta = {name: value for name, value in parameters.items() if not name.startswith(STEP_SIZE)}
    learned = {name: value for name, value in parameters.items() if name.startswith(STEP_SIZE)}
    return theta, {name.removeprefix(STEP_SIZE): value for name, value in learned.items()}


def join_step_sizes(theta: Parameters, step_sizes: Parameters) -> Parameters:
    """The inverse of `split_step_sizes`."""
    return theta | {f"{STEP_SIZE}{name}": value for name, value in step_sizes.items()}


def copy_per_task(parameters: Parameters, tasks: int) -> Parameters:
    """Copy parameters for each task, [tasks, ...]: batched products of merely expanded tensors are slower."""
    return {name: value.expand(tasks, *value.shape).clone() for name, value in parameters.items()}


def _zeros_like(parameters: Parameters) -> Parameters:
    return {name: torch.zeros_like(value) for name, value in parameters.items()}


def _constant_vjp(vjp: Callable[[Parameters], tuple[Parameters]], vector: Parameters) -> Parameters:
    """A vector-Jacobian product without a graph."""
    return {name: value.detach() for name, value in vjp(vector)[0].items()}
