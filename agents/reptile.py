"""Reptile: move the meta-parameters towards the adapted ones. Nichol et al. 2018 (arXiv:1803.02999), algorithm 1.

    theta <- theta + epsilon * mean over tasks (U_k(theta) - theta)

Or, as its section 2 offers, Adam takes that mean difference, negated, for a gradient.
No outer loss and no query: every round of a trial feeds an inner step, the last one too. The agent, its inner steps and
their loss are MAML's. The paper did not try reinforcement learning. See docs/algorithms/maml.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from agents.common.inner_loop import InnerLoopConfig, prepare_round
from agents.common.meta_objective import Steps
from agents.contract import AgentError, Algorithm, MetricInfo, Plan, TrialBatch, Weights
from agents.functional.inner_loop import adapt, split_tasks, task_chunk_size
from agents.functional.parameters import Parameters, flatten
from agents.functional.schedules import linear_schedule
from agents.maml import MAMLAgent
from agents.nets.statistics import ObservationStatistics
from agents.nets.weights import check_adam, check_counts, take_weights
from agents.team import TeamMember


class ReptileConfig(InnerLoopConfig):
    """The inner loop's keys, and the outer step. Defaults are those of small control problems, learned in minutes."""

    added: ClassVar[Mapping[str, Any]] = {"adam_learning_rate": None}

    inner_steps: PositiveInt = Field(default=1, description="k - 1 of the paper: the last round is a step as well")
    # Of Adam, which takes the way back from the adapted parameters for a gradient; None: moves by outer_step_size.
    adam_learning_rate: PositiveFloat | None = 1e-2
    outer_step_size: PositiveFloat = 1.0  # epsilon without Adam; 1 moves to the mean of the adapted parameters
    final_outer_step_size: NonNegativeFloat | None = None  # reached linearly after `decay_updates`; None: constant
    decay_updates: PositiveInt = 1000  # until the final step size; the recipe's iterations where it has them


class ReptileLearner(TeamMember):
    """Owns the meta-parameters; needs no derivative of the inner steps."""

    metrics: Mapping[str, MetricInfo] = {
        "outer_step_size": MetricInfo("", "epsilon of this meta-update; Adam does not use it"),
        "displacement_norm": MetricInfo(
            "",
            "Euclidean norm of the mean over tasks of (adapted - meta-parameters)",
            least=1e-6,
            remedy="inner steps change nothing: raise agent.inner_learning_rates",
        ),
        "task_spread": MetricInfo("", "root mean square distance of the tasks' adapted parameters from their mean"),
    }

    def __init__(self, agent: MAMLAgent, config: ReptileConfig, seed: int, device: torch.device) -> None:
        self.config, self.policy, self.device = config, agent.policy, device
        initial = self.policy.init(torch.Generator().manual_seed(seed))
        self.parameters: Parameters = {name: value.to(device) for name, value in initial.items()}
        self.statistics = ObservationStatistics(config, self.policy)
        rate = config.adam_learning_rate
        self._adam = None if rate is None else torch.optim.Adam(list(self.parameters.values()), lr=rate)
        self._rounds = agent.trial_rounds(config.inner_steps, config.rollouts)
        self._episode_steps = agent.episode_steps
        self._updates = 0

    def parts(self) -> int:
        steps = self.config.rollouts * self._episode_steps
        return self.config.chunks(self.policy, steps, self.device)

    def plan(self, iteration: int) -> Plan:
        return Plan(self.config.meta_batch_size, self._rounds)

    def weights(self) -> dict[str, Tensor]:
        return {name: value.cpu().clone() for name, value in {**self.parameters, **self.statistics.tensors}.items()}

    def update(self, batch: TrialBatch) -> dict[str, float]:
        statistics = self.statistics.tensors
        rounds = [
            prepare_round(self.policy, self.config, statistics, trials.by_trial(), self.device) for trials in batch
        ]
        objective = self.config.objective(self.policy, len(rounds))

        def one_task(parameters: Parameters, rounds: list[Steps]) -> Parameters:
            return adapt(parameters, rounds, objective.inner_loss, objective.step_sizes)[-1]

        tasks, steps = rounds[0].weight.shape
        size = task_chunk_size(self.config.task_chunk, steps * self.policy.encoder.memory_factor, self.device)
        chunks = split_tasks((rounds,), tasks, size)

        def of_chunk(part: int) -> Tensor:
            adapted = torch.func.vmap(one_task, in_dims=(None, 0))(self.parameters, *chunks[part])
            return torch.cat([value.detach().flatten(1) for value in adapted.values()], 1).flatten()

        entries = sum(value.numel() for value in self.parameters.values())
        adapted = self.team.map([len(rounds[0].weight) * entries for (rounds,) in chunks], of_chunk)
        by_name = (
            torch.cat(adapted).view(tasks, entries).split([value.numel() for value in self.parameters.values()], 1)
        )
        ends = {
            name: values.contiguous().view(tasks, *value.shape)
            for (name, value), values in zip(self.parameters.items(), by_name, strict=True)
        }
        mean = {name: value.mean(0) for name, value in ends.items()}
        spread = sum(((value - mean[name]) ** 2).flatten(1).sum(1).mean() for name, value in ends.items())
        displacement = {name: mean[name] - value for name, value in self.parameters.items()}
        norm = float(flatten(displacement).norm())
        if not norm < float("inf"):
            raise AgentError(
                f"meta-update {self._updates}: the adapted parameters are not finite; the meta-parameters are those "
                "before it: lower agent.inner_learning_rates"
            )
        sizes = self.config.outer_step_size, self.config.final_outer_step_size
        epsilon = linear_schedule(*sizes, self._updates, self.config.decay_updates)
        if self._adam is None:
            for name, value in self.parameters.items():
                value.add_(displacement[name], alpha=epsilon)
        else:
            for name, value in self.parameters.items():
                value.grad = -displacement[name]
            self._adam.step()
        self.policy.project(self.parameters)
        self.statistics.update(batch, self._updates)
        self._updates += 1
        return {"outer_step_size": epsilon, "displacement_norm": norm, "task_spread": float(spread) ** 0.5}

    # -- checkpoints

    def state_dict(self) -> dict[str, Any]:
        adam = None if self._adam is None else self._adam.state_dict()
        own = {"parameters": dict(self.parameters), "adam": adam, "updates": self._updates}
        return own | self.statistics.state_dict()

    def load_weights(self, weights: Weights) -> None:
        """Start from the weights of another run; its statistics count as settled."""
        take_weights({**self.parameters, **self.statistics.tensors}, weights)
        self.statistics.settle()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        check_counts(state, "updates")
        if (self._adam is None) != (state.get("adam") is None):  # checkpoints from before there was Adam have no key
            raise AgentError("this checkpoint was written with another outer step; use the recipe of its own run")
        if self._adam is not None:
            check_adam(state["adam"], self.parameters.values())
        take_weights({**self.parameters, **self.statistics.tensors}, self.statistics.weights_in(state))
        self.statistics.load_state_dict(state)
        if self._adam is not None:
            self._adam.load_state_dict(state["adam"])
        self._updates = state["updates"]


REPTILE = Algorithm(ReptileConfig, MAMLAgent, ReptileLearner)
