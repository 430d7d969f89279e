"""A trained agent adapts in a plain Gymnasium loop, to a goal that nobody tells it.

python examples/adapt_online.py [RUN]         RUN: a run folder; the published MAML agent if left out
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from trainers.online import load

PUBLISHED = Path(__file__).resolve().parents[1] / "docs" / "results" / "point_nav_maml" / "seed-0"


def main() -> None:
    agent = load(sys.argv[1] if len(sys.argv) > 1 else PUBLISHED)
    # Your robot, or any environment that observes and acts as the family does: the agent sees nothing else of it.
    env = agent.family.make_env(agent.family.task(goal_m=[0.4, -0.3]))
    agent.begin_trial()
    returns: dict[int, list[float]] = {}
    while agent.adaptations < 2:
        adapted, total, ended = agent.adaptations, 0.0, False
        observation, _ = env.reset(seed=agent.episodes)
        while not ended:
            action = agent.act(observation)
            observation, reward, terminated, truncated, _ = env.step(action)
            agent.observe(observation, float(reward), terminated, truncated)
            total, ended = total + float(reward), terminated or truncated
        returns.setdefault(adapted, []).append(total)
    for adapted, of_episodes in returns.items():
        print(f"{adapted} adaptations: mean return {np.mean(of_episodes):.1f} over {len(of_episodes)} episodes")


if __name__ == "__main__":
    main()
