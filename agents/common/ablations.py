"""Ablations of the context, negative controls of agents that infer their task: same weights, other context.

An agent that solves its tasks as well without its own context, or with that of a trial on another task, has inferred
nothing that it uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch

from agents.contract import Agent, AgentError, Round, RoundBatch, Weights

Context = Literal["own", "none", "another"]


def ablate_context(agent: Agent, context: Context) -> Agent:
    """Return the agent itself (own), or with its context removed (none) or swapped between tasks (another)."""
    if context not in get_args(Context):
        raise AgentError(f"context is {context}; it is one of {', '.join(get_args(Context))}")
    return agent if context == "own" else _WithoutContext(agent) if context == "none" else _SwappedContext(agent)


class AgentWrapper:
    """Base of agents that wrap another one: passes every call on."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def trial_rounds(self, adaptations: int, rollouts: int) -> tuple[Round, ...]:
        return self._agent.trial_rounds(adaptations, rollouts)

    def begin_trial(self, weights: Weights, trials: int) -> Any:
        return self._agent.begin_trial(weights, trials)

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return self._agent.draw_noise(rng, shape)

    def act(
        self, weights: Weights, state: Any, observation: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, Any]:
        return self._agent.act(weights, state, observation, noise)

    def observe(self, weights: Weights, state: Any, transition: Mapping[str, np.ndarray]) -> Any:
        return self._agent.observe(weights, state, transition)

    def adapt(self, weights: Weights, state: Any, batch: RoundBatch) -> Any:
        return self._agent.adapt(weights, state, batch)

    def inspect(self, weights: Weights, state: Any) -> dict[str, np.ndarray]:
        return self._agent.inspect(weights, state)


class _WithoutContext(AgentWrapper):
    """Resets the state whenever the agent could adapt: after a round, and for in-context agents after every step.

    All others adapt between rounds and keep what they sampled for the episode, such as PEARL's latent.
    """

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self._resets_every_step = _adapts_every_step(agent)

    def observe(self, weights: Weights, state: Any, transition: Mapping[str, np.ndarray]) -> Any:
        if self._resets_every_step:
            return self._agent.begin_trial(weights, len(transition["reward"]))
        return self._agent.observe(weights, state, transition)

    def adapt(self, weights: Weights, state: Any, batch: RoundBatch) -> Any:
        return self._agent.begin_trial(weights, len(batch.task_id))


class _SwappedContext(AgentWrapper):
    """Gives every trial, after each round, the state of a trial on the next task of its shard."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        if _adapts_every_step(agent):
            raise AgentError(
                "this agent adapts at every step, so between its episodes there is no context to swap; measure it "
                "with --context none"
            )

    def adapt(self, weights: Weights, state: Any, batch: RoundBatch) -> Any:
        trials = len(batch.task_id)
        trials_per_task = int((batch.task_id == batch.task_id[0]).sum())
        if trials_per_task == trials:
            raise AgentError(
                "a shard holds trials of one task alone, so there is no other task's context; measure at least two "
                "tasks, with sampling.tasks_per_shard of at least 2 that leaves none over"
            )
        order = torch.roll(torch.arange(trials), trials_per_task)
        return _permute_trials(self._agent.adapt(weights, state, batch), order)


def _adapts_every_step(agent: Agent) -> bool:
    """Whether its episodes follow each other in one row, so that it adapts at every step and not between rounds."""
    return any(round_.episodes > 1 for round_ in agent.trial_rounds(1, 1))


def _permute_trials(node: Any, order: torch.Tensor) -> Any:
    """A state with its trials, the first axis of every tensor [B, ...] in it, in another order."""
    if isinstance(node, torch.Tensor):
        return node[order]
    if isinstance(node, Mapping):
        return {name: _permute_trials(value, order) for name, value in node.items()}
    if is_dataclass(node) and not isinstance(node, type):
        return replace(
            node, **{field.name: _permute_trials(getattr(node, field.name), order) for field in fields(node)}
        )
    return node
