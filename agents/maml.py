"""Model-agnostic meta-learning for reinforcement learning. Finn et al. 2017 (arXiv:1703.03400).

In reading order: configuration, the loss of one task, the agent (acts, takes inner steps), the learner
(differentiates through them) with its two outer loops: TRPO (Schulman et al. 2015) and the clipped surrogate
with an inner KL penalty (ProMP, Rothfuss et al. 2019, arXiv:1810.06784). See docs/algorithms/maml.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from agents.contract import (
    AgentError,
    Algorithm,
    Config,
    Interface,
    MetricInfo,
    Plan,
    Round,
    RoundBatch,
    TrialBatch,
    Weights,
)
from agents.functional.advantages import fit_linear_baseline, gae, normalise, time_features
from agents.functional.inner_loop import Parameters, adapt
from agents.functional.policy_losses import clipped_surrogate, likelihood_ratio, log_likelihood
from agents.functional.trust_region import conjugate_gradient, line_search
from agents.nets.policies import Activation, Distribution, Policy, make_policy

Fraction = Annotated[float, Field(ge=0, le=1)]
Shrink = Annotated[float, Field(gt=0, lt=1)]


class TrustRegion(Config):
    """TRPO as the outer loop."""

    name: Literal["trpo"] = "trpo"
    max_kl: PositiveFloat = 0.01  # nats, mean over tasks and steps, between adapted policies
    cg_iterations: PositiveInt = 10
    cg_damping: NonNegativeFloat = 1e-5
    line_search_backtracks: PositiveInt = 15
    line_search_shrink: Shrink = 0.8


class ClippedSurrogate(Config):
    """ProMP as the outer loop: a few Adam epochs on the clipped surrogate and the inner KL penalty."""

    name: Literal["clip"] = "clip"
    learning_rate: PositiveFloat = 1e-3
    final_learning_rate: PositiveFloat | None = None  # reached linearly after `decay_updates`; None keeps it constant
    decay_updates: PositiveInt = 1000
    epochs: PositiveInt = 5
    clip_ratio: PositiveFloat = 0.3
    inner_kl_coefficient: NonNegativeFloat = 5e-4


class MAMLConfig(Config):
    """Defaults are the MAML-TRPO reference's (shared hyperparameters of Finn et al. 2017 and its PyTorch ports)."""

    meta_batch_size: PositiveInt = 40  # N, fresh tasks of each iteration
    rollouts: PositiveInt = 20  # R, episodes of each round and task
    inner_steps: NonNegativeInt = 1  # K; 0 trains one policy for all tasks, the "pretrained" control
    inner_learning_rates: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = (0.1,)  # last one repeats
    inner_objective: Literal["likelihood_ratio", "log_likelihood"] = "likelihood_ratio"
    outer_rounds: Literal["last", "all"] = "last"  # adapted policies that the outer loss judges: theta_K, or 1 ... K
    outer: Annotated[TrustRegion | ClippedSurrogate, Field(discriminator="name")] = TrustRegion()
    discount: Fraction = 0.99
    trace_decay: Fraction = 1.0
    baseline_ridge: NonNegativeFloat = 1e-5
    hidden_sizes: tuple[PositiveInt, ...] = (64, 64)
    activation: Activation = "tanh"
    initial_std: PositiveFloat = 1.0  # action units of the family
    min_std: PositiveFloat = 1e-3
    task_chunk: PositiveInt | None = None  # tasks differentiated at once; None means all: faster or slower, same loss

    def step_size(self, step: int) -> float:
        """Inner learning rate of inner step `step`, counted from 0."""
        return self.inner_learning_rates[min(step, len(self.inner_learning_rates) - 1)]


class Steps(NamedTuple):
    """One round as flat steps T = R * L, ready for the losses: of B tasks, or of one (no B) inside `vmap`."""

    features: Tensor  # [B, T, O]
    action: Tensor  # [B, T, ...]
    advantage: Tensor  # [B, T], normalised per task
    log_prob: Tensor  # [B, T], of the acting policy
    weight: Tensor  # [B, T], 1 / valid steps, 0 for padding


def prepare(policy: Policy, config: MAMLConfig, batch: RoundBatch, device: torch.device) -> Steps:
    """Fits the baseline per task, estimates and normalises advantages, and flattens rollouts into steps.

    An episode's end is the end for MAML, also at the time limit: the horizon is part of the task, the baseline
    sees the time, and returns of whole episodes are what is measured. So nothing is bootstrapped.
    """
    features = policy.encode(batch.observation).to(device)
    reward, log_prob, valid = (
        torch.as_tensor(array).to(device) for array in (batch.reward, batch.log_prob, batch.valid)
    )
    end = torch.as_tensor(batch.terminated | batch.truncated).to(device)
    zero = torch.zeros_like(reward)
    returns = gae(reward, zero, zero, end, end, discount=config.discount, trace_decay=1.0)
    value = fit_linear_baseline(time_features(features), returns, valid, ridge=config.baseline_ridge)
    next_value = torch.cat([value[..., 1:], zero[..., :1]], -1)
    advantage = gae(
        reward, value, next_value, end, end, discount=config.discount, trace_decay=config.trace_decay
    )
    weight = valid / valid.sum((1, 2), keepdim=True)
    return Steps(
        features.flatten(1, 2),
        torch.as_tensor(batch.action).to(device).flatten(1, 2),
        normalise(advantage, valid).flatten(1, 2),
        log_prob.flatten(1, 2),
        weight.flatten(1, 2),
    )


def inner_loss(policy: Policy, objective: str, parameters: Parameters, steps: Steps) -> Tensor:
    """The loss that one inner step descends, of one task: minus the expected advantage."""
    log_prob = policy.log_prob(policy.distribution(parameters, steps.features), steps.action)
    if objective == "log_likelihood":
        return log_likelihood(log_prob, steps.advantage, steps.weight)
    return likelihood_ratio(log_prob, steps.log_prob, steps.advantage, steps.weight)


@dataclass(frozen=True)
class State:
    """Adapted parameters of B trials, each [B, ...], and the inner steps taken."""

    parameters: Parameters
    inner_steps: int


class MAMLAgent:
    """Acts with per-task parameters and takes one inner step after each round."""

    def __init__(self, config: MAMLConfig, interface: Interface) -> None:
        self.config = config
        self.policy = make_policy(
            interface.observation_space,
            interface.action_space,
            config.hidden_sizes,
            config.activation,
            initial_std=config.initial_std,
            min_std=config.min_std,
        )
        self._inner_loss = partial(inner_loss, self.policy, config.inner_objective)

    def trial_rounds(self, adaptations: int, rollouts: int) -> tuple[Round, ...]:
        return (*[Round("support", rollouts)] * adaptations, Round("query", rollouts))

    def begin_trial(self, weights: Weights, trials: int) -> State:
        # Real copies, one per trial: batched products of expanded tensors take a slower path.
        return State({name: value.expand(trials, *value.shape).clone() for name, value in weights.items()}, 0)

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return self.policy.draw_noise(rng, shape)

    @torch.no_grad()
    def act(
        self, weights: Weights, state: State, observation: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, State]:
        distribution = self.policy.distribution(state.parameters, self.policy.encode(observation))
        action = self.policy.sample(distribution, None if noise is None else torch.as_tensor(noise))
        return action.numpy(), self.policy.log_prob(distribution, action).numpy(), state

    def observe(self, weights: Weights, state: State, transition: Mapping[str, np.ndarray]) -> State:
        return state

    def adapt(self, weights: Weights, state: State, batch: RoundBatch) -> State:
        """One inner step of every trial, each on its own round alone."""
        steps = prepare(self.policy, self.config, batch, torch.device("cpu"))
        step_size = self.config.step_size(state.inner_steps)

        def one_task(parameters: Parameters, support: Steps) -> Parameters:
            return adapt(parameters, [support], self._inner_loss, [step_size])[-1]

        adapted = torch.func.vmap(one_task)(state.parameters, steps)
        return State({name: value.detach() for name, value in adapted.items()}, state.inner_steps + 1)

    def inspect(self, weights: Weights, state: State) -> dict[str, np.ndarray]:
        shift = [(state.parameters[name] - value).flatten(1) for name, value in weights.items()]
        return {"parameter_shift": torch.cat(shift, 1).numpy()}


class MAMLLearner:
    """Owns the meta-parameters; differentiates the outer loss through every inner step, exactly."""

    metrics: Mapping[str, MetricInfo] = {
        "outer_loss_before": MetricInfo("", "outer loss before the meta-update (the negated surrogate)"),
        "outer_loss_after": MetricInfo("", "outer loss after it, on the same trials"),
        "adapted_kl": MetricInfo("nats", "KL between adapted policies before and after the meta-update, mean"),
        "meta_gradient_norm": MetricInfo("", "Euclidean norm of the first meta-gradient of the update"),
        "policy_entropy": MetricInfo("nats", "entropy of the last adapted policy, mean over its steps"),
        "line_search_trials": MetricInfo("", "steps tried by TRPO's line search; 0 for the clipped surrogate"),
    }

    def __init__(self, agent: MAMLAgent, config: MAMLConfig, seed: int, device: torch.device) -> None:
        self.config, self.policy, self.device = config, agent.policy, device
        self._inner_loss = partial(inner_loss, agent.policy, config.inner_objective)
        initial = self.policy.init(torch.Generator().manual_seed(seed))
        self.parameters = {name: value.to(device).requires_grad_() for name, value in initial.items()}
        self._rounds = agent.trial_rounds(config.inner_steps, config.rollouts)
        self._updates = 0
        self._adam: torch.optim.Adam | None = None
        if isinstance(config.outer, ClippedSurrogate):
            self._adam = torch.optim.Adam(list(self.parameters.values()), lr=config.outer.learning_rate)

    # -- what to sample

    def plan(self, iteration: int) -> Plan:
        return Plan(self.config.meta_batch_size, self._rounds)

    def weights(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.parameters.items()}

    # -- the outer loss of one task: no task axis in here

    @property
    def _judged(self) -> range:
        """The rounds whose policies the outer loss judges."""
        inner_steps = self.config.inner_steps
        return range(1, inner_steps + 1) if self.config.outer_rounds == "all" and inner_steps else range(
            inner_steps, inner_steps + 1
        )

    def chain(self, parameters: Parameters, rounds: list[Steps]) -> list[Parameters]:
        """theta_0 ... theta_K of one task."""
        sizes = [self.config.step_size(step) for step in range(self.config.inner_steps)]
        return adapt(parameters, rounds[: self.config.inner_steps], self._inner_loss, sizes)

    def distributions(self, parameters: Parameters, rounds: list[Steps]) -> list[Distribution]:
        """Action distributions of theta_k at the steps of round k, k = 0 ... K."""
        chain = self.chain(parameters, rounds)
        return [self.policy.distribution(theta, steps.features) for theta, steps in zip(chain, rounds, strict=True)]

    def task_loss(
        self, parameters: Parameters, rounds: list[Steps], old: list[Distribution]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Outer loss of one task; beside it the KL of the judged policies from `old`, and their entropy."""
        outer = self.config.outer
        new = self.distributions(parameters, rounds)
        divergence = [
            (steps.weight * self.policy.kl(before, after)).sum()
            for steps, before, after in zip(rounds, old, new, strict=True)
        ]
        losses = []
        for k in self._judged:
            log_prob, steps = self.policy.log_prob(new[k], rounds[k].action), rounds[k]
            if isinstance(outer, ClippedSurrogate):
                losses.append(
                    clipped_surrogate(
                        log_prob, steps.log_prob, steps.advantage, steps.weight, clip_ratio=outer.clip_ratio
                    )
                )
            else:
                losses.append(likelihood_ratio(log_prob, steps.log_prob, steps.advantage, steps.weight))
        loss = torch.stack(losses).mean()
        if isinstance(outer, ClippedSurrogate) and self.config.inner_steps:
            loss = loss + outer.inner_kl_coefficient * torch.stack(divergence[:-1]).mean()
        judged_kl = torch.stack([divergence[k] for k in self._judged]).mean()
        entropy = (rounds[-1].weight * self.policy.entropy(new[-1])).sum()
        return loss, (judged_kl, entropy)

    # -- the same for all tasks: vmap adds the task axis, here and nowhere else

    def over_tasks(self, function: Callable[..., Any], parameters: Parameters, *data: Any) -> Any:
        """`function(parameters, *data of one task)` for every task of `data`, results stacked along a leading axis."""
        return torch.func.vmap(function, in_dims=(None, *[0] * len(data)))(parameters, *data)

    def meta_gradient(
        self, parameters: Parameters, rounds: list[Steps], old: list[Distribution]
    ) -> tuple[Parameters, Outcome]:
        """Exact gradient of the mean outer loss over tasks, accumulated chunk by chunk, and the losses there."""

        def total(theta: Parameters, piece: Any) -> tuple[Tensor, Any]:
            losses, (divergence, entropy) = self.over_tasks(self.task_loss, theta, *piece)
            return losses.sum(), torch.stack([losses.sum(), divergence.sum(), entropy.sum()])

        tasks = len(rounds[0].weight)
        gradient = {name: torch.zeros_like(value) for name, value in parameters.items()}
        sums = torch.zeros(3, device=self.device)
        for piece in self._chunks((rounds, old)):
            part, sums_part = torch.func.grad(total, has_aux=True)(parameters, piece)
            gradient = {name: value + part[name] / tasks for name, value in gradient.items()}
            sums = sums + sums_part.detach() / tasks
        return gradient, Outcome(*sums.tolist())

    @torch.no_grad()
    def outcome(self, parameters: Parameters, rounds: list[Steps], old: list[Distribution]) -> Outcome:
        """Outer loss, KL and entropy at these parameters, means over tasks."""
        totals = torch.zeros(3, device=self.device)
        for piece in self._chunks((rounds, old)):
            losses, (divergence, entropy) = self.over_tasks(self.task_loss, parameters, *piece)
            totals += torch.stack([losses.sum(), divergence.sum(), entropy.sum()])
        return Outcome(*(totals / len(rounds[0].weight)).tolist())

    def _chunks(self, data: Any) -> list[Any]:
        """Nested tuples and lists of [tasks, ...] tensors, cut along their first axis."""
        tasks = len(data[0][0].weight)
        size = self.config.task_chunk or tasks

        def cut(node: Any, start: int) -> Any:
            if isinstance(node, Tensor):
                return node[start : start + size]
            pieces = [cut(child, start) for child in node]
            return type(node)(*pieces) if isinstance(node, Steps) else type(node)(pieces)

        return [cut(data, start) for start in range(0, tasks, size)]

    # -- the meta-update

    def update(self, batch: TrialBatch) -> dict[str, float]:
        tasks = [one.map(lambda array: array.reshape(-1, *array.shape[2:])) for one in batch]
        rounds = [prepare(self.policy, self.config, one, self.device) for one in tasks]
        parameters = {name: value.detach() for name, value in self.parameters.items()}
        with torch.no_grad():
            chunks = [self.over_tasks(self.distributions, parameters, piece[0]) for piece in self._chunks((rounds,))]
            old = [tuple(map(torch.cat, zip(*of_round, strict=True))) for of_round in zip(*chunks, strict=True)]
        gradient, before = self.meta_gradient(parameters, rounds, old)
        norm = float(flatten(gradient).norm())
        if not np.isfinite([*before, norm]).all():
            raise AgentError(
                f"meta-update {self._updates}: the outer loss ({before.loss}) or its gradient (norm {norm}) is not "
                "finite; the parameters were left as they were: lower agent.inner_learning_rates or the outer step"
            )
        trials = 0
        if isinstance(self.config.outer, TrustRegion):
            trials = self._trust_region_step(self.config.outer, parameters, gradient, before, rounds, old)
        else:
            self._clipped_epochs(self.config.outer, gradient, rounds, old)
        self._updates += 1
        after = self.outcome({name: value.detach() for name, value in self.parameters.items()}, rounds, old)
        return {
            "outer_loss_before": before.loss,
            "outer_loss_after": after.loss,
            "adapted_kl": after.divergence,
            "meta_gradient_norm": norm,
            "policy_entropy": before.entropy,
            "line_search_trials": trials,
        }

    def _clipped_epochs(
        self, outer: ClippedSurrogate, gradient: Parameters, rounds: list[Steps], old: list[Distribution]
    ) -> None:
        assert self._adam is not None
        if outer.final_learning_rate is not None:
            progress = min(1.0, self._updates / outer.decay_updates)
            rate = outer.learning_rate + progress * (outer.final_learning_rate - outer.learning_rate)
            self._adam.param_groups[0]["lr"] = rate
        for epoch in range(outer.epochs):
            if epoch:
                current = {name: value.detach() for name, value in self.parameters.items()}
                gradient, _ = self.meta_gradient(current, rounds, old)
            for name, value in self.parameters.items():
                value.grad = gradient[name]
            self._adam.step()

    def _trust_region_step(
        self,
        outer: TrustRegion,
        parameters: Parameters,
        gradient: Parameters,
        before: Outcome,
        rounds: list[Steps],
        old: list[Distribution],
    ) -> int:
        product = self.fisher_product(parameters, rounds, outer.cg_damping)
        descent = -flatten(gradient)
        direction = conjugate_gradient(product, descent, iterations=outer.cg_iterations)
        curvature = direction @ product(direction)
        step = direction * (2 * outer.max_kl / curvature).sqrt()

        def evaluate(candidate: Tensor) -> tuple[float, float]:
            result = self.outcome(unflatten(candidate, parameters), rounds, old)
            return result.loss, result.divergence

        found, trials, _, _ = line_search(
            evaluate,
            flatten(parameters),
            step,
            loss_before=before.loss,
            max_kl=outer.max_kl,
            backtracks=outer.line_search_backtracks,
            shrink=outer.line_search_shrink,
        )
        with torch.no_grad():
            for name, value in unflatten(found, parameters).items():
                self.parameters[name].copy_(value)
        return trials

    def fisher_product(self, parameters: Parameters, rounds: list[Steps], damping: float) -> Callable[[Tensor], Tensor]:
        """v -> (F + damping I) v, F the Hessian at `parameters` of the mean KL between adapted policies.

        With J the Jacobian of the map from theta to the action distributions of the adapted policies, F = J^T M J,
        M the Fisher information of those distributions: the KL's gradient is zero here, so its Hessian holds no
        second derivative of the inner steps. J runs through I - step_size * Hessian of each inner step, forwards
        for J v and backwards for J^T w; the backward graph is built once.
        """

        def judged(theta: Parameters, task_rounds: list[Steps]) -> list[Distribution]:
            new = self.distributions(theta, task_rounds)
            return [new[k] for k in self._judged]

        pieces = []
        for (piece,) in self._chunks((rounds,)):

            def batched(theta: Parameters, piece: list[Steps] = piece) -> list[Distribution]:
                return self.over_tasks(judged, theta, piece)

            outputs, pull = torch.func.vjp(batched, parameters)
            pieces.append((piece, batched, outputs, pull))
        scale = 1.0 / (len(rounds[0].weight) * len(self._judged))

        def product(vector: Tensor) -> Tensor:
            total = damping * vector
            tangent = unflatten(vector, parameters)
            for piece, batched, outputs, pull in pieces:
                _, pushed = torch.func.jvp(batched, (parameters,), (tangent,))
                weighted = [
                    tuple(part * piece[k].weight.unsqueeze(-1) * scale for part in self.policy.fisher(output, push))
                    for k, output, push in zip(self._judged, outputs, pushed, strict=True)
                ]
                total = total + flatten(pull(weighted)[0])
            return total.detach()

        return product

    # -- checkpoints

    def state_dict(self) -> dict[str, Any]:
        adam = self._adam.state_dict() if self._adam is not None else None
        parameters = {name: value.detach() for name, value in self.parameters.items()}
        return {"parameters": parameters, "adam": adam, "updates": self._updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.policy.check(state["parameters"])
        with torch.no_grad():
            for name, value in state["parameters"].items():
                self.parameters[name].copy_(value)
        self._updates = state["updates"]
        if (self._adam is None) != (state["adam"] is None):
            raise AgentError("this checkpoint was written with another outer loop; use the recipe of its own run")
        if self._adam is not None:
            self._adam.load_state_dict(state["adam"])


class Outcome(NamedTuple):
    """Means over tasks at some meta-parameters."""

    loss: float
    divergence: float
    entropy: float


def flatten(parameters: Parameters) -> Tensor:
    """All parameters as one vector, in the dictionary's order."""
    return torch.cat([value.reshape(-1) for value in parameters.values()])


def unflatten(vector: Tensor, like: Parameters) -> Parameters:
    """The inverse of `flatten`."""
    pieces = vector.split([value.numel() for value in like.values()])
    return {name: piece.view_as(like[name]) for (name, piece) in zip(like, pieces, strict=True)}


MAML = Algorithm(MAMLConfig, MAMLAgent, MAMLLearner)
