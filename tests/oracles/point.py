"""Point navigation for one point, in plain Python."""

import math


def episode(goal, actions, horizon, box=True):
    """(positions, rewards, terminated) of the actions played from the origin."""
    x = y = 0.0
    positions, rewards = [], []
    for ax, ay in actions[:horizon]:
        x += 0.1 * max(-1.0, min(1.0, ax))
        y += 0.1 * max(-1.0, min(1.0, ay))
        positions.append((x, y))
        rewards.append(-math.hypot(x - goal[0], y - goal[1]))
        if box and abs(x - goal[0]) < 0.01 and abs(y - goal[1]) < 0.01:
            return positions, rewards, True
    return positions, rewards, False
