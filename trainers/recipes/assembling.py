"""A recipe's agent and learner, made for a task family."""

from __future__ import annotations

import torch

from agents.contract import Agent, Interface, Learner
from envs.task import TaskFamily
from trainers.recipes.schema import Recipe


def interface_of(family: TaskFamily) -> Interface:
    """The side of a family that its agents may know."""
    return Interface(family.observation_space, family.action_space, family.episode_steps)


def build(recipe: Recipe, family: TaskFamily, device: torch.device) -> tuple[Agent, Learner]:
    """The agent and the learner that a recipe asks for, freshly initialised.

    Raises:
        AgentError: they cannot serve the family.
    """
    agent = recipe.algorithm.make_agent(recipe.agent, interface_of(family))
    return agent, recipe.algorithm.make_learner(agent, recipe.agent, recipe.seed, device)
