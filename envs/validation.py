"""Strict schemas of YAML files: pydantic's errors as one sentence, and the nearest known word to a misspelt one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from envs.schema_words import expected, leaves, sections, shown, tag_of

LARGEST = 2**63  # integers are stored in 64 bits, with a sign


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

    @classmethod
    def earlier_names(cls) -> dict[str, str]:
        """Earlier names of keys, with today's."""
        return dict(cls.renamed)

    @model_validator(mode="before")
    @classmethod
    def _accept_earlier_names(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        earlier = {old: new for old, new in cls.earlier_names().items() if old in data}
        for old, new in earlier.items():
            if new in data:
                raise ValueError(f"{old} is the earlier name of {new}, and both are given; keep {new}")
        fields = cls.model_fields
        todays = {earlier.get(key, key): value for key, value in data.items()}
        return {
            key: as_written(fields[key].annotation, value) if key in fields else value for key, value in todays.items()
        }


def as_written(annotation: Any, value: Any) -> Any:
    """A value as it was meant: one number where a list is wanted is a list of one. The twin is agents/configuration.py.

    A boolean for a number, a number for a boolean and an integer beyond 64 bits come back as `Unusable`.
    """
    if isinstance(value, (list, tuple)):
        return type(value)(_usable(annotation, one) for one in value)
    if isinstance(value, Mapping):
        plain = get_origin(_bare(annotation)) is dict
        return {key: _usable(annotation, one) for key, one in value.items()} if plain else value
    return (
        [_usable(annotation, value)] if _is_list_alone(annotation) and _is_number(value) else _usable(annotation, value)
    )


def _usable(annotation: Any, value: Any) -> Any:
    kinds = leaves(annotation)
    if isinstance(value, bool):
        return value if kinds & {bool, Any, True, False} else Unusable(value)
    if isinstance(value, (int, float)) and kinds <= {bool, type(None)}:
        return Unusable(value)
    whole = isinstance(value, int) or (isinstance(value, float) and float not in kinds and value.is_integer())
    return Unusable(value) if whole and abs(value) >= LARGEST else value


class Unusable:
    """Stands for a value that pydantic would read as another one, so that it is refused where it stands."""

    def __init__(self, given: Any) -> None:
        self.given = given

    def __repr__(self) -> str:
        return shown(self.given)


def _is_list_alone(annotation: Any) -> bool:
    """Whether only a list of any length is meant, or None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is tuple:
        return Ellipsis in get_args(annotation)
    parts = [part for part in get_args(annotation) if part is not type(None)]
    return len(parts) == 1 and type(None) in get_args(annotation) and _is_list_alone(parts[0])


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True)
class Place:
    """Where a pydantic error arose.

    Attributes:
        names: keys on the way, without tags of kinds; an entry of a list as name[index].
        holders: the schemas that hold the last key; one, but where the kind of a section is not known.
        annotation, metadata: of the last key; None and () where it is unknown.
        kind: of the section that holds the last key, if it is one of several.
    """

    names: tuple[str, ...]
    holders: tuple[type[BaseModel], ...]
    annotation: Any
    metadata: tuple[Any, ...]
    kind: str | None

    @property
    def key(self) -> str:
        """The keys, dotted."""
        return ".".join(self.names)

    @property
    def known(self) -> set[str]:
        """Keys that there are beside the last one."""
        return {name for holder in self.holders for name in holder.model_fields}


@dataclass(frozen=True)
class Refusal:
    """A validation that failed, with what it takes to say so in a sentence.

    Attributes:
        error: pydantic's.
        model: that was validated.
        where: names the file, or what a key (dotted, with its section) was given by.
        prefix: the section that was validated, with its dot.
        unknown: what to say of an unknown key, given its place; the default compares it with the known ones beside it.
    """

    error: ValidationError
    model: type[BaseModel]
    where: str | Callable[[str], str]
    prefix: str = ""
    unknown: Callable[[Place], str] | None = None

    def sentence(self) -> str:
        """Unknown keys first, then all missing ones, then the first value that is not valid."""
        errors = self.error.errors()
        by_type: dict[str, list[Any]] = {}
        for error in errors:
            by_type.setdefault(error["type"], []).append(error)
        for kind in ("extra_forbidden", "invalid_key"):
            if kind in by_type:
                return self._unknown(by_type[kind][0])
        if "missing" in by_type:
            return self._missing([self._place(error["loc"]) for error in by_type["missing"]])
        return self._invalid(errors[0])

    def first_unknown(self) -> str | None:
        """The first key that there is not, dotted; None if all are known."""
        unknown = [error for error in self.error.errors() if error["type"] == "extra_forbidden"]
        return self.prefix + self._place(unknown[0]["loc"]).key if unknown else None

    def _unknown(self, error: Any) -> str:
        place = self._place(error["loc"])
        key = self.prefix + place.key
        hint = self.unknown(place) if self.unknown else nearest(place.names[-1], place.known)
        return f"{self._at(key)}: there is no key {key}; {hint}"

    def _missing(self, places: list[Place]) -> str:
        keys = list(dict.fromkeys(self.prefix + place.key for place in places))
        if len(keys) == 1:
            return f"{self._at('')}: the key {keys[0]} is missing; add it"
        return f"{self._at('')}: the keys {', '.join(keys[:-1])} and {keys[-1]} are missing; add them"

    def _invalid(self, error: Any) -> str:
        place = self._place(error["loc"])
        key, value, type_of_error = self.prefix + place.key, error["input"], error["type"]
        message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        if type_of_error in ("value_error", "assertion_error"):
            return self._contradiction(place, key, value, message)
        if not place.names:
            return f"{self._at('')}: {self.prefix.rstrip('.') or 'it'} must be a section of keys, not {shown(value)}"
        if type_of_error in ("union_tag_invalid", "union_tag_not_found"):
            return f"{self._at(key)}: {_which_kind(place, key, error)}"
        value = getattr(value, "given", value)  # an Unusable, of either package
        reads = " (YAML reads yes, no, on and off so)" if isinstance(value, bool) else ""
        wanted = expected(place.annotation, place.metadata) if place.annotation is not None else "another value"
        if kinds := _kinds(place.annotation):
            wanted = f"a section whose name is {' or '.join(kinds)}, such as {{name: {kinds[0]}}}"
        if isinstance(value, (int, float)) and abs(value) >= LARGEST:
            wanted += " and below 2^63"
        if type_of_error == "finite_number":
            wanted += ", and finite"
        if type_of_error in ("tuple_type", "list_type") and isinstance(value, str):
            wanted += f"; write [{value}]"
        return f"{self._at(key)}: {key} is {shown(value)}{reads}, but must be {wanted}"

    def _contradiction(self, place: Place, key: str, value: Any, message: str) -> str:
        """A sentence of a validator of ours."""
        if place.names and not isinstance(value, (Mapping, BaseModel)):
            return f"{self._at(key)}: {key} is {shown(value)}, but {message[:1].lower()}{message[1:]}"
        section = f"{key}." if place.names else self.prefix
        begins_with_key = any(message.partition(" ")[0] in model.model_fields for model in self._models(place))
        if begins_with_key or not section:
            return f"{self._at(section.rstrip('.'))}: {section}{message}"
        return f"{self._at(section.rstrip('.'))}: {section.rstrip('.')}: {message}"

    def _models(self, place: Place) -> tuple[type[BaseModel], ...]:
        return tuple(sections(place.annotation)) if place.names else (self.model,)

    def _at(self, key: str) -> str:
        return self.where if isinstance(self.where, str) else self.where(key)

    def _place(self, location: tuple[int | str, ...]) -> Place:
        return place_of(self.model, location)


def sentence(
    error: ValidationError, model: type[BaseModel], where: str, prefix: str = "", extra: tuple[str, ...] = ()
) -> str:
    """pydantic's errors as one sentence; see `Refusal`. `extra` are keys that the model does not know."""

    def unknown(place: Place) -> str:
        return nearest(place.names[-1], {*extra, *place.known} - {"agent_name"})

    return Refusal(error, model, where, prefix, unknown).sentence()


def place_of(model: type[BaseModel], location: tuple[int | str, ...]) -> Place:
    """The place of pydantic's location, which holds tags of kinds and of union members beside the keys."""
    names: list[str] = []
    holders: tuple[type[BaseModel], ...] = (model,)
    annotation: Any = model
    metadata: tuple[Any, ...] = ()
    kind = None
    for index, part in enumerate(location):
        candidates = sections(annotation)
        tagged = [one for one in candidates if tag_of(one) == part]
        known = [one for one in candidates if part in one.model_fields]
        if isinstance(part, int):
            if names and get_origin(_bare(annotation)) is tuple:
                names[-1] += f"[{part}]"
                annotation, metadata = _entry(annotation), ()
        elif tagged and len(candidates) > 1:
            holders, annotation, kind = tuple(tagged), tagged[0], str(part)
        elif get_origin(_bare(annotation)) is dict:
            names.append(str(part))
            annotation, metadata = get_args(_bare(annotation))[1], ()
        elif known:
            names.append(part)
            holders, field = tuple(known), known[0].model_fields[part]
            annotation, metadata = field.annotation, (*field.metadata, field)
            kind = kind if len(candidates) == 1 and tag_of(known[0]) == kind else None
        elif index == len(location) - 1 and candidates:
            names.append(str(part))
            holders, annotation, metadata = tuple(candidates), None, ()
    return Place(tuple(names), holders, annotation, metadata, kind)


def _bare(annotation: Any) -> Any:
    """The annotation without Annotated and without None beside one other."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if type(None) in get_args(annotation) and len(parts) == 1:
        return _bare(parts[0])
    lists = [part for part in parts if get_origin(_bare(part)) is tuple] if get_origin(annotation) is not tuple else []
    return _bare(lists[0]) if lists and get_origin(annotation) is not dict else annotation


def _entry(annotation: Any) -> Any:
    return get_args(_bare(annotation))[0]


def _kinds(annotation: Any) -> list[str]:
    """Names of the kinds of a section, if it has several."""
    return [tag for model in sections(annotation) if (tag := tag_of(model))] if annotation is not None else []


def _which_kind(place: Place, key: str, error: Any) -> str:
    kinds = _kinds(place.annotation)
    given = error["input"].get("name") if isinstance(error["input"], Mapping) else error["input"]
    such = f"{key}={{name: {kinds[0]}}}"
    if given is None:
        return f"{key} is one of several kinds, but has no name; give it one of {', '.join(kinds)}, such as {such}"
    close = nearest(str(given), kinds)
    hint = f"; {close}" if close.startswith("did") else ""
    return f"{key}.name is {shown(given)}, but must be one of {', '.join(kinds)}{hint}"
