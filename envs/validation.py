"""Strict schemas of YAML files: pydantic's errors as one sentence, and the nearest known word to a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator


def nearest(word: str, known: Iterable[str]) -> str:
    """Return 'did you mean ...?', or the list of known words."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


class Strict(BaseModel):
    """Base of every schema: typed, range-checked, no unknown keys, frozen.

    Class attributes:
        renamed: earlier names of keys, and what each is called now; both are read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    renamed: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _accept_earlier_names(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        earlier = {old: new for old, new in cls.renamed.items() if old in data}
        for old, new in earlier.items():
            if new in data:
                raise ValueError(f"{old} is the earlier name of {new}, and both are given; keep {new}")
        return {earlier.get(key, key): value for key, value in data.items()}


def sentence(
    error: ValidationError, model: type[BaseModel], where: str, prefix: str = "", extra: tuple[str, ...] = ()
) -> str:
    """Return the first of pydantic's errors as one sentence.

    Args:
        error: raised by validating `model`.
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
        tagged = [
            model for model in candidates if "name" in model.model_fields and model.model_fields["name"].default == part
        ]
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
