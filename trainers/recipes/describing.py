"""Every key of a recipe, or of an agent's section of it, described: type, range, default, meaning.

All of it is read from the schema: types and ranges from the annotations, the meaning from a field's description or from
the comment in the class's source: at the end of its line, or a sentence above it.
"""

from __future__ import annotations

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from agents.contract import Config
from envs.schema_words import range_in_words, sections, shown, tag_of, type_in_words


@dataclass(frozen=True)
class Key:
    """A key of a recipe.

    Attributes:
        name: dotted, with its sections.
        kind: of the section that holds it, where that is one of several: gru.
        type, range: in words; range is "" without one.
        default: as in YAML; "required" without one.
        meaning: a phrase.
        earlier: earlier names of its last part.
        is_section: whether it holds keys, which follow it.
    """

    name: str
    kind: str | None
    type: str
    range: str
    default: str
    meaning: str
    earlier: tuple[str, ...] = ()
    is_section: bool = False

    @property
    def last(self) -> str:
        """The part after the last dot."""
        return self.name.rpartition(".")[2]

    @property
    def section(self) -> str:
        """The part before the last dot; "" for keys of the recipe itself."""
        return self.name.rpartition(".")[0]


def keys(schema: type[Config], prefix: str = "", kind: str | None = None) -> list[Key]:
    """All keys of a schema in its order, those of nested sections after the section."""
    found = []
    earlier: dict[str, list[str]] = {}
    for old, new in schema.earlier_names().items():
        earlier.setdefault(new, []).append(old)
    for name, field in schema.model_fields.items():
        if field.exclude or (name == "name" and tag_of(schema)):  # not written in recipes; says which kind it is
            continue
        inside = sections(field.annotation)
        found.append(
            Key(
                f"{prefix}{name}",
                kind,
                _type(field, inside),
                range_in_words(field.annotation, (*field.metadata, field)),
                _default(schema, name, field),
                meaning(schema, name),
                tuple(earlier.get(name, ())),
                bool(inside),
            )
        )
        for section in inside:
            if issubclass(section, Config):
                found += keys(section, f"{prefix}{name}.", tag_of(section) if len(inside) > 1 else None)
    return found


def recipe_keys(schema: type[Config], agent: type[Config]) -> list[Key]:
    """All keys of a recipe of this schema whose section `agent` has another."""
    found = []
    for key in keys(schema):
        if key.name == "agent":
            found += [Key("agent.name", None, "text", "", "required", "the agent"), *keys(agent, "agent.")]
        else:
            found.append(key)
    return found


def meaning(schema: type[BaseModel], name: str) -> str:
    """The meaning of a key: its description, or the comment on its line in the class that has one; "" without any."""
    field = schema.model_fields[name]
    if field.description:
        return field.description
    for base in schema.__mro__:
        if issubclass(base, BaseModel) and base is not BaseModel and (said := _comments(base).get(name)):
            return said
    inside = sections(field.annotation)
    if len(inside) == 1:
        return _first_sentence(inspect.getdoc(inside[0]) or "")
    return ""


@cache
def _comments(schema: type[BaseModel]) -> Mapping[str, str]:
    """Comments on the lines of a class's own fields."""
    try:
        source = textwrap.dedent(inspect.getsource(schema))
    except (OSError, TypeError):  # defined where there is no source, such as a prompt
        return {}
    comments: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.line.strip() != token.string:
            comments[token.start[0]] = token.string.lstrip("# ")
    written = source.splitlines()
    found = {}
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            beside = " ".join(comments[line] for line in lines if line in comments)
            found[node.target.id] = beside or _sentence_above(written, node.lineno - 1)
    return found


def _sentence_above(lines: Sequence[str], index: int) -> str:
    """The comment above a line if it is a sentence; "" otherwise, as for the heading of some keys."""
    said: list[str] = []
    while index and lines[index - 1].lstrip().startswith("#"):
        index -= 1
        said.insert(0, lines[index].strip(" #"))
    text = " ".join(said)
    return text.rstrip(".") if text.endswith(".") else ""


def fitted_words(schema: type[Config]) -> dict[str, str]:
    """How defaults follow the task family, by key: `fitted` of a configuration and of its bases."""
    merged: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        merged |= vars(base).get("fitted", {})
    return merged


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).partition(". ")[0].rstrip(".")


def _type(field: FieldInfo, inside: list[type[BaseModel]]) -> str:
    kinds = [tag for section in inside if (tag := tag_of(section))]
    return f"section: {', '.join(kinds)}" if len(kinds) > 1 else type_in_words(field.annotation, field.metadata)


def _default(schema: type[Config], name: str, field: FieldInfo) -> str:
    if said := fitted_words(schema).get(name):
        return f"by the family: {said}"
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return tag_of(type(value)) or "as below"
    return shown(value)
