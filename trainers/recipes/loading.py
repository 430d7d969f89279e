"""Reading recipes: YAML files and `key=value` overrides, in today's or earlier names of keys."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.contract import Config, renamed_keys, with_todays_names
from envs.validation import nearest
from envs.yaml_text import TextError, load_yaml
from trainers.errors import RecipeError
from trainers.files import read_bytes

# Keys that do not decide a run's numbers, and how far it goes; some of how it computes may move last bits.
MAY_CHANGE = (
    "iterations", "workers", "cluster", "learners", "device", "deterministic", "learner_threads", "checkpoints",
    "tensorboard", "wandb", "wandb_project", "sampling.shard_timeout_s",
)  # fmt: skip
MOST_VALUES = 100_000
SHIPPED = Path(__file__).resolve().parents[2] / "configs"
Translate = Callable[[Mapping[str, Any]], tuple[dict[str, Any], list[tuple[str, str]]]]


def shipped() -> dict[str, Path]:
    """The recipes that come with Acclimate, by name."""
    return {file.stem: file for file in sorted(SHIPPED.glob("*.yaml"))}


def find(name: str) -> Path:
    """The recipe file of this name: a path, or one of the recipes that come with Acclimate."""
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir() and name not in shipped():
        run = f": train {path / 'config.yaml'} anew, or resume it" if (path / "config.yaml").is_file() else ""
        raise RecipeError(f"{name} is a folder, not a recipe{run or '; name the YAML file in it'}")
    stem = path.name.removesuffix(".yaml")
    if path.parent in (Path(), Path("configs")) and stem in shipped():
        return shipped()[stem]
    close = nearest(stem, shipped())
    hint = close if close.startswith("did") else "acclimate recipes lists them"
    raise RecipeError(f"there is no recipe {name}; {hint}; a recipe of your own is a path")


def run_name(name: str | None, overrides: Sequence[str]) -> str:
    """The first part of a run folder's name: the recipe's, else those of family and agent."""
    if name is not None:
        return Path(name).name.removesuffix(".yaml")
    data = with_overrides({}, overrides)
    family, agent = str(data.get("family", "run")), as_section("agent", data.get("agent"))
    agent_name = str(agent.get("name", "agent")) if isinstance(agent, Mapping) else "agent"
    return "_".join(Path(part).name.removesuffix(".yaml").rpartition(":")[2] for part in (family, agent_name))


def read(path: Path, what: str = "recipe") -> dict[str, Any]:
    """The mapping in a YAML file, as it is written; RecipeError if there is none. `what` it is, for that message."""
    try:
        data = load_yaml(read_bytes(path))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path} is not a YAML {what}: {' '.join(str(error).split())[:200]}") from error
    if data is None:
        hint = "acclimate new writes one to begin with" if what == "recipe" else "see docs/comparing.md"
        raise RecipeError(f"{path} is not a {what}: it is empty; {hint}")
    if not isinstance(data, dict):
        keys = "seed, iterations and family" if what == "recipe" else "name and families"
        raise RecipeError(f"{path} is not a {what}: it must be a mapping of keys such as {keys}")
    if _size(data) > MOST_VALUES:
        raise RecipeError(f"{path} holds more than {MOST_VALUES:,} values; a {what} is a page of them")
    return data


def header(path: Path) -> list[str]:
    """The comment that a recipe's file begins with, line by line."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return lines


def with_family_beside(data: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The recipe in this file, whose family's YAML file may lie beside it, where the command does not run."""
    name = data.get("family")
    if isinstance(name, str) and name.endswith((".yaml", ".yml")) and not Path(name).is_file():
        beside = path.parent / name
        return {**data, "family": str(beside)} if beside.is_file() else data
    return data


def refuse_another_run(overrides: Sequence[str]) -> None:
    """Raises RecipeError unless a resumed run stays the same run under these overrides."""
    for override in overrides:
        key = override.partition("=")[0]
        if key not in MAY_CHANGE and key.partition(".")[0] not in MAY_CHANGE:
            raise RecipeError(
                f"{key} cannot change in a run that is resumed (only {', '.join(MAY_CHANGE)}); "
                "train a new run, with init=RUN if it should start from this one's weights"
            )


def with_overrides(data: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The mapping with `key=value` overrides, as they are written; dots reach into sections."""
    changed = dict(data)
    for override in overrides:
        _set(changed, *_parsed(override))
    return changed


def in_todays_names(
    data: Mapping[str, Any], overrides: Sequence[str], translate: Translate
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The mapping with overrides, both in today's names of keys: (it, the earlier names found, with today's).

    Each is translated by itself, so that an override wins over the file whichever name either of them uses.
    """
    changed, found = translate(data)
    for override in overrides:
        todays, value, earlier = parsed_override(override, translate)
        found += earlier
        _set(changed, todays, value)
        _once(changed, todays)
    return changed, found


def _once(data: dict[str, Any], keys: Sequence[str]) -> None:
    """Leave to its default what an override makes the same as another key: an agent's train_tasks is the recipe's."""
    if list(keys) == ["train_tasks"] and isinstance(agent := data.get("agent"), Mapping):
        data["agent"] = {key: value for key, value in agent.items() if key != "train_tasks"}
    if list(keys) == ["agent", "train_tasks"]:
        data.pop("train_tasks", None)


def parsed_override(override: str, translate: Translate) -> tuple[list[str], Any, list[tuple[str, str]]]:
    """(sections and key in today's names, value, the earlier names in it) of `section.key=value`."""
    keys, value = _parsed(override)
    nested: Any = value
    for key in reversed(keys):
        nested = {key: nested}
    nested, earlier = translate(nested)
    todays = []
    for _ in keys:
        ((key, nested),) = nested.items()
        todays.append(key)
    return todays, nested, earlier


def translation(schema: type[Config], agent_schema: type[Config]) -> Translate:
    """Today's names for a recipe of this schema whose section `agent` has another: (the data in them, those found)."""

    def translate(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        found, translated = renamed_keys(schema, data), with_todays_names(schema, data)
        if isinstance(agent := as_section("agent", translated.get("agent")), Mapping):
            found += renamed_keys(agent_schema, agent, "agent.")
            translated["agent"] = with_todays_names(agent_schema, agent)
        return translated, found

    return translate


def say_set_twice(overrides: Sequence[str], translate: Translate) -> None:
    """One sentence on stderr about a key that two overrides set by two of its names."""
    by_key: dict[str, str] = {}
    for override in overrides:
        key = ".".join(parsed_override(override, translate)[0])
        before = by_key.get(key, override)
        if before.partition("=")[0] != override.partition("=")[0]:
            print(f"acclimate: {before} and {override} set the same key; the last one counts", file=sys.stderr)
        by_key[key] = override


def say_todays_names(found: Sequence[tuple[str, str]]) -> None:
    """One sentence on stderr about keys that are given by an earlier name."""
    if found:
        names = ", ".join(f"{earlier} is called {today} now" for earlier, today in dict.fromkeys(found))
        print(f"acclimate: {names}; both are read", file=sys.stderr)


def is_recipe(name: str) -> bool:
    """Whether this is the path of a recipe, and not of a family's description: it names an agent."""
    if not name.endswith((".yaml", ".yml")) or not Path(name).is_file():
        return False
    try:
        return "agent" in read(Path(name))
    except RecipeError:  # whoever reads it as a description says what is wrong
        return False


def dotted(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted keys, those of nested sections too."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            found |= dotted(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


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


def _parsed(override: str) -> tuple[list[str], Any]:
    """(sections and key, value) of `section.key=value`."""
    key, equals, text = override.partition("=")
    if not equals or not all(part and part == part.strip() for part in key.split(".")):
        raise RecipeError(f"{override!r} is no override; write key=value, such as iterations=50 or agent.rollouts=10")
    try:
        return key.split("."), load_yaml(text)
    except TextError as error:
        raise RecipeError(f"the value of {key} is not YAML: {text!r} ({error})") from error


def as_section(key: str, value: Any) -> Any:
    """A name alone, `agent: NAME`, as the section `agent: {name: NAME}`; any other value as it is."""
    return {"name": value} if key == "agent" and isinstance(value, str) else value


def _set(data: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    *sections, last = keys
    place = data
    for section in sections:
        inner = as_section(section, place.get(section, {}))
        if not isinstance(inner, dict):
            raise RecipeError(f"{'.'.join(keys)} cannot be set: {section} is a value, not a section")
        # A copy: the anchors of a YAML file may share one mapping between sections.
        place[section] = place = dict(inner)
    place[last] = value
