"""Observation spaces at the environments' edge: what is stored of an observation, and whether it is as declared.

In trial batches an observation is one array. A Box (images too) or a Discrete space is stored as it is; an observation
of any other space, Dict, Tuple, MultiDiscrete or MultiBinary, as one flat Box of its leaves in the order of
`gymnasium.spaces.utils.flatten`: discrete leaves one-hot, all others flat. The agents know the family's own space, so
they find each leaf again (agents/nets/encoders.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple, flatdim

from envs.errors import TaskError

INTEGERS = (int, np.integer)


@dataclass(frozen=True)
class Leaf:
    """A part of an observation that is one array or number.

    Attributes:
        path: keys of Dict and places of Tuple spaces that lead to it; () where the space is the leaf itself.
        space: a Box, Discrete, MultiDiscrete or MultiBinary space.
        start: its first entry among the stored ones.
        size: how many entries it has there.
    """

    path: tuple[Any, ...]
    space: gymnasium.Space
    start: int
    size: int

    @property
    def name(self) -> str:
        """Such as `observation['camera'][0]`."""
        return "observation" + "".join(f"[{key!r}]" for key in self.path)


def leaves_of(space: gymnasium.Space) -> list[Leaf]:
    """The leaves of an observation space in the order in which they are stored.

    Raises:
        TaskError: a part of it has no fixed size.
    """
    found, start = [], 0
    for path, part in _walk(space, ()):
        if not isinstance(part, (Box, Discrete, MultiDiscrete, MultiBinary)):
            where = "".join(f"[{key!r}]" for key in path)
            raise TaskError(
                f"observations{where} of a {type(part).__name__} space have no fixed size that a network could read; "
                "give Box, Discrete, MultiDiscrete or MultiBinary parts, in a Dict or Tuple if there are several"
            )
        found.append(Leaf(path, part, start, flatdim(part)))
        start += found[-1].size
    if not start:
        raise TaskError(f"the observation space {space} is empty; declare at least one entry")
    return found


def _walk(space: gymnasium.Space, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], gymnasium.Space]]:
    if isinstance(space, Dict):
        for key, part in space.spaces.items():
            yield from _walk(part, (*path, key))
    elif isinstance(space, Tuple):
        for place, part in enumerate(space.spaces):
            yield from _walk(part, (*path, place))
    else:
        yield path, space


def is_plain(space: gymnasium.Space) -> bool:
    """Whether observations of this space are stored as they are."""
    return isinstance(space, (Box, Discrete))


def stored_space(space: gymnasium.Space) -> Box | Discrete:
    """The space of what is stored of an observation; TaskError for spaces of no fixed size."""
    leaves = leaves_of(space)
    if isinstance(space, (Box, Discrete)):
        return space
    if all(isinstance(leaf.space, Box) and leaf.space.dtype == np.uint8 for leaf in leaves):
        return Box(0, 255, (leaves[-1].start + leaves[-1].size,), np.uint8)
    return Box(-np.inf, np.inf, (leaves[-1].start + leaves[-1].size,), np.float32)


class ObservationReader:
    """Compares observations with the space they are declared to be of, and stores them.

    Attributes:
        space: of what is stored.
        shape, dtype: an array of this shape and type is stored without conversion; None where observations are not one
            array.
    """

    def __init__(self, space: gymnasium.Space) -> None:
        self.declared, self.space = space, stored_space(space)
        self._leaves = leaves_of(space)
        self._plain_box = isinstance(space, Box)
        self.shape = space.shape
        self.dtype = space.dtype if self._plain_box else None

    def write(self, observation: Any, out: np.ndarray, row: int) -> None:
        """Store an observation in `out[row]`; TaskError, one clause, if it is not as declared."""
        if self._plain_box:
            plain = type(observation) is np.ndarray and observation.shape == self.shape
            if not plain or observation.dtype != self.dtype:
                observation = as_declared(observation, self.declared, "observation")
            out[row] = observation
        elif isinstance(self.declared, Discrete):
            out[row] = _as_discrete(observation, self.declared, "observation")
        else:
            self._write_leaves(observation, out[row])

    def read(self, observation: Any) -> np.ndarray:
        """One observation as it is stored, a new array."""
        out = np.zeros((1, *(self.space.shape or ())), self.space.dtype)
        self.write(observation, out, 0)
        return out[0]

    def _write_leaves(self, observation: Any, out: np.ndarray) -> None:
        out[:] = 0
        _check_structure(observation, self.declared, "observation")
        for leaf in self._leaves:
            value = observation
            for key in leaf.path:
                value = value[key]
            entries = out[leaf.start : leaf.start + leaf.size]
            if isinstance(leaf.space, Discrete):
                entries[_as_discrete(value, leaf.space, leaf.name) - int(leaf.space.start)] = 1
            elif isinstance(leaf.space, MultiDiscrete):
                choices = as_declared(value, leaf.space, leaf.name) - leaf.space.start
                sizes = leaf.space.nvec.reshape(-1)
                offsets = np.cumsum(sizes) - sizes
                if (choices < 0).any() or (choices.reshape(-1) >= sizes).any():
                    raise TaskError(f"{leaf.name} is {value!r}, which lies outside its {leaf.space}")
                entries[offsets + choices.reshape(-1)] = 1
            else:
                entries[:] = as_declared(value, leaf.space, leaf.name).reshape(-1)


def _check_structure(value: Any, space: gymnasium.Space, name: str) -> None:
    """Raise TaskError unless Dict keys and Tuple lengths are those declared."""
    if isinstance(space, Dict):
        if not isinstance(value, Mapping):
            raise TaskError(f"{name} is {describe(value)}, but it is declared as a Dict of {', '.join(space.spaces)}")
        if value.keys() != space.spaces.keys():
            missing, unknown = space.spaces.keys() - value.keys(), value.keys() - space.spaces.keys()
            said = [f"lacks {', '.join(map(repr, sorted(missing, key=str)))}"] if missing else []
            said += [f"holds {', '.join(map(repr, sorted(unknown, key=str)))} too"] if unknown else []
            raise TaskError(f"{name} {' and '.join(said)}, but the keys declared are {', '.join(map(repr, space))}")
        for key, part in space.spaces.items():
            _check_structure(value[key], part, f"{name}[{key!r}]")
    elif isinstance(space, Tuple):
        if not isinstance(value, (tuple, list)) or len(value) != len(space.spaces):
            raise TaskError(f"{name} is {describe(value)}, but it is declared as a Tuple of {len(space.spaces)} parts")
        for place, part in enumerate(space.spaces):
            _check_structure(value[place], part, f"{name}[{place}]")


def _as_discrete(value: Any, space: Discrete, name: str) -> int:
    if isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind in "iu":
        value = value[()]
    if not isinstance(value, INTEGERS) or isinstance(value, bool):
        raise TaskError(f"{name} is {describe(value)}, but it is declared as an integer of {space}")
    first = int(space.start)
    if not first <= int(value) < first + int(space.n):
        raise TaskError(f"{name} is {value}, which lies outside its {space}")
    return int(value)


def as_declared(value: Any, space: gymnasium.Space, name: str) -> np.ndarray:
    """The value as an array of the space's shape and type; TaskError, one clause, if it is of another.

    A float of another width passes, and an integer of another type if its value fits.
    """
    shape, dtype = space.shape, np.dtype(space.dtype)
    declared = f"it is declared as {dtype} of shape {shape}"
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # ragged lists
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise TaskError(f"{name} is {describe(value)}, but {declared}")
    if array.shape != shape:
        raise TaskError(f"{name} has the shape {array.shape}, but {declared}")
    if np.can_cast(array.dtype, dtype, "same_kind") or array.dtype.kind == "b":
        return array.astype(dtype, copy=False)
    if array.dtype.kind in "iu" and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if limits.min <= array.min() and array.max() <= limits.max:
            return array.astype(dtype)
        raise TaskError(f"{name} holds {array.max() if array.max() > limits.max else array.min()}, but {declared}")
    raise TaskError(f"{name} holds numbers of type {array.dtype}, but {declared}")


def describe(value: Any) -> str:
    """A value in a few words: `a dict`, `float64 of shape (2,)`, `None`."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    if isinstance(value, (bool, int, float, str)):
        return f"{type(value).__name__} {str(value)[:40]!r}" if isinstance(value, str) else f"{value!r}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
