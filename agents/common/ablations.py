"""Negative controls of agents that infer their task: the same weights, with another context than their own.

An agent that solves its tasks as well without what it found out, or with what was found out about another task, has
inferred nothing that it uses.
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
    """The agent as it is (own), forgetful (none), or told of another task (another)."""
    if context not in get_args(Context):
        raise AgentError(f"context is {context}; it is one of {', '.join(get_args(Context))}")
    return agent if context == "own" else _WithoutContext(agent) if context == "none" else _AnothersContext(agent)


class Inside:
    """Acts as the agent inside."""

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


class _WithoutContext(Inside):
    """Forgets everything whenever it could learn something: after a round, and where it learns in a row, after a step.

    Agents whose episodes follow each other in a row learn at every step; all others learn between rounds and may keep
    what they drew for the episode, such as PEARL's latent.
    """

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self._forgets_steps = _learns_in_row(agent)

    def observe(self, weights: Weights, state: Any, transition: Mapping[str, np.ndarray]) -> Any:
        if self._forgets_steps:
            return self._agent.begin_trial(weights, len(transition["reward"]))
        return self._agent.observe(weights, state, transition)

    def adapt(self, weights: Weights, state: Any, batch: RoundBatch) -> Any:
        return self._agent.begin_trial(weights, len(batch.task_id))


class _AnothersContext(Inside):
    """After each round every trial is given the state of a trial on the next task of its shard."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        if _learns_in_row(agent):
            raise AgentError(
                "this agent learns at every step, so between its episodes there is no context to exchange; measure it "
                "with --context none"
            )

    def adapt(self, weights: Weights, state: Any, batch: RoundBatch) -> Any:
        trials = len(batch.task_id)
        of_each = int((batch.task_id == batch.task_id[0]).sum())
        if of_each == trials:
            raise AgentError(
                "a shard holds trials of one task alone, so there is no other to be told of; measure at least two "
                "tasks, with sampling.tasks_per_shard of at least 2 that leaves none over"
            )
        order = torch.roll(torch.arange(trials), of_each)
        return _reordered(self._agent.adapt(weights, state, batch), order)


def _learns_in_row(agent: Agent) -> bool:
    """Whether its episodes follow each other in a row, so that it learns at every step and not between rounds."""
    return any(one.episodes > 1 for one in agent.trial_rounds(1, 1))


def _reordered(node: Any, order: torch.Tensor) -> Any:
    """A state with its trials in another order: every tensor [B, ...] in it."""
    if isinstance(node, torch.Tensor):
        return node[order]
    if isinstance(node, Mapping):
        return {name: _reordered(value, order) for name, value in node.items()}
    if is_dataclass(node) and not isinstance(node, type):
        return replace(node, **{field.name: _reordered(getattr(node, field.name), order) for field in fields(node)})
    return node
