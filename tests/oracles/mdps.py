"""Value iteration of one MDP, state by state."""

from __future__ import annotations

import numpy as np


def value_iteration_loop(transition_probs, rewards, steps):
    """Optimal actions [steps, S] and initial values [S] of probabilities [S, A, S] and rewards [S, A]."""
    states, actions = rewards.shape
    value, best = [0.0] * states, []
    for _ in range(steps):
        q_values = [
            [
                rewards[state, action] + sum(p * v for p, v in zip(transition_probs[state, action], value, strict=True))
                for action in range(actions)
            ]
            for state in range(states)
        ]
        best.insert(0, [int(np.argmax(of_state)) for of_state in q_values])
        value = [max(of_state) for of_state in q_values]
    return np.array(best), np.array(value)
