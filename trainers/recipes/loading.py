"""Reading recipes: YAML files and `key=value` overrides; an unknown key is refused with the nearest valid one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from agents import ALGORITHMS
from agents.contract import Algorithm
from envs.validation import nearest, sentence
from trainers.errors import RecipeError
from trainers.files import read_text
from trainers.recipes import registry
from trainers.recipes.schema import Recipe

# Keys that do not decide a run's numbers, and how far it goes; device and learner_threads may move last bits.
MAY_CHANGE = (
    "iterations", "workers", "device", "learner_threads", "checkpoints", "tensorboard", "wandb", "wandb_project"
)  # fmt: skip
MOST_VALUES = 100_000
SHIPPED = Path(__file__).resolve().parents[2] / "configs"


def find(name: str) -> Path:
    """The recipe file of this name: a path, or one of the recipes that come with Acclimate."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = {file.stem: file for file in SHIPPED.glob("*.yaml")}
    stem = path.name.removesuffix(".yaml")
    if path.parent in (Path(), Path("configs")) and stem in shipped:
        return shipped[stem]
    raise RecipeError(f"there is no recipe {name}; {nearest(stem, shipped)}; a recipe of your own is a path")


def load(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The checked recipe in a YAML file, with `key=value` overrides applied (dots reach into sections).

    Raises:
        RecipeError: it cannot be read, or a key or a value in it is not valid.
    """
    data = _read(path)
    for override in overrides:
        _apply(data, override)
    return _validate(data, str(path))


def with_overrides(recipe: Recipe, overrides: Sequence[str], where: str) -> Recipe:
    """The recipe of a run that is resumed, with overrides that do not make another run of it.

    `where` names the recipe in errors. Neither its file nor its algorithm is looked up again.
    """
    data = recipe.to_data()
    for override in overrides:
        key = override.partition("=")[0]
        if key.partition(".")[0] not in MAY_CHANGE:
            raise RecipeError(
                f"{key} cannot change in a run that is resumed (only {', '.join(MAY_CHANGE)}); "
                "train a new run, with init=RUN if it should start from this one's weights"
            )
        _apply(data, override)
    return _validate(data, where, recipe.algorithm)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(read_text(path))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} is not a YAML recipe: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{path} is not a recipe: it must be a mapping of keys such as seed, iterations and family")
    if _size(data) > MOST_VALUES:
        raise RecipeError(f"{path} holds more than {MOST_VALUES:,} values; a recipe is a page of them")
    return data


def _validate(data: Mapping[str, Any], where: str, algorithm: Algorithm | None = None) -> Recipe:
    """The checked recipe of a mapping, whose algorithm is looked up unless given; `where` names it in errors."""
    if "agent_name" in data:
        raise RecipeError(f"{where}: there is no key agent_name; did you mean agent.name?")
    agent = data.get("agent")
    if not isinstance(agent, Mapping) or not isinstance(agent.get("name"), str):
        raise RecipeError(f"{where}: agent must be a section with a name, such as {min(ALGORITHMS)}, and its own keys")
    algorithm = registry.algorithm(agent["name"]) if algorithm is None else algorithm
    try:
        config = algorithm.config.model_validate({key: value for key, value in agent.items() if key != "name"})
    except ValidationError as error:
        raise RecipeError(sentence(error, algorithm.config, where, "agent.", extra=("name",))) from error
    try:
        return Recipe.model_validate({**data, "agent": config, "agent_name": agent["name"]}, context=algorithm)
    except ValidationError as error:
        raise RecipeError(sentence(error, Recipe, where, "")) from error


def _size(node: Any, limit: int = MOST_VALUES) -> int:
    """Values in nested data, anchors counted each time they are used; stops counting past `limit`."""
    if not isinstance(node, (dict, list)):
        return 1
    total = 1
    for child in node.values() if isinstance(node, dict) else node:
        if total > limit:
            break
        total += _size(child, limit - total)
    return total


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"{override!r} is no override; write key=value, such as iterations=50 or agent.rollouts=10")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"the value of {key} is not YAML: {text!r}") from error
    *sections, last = key.split(".")
    place = data
    for section in sections:
        inner = place.get(section, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{key} cannot be set: {section} is a value, not a section")
        # A copy: the anchors of a YAML file may share one mapping between sections.
        place[section] = place = dict(inner)
    place[last] = value
