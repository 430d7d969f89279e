"""Refusals of recipes: which file or override gave the key that is wrong, and which key was meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from agents import ALGORITHMS
from agents.contract import Config
from envs.validation import Place, Refusal
from trainers.errors import RecipeError
from trainers.recipes import loading, registry
from trainers.recipes.describing import Key, keys, recipe_keys
from trainers.recipes.neighbours import in_words, nearest_keys


@dataclass(frozen=True)
class Source:
    """Where a recipe comes from.

    Attributes:
        where: names its file.
        overrides: `key=value`, applied after it.
        agent: the name of the recipe's agent, after the overrides.
        agent_in_file: the name before them; None where the file names none.
        family: for advice.
    """

    where: str
    overrides: Sequence[str] = ()
    agent: str = ""
    agent_in_file: str | None = None
    family: str = "FAMILY"

    def of(self, key: str, translate: loading.Translate) -> str:
        """'the override agent.gamma=2' if one gave this key, or a part of this section; else the file."""
        for override in reversed(self.overrides):
            name = ".".join(loading.parsed_override(override, translate)[0])
            if key and (name == key or key.startswith((f"{name}.", f"{name}[")) or name.startswith(f"{key}.")):
                return f"the override {override}"
        return self.where


def refusal(error: ValidationError, recipe: type[Config], agent: type[Config], source: Source) -> RecipeError:
    """The error of validating a recipe's own keys."""
    return _refusal(error, recipe, recipe, agent, source, "")


def agent_refusal(error: ValidationError, recipe: type[Config], agent: type[Config], source: Source) -> RecipeError:
    """The error of validating its section `agent`."""
    return _refusal(error, agent, recipe, agent, source, "agent.")


def _refusal(
    error: ValidationError, model: type[Config], recipe: type[Config], agent: type[Config], source: Source, prefix: str
) -> RecipeError:
    translate = loading.translation(recipe, agent)

    def unknown(place: Place) -> str:
        return _hint(prefix + place.key, place, recipe_keys(recipe, agent), source)

    said = Refusal(error, model, lambda key: source.of(key, translate), prefix, unknown)
    key = said.first_unknown()
    changed = source.agent_in_file is not None and source.agent_in_file != source.agent
    if key is not None and key.startswith("agent.") and changed and source.of(key, translate) == source.where:
        return RecipeError(
            f"{source.where} is a recipe of {source.agent_in_file}, whose key {key} {source.agent} does not have; "
            f"train {source.agent} with its own defaults: acclimate train family={source.family} agent={source.agent}, "
            f"or write a recipe of it: acclimate new FILE family={source.family} agent={source.agent}"
        )
    return RecipeError(said.sentence())


def _hint(key: str, place: Place, known: Sequence[Key], source: Source) -> str:
    """The advice about a key that there is not."""
    other_kinds = [one.kind for one in known if one.name == key and one.kind and one.kind != place.kind]
    section = key.rpartition(".")[0]
    if other_kinds:
        kinds = ", ".join(dict.fromkeys(kind for kind in other_kinds if kind))
        return f"{section}.name is {place.kind}, and only {kinds} has it: set {section}.name too, or leave it out"
    suggestions = nearest_keys(key, known)
    exact = [one for one in known if one.name in suggestions and key.rpartition(".")[2] in (one.last, *one.earlier)]
    if not exact and (others := _agents_with(key)):
        return f"{' and '.join(others)} {'has' if len(others) == 1 else 'have'} it, {source.agent} has not"
    if suggestions:
        return in_words(key, suggestions)
    beside = sorted({one.last for one in known if one.section == section and one.kind in (None, place.kind)})
    what = source.agent if section.startswith("agent") else "recipe"
    return f"known are {', '.join(beside)}; acclimate describe {what} says what they mean"


def _agents_with(key: str) -> list[str]:
    """Listed agents whose section has this key."""
    last = key.removeprefix("agent.")
    found = []
    for name in ALGORITHMS if key.startswith("agent.") else ():
        names = {
            f"{one.section}.{part}".lstrip(".")
            for one in keys(registry.algorithm(name).config)
            for part in (one.last, *one.earlier)
        }
        if last in names:
            found.append(name)
    return found
