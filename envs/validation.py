"""Typed YAML: strict pydantic models, their complaints as one sentence, and the nearest word to a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError


def nearest(word: str, known: Iterable[str]) -> str:
    """'did you mean ...?', or the list of what there is."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


class Strict(BaseModel):
    """Typed, range-checked, no unknown keys, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def sentence(
    error: ValidationError, model: type[BaseModel], where: str, prefix: str = "", extra: tuple[str, ...] = ()
) -> str:
    """The first of pydantic's complaints as one sentence.

    Args:
        error: what validating `model` raised.
        where: the file, to begin with.
        prefix: the section that was validated, with its dot.
        extra: keys of the section that the model does not know but the caller does.
    """
    first = error.errors()[0]
    holder, names = _walk(model, first["loc"])
    key = prefix + ".".join(names)
    if first["type"] == "extra_forbidden":
        known = {*holder.model_fields, *extra} - {"agent_name"}
        return f"{where}: there is no key {key}; {nearest(names[-1], known)}"
    if first["type"] == "missing":
        return f"{where}: the key {key} is missing; add it"
    message = first["msg"].removeprefix("Value error, ")
    if not names:  # keys that contradict each other
        return f"{where}: {prefix}{message}"
    message = message[0].lower() + message[1:]
    return f"{where}: {key} is {first['input']!r}, but {message}"


def _walk(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[type[BaseModel], list[str]]:
    """The model that holds the last key of pydantic's location, and the keys on the way without union tags."""
    names: list[str] = []
    candidates = [model]
    holder = model
    for part in location:
        tagged = [one for one in candidates if "name" in one.model_fields and one.model_fields["name"].default == part]
        if tagged and len(candidates) > 1:
            candidates = tagged
            continue
        holder = candidates[0]
        names.append(str(part))
        field = holder.model_fields.get(str(part))
        candidates = (_models(field.annotation) if field else []) or [holder]
    return holder, names


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
