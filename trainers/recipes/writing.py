"""A recipe as a file to edit: every key is there, with its value and its meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envs.yaml_text import dump_yaml
from trainers.errors import RecipeError
from trainers.recipes import loading
from trainers.recipes.describing import Key, recipe_keys
from trainers.recipes.schema import Recipe

_MEANINGS_AT = 36  # column


def commented_recipe(given: Sequence[str]) -> str:
    """The text of a recipe with these `key=value`, `family` and `agent` among them.

    All other keys are comments, with the values that they have for this family and agent.

    Raises:
        RecipeError: `family` or `agent` is missing, or the keys make no recipe.
    """
    data = loading.with_overrides({}, given)
    lacking = [key for key in ("family", "agent") if key not in data]
    if lacking:
        names = " and ".join(f"{key}=..." for key in lacking)
        raise RecipeError(f"a recipe needs a family and an agent; add {names}, such as family=my_module:MyFamily")
    recipe = Recipe.load(None, given, quiet=True)
    translated, _ = loading.in_todays_names({}, given, loading.translation(Recipe, recipe.algorithm.config))
    written = {*loading.dotted(translated), "family", "agent.name"}
    meanings = recipe_keys(Recipe, recipe.algorithm.config)
    lines = [
        f"# {recipe.agent_name} on {recipe.family}.",
        "# Every key is here with its value; take away the # in front of those that shall be another.",
        "",
    ]
    return "\n".join([*lines, *_section(recipe.to_data(), "", written, meanings)]) + "\n"


def _section(data: Mapping[str, Any], prefix: str, written: set[str], meanings: Sequence[Key]) -> list[str]:
    """The lines of a section without indentation; keys that are not written are comments."""
    lines = []
    kind = data.get("name")
    for key, value in data.items():
        name = f"{prefix}{key}"
        meaning = next((one.meaning for one in meanings if one.name == name and one.kind in (None, kind)), "")
        if isinstance(value, Mapping) and value:
            inside = _section(value, f"{name}.", written, meanings)
            shown = any(one.startswith(f"{name}.") for one in written)
            if shown:  # a section that is one of several kinds says which
                written.add(f"{name}.name")
            if not shown:
                inside = [line.removeprefix("# ") for line in inside]
            block = [_line(f"{key}:", meaning), *(f"  {line}" for line in inside)]
            lines += block if shown else [f"# {line}" for line in block]
        else:
            line = _line(dump_yaml({key: value}, flow=True), meaning)
            lines.append(line if name in written else f"# {line}")
    return lines


def _line(text: str, meaning: str) -> str:
    return f"{text.ljust(_MEANINGS_AT)}  # {meaning}" if meaning else text
