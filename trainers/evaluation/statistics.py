"""Statistics over training seeds and tasks: the interquartile mean and bootstrap intervals."""

from __future__ import annotations

import numpy as np
from scipy import stats

_MOST_WEIGHTS = 20_000_000  # of the bootstrap that are held at once


def interquartile_mean(returns_STP: np.ndarray) -> np.ndarray:
    """[P], the interquartile mean: that of the middle half of all (seed, task) returns [S, T, P].

    Agarwal et al. 2021 (arXiv:2108.13264).
    """
    return stats.trim_mean(returns_STP.reshape(-1, returns_STP.shape[-1]), 0.25)


def interval(values: np.ndarray, draws: int = 4000) -> np.ndarray:
    """[..., 2], 95 % interval of the mean of values [S, T, ...]: crossed bootstrap of whole seeds, then tasks.

    With one seed it says how sure the mean over tasks is, and nothing of other seeds.
    """
    rng = np.random.default_rng(0)
    seeds, tasks = values.shape[:2]
    seed_weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    flat = values.reshape(seeds, tasks, -1)
    means = []
    for some in np.array_split(seed_weights, -(-draws * tasks // _MOST_WEIGHTS)):
        task_weights = rng.multinomial(tasks, np.full(tasks, 1 / tasks), size=len(some)) / tasks
        means.append(np.einsum("ds,dt,stp->dp", some, task_weights, flat, optimize=True))
    ends = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0).T
    return ends.reshape(*values.shape[2:], 2)
