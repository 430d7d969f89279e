"""Metrics of a meta-batch: the returns of its rounds and what they are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.contract import Round, TrialBatch
from trainers.runs.metrics import selected_steps


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
