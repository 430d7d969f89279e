"""A recipe's agent and learner, made for a task family."""

from __future__ import annotations

import torch

from agents.contract import Agent, Learner
from envs.task import TaskFamily
from trainers.recipes.registry import interface_of
from trainers.recipes.schema import Recipe


def build(recipe: Recipe, family: TaskFamily, device: torch.device) -> tuple[Agent, Learner]:
    """The agent and the learner that a recipe asks for, freshly initialised.

    Raises:
        AgentError: they cannot serve the family.
    """
    agent = recipe.algorithm.make_agent(recipe.agent, interface_of(family))
    return agent, recipe.algorithm.make_learner(agent, recipe.agent, recipe.seed, device)
