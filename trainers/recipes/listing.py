"""Lists of names without importing them: agents and baselines by their docstrings, shipped recipes by headers."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from trainers.recipes import loading


@dataclass(frozen=True)
class ListedRecipe:
    """A shipped recipe as its file's header and keys say.

    Attributes:
        name, agent, family: what trains what.
        title: the header's first line.
        expected: the number to expect, with its condition.
        minutes: how long it takes, and on which machine.
    """

    name: str
    agent: str
    family: str
    title: str
    expected: str
    minutes: str


def recipes() -> list[ListedRecipe]:
    """The recipes that come with Acclimate, by name."""
    return [_recipe(path) for path in sorted(loading.SHIPPED.glob("*.yaml"))]


def _recipe(path: Path) -> ListedRecipe:
    lines, data = loading.header(path), loading.read(path)
    text = " ".join(lines)

    def said(word: str) -> str:
        found = re.search(rf"{word}:\s*(.*?)\s*(?=Source:|Expected:|Minutes:|Machine:|$)", text)
        return found[1].rstrip(".") if found else ""

    unit = "minute" if said("Minutes").split()[-1:] == ["1"] else "minutes"
    minutes = f"{said('Minutes')} {unit} on {said('Machine')}"
    return ListedRecipe(path.stem, data["agent"]["name"], data["family"], lines[0], said("Expected"), minutes)


def summaries(places: Mapping[str, str]) -> dict[str, str]:
    """The first sentence about each listed name, by its place `module:Name`: of its docstring, else its module's."""
    return {name: _summary(place) for name, place in places.items()}


def _summary(place: str) -> str:
    module, _, symbol = place.partition(":")
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == symbol]
    text = " ".join((ast.get_docstring(classes[0] if classes else tree) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[a-z)])\. ", text, maxsplit=1)[0].partition("; see ")[0].rstrip(".")
