"""Distributions of task parameters: uniform, log-uniform, in a box, one of finitely many values, a whole number.

A task distribution is one of these for every task parameter of a family. The out-of-distribution ranges, `ood`, stand
beside it: values that no training task has, drawn for the split "ood" alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.errors import TaskError

Value = float | int | str | bool | tuple[float, ...]


def plain_value(value: Any) -> Value:
    """Return a task parameter as plain data: arrays and lists as tuples of floats, NumPy scalars as Python's.

    Raises:
        TaskError: the value is neither a number, a word nor a list of numbers.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(float(entry) for entry in value)
    if isinstance(value, (bool, int, float, str)):
        return value
    raise TaskError(f"a task parameter is a number, a word or a list of numbers, not {value!r}")


@dataclass(frozen=True)
class Uniform:
    """U[low, high] for each entry; out-of-distribution draws come from the `ood` intervals.

    Attributes:
        low, high: ends of the interval, inclusive.
        shape: () for a number, (n,) for a list of n numbers.
        unit: of every entry; "" if it has none.
        ood: intervals beyond [low, high]; together with it they are the valid values of the parameter.
    """

    low: float
    high: float
    shape: tuple[int, ...] = ()
    unit: str = ""
    ood: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if not (_is_number(self.low) and _is_number(self.high) and self.low <= self.high):
            raise TaskError(
                f"{type(self).__name__}({self.low!r}, {self.high!r}) is no interval: give two finite numbers, the "
                "lower one first"
            )

    def draw(self, rng: np.random.Generator, *, ood: bool) -> Value:
        """Draw one value, of the ood intervals if `ood`: each with a probability in proportion to its length."""
        if not ood:
            return plain_value(rng.uniform(self.low, self.high, self.shape))
        lengths = np.array([high - low for low, high in self.ood])
        which = rng.choice(len(lengths), size=self.shape, p=lengths / lengths.sum())
        ends = np.array(self.ood)[which]
        return plain_value(rng.uniform(ends[..., 0], ends[..., 1]))

    def validate(self, value: Value) -> str | None:
        """Return the reason why this value is not valid, or None if it is."""
        entries = np.asarray(value)
        if entries.shape != self.shape or entries.dtype.kind not in "fi":
            wanted = f"{self.shape[0]} numbers" if self.shape else "a number"
            return f"is {value!r} but must be {wanted}"
        intervals = [(self.low, self.high), *self.ood]
        for entry in entries.reshape(-1):
            if not any(low <= entry <= high for low, high in intervals):
                spans = " or ".join(f"[{low:g}, {high:g}]" for low, high in sorted(intervals))
                return f"has {float(entry):g} outside {spans}" + (f" {self.unit}" if self.unit else "")
        return None

    @property
    def extremes(self) -> list[float]:
        """Ends of all intervals, ood included."""
        return [self.low, self.high, *(end for interval in self.ood for end in interval)]

    @property
    def corners(self) -> tuple[Value, ...]:
        """The smallest and the largest valid value, of every entry."""
        low, high = (np.full(self.shape, end(self.extremes)) for end in (min, max))
        return plain_value(low), plain_value(high)

    def __str__(self) -> str:
        size = f"^{self.shape[0]}" if self.shape else ""
        return f"U[{self.low:g}, {self.high:g}]{size}" + (f" {self.unit}" if self.unit else "")


@dataclass(frozen=True)
class LogUniform(Uniform):
    """log x ~ U[log low, log high]; 0 < low."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low <= 0:
            raise TaskError(f"LogUniform({self.low!r}, {self.high!r}) has no logarithm at its lower end: begin above 0")

    def draw(self, rng: np.random.Generator, *, ood: bool) -> Value:
        logs = Uniform(
            np.log(self.low), np.log(self.high), self.shape, ood=tuple((np.log(a), np.log(b)) for a, b in self.ood)
        )
        return plain_value(np.exp(logs.draw(rng, ood=ood)))

    def __str__(self) -> str:
        return "log" + super().__str__()


Sides = tuple[tuple[float, float], ...]  # of a box: an interval for each of its axes


@dataclass(frozen=True)
class Box:
    """Uniform in a box: an interval of its own for each entry.

    Attributes:
        sides: the interval of each entry, inclusive.
        unit: of every entry; "" if it has none.
        ood: boxes beyond it; together with it they are the valid values of the parameter.
    """

    sides: Sides
    unit: str = ""
    ood: tuple[Sides, ...] = ()

    def __post_init__(self) -> None:
        for box in (self.sides, *self.ood):
            if not box or len(box) != len(self.sides):
                raise TaskError(
                    f"Box({self.sides!r}, ood={self.ood!r}) has boxes of {len(box)} sides; give all the same"
                )
            for low, high in box:
                Uniform(low, high)

    @property
    def shape(self) -> tuple[int]:
        """(n,), a number for each side."""
        return (len(self.sides),)

    def draw(self, rng: np.random.Generator, *, ood: bool) -> Value:
        """Draw one value, of the ood boxes if `ood`: each with a probability in proportion to its volume."""
        box = np.array(self.sides)
        if ood:
            boxes = np.array(self.ood)
            widths = np.ptp(boxes, axis=2)
            volumes = np.where(widths > 0, widths, 1.0).prod(1)  # a side without width counts for nothing
            box = boxes[rng.choice(len(boxes), p=volumes / volumes.sum())]
        return plain_value(rng.uniform(box[:, 0], box[:, 1]))

    def validate(self, value: Value) -> str | None:
        """Return the reason why this value is not valid, or None if it is."""
        entries = np.asarray(value)
        if entries.shape != self.shape or entries.dtype.kind not in "fi":
            return f"is {value!r} but must be {self.shape[0]} numbers"
        for box in (self.sides, *self.ood):
            low, high = np.array(box).T
            if ((low <= entries) & (entries <= high)).all():
                return None
        boxes = " or ".join(_sides(box) for box in (self.sides, *self.ood))
        return f"is {value!r}, outside {boxes}" + (f" {self.unit}" if self.unit else "")

    @property
    def extremes(self) -> list[float]:
        """Ends of all sides, ood included."""
        return [end for box in (self.sides, *self.ood) for side in box for end in side]

    @property
    def corners(self) -> tuple[Value, ...]:
        """The lower and the upper corner of every box."""
        return tuple(plain_value([side[end] for side in box]) for box in (self.sides, *self.ood) for end in (0, 1))

    def __str__(self) -> str:
        return f"U({_sides(self.sides)})" + (f" {self.unit}" if self.unit else "")


def _sides(box: Sides) -> str:
    return " x ".join(f"[{low:g}, {high:g}]" for low, high in box)


@dataclass(frozen=True)
class Choice:
    """One of finitely many values with equal probability; `ood` values never occur in training."""

    values: tuple[Value, ...]
    unit: str = ""
    ood: tuple[Value, ...] = ()

    def __post_init__(self) -> None:
        for name, values in (("values", self.values), ("ood", self.ood)):
            if not isinstance(values, (list, tuple)):
                raise TaskError(f"the {name} of a Choice are {values!r}, no list: write Choice((-1, 1)) for -1 or 1")
            object.__setattr__(self, name, tuple(values))
        if not self.values:
            raise TaskError("a Choice between no values cannot be drawn: give at least one")

    def draw(self, rng: np.random.Generator, *, ood: bool) -> Value:
        """Draw one of the values, of the ood ones if `ood`."""
        values = self.ood if ood else self.values
        return values[int(rng.integers(len(values)))]

    def validate(self, value: Value) -> str | None:
        """Return the reason why this value is not valid, or None if it is."""
        if value in self.values or value in self.ood:
            return None
        return f"is {value!r} but must be one of {', '.join(map(repr, self.values + self.ood))}"

    @property
    def extremes(self) -> list[float]:
        """All values, ood included; of a choice between numbers."""
        return [float(value) for value in (*self.values, *self.ood)]  # type: ignore[arg-type]

    @property
    def corners(self) -> tuple[Value, ...]:
        """The smallest and the largest value; of a choice between numbers."""
        return min(self.extremes), max(self.extremes)

    def __str__(self) -> str:
        return "one of " + ", ".join(map(str, self.values)) + (f" {self.unit}" if self.unit else "")


@dataclass(frozen=True)
class Integer:
    """A whole number in [low, high], all equally probable: the seed of a draw that is too large to be written out."""

    low: int
    high: int
    unit: str = ""
    ood: tuple[()] = ()

    def __post_init__(self) -> None:
        if type(self.low) is not int or type(self.high) is not int or self.low > self.high:
            raise TaskError(
                f"Integer({self.low!r}, {self.high!r}) is no range: give two whole numbers, the lower one first"
            )

    def draw(self, rng: np.random.Generator, *, ood: bool) -> Value:
        """Draw one of the numbers; there are none out of distribution."""
        return int(rng.integers(self.low, self.high, endpoint=True))

    def validate(self, value: Value) -> str | None:
        """Return the reason why this value is not valid, or None if it is."""
        if type(value) is int and self.low <= value <= self.high:
            return None
        return f"is {value!r} but must be a whole number in [{self.low}, {self.high}]"

    @property
    def extremes(self) -> list[float]:
        """Both ends."""
        return [self.low, self.high]

    @property
    def corners(self) -> tuple[Value, ...]:
        """Both ends."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"U[{self.low}, {self.high}], a whole number" + (f" {self.unit}" if self.unit else "")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and bool(np.isfinite(value))


Distribution = Uniform | LogUniform | Box | Choice | Integer
