"""Acting by the means of the action distributions, while whatever else an agent samples is sampled.

PEARL's published test does so: its latent is sampled once an episode, actions are means, and the context comes from
those very episodes (Rakelly et al. 2019, arXiv:1903.08254, and its code's `eval_deterministic`). Without any noise, by
contrast, the latent is its mean too, and the context comes from noisy episodes.
"""

from __future__ import annotations

from dataclasses import replace

import gymnasium
import numpy as np

from agents.common.ablations import AgentWrapper
from agents.contract import Agent, Interface, Round


def act_by_means(agent: Agent, interface: Interface) -> Agent:
    """The agent acting by means: in rounds without noise, or with noise but for its actions if it samples a latent."""
    space = interface.action_space
    actions = int(np.prod(space.shape or ())) if isinstance(space, gymnasium.spaces.Box) else None
    entries = agent.draw_noise(np.random.default_rng(0), (1,)).shape[-1]
    if actions is not None and entries > actions:
        return _LatentNoiseOnly(agent, actions)
    return _Deterministic(agent)


class _Deterministic(AgentWrapper):
    """Plays every round without noise."""

    def trial_rounds(self, adaptations: int, rollouts: int) -> tuple[Round, ...]:
        return tuple(replace(one, deterministic=True) for one in super().trial_rounds(adaptations, rollouts))


class _LatentNoiseOnly(AgentWrapper):
    """Draws no noise for actions, whose entries are the first (`agents.contract.Agent.draw_noise`)."""

    def __init__(self, agent: Agent, actions: int) -> None:
        super().__init__(agent)
        self._actions = actions

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        noise = super().draw_noise(rng, shape)
        noise[..., : self._actions] = 0.0
        return noise
