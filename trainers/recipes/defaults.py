"""Defaults that a recipe leaves to its family and its agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.contract import Config
from trainers.recipes import registry


def fitted(data: Mapping[str, Any], config: type[Config]) -> dict[str, Any]:
    """A recipe's mapping with the agent's keys that follow the family (`Config.fit`) added where it leaves them out.

    Raises:
        RecipeError: a default depends on the family, and there is none or it cannot be made.
    """
    agent = dict(data["agent"])
    if "train_tasks" in config.model_fields and data.get("train_tasks") is not None:
        agent.setdefault("train_tasks", data["train_tasks"])  # of the recipe: saying it once is enough
    if "decay_updates" in config.model_fields and data.get("iterations") is not None:
        agent.setdefault("decay_updates", data["iterations"])  # what decays is over when the run is
    lacking = [key for key in config.fitted if key not in agent]
    if lacking and isinstance(data.get("family"), str):
        family = registry.family(data["family"], task_in_observation=bool(data.get("task_in_observation", False)))
        values = config.fit(registry.interface_of(family), agent)
        agent |= {key: values[key] for key in lacking}
    return {**data, "agent": agent}


def as_it_was(data: Mapping[str, Any], config: type[Config]) -> dict[str, Any]:
    """The mapping of a run folder, with what its run did before some keys were there (`Config.added`)."""
    return {**data, "agent": {**config.values_before(), **data["agent"]}}


def with_recipe_defaults(data: Mapping[str, Any], agent: Config) -> dict[str, Any]:
    """A recipe's mapping with its other keys that follow the agent (`Config.recipe_defaults`) where it has none."""
    whole = dict(data)
    for key, value in agent.recipe_defaults().items():
        given = data.get(key, {})
        if not isinstance(value, Mapping):
            whole.setdefault(key, value)
        elif isinstance(given, Mapping):
            whole[key] = {**value, **given}
    return whole
