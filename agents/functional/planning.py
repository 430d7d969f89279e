"""Dynamic programming for known MDPs and for Bernoulli bandits with a known prior, in NumPy, without state."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

STANDARD_ARMS = 401  # grid of success probabilities that a Gittins index is interpolated on


def value_iteration(transition_probs: np.ndarray, rewards: np.ndarray, *, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Finite-horizon value iteration: the optimal policy of an episode and its values.

        Q_t(s, a) = r(s, a) + sum over s' of p(s' | s, a) max_a' Q_{t+1}(s', a'),   Q after the last step is 0

    Args:
        transition_probs: [..., S, A, S] float, of each next state given state and action.
        rewards: [..., S, A] float, expected.
        steps: of an episode, at least 1.

    Returns:
        optimal actions [steps, ..., S] int64, in the order of time; values [..., S] float64 before the first step.
    """
    *batch, states, actions = rewards.shape
    flat = transition_probs.reshape(*batch, states * actions, states)
    value = np.zeros((*batch, states))
    best = np.zeros((steps, *batch, states), np.int64)
    for step in range(steps - 1, -1, -1):
        q_values = rewards + (flat @ value[..., None])[..., 0].reshape(rewards.shape)
        best[step] = q_values.argmax(-1)
        value = q_values.max(-1)
    return best, value


def arm_number(successes: np.ndarray, failures: np.ndarray) -> np.ndarray:
    """Index of a Bernoulli arm's state: 0 is the unpulled one, more pulls have larger numbers.

    Args:
        successes: [...] int.
        failures: [...] int.

    Returns:
        [...] int64, n (n + 1) / 2 + successes for n pulls.
    """
    pulled = np.asarray(successes) + failures
    return pulled * (pulled + 1) // 2 + successes


def arm_states(pulls: int) -> tuple[np.ndarray, np.ndarray]:
    """Every state of a Bernoulli arm with fewer than so many pulls, in the order of `arm_number`.

    Args:
        pulls: at least 1.

    Returns:
        successes and failures, each [pulls (pulls + 1) / 2] int64.
    """
    pulled = np.repeat(np.arange(pulls), np.arange(1, pulls + 1))
    successes = np.arange(len(pulled)) - pulled * (pulled + 1) // 2
    return successes, pulled - successes


@lru_cache(maxsize=4)
def gittins_indices(pulls: int) -> np.ndarray:
    """Finite-horizon Gittins indices of Bernoulli arms with U[0, 1] priors. Lattimore 2016 (arXiv:1511.06014), sec. 2.

    The index of an arm is the known success probability c of a standard arm at which it makes no difference whether the
    arm may be pulled at all, with n steps remaining and stopping allowed at any time:

        Q_n(s, f) = m - c + m V_{n-1}(s + 1, f) + (1 - m) V_{n-1}(s, f + 1)
        V_n = max(0, Q_n),   V_0 = 0,   m = (1 + s) / (2 + s + f)

    Q falls with c. It is computed on a grid of `STANDARD_ARMS` values of c and its zero is interpolated linearly.
    Q is convex in c, so the index is never too small, and too large by less than the grid's spacing (by less than
    0.0007 where it is compared with a slow twin).

    Args:
        pulls: of a trial, at least 1. Time and memory grow with its cube: 100 take a few seconds and 4 MB.

    Returns:
        [pulls, pulls (pulls + 1) / 2] float64, read-only: index of (steps remaining - 1, `arm_number`); nan
        beyond a trial.
    """
    successes, failures = arm_states(pulls)
    mean = ((1 + successes) / (2 + successes + failures))[:, None]
    won, lost = arm_number(successes + 1, failures), arm_number(successes, failures + 1)
    indices = np.full((pulls, len(mean)), np.nan)
    grid = np.linspace(0.0, 1.0, STANDARD_ARMS)
    # A few standard arms at a time, neighbours sharing one, so that their values stay in the processor's cache.
    for start in range(0, STANDARD_ARMS - 1, 10):
        arms = grid[start : start + 11]
        value = np.zeros(((pulls + 1) * (pulls + 2) // 2, len(arms)))
        for remaining in range(1, pulls + 1):
            reachable = (pulls - remaining + 1) * (pulls - remaining + 2) // 2  # states after the earlier pulls
            m = mean[:reachable]
            stay, after = value[won[:reachable]], value[lost[:reachable]]
            stay -= after
            stay += 1.0
            stay *= m
            stay += after
            stay -= arms
            here = np.flatnonzero((stay[:, 0] > 0) & (stay[:, -1] <= 0))
            some = stay[here]
            low = (some <= 0).argmax(-1) - 1
            above, below = some[np.arange(len(some)), low], some[np.arange(len(some)), low + 1]
            indices[remaining - 1, here] = arms[low] + above / (above - below) * (arms[1] - arms[0])
            np.maximum(stay, 0.0, out=value[:reachable])
    indices.setflags(write=False)
    return indices


def bandit_key(arms: np.ndarray, *, pulls: int) -> np.ndarray:
    """A key of the multiset of arm states.

    Args:
        arms: [..., k] int, from `arm_number`.
        pulls: of a trial.

    Returns:
        [...] int64. Keys differ where the states do, as long as `bandit_states` says that they fit.
    """
    base = pulls * (pulls + 1) // 2
    return np.sort(arms, -1) @ (base ** np.arange(arms.shape[-1], dtype=np.int64))


def bandit_states(arms: int, pulls: int) -> int | None:
    """Number of states that `bayes_bandit` would enumerate; None if their keys do not fit 63 bits.

    Args:
        arms: k, of the bandit.
        pulls: of a trial.

    Returns:
        the multisets of k arm states with fewer than `pulls` pulls in all.
    """
    if (pulls * (pulls + 1) // 2) ** arms >= 2**63:
        return None
    ways = np.zeros((arms + 1, pulls))  # [pulled arms, pulls of them]
    ways[0, 0] = 1
    for pulled in range(1, pulls):
        for _ in range(pulled + 1):  # each number of successes is a state of its own
            for count in range(1, arms + 1):
                ways[count, pulled:] += ways[count - 1, :-pulled]
    return int(ways.sum())


@lru_cache(maxsize=4)
def bayes_bandit(arms: int, pulls: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Bayes-optimal play of a Bernoulli bandit with U[0, 1] priors: dynamic programming over its posterior states.

        V(x) = max over arms a of m_a (1 + V(x with a success of a)) + (1 - m_a) V(x with a failure of a)

    A state x is the multiset of the arms' (successes, failures): arms with equal counts are interchangeable.

    Args:
        arms: k, of the bandit.
        pulls: of a trial; see `bandit_states` for what is affordable.

    Returns:
        keys [X] int64 of all states, ascending; best [X] int64, the `arm_number` to pull there; the expected total
        reward of a trial. Both arrays are read-only.
    """
    successes, failures = arm_states(pulls)
    mean = (1 + successes) / (2 + successes + failures)
    after_success, after_failure = arm_number(successes + 1, failures), arm_number(successes, failures + 1)

    def following(states: np.ndarray, arm: int, after: np.ndarray) -> np.ndarray:
        changed = states.copy()
        changed[:, arm] = after[states[:, arm]]
        return changed

    levels = [np.zeros((1, arms), np.int64)]  # states with 0, 1, ... pulls, in the order of their keys
    for _ in range(pulls - 1):
        reached = np.concatenate(
            [following(levels[-1], arm, after) for arm in range(arms) for after in (after_success, after_failure)]
        )
        _, first = np.unique(bandit_key(reached, pulls=pulls), return_index=True)
        levels.append(np.sort(reached[first], -1))
    keys: list[np.ndarray] = []
    best: list[np.ndarray] = []
    value_after: np.ndarray = np.zeros(0)
    for level in range(pulls - 1, -1, -1):
        states = levels[level]
        q_values = mean[states]
        if level < pulls - 1:
            for arm in range(arms):
                after_win, after_loss = (
                    value_after[np.searchsorted(keys[-1], bandit_key(following(states, arm, after), pulls=pulls))]
                    for after in (after_success, after_failure)
                )
                success_probs = mean[states[:, arm]]
                q_values[:, arm] += success_probs * after_win + (1 - success_probs) * after_loss
        keys.append(bandit_key(states, pulls=pulls))
        best.append(np.take_along_axis(states, q_values.argmax(-1)[:, None], -1)[:, 0])
        value_after = q_values.max(-1)
    every, chosen = np.concatenate(keys), np.concatenate(best)
    order = np.argsort(every)
    every, chosen = every[order], chosen[order]
    every.setflags(write=False)
    chosen.setflags(write=False)
    return every, chosen, float(value_after[0])
