"""The facts of a meta-batch that the training loop needs: small, so that the trials can stay where the learners are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium
import numpy as np

from agents.contract import Learner, Round, TrialBatch, concatenate
from envs.task import TaskFamily
from trainers.process import gradients_in_this_thread
from trainers.runs.metrics import selected_steps


@dataclass(frozen=True)
class BatchFacts:
    """Facts of one iteration's trials.

    Attributes:
        steps: environment steps.
        metrics: returns of the rounds, shares of the reward terms, unstable episodes.
        equal_return: of every row; None where they differ.
        action_size: root mean square of the actions; see `size_of_actions`.
    """

    steps: int
    metrics: dict[str, float]
    equal_return: float | None
    action_size: float


def meta_update(
    learner: Learner, family: TaskFamily, trials: Sequence[TrialBatch], rounds: Sequence[Round]
) -> tuple[dict[str, float], BatchFacts]:
    """One meta-update on the trials of consecutive shards: the learner's metrics, and facts of the trials."""
    batch = concatenate(trials)
    with gradients_in_this_thread():
        metrics = learner.update(batch)
    return metrics, facts_of(batch, rounds, family.reward_terms, family.action_space)


def facts_of(
    batch: TrialBatch, rounds: Sequence[Round], terms: Sequence[str], action_space: gymnasium.Space
) -> BatchFacts:
    """The facts of a batch of these rounds, of a family with these reward terms and actions."""
    returns = np.concatenate([one.row_returns().reshape(-1) for one in batch])
    return BatchFacts(
        steps=sum(one.steps for one in batch),
        metrics={
            **training_returns(rounds, batch),
            **reward_terms(terms, batch),
            "unstable_episodes": sum(int(one.unstable.sum()) for one in batch),
        },
        equal_return=float(returns[0]) if np.ptp(returns) == 0 else None,
        action_size=size_of_actions(action_space, batch),
    )


def training_returns(rounds: Sequence[Round], batch: TrialBatch) -> dict[str, float]:
    """Mean return at the steps of the training trials' adaptation curve; each episode of a round is one."""
    places = [(number, episode) for number, one in enumerate(rounds) for episode in range(one.episodes)]
    metrics = {}
    for step in selected_steps(len(places)):
        number, episode = places[step]
        of_round = batch[number]
        if rounds[number].episodes == 1:
            metrics[f"return_round_{step}"] = float(of_round.row_returns().mean())
        else:
            mask = of_round.valid & (of_round.episode == episode)
            returns = np.where(mask, of_round.reward, 0.0).sum(-1, dtype=np.float64)
            metrics[f"return_round_{step}"] = float(returns[mask.any(-1)].mean())
    if all(one.rollouts == 1 for one in rounds):
        metrics["trial_return"] = float(sum(of_round.row_returns().mean() for of_round in batch))
    return metrics


def reward_terms(names: Sequence[str], batch: TrialBatch) -> dict[str, float]:
    """The share of each named reward term in the returns of the last round."""
    values = batch[-1].reward_terms
    if not names:
        return {}
    totals = np.where(batch[-1].valid[..., None], values, 0.0).sum(-2, dtype=np.float64).reshape(-1, len(names))
    return {f"reward_term_{name}": float(total) for name, total in zip(names, totals.mean(0), strict=True)}


def size_of_actions(space: gymnasium.Space, batch: TrialBatch) -> float:
    """Root mean square of the actions from the middle of a bounded Box, in half ranges; infinite for other spaces."""
    if not isinstance(space, gymnasium.spaces.Box) or not space.is_bounded():
        return math.inf
    middle, half = (space.high + space.low) / 2.0, np.maximum((space.high - space.low) / 2.0, 1e-9)
    squares = [np.square((one.action[one.valid] - middle) / half, dtype=np.float64) for one in batch]
    return math.sqrt(np.concatenate(squares).mean())
