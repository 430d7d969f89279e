"""Model-agnostic meta-learning for reinforcement learning. Finn et al. 2017 (arXiv:1703.03400).

In reading order: configuration, the loss of one task, the agent (acts, takes inner steps), the learner
(differentiates through them) with its two outer loops: TRPO (Schulman et al. 2015) and the clipped surrogate
with an inner KL penalty (ProMP, Rothfuss et al. 2019, arXiv:1810.06784). Options: first order (FOMAML) and
learned step sizes (Meta-SGD, Li et al. 2017, arXiv:1707.09835). See docs/algorithms/maml.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from agents.common.inner_loop import InnerLoopConfig, prepare_round
from agents.common.meta_objective import (
    ActingDistributions,
    LossTerms,
    MetaObjective,
    Steps,
    copy_per_task,
    join_step_sizes,
    split_step_sizes,
)
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
from agents.functional.inner_loop import adapt
from agents.functional.parameters import Parameters, flatten, unflatten
from agents.functional.schedules import linear_schedule
from agents.functional.trust_region import full_step, line_search
from agents.nets.policies import ActionStd, Policy, make_policy
from agents.nets.statistics import ObservationStatistics, RunningStatistics, without_statistics
from agents.nets.weights import check_adam, check_counts, take_weights
from agents.team import Team, TeamMember

Shrink = Annotated[float, Field(gt=0, lt=1)]


class TrustRegion(Config):
    """TRPO as the outer loop."""

    name: Literal["trpo"] = "trpo"
    max_kl: PositiveFloat = 0.01  # nats, mean over tasks and steps, between adapted policies
    cg_iterations: PositiveInt = 10  # of conjugate gradients
    cg_damping: NonNegativeFloat = 1e-5  # added to the Fisher matrix's diagonal
    line_search_backtracks: PositiveInt = 15  # steps tried before none is taken
    line_search_shrink: Shrink = 0.8  # factor from one tried step to the next


class ClippedSurrogate(Config):
    """ProMP as the outer loop: a few Adam epochs on the clipped surrogate and the inner KL penalty."""

    renamed: ClassVar[Mapping[str, str]] = {
        "epochs": "update_epochs",
        "clip_ratio": "clip_range",
        "inner_kl_coefficient": "inner_kl_coef",
    }

    name: Literal["clip"] = "clip"
    learning_rate: PositiveFloat = 1e-2  # of Adam
    final_learning_rate: PositiveFloat | None = None  # reached linearly after `decay_updates`; None keeps it constant
    decay_updates: PositiveInt = 1000  # meta-updates until the final rate
    update_epochs: PositiveInt = 10  # Adam steps of a meta-update
    clip_range: PositiveFloat = 0.3  # of the ratio of probabilities, around 1
    inner_kl_coef: NonNegativeFloat = 5e-4  # weight of the KL penalty on inner steps


class MAMLConfig(InnerLoopConfig):
    """Defaults learn small control problems in minutes; docs/algorithms/maml.md says what the paper had."""

    gradient_step_keys: ClassVar[tuple[str, ...]] = ("outer.update_epochs",)

    first_order: bool = False  # FOMAML: inner gradients are constants to the outer derivative
    learn_step_sizes: bool = False  # Meta-SGD: one for every parameter, starting at inner_learning_rates[0]
    # Weights of the policies after the last inner steps in the outer loss; (1.0,) is theta_K alone.
    outer_weights: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1.0,)
    # How the meta-parameters are updated.
    outer: Annotated[TrustRegion | ClippedSurrogate, Field(discriminator="name")] = ClippedSurrogate()

    @model_validator(mode="after")
    def _keys_fit(self) -> MAMLConfig:
        if len(self.outer_weights) > max(self.inner_steps, 1):
            raise ValueError(
                f"outer_weights weighs the policies after {len(self.outer_weights)} inner steps, but inner_steps is "
                f"{self.inner_steps}"
            )
        if self.learn_step_sizes and not self.inner_learning_rates[0]:
            raise ValueError("learn_step_sizes starts from inner_learning_rates, whose first one must be above 0")
        if self.learn_step_sizes and not self.inner_steps:
            raise ValueError("learn_step_sizes learns from inner steps, but inner_steps is 0")
        return self

    def objective(self, policy: Policy, inner_steps: int) -> MetaObjective:
        clip = self.outer if isinstance(self.outer, ClippedSurrogate) else None
        return replace(
            super().objective(policy, inner_steps),
            outer_loss_weights=tuple(weight / sum(self.outer_weights) for weight in self.outer_weights),
            clip_range=clip.clip_range if clip else None,
            inner_kl_coef=clip.inner_kl_coef if clip else 0.0,
            first_order=self.first_order,
        )


@dataclass(frozen=True)
class MAMLState:
    """Adapted parameters of B trials, each [B, ...], and the inner steps taken."""

    parameters: Parameters
    inner_steps: int


class MAMLAgent:
    """Acts with adapted parameters of each task and takes one inner step after each round."""

    def __init__(self, config: InnerLoopConfig, interface: Interface) -> None:
        self.config = config
        self.episode_steps = interface.episode_steps
        self.policy = make_policy(
            interface.observation_space,
            interface.action_space,
            config.hidden_sizes,
            config.activation,
            ActionStd(
                config.initial_std, config.min_std, config.min_initial_std, config.std_gain, config.scale_actions
            ),
        )

    def trial_rounds(self, adaptations: int, rollouts: int) -> tuple[Round, ...]:
        return (*[Round("support", rollouts)] * adaptations, Round("query", rollouts))

    def begin_trial(self, weights: Weights, trials: int) -> MAMLState:
        theta, _ = split_step_sizes(without_statistics(weights))
        return MAMLState(copy_per_task(theta, trials), 0)

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return self.policy.draw_noise(rng, shape)

    @torch.no_grad()
    def act(
        self, weights: Weights, state: MAMLState, observation: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, MAMLState]:
        features = RunningStatistics.normalise(weights, self.policy.encode(observation))
        distribution = self.policy.distribution(state.parameters, features)
        action, log_prob = self.policy.sample(distribution, None if noise is None else torch.as_tensor(noise))
        return action.numpy(), log_prob.numpy(), state

    def observe(self, weights: Weights, state: MAMLState, transition: Mapping[str, np.ndarray]) -> MAMLState:
        return state

    def adapt(self, weights: Weights, state: MAMLState, batch: RoundBatch) -> MAMLState:
        """One inner step of every trial, each on its own round alone."""
        steps = prepare_round(self.policy, self.config, weights, batch, torch.device("cpu"))
        objective = self.config.objective(self.policy, state.inner_steps + 1)
        _, step_sizes = objective.unpack(without_statistics(weights))

        def one_task(parameters: Parameters, support: Steps) -> Parameters:
            return adapt(parameters, [support], objective.inner_loss, step_sizes[-1:])[-1]

        adapted = torch.func.vmap(one_task)(state.parameters, steps)
        return MAMLState({name: value.detach() for name, value in adapted.items()}, state.inner_steps + 1)

    def inspect(self, weights: Weights, state: MAMLState) -> dict[str, np.ndarray]:
        theta, _ = split_step_sizes(without_statistics(weights))
        shift = [(state.parameters[name] - value).flatten(1) for name, value in theta.items()]
        return {"parameter_shift": torch.cat(shift, 1).numpy()}


class MAMLLearner(TeamMember):
    """Owns the meta-parameters; differentiates the outer loss through every inner step, exactly."""

    metrics: Mapping[str, MetricInfo] = {
        "outer_loss_before": MetricInfo("", "outer loss before the meta-update (the negated surrogate)"),
        "outer_loss_after": MetricInfo("", "outer loss after it, on the same trials"),
        "adapted_kl": MetricInfo(
            "nats",
            "KL between adapted policies before and after the meta-update, mean",
            least=1e-6,
            remedy="the policies stand still: raise agent.outer.learning_rate, or agent.outer.max_kl of TRPO",
        ),
        "meta_gradient_norm": MetricInfo("", "Euclidean norm of the first meta-gradient of the update"),
        "policy_entropy": MetricInfo(
            "nats",
            "entropy of the last adapted policy, mean over its steps",
            remedy="raise agent.min_initial_std or lower the learning rates",
        ),
        "line_search_trials": MetricInfo("", "steps tried by TRPO's line search; 0 for the clipped surrogate"),
    }

    def __init__(self, agent: MAMLAgent, config: MAMLConfig, seed: int, device: torch.device) -> None:
        self.config, self.policy, self.device = config, agent.policy, device
        self.objective = config.objective(self.policy, config.inner_steps)
        initial = self.policy.init(torch.Generator().manual_seed(seed))
        if config.learn_step_sizes:
            rate = config.inner_learning_rates[0]
            initial = join_step_sizes(initial, {name: torch.full_like(value, rate) for name, value in initial.items()})
        self.parameters = {name: value.to(device).requires_grad_() for name, value in initial.items()}
        self.statistics = ObservationStatistics(config, self.policy)
        self._rounds = agent.trial_rounds(config.inner_steps, config.rollouts)
        self._round_steps = config.rollouts * agent.episode_steps
        self._updates = 0
        self._adam: torch.optim.Adam | None = None
        if isinstance(config.outer, ClippedSurrogate):
            self._adam = torch.optim.Adam(list(self.parameters.values()), lr=config.outer.learning_rate)

    def join(self, team: Team) -> None:
        super().join(team)
        self.objective = replace(self.objective, team=team)

    def parts(self) -> int:
        return self.config.chunks(self.policy, self._round_steps, self.device)

    # -- what to sample

    def plan(self, iteration: int) -> Plan:
        return Plan(self.config.meta_batch_size, self._rounds)

    def weights(self) -> dict[str, Tensor]:
        tensors = {**self.parameters, **self.statistics.tensors}
        return {name: value.detach().cpu().clone() for name, value in tensors.items()}

    # -- the meta-update

    def update(self, batch: TrialBatch) -> dict[str, float]:
        statistics = self.statistics.tensors
        rounds = [
            prepare_round(self.policy, self.config, statistics, trials.by_trial(), self.device) for trials in batch
        ]
        start = {name: value.clone() for name, value in self._detached().items()}
        old = self.objective.acting_distributions(start, rounds)
        gradient, before = self.objective.meta_gradient(start, rounds, old)
        norm = float(flatten(gradient).norm())
        self._refuse_non_finite(start, before, norm)
        trials = 0
        if isinstance(self.config.outer, TrustRegion):
            trials = self._trust_region_step(self.config.outer, gradient, before, rounds, old)
        else:
            self._clipped_epochs(self.config.outer, gradient, rounds, old)
        with torch.no_grad():
            self.policy.project(self.parameters)
        after = self.objective.loss_terms(self._detached(), rounds, old)
        self._refuse_non_finite(start, after, norm)
        self.statistics.update(batch, self._updates)
        self._updates += 1
        return {
            "outer_loss_before": before.loss,
            "outer_loss_after": after.loss,
            "adapted_kl": after.kl,
            "meta_gradient_norm": norm,
            "policy_entropy": before.entropy,
            "line_search_trials": trials,
        }

    def _refuse_non_finite(self, start: Parameters, terms: LossTerms, norm: float) -> None:
        """Restore the parameters from before the update and raise AgentError if the loss or gradient is not finite."""
        if np.isfinite([*terms, norm]).all():
            return
        take_weights(self.parameters, start)
        raise AgentError(
            f"meta-update {self._updates}: the outer loss ({terms.loss}) or its gradient (norm {norm}) is not "
            "finite; the parameters are those before it: lower agent.inner_learning_rates or the outer step"
        )

    def _clipped_epochs(
        self, outer: ClippedSurrogate, gradient: Parameters, rounds: list[Steps], old: ActingDistributions
    ) -> None:
        assert self._adam is not None
        rates = outer.learning_rate, outer.final_learning_rate
        self._adam.param_groups[0]["lr"] = linear_schedule(*rates, self._updates, outer.decay_updates)
        for epoch in range(outer.update_epochs):
            if epoch:
                gradient, _ = self.objective.meta_gradient(self._detached(), rounds, old)
            for name, value in self.parameters.items():
                value.grad = gradient[name]
            self._adam.step()

    def _trust_region_step(
        self,
        outer: TrustRegion,
        gradient: Parameters,
        before: LossTerms,
        rounds: list[Steps],
        old: ActingDistributions,
    ) -> int:
        """Move the parameters by one TRPO step; return the trials of its line search."""
        start = {name: value.clone() for name, value in self._detached().items()}
        product = self.objective.fisher_product(start, rounds, outer.cg_damping)
        step = full_step(product, -flatten(gradient), max_kl=outer.max_kl, iterations=outer.cg_iterations)

        def evaluate(candidate: Tensor) -> tuple[float, float]:
            terms = self.objective.loss_terms(unflatten(candidate, start), rounds, old)
            return terms.loss, terms.kl

        found, trials, _, _ = line_search(
            evaluate,
            flatten(start),
            step,
            loss_before=before.loss,
            max_kl=outer.max_kl,
            backtracks=outer.line_search_backtracks,
            shrink=outer.line_search_shrink,
        )
        with torch.no_grad():
            for name, value in unflatten(found, start).items():
                self.parameters[name].copy_(value)
        return trials

    def _detached(self) -> Parameters:
        return {name: value.detach() for name, value in self.parameters.items()}

    # -- checkpoints

    def state_dict(self) -> dict[str, Any]:
        adam = self._adam.state_dict() if self._adam is not None else None
        return {"parameters": self._detached(), "adam": adam, "updates": self._updates} | self.statistics.state_dict()

    def load_weights(self, weights: Weights) -> None:
        """Start from the weights of another run; its statistics count as settled."""
        take_weights({**self.parameters, **self.statistics.tensors}, weights)
        self.statistics.settle()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        check_counts(state, "updates")
        if (self._adam is None) != (state["adam"] is None):
            raise AgentError("this checkpoint was written with another outer loop; use the recipe of its own run")
        if self._adam is not None:
            check_adam(state["adam"], self.parameters.values())
        take_weights({**self.parameters, **self.statistics.tensors}, self.statistics.weights_in(state))
        self.statistics.load_state_dict(state)
        if self._adam is not None:
            self._adam.load_state_dict(state["adam"])
        self._updates = state["updates"]


MAML = Algorithm(MAMLConfig, MAMLAgent, MAMLLearner)
