"""Configurations of algorithms: the base of every one, and keys by their earlier names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from agents.interface import Interface

Fraction = Annotated[float, Field(ge=0, le=1)]
_LARGEST = 2**63  # integers are stored in 64 bits, with a sign


class Config(BaseModel):
    """Base of every configuration: typed, range-checked, no unknown keys, frozen.

    A section that is one of several kinds may be given by the name of its kind alone; without a name it is of the
    default's kind.

    Class attributes:
        renamed: earlier names of keys, and the names they have today; a subclass inherits those of its bases. Both are
            read, so that recipes and run folders of earlier versions stay valid (docs/adr/0008-recipe-keys.md).
        added: keys that came after the first version, with what runs did before they were there: a run folder that
            lacks them is one of those.
        fitted: keys whose default follows the task family, and how, in words: see `fit`.
        gradient_step_keys: keys that decide how often the learner steps in an update.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    renamed: ClassVar[Mapping[str, str]] = {}
    added: ClassVar[Mapping[str, Any]] = {}
    fitted: ClassVar[Mapping[str, str]] = {}
    gradient_step_keys: ClassVar[tuple[str, ...]] = ()
    finer: ClassVar[str] = "another recipe"

    def gradient_steps_per_update(self) -> int | None:
        """Gradient steps of a meta-update, the product of `gradient_step_keys`; None where there are none."""
        counts = []
        for key in self.gradient_step_keys:
            value: Any = self
            for name in key.split("."):
                value = getattr(value, name, None)
            counts.append(value)
        return math.prod(counts) if counts and None not in counts else None

    @classmethod
    def fit(cls, interface: Interface, given: Mapping[str, Any]) -> dict[str, Any]:
        """Defaults of the keys `fitted`, so that an iteration costs what the family is worth, not a published constant.

        Args:
            interface: the family's.
            given: the keys that the recipe gives, not checked yet.
        """
        return {}

    def recipe_defaults(self) -> dict[str, Any]:
        """Defaults of a recipe's other keys that fit an agent of this configuration, such as `iterations`."""
        return {}

    @classmethod
    def values_before(cls) -> dict[str, Any]:
        """`added` of this class and of every base class."""
        merged: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            merged |= vars(base).get("added", {})
        return merged

    @classmethod
    def earlier_names(cls) -> dict[str, str]:
        """Earlier names of this class's keys, with today's: its own `renamed` and that of every base class."""
        merged: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            merged |= vars(base).get("renamed", {})
        return {old: new for old, new in merged.items() if new in cls.model_fields and old not in cls.model_fields}

    @model_validator(mode="before")
    @classmethod
    def _accept_earlier_names(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        earlier = {old: new for old, new in cls.earlier_names().items() if old in data}
        for old, new in earlier.items():
            if new in data:
                raise ValueError(f"{old} is the earlier name of {new}, and both are given; keep {new}")
        todays = {earlier.get(key, key): value for key, value in data.items()}
        fields = cls.model_fields
        return {key: as_written(fields[key], value) if key in fields else value for key, value in todays.items()}


def count_in(given: Mapping[str, Any], key: str, default: int) -> int:
    """A positive whole number that a recipe gives, or the default where it gives none (or one to be refused later)."""
    value = given.get(key, default)
    return value if type(value) is int and value > 0 else default


def as_written(field: FieldInfo, value: Any) -> Any:
    """A value as it was meant: one number where a list is wanted is a list of one. The twin is envs/validation.py.

    A boolean for a number, a number for a boolean and an integer beyond 64 bits come back as `Unusable`.
    """
    annotation = field.annotation
    if isinstance(kind := field.discriminator, str):
        if isinstance(value, str):
            return {kind: value}
        if isinstance(value, Mapping) and kind not in value and isinstance(field.default, BaseModel):
            return {kind: getattr(field.default, kind), **value}  # keys of the kind that is the default
    if isinstance(value, (list, tuple)):
        return type(value)(_usable(annotation, one) for one in value)
    usable = _usable(annotation, value)
    return [usable] if _is_list_alone(annotation) and _is_number(value) else usable


def _usable(annotation: Any, value: Any) -> Any:
    kinds = _leaves(annotation)
    if isinstance(value, bool):
        return value if kinds & {bool, Any, True, False} else Unusable(value)
    if isinstance(value, (int, float)) and kinds <= {bool, type(None)}:
        return Unusable(value)
    whole = isinstance(value, int) or (isinstance(value, float) and float not in kinds and value.is_integer())
    return Unusable(value) if whole and abs(value) >= _LARGEST else value


class Unusable:
    """Stands for a value that pydantic would read as another one, so that it is refused where it stands."""

    def __init__(self, given: Any) -> None:
        self.given = given

    def __repr__(self) -> str:
        return repr(self.given)


def _leaves(annotation: Any) -> set[Any]:
    """Plain types and literal values anywhere in an annotation."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _leaves(get_args(annotation)[0])
    if origin is Literal:
        return set(get_args(annotation))
    if origin is None:
        return {annotation}
    return set().union(*(_leaves(part) for part in get_args(annotation) if part is not Ellipsis))


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


def renamed_keys(config_class: type[Config], data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Keys of `data` that are given by an earlier name, as (earlier, today's) dotted names, nested sections included.

    Args:
        config_class: the configuration that `data` is meant for.
        data: what a recipe or an override says, maybe incomplete. Where a section is one of several kinds and `data`
            does not name the kind, the earlier names of all of them count.
        prefix: of the dotted names, such as `agent.`.
    """
    found: list[tuple[str, str]] = []
    _translate((config_class,), data, (prefix, prefix), found)
    return found


def with_todays_names(config_class: type[Config], data: Mapping[str, Any]) -> dict[str, Any]:
    """The same data with today's names of keys, nested sections included; see `renamed_keys`.

    A key that is given by both names is left as it is, for the configuration to refuse.
    """
    return _translate((config_class,), data, ("", ""), [])


def _translate(
    kinds: Sequence[type[Config]], data: Mapping[str, Any], prefixes: tuple[str, str], found: list[tuple[str, str]]
) -> dict[str, Any]:
    """`data` of one of these configurations in today's names; appends (earlier, today's) dotted names to `found`."""
    earlier = {old: new for kind in kinds for old, new in kind.earlier_names().items() if old in data}
    translated = {}
    for key, value in data.items():
        today = earlier.get(key, key)
        names = f"{prefixes[0]}{key}", f"{prefixes[1]}{today}"
        if today != key:
            found.append(names)
        if isinstance(value, Mapping):
            fields_named = [kind.model_fields[today] for kind in kinds if today in kind.model_fields]
            sections = [section for field in fields_named for section in _sections(field, value)]
            value = _translate(sections, value, (f"{names[0]}.", f"{names[1]}."), found)
        translated[key if today in data else today] = value
    return translated


def _sections(field: FieldInfo, value: Mapping[str, Any]) -> list[type[Config]]:
    """The configurations that a field may hold; of a tagged union the one that the value's tag names, if it does."""
    nodes, members = [field.annotation], []
    while nodes:
        node = nodes.pop(0)
        if isinstance(node, type) and issubclass(node, Config):
            members.append(node)
        nodes.extend(get_args(node))
    tag = field.discriminator
    if not isinstance(tag, str):
        return members
    named = [member for member in members if value.get(tag) in get_args(member.model_fields[tag].annotation)]
    return named or members
