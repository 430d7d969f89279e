"""Proximal policy optimisation over trials, for every agent that learns by it. Schulman et al. 2017 (arXiv:1707.06347).

A trial is one long episode: its reward is the sum over all of its episodes, so nothing ends where an episode does, and
nothing is bootstrapped where the trial does. Time comes first: arrays are [L, B, ...], L steps of B trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from agents.contract import AgentError, Config, Fraction, MetricInfo
from agents.functional.advantages import gae
from agents.functional.parameters import Parameters
from agents.functional.policy_losses import clipped_surrogate
from agents.functional.schedules import linear_schedule
from agents.nets.policies import Distribution, Policy
from agents.nets.weights import check_adam, check_counts, take_weights
from agents.team import ALONE, Team, microbatches, take_gradient


class PPOConfig(Config):
    """Hyperparameters of PPO. `final_*` are reached after `decay_updates`; None keeps a value constant.

    The learning rate may have a decay length of its own, `learning_rate_updates`.
    """

    renamed: ClassVar[Mapping[str, str]] = {
        "discount": "gamma",
        "final_discount": "final_gamma",
        "entropy_coefficient": "ent_coef",
        "final_entropy_coefficient": "final_ent_coef",
        "trace_decay": "gae_lambda",
        "epochs": "update_epochs",
        "minibatches": "num_minibatches",
        "clip_ratio": "clip_range",
        "value_coefficient": "vf_coef",
        "max_gradient_norm": "max_grad_norm",
    }

    gradient_step_keys: ClassVar[tuple[str, ...]] = ("update_epochs", "num_minibatches")
    finer: ClassVar[str] = "a larger agent.microbatches"

    learning_rate: PositiveFloat = 3e-3  # of Adam
    final_learning_rate: PositiveFloat | None = None  # reached linearly; None keeps it constant
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.97  # discount of a step
    final_gamma: Annotated[float, Field(ge=0, lt=1)] | None = None  # its horizon 1 / (1 - gamma) geometrically
    ent_coef: NonNegativeFloat = 0.0  # weight of the entropy bonus
    final_ent_coef: NonNegativeFloat | None = None  # reached linearly; None keeps it constant
    decay_updates: PositiveInt = 1000  # meta-updates until the final values; the recipe's iterations where it has them
    learning_rate_updates: PositiveInt | None = None  # until the final rate; None: decay_updates
    gae_lambda: Fraction = 0.95  # 1: advantages of whole returns, 0: of one step
    update_epochs: PositiveInt = 4  # passes over a meta-batch in an update
    num_minibatches: PositiveInt = 8  # of each epoch, over all sequences
    microbatches: PositiveInt = 1  # parts that a minibatch's gradient is summed from; learners share them
    clip_range: PositiveFloat = 0.2  # of the ratio of probabilities, around 1
    vf_coef: NonNegativeFloat = 0.5  # weight of the value loss
    max_grad_norm: PositiveFloat = 0.5  # longer gradients are cut to it

    @model_validator(mode="after")
    def _a_length_has_an_end(self) -> Self:
        if self.learning_rate_updates is not None and self.final_learning_rate is None:
            raise ValueError(
                "learning_rate_updates is the length of a decay, but there is no final_learning_rate; set both"
            )
        return self

    def learning_rate_at(self, updates: int) -> float:
        """Adam's rate of this meta-update."""
        length = self.learning_rate_updates or self.decay_updates
        return linear_schedule(self.learning_rate, self.final_learning_rate, updates, length)

    def ent_coef_at(self, updates: int) -> float:
        """The weight of the entropy in this meta-update's loss."""
        return linear_schedule(self.ent_coef, self.final_ent_coef, updates, self.decay_updates)

    def gamma_at(self, updates: int) -> float:
        """The discount of this meta-update."""
        if self.final_gamma is None:
            return self.gamma
        ends = math.log(1 - self.gamma), math.log(1 - self.final_gamma)
        return 1 - math.exp(linear_schedule(*ends, updates, self.decay_updates))


@dataclass(frozen=True)
class Sequences:
    """Data of an update: C sequences of L steps.

    Attributes:
        action: [L, C, *shape].
        log_prob: [L, C], of the behaviour policy.
        advantage: [L, C].
        target: [L, C], of the value head.
        valid: [L, C] bool.
    """

    action: Tensor
    log_prob: Tensor
    advantage: Tensor
    target: Tensor
    valid: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Sequences:
        """The same with `function` applied to every tensor."""
        return Sequences(*(function(tensor) for tensor in vars(self).values()))

    def select(self, indices: Tensor) -> Sequences:
        """The sequences of a minibatch."""
        return self.map(lambda tensor: tensor[:, indices])


# Indices of sequences [n] -> the policy's distribution and the value head's outputs [L, n] there.
EvaluateActions = Callable[[Tensor], tuple[Distribution, Tensor]]


class ValueScale:
    """Running mean and standard deviation of the returns at each step of a trial: units of the value head's outputs.

    Returns shrink as a trial goes on, so one scale for all steps would leave the last ones unlearned.
    """

    MIN_RATE = 0.1  # weight of the newest batch once the average has settled

    def __init__(self, steps: int, device: torch.device) -> None:
        self.mean, self.deviation = torch.zeros(steps, device=device), torch.ones(steps, device=device)
        self.settled = (
            False  # whether it was carried over from another run, so that the first batch does not replace it
        )

    def denormalise(self, value: Tensor) -> Tensor:
        """The head's outputs [L, B] in units of the reward."""
        return self.mean[: len(value), None] + self.deviation[: len(value), None] * value

    def normalise(self, returns: Tensor) -> Tensor:
        """Returns [L, B] in the head's units."""
        return (returns - self.mean[: len(returns), None]) / self.deviation[: len(returns), None]

    def update(self, returns: Tensor, valid: Tensor, updates: int) -> None:
        """Average in the returns [L, B] of a batch; update number 0 replaces a scale that is not settled."""
        rate = self.MIN_RATE if self.settled else max(self.MIN_RATE, 1.0 / (updates + 1))
        count = valid.sum(1)
        reached = torch.nonzero(count > 0)[:, 0]  # steps that no trial reached keep their scale
        mean = (returns * valid).sum(1)[reached] / count[reached]
        variance = ((returns[reached] - mean[:, None]).square() * valid[reached]).sum(1) / count[reached]
        self.mean[reached] += rate * (mean - self.mean[reached])
        self.deviation[reached] += rate * ((variance.sqrt() + 1e-3) - self.deviation[reached])

    def state_dict(self) -> dict[str, Tensor]:
        """Mean and standard deviation by name."""
        return {"mean": self.mean, "deviation": self.deviation}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state_dict`."""
        take_weights(self.state_dict(), state)


class PPO:
    """Parameters, their optimiser, and the schedule."""

    metrics: Mapping[str, MetricInfo] = {
        "policy_loss": MetricInfo("", "clipped surrogate of the last epoch, negated"),
        "value_loss": MetricInfo("", "squared error of the value in units of its scale, last epoch"),
        "policy_entropy": MetricInfo(
            "nats", "entropy of the policy, mean over the steps of the last epoch", remedy="raise agent.ent_coef"
        ),
        "policy_kl": MetricInfo(
            "nats",
            "estimate of the KL from the acting to the last epoch's policy",
            least=1e-5,
            remedy="the policy stands still: raise agent.learning_rate or agent.update_epochs",
        ),
        "clipped_share": MetricInfo("", "share of the last epoch's steps whose probability ratio was clipped"),
        "gradient_norm": MetricInfo("", "norm of the gradient before clipping, mean over the update"),
        "learning_rate": MetricInfo("", "Adam's rate in this update"),
        "discount": MetricInfo("", "discount (gamma) of this update"),
        "explained_variance": MetricInfo(
            "",
            "1 - Var(return - value) / Var(return) over the batch's steps, before the update; 0 for constant returns",
        ),
    }

    def __init__(self, config: PPOConfig, parameters: Parameters, policy: Policy, steps: int, seed: int) -> None:
        self.config, self.parameters, self.policy = config, parameters, policy
        device = next(iter(parameters.values())).device
        self.scale = ValueScale(steps, device)
        self.updates = 0
        self.seed = seed  # of the order of sequences, with the count of updates
        self.team: Team = ALONE
        self._explained_variance, self._scale_before = 0.0, self.scale.state_dict()
        self._adam = torch.optim.Adam(list(parameters.values()), lr=config.learning_rate, eps=1e-5, fused=True)

    def advantages(self, value: Tensor, reward: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Advantages, normalised over all steps, and the value head's targets; updates the value scale.

        Args:
            value: [L, B], the head's outputs for the steps of the batch.
            reward: [L, B].
            valid: [L, B] bool.

        Returns:
            advantage [L, B], target [L, B].
        """
        raw = self.scale.denormalise(value)
        end = torch.zeros_like(valid)
        following = torch.cat([valid[1:], end[:1]])
        next_value = torch.where(following, torch.cat([raw[1:], torch.zeros_like(raw[:1])]), 0.0)
        arrays = (array.T for array in (reward * valid, raw * valid, next_value, valid & ~following, end))
        gamma = self.config.gamma_at(self.updates)
        advantage = gae(*arrays, gamma=gamma, gae_lambda=self.config.gae_lambda).T
        returns = advantage + raw
        self._explained_variance = explained_variance(raw, returns, valid)
        self._scale_before = {name: tensor.clone() for name, tensor in self.scale.state_dict().items()}
        self.scale.update(returns, valid, self.updates)
        count = valid.sum()
        mean = (advantage * valid).sum() / count
        deviation = ((advantage - mean).square() * valid).sum().div(count).sqrt()
        return (advantage - mean) / (deviation + 1e-8), self.scale.normalise(returns)

    def update(self, data: Sequences, evaluate_actions: EvaluateActions) -> dict[str, float]:
        """One meta-update: `update_epochs` epochs over the sequences, in minibatches.

        Args:
            data: the sequences.
            evaluate_actions: indices of sequences [n] -> the policy's distribution and the value head's outputs [L, n].

        Raises:
            AgentError: the loss is not finite; the parameters are those before the update.
        """
        config, before = self.config, {name: value.detach().clone() for name, value in self.parameters.items()}
        self._adam.param_groups[0]["lr"] = rate = config.learning_rate_at(self.updates)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.updates)
        sequences = data.valid.shape[1]
        norms, sums = [], torch.zeros(5, device=data.valid.device)
        for epoch in range(config.update_epochs):
            order = torch.randperm(sequences, generator=generator).to(data.valid.device)
            for indices in torch.tensor_split(order, min(config.num_minibatches, sequences)):
                terms = self._take_gradient(data, indices, evaluate_actions)
                norms.append(torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), config.max_grad_norm))
                self._adam.step()
                if epoch == config.update_epochs - 1:
                    sums += terms * len(indices) / sequences
        norm = float(torch.stack(norms).mean())
        values = [*sums.tolist(), norm, rate, config.gamma_at(self.updates), self._explained_variance]
        metrics = dict(zip(PPO.metrics, values, strict=True))
        if not all(map(math.isfinite, metrics.values())):
            take_weights(self.parameters, before)
            self.scale.load_state_dict(self._scale_before)
            raise AgentError(
                f"meta-update {self.updates}: the loss ({metrics['policy_loss']}, value {metrics['value_loss']}) or "
                f"its gradient (norm {norm}) is not finite; the parameters are those before it: lower "
                "agent.learning_rate"
            )
        self.updates += 1
        return metrics

    def _take_gradient(self, data: Sequences, indices: Tensor, evaluate_actions: EvaluateActions) -> Tensor:
        """Leave a minibatch's gradient where the optimiser finds it; returns its loss terms."""
        pieces = microbatches(indices, self.config.microbatches)
        steps = data.valid[:, indices].sum().clamp(min=1)

        def of_piece(part: int) -> tuple[Tensor, Tensor]:
            piece = pieces[part]
            return self._loss_terms(data.select(piece), *evaluate_actions(piece), steps)

        return take_gradient(self.team, self.parameters, len(pieces), of_piece, terms=5)

    def _loss_terms(
        self, data: Sequences, distribution: Distribution, value: Tensor, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss of sequences, and without gradients [surrogate, value loss, entropy, KL, clipped share].

        Each is the sum over valid steps, divided by `steps`.
        """
        config = self.config
        weight = data.valid / steps
        log_prob = self.policy.log_prob(distribution, data.action)
        surrogate = clipped_surrogate(log_prob, data.log_prob, data.advantage, weight, clip_range=config.clip_range)
        value_loss = (weight * (value - data.target).square()).sum()
        entropy = (weight * self.policy.entropy(distribution)).sum()
        loss = surrogate + config.vf_coef * value_loss
        loss = loss - config.ent_coef_at(self.updates) * entropy
        with torch.no_grad():
            log_ratio = log_prob - data.log_prob
            kl = (weight * (log_ratio.exp() - 1 - log_ratio)).sum()
            clipped = (weight * ((log_ratio.exp() - 1).abs() > config.clip_range)).sum()
            terms = torch.stack([surrogate, value_loss, entropy, kl, clipped])
        return loss, terms

    def state_dict(self) -> dict[str, Any]:
        """Everything but the parameters that the next update depends on."""
        return {
            "adam": self._adam.state_dict(),
            "updates": self.updates,
            "seed": self.seed,
            "value_scale": self.scale.state_dict(),
            "value_scale_settled": self.scale.settled,
        }

    def check(self, state: Mapping[str, Any]) -> None:
        """Raise AgentError unless `load_state_dict` could take this."""
        check_counts(state, "updates", "seed")
        check_adam(state["adam"], self.parameters.values())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.check(state)
        self.scale.load_state_dict(state["value_scale"])
        self.scale.settled = state.get("value_scale_settled", False)  # absent from checkpoints of the first version
        self._adam.load_state_dict(state["adam"])
        self.updates, self.seed = state["updates"], state["seed"]


def explained_variance(value: Tensor, returns: Tensor, valid: Tensor) -> float:
    """Explained variance of the critic: 1 - Var(return - value) / Var(return); 0 where the returns do not vary.

    Args:
        value: [L, B], in units of the reward.
        returns: [L, B].
        valid: [L, B] bool, the steps that count.
    """
    residual, total = (tensor[valid].double().var(correction=0) for tensor in (returns - value, returns))
    return float(1.0 - residual / total) if total > 0 else 0.0
