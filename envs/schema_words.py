"""Types and ranges of a schema's keys in words, from their annotations: for refusals and for `acclimate describe`."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_NOUNS = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}
_LONGEST = 60  # characters of a value that is shown


def expected(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """A value of this annotation as a noun phrase: 'a whole number, 1 or more', 'tanh or relu', 'a list of numbers'."""
    return _with_article(type_in_words(annotation, metadata)) + _after_comma(range_in_words(annotation, metadata))


def type_in_words(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """The type: 'whole number', 'tanh or relu', 'list of numbers', 'section', 'whole number or null'."""
    bare, _ = _unwrapped(annotation, metadata)
    if members := _members(bare):
        words = dict.fromkeys(type_in_words(member) for member in members)
        return _joined([word for word in words if word != "null"] + ["null"] * ("null" in words))
    origin = get_origin(bare)
    if origin is Literal:
        return _joined([str(value) for value in get_args(bare)])
    if origin in (tuple, list):
        parts = [part for part in get_args(bare) if part is not Ellipsis]
        noun = _plural(type_in_words(parts[0])) if parts else "values"
        fixed = origin is tuple and Ellipsis not in get_args(bare)
        return f"list of {len(parts)} {noun}" if fixed else f"list of {noun}"
    if origin is dict or (isinstance(bare, type) and issubclass(bare, (BaseModel, Mapping))):
        return "section"
    return _NOUNS.get(bare, "value")


def range_in_words(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """The range: '1 or more', 'above 0', 'from 0 to 1', 'at least 1 of them, each above 0'; "" without one."""
    bare, limits = _unwrapped(annotation, metadata)
    if members := _members(bare):
        return next(filter(None, (range_in_words(member) for member in members)), "")
    origin = get_origin(bare)
    if origin in (tuple, list):
        parts = [part for part in get_args(bare) if part is not Ellipsis]
        each = range_in_words(parts[0]) if parts else ""
        least = limits.get("min_length")
        found = [f"at least {least} of them" if least else "", f"each {each}" if each else ""]
        return ", ".join(filter(None, found))
    examples = limits.get("examples")
    if examples:
        return f"such as {_joined([str(one) for one in examples])}"
    return _interval(limits, whole=bare is int)


def shown(value: Any) -> str:
    """A value as it stands in YAML, shortened."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        text = "{" + ", ".join(f"{key}: {shown(one)}" for key, one in value.items()) + "}"
    elif isinstance(value, (list, tuple)):
        text = "[" + ", ".join(map(shown, value)) + "]"
    elif isinstance(value, (int, float, str)):
        text = repr(value)
    else:
        text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def sections(annotation: Any) -> list[type[BaseModel]]:
    """The schemas that a value of this annotation may follow, those in lists and dictionaries included."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in sections(part)]


def tag_of(model: type[BaseModel]) -> str | None:
    """The kind that a schema is chosen by among others, such as gru; None if it is the only one."""
    field = model.model_fields.get("name")
    return str(field.default) if field is not None and get_origin(field.annotation) is Literal else None


def leaves(annotation: Any) -> set[Any]:
    """Plain types and literal values anywhere in an annotation."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return leaves(get_args(annotation)[0])
    if origin is Literal:
        return set(get_args(annotation))
    if origin is None:
        return {annotation}
    return set().union(*(leaves(part) for part in get_args(annotation) if part is not Ellipsis))


def _unwrapped(annotation: Any, metadata: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
    """The annotation without Annotated, and its limits by name: gt, ge, lt, le, min_length, pattern, examples."""
    found = list(metadata)
    while get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        found += more
    limits: dict[str, Any] = {}
    for one in found:
        if isinstance(one, FieldInfo):
            limits |= _unwrapped(annotation, one.metadata)[1]
            if one.examples:
                limits["examples"] = one.examples
        for name in ("gt", "ge", "lt", "le", "min_length", "pattern", "examples"):
            if getattr(one, name, None) is not None:
                limits[name] = getattr(one, name)
    return annotation, limits


def _members(bare: Any) -> tuple[Any, ...]:
    return get_args(bare) if get_origin(bare) in (Union, types.UnionType) else ()


def _interval(limits: Mapping[str, Any], *, whole: bool) -> str:
    low = limits.get("ge", limits.get("gt"))
    if whole and "gt" in limits:
        low = limits["gt"] + 1
    open_low = "gt" in limits and not whole
    high, open_high = limits.get("le", limits.get("lt")), "lt" in limits
    if low is None and high is None:
        return ""
    if high is None:
        return f"above {low:g}" if open_low else f"{low:g} or more"
    if low is None:
        return f"below {high:g}" if open_high else f"{high:g} or less"
    if open_low:
        return f"above {low:g} and {'below' if open_high else 'at most'} {high:g}"
    return f"from {low:g} to {'below ' if open_high else ''}{high:g}"


def _joined(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)


def _plural(noun: str) -> str:
    return "texts" if noun == "text" else f"{noun}s" if noun in ("whole number", "number", "value", "section") else noun


def _with_article(noun: str) -> str:
    counted = noun.startswith(("whole number", "number", "list", "section", "value"))
    return f"a {noun}" if counted else noun


def _after_comma(words: str) -> str:
    return f", {words}" if words else ""
