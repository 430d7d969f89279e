"""The inner loop that MAML and Reptile share: its configuration, and a round as the steps that its loss takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from agents.common.meta_objective import InnerObjective, MetaObjective, Steps
from agents.contract import Config, Fraction, Interface, RoundBatch, Weights
from agents.functional.advantages import fit_linear_baseline, gae, normalise, time_features
from agents.functional.inner_loop import task_chunk_size
from agents.nets.mlp import Activation
from agents.nets.policies import Policy
from agents.nets.statistics import RunningStatistics


class InnerLoopConfig(Config):
    """Hyperparameters of the inner loop, however the initial parameters are learned."""

    renamed: ClassVar[Mapping[str, str]] = {"discount": "gamma", "trace_decay": "gae_lambda"}

    added: ClassVar[Mapping[str, Any]] = {"normalise_observations": False, "scale_actions": False}
    finer: ClassVar[str] = "a smaller agent.task_chunk"
    fitted: ClassVar[Mapping[str, str]] = {"rollouts": "as many as take 1,000 steps, 5 to 20"}

    meta_batch_size: PositiveInt = 20  # N, fresh tasks of each iteration
    rollouts: PositiveInt = 20  # R, episodes of each round and task
    inner_steps: NonNegativeInt = 1  # K; 0 trains one policy for all tasks, the "pretrained" control
    # Learning rates of the inner steps, one a step; the last one repeats.
    inner_learning_rates: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = (0.3,)
    inner_objective: InnerObjective = "likelihood_ratio"  # loss of an inner step
    gamma: Fraction = 0.97  # discount of a step
    gae_lambda: Fraction = 0.95  # 1: advantages of whole returns, 0: of one step
    baseline_ridge: NonNegativeFloat = 1e-5  # regularisation of the linear baseline
    hidden_sizes: tuple[PositiveInt, ...] = (64, 64)  # layers of the policy
    activation: Activation = "tanh"  # of the hidden layers
    normalise_observations: bool = True  # by running mean and standard deviation of training
    initial_std: PositiveFloat = 0.7  # of continuous actions, in the policy's units
    min_std: PositiveFloat = 0.01  # floor of the standard deviation
    min_initial_std: PositiveFloat | None = None  # floor of the unadapted policy alone; None is min_std
    scale_actions: bool = True  # a bounded action space is [-1, 1] to the policy
    std_gain: PositiveFloat = 1.0  # an inner step moves log std by the square of it: see nets/policies.py
    task_chunk: PositiveInt | None = None  # tasks differentiated at once; None: as many as hold 40,000 steps a round

    @classmethod
    def fit(cls, interface: Interface, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"rollouts": min(max(1000 // interface.episode_steps, 5), 20)}

    def recipe_defaults(self) -> dict[str, Any]:
        return {
            "iterations": 60,
            "sampling": {"tasks_per_shard": -(-self.meta_batch_size // 8)},
            "evaluation": {"rounds": max(self.inner_steps, 1), "rollouts": self.rollouts},
        }

    def step_size(self, step: int) -> float:
        """Inner learning rate of inner step `step`, counted from 0."""
        return self.inner_learning_rates[min(step, len(self.inner_learning_rates) - 1)]

    def chunks(self, policy: Policy, round_steps: int, device: torch.device) -> int:
        """Chunks of the tasks of a meta-batch whose rounds have so many steps a task."""
        size = task_chunk_size(self.task_chunk, round_steps * policy.encoder.memory_factor, device)
        return -(-self.meta_batch_size // size)

    def objective(self, policy: Policy, inner_steps: int) -> MetaObjective:
        """The loss of an inner step, and of the policies after this many of them."""
        return MetaObjective(
            policy,
            step_sizes=tuple(self.step_size(step) for step in range(inner_steps)),
            inner_objective=self.inner_objective,
            task_chunk=self.task_chunk,
        )


def prepare_round(
    policy: Policy, config: InnerLoopConfig, statistics: Weights, batch: RoundBatch, device: torch.device
) -> Steps:
    """Fit the baseline per task, estimate and normalise advantages, and flatten rollouts into steps.

    An episode's end is the end for MAML, also at the time limit: the horizon is part of the task, the baseline
    sees the time, and returns of whole episodes are what is measured. So nothing is bootstrapped.
    """
    features = RunningStatistics.normalise(statistics, policy.encode(batch.observation)).to(device)
    reward, log_prob, valid = (
        torch.as_tensor(array).to(device) for array in (batch.reward, batch.log_prob, batch.valid)
    )
    end = torch.as_tensor(batch.terminated | batch.truncated).to(device)
    zero = torch.zeros_like(reward)
    returns = gae(reward, zero, zero, end, end, gamma=config.gamma, gae_lambda=1.0)
    observed = time_features(policy.encoder.pooled(features))
    value = fit_linear_baseline(observed, returns, valid, ridge=config.baseline_ridge)
    next_value = torch.cat([value[..., 1:], zero[..., :1]], -1)
    advantage = gae(reward, value, next_value, end, end, gamma=config.gamma, gae_lambda=config.gae_lambda)
    weight = valid / valid.sum((1, 2), keepdim=True)
    return Steps(
        features.flatten(1, 2),
        torch.as_tensor(batch.action).to(device).flatten(1, 2),
        normalise(advantage, valid).flatten(1, 2),
        log_prob.flatten(1, 2),
        weight.flatten(1, 2),
    )
