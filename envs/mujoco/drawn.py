"""The part of a family's YAML description that says what is drawn: for each task, or anew for each episode."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from envs.distributions import Box, Choice, Distribution, LogUniform, Uniform
from envs.errors import TaskError
from envs.validation import Strict

Interval = tuple[float, float]
Command = Literal["velocity", "lateral_velocity", "yaw_rate", "heading", "goal"]


class DistributionSpec(Strict):
    """Distribution of a task parameter: exactly one of uniform, log_uniform, box, choice."""

    uniform: Interval | None = None
    log_uniform: Interval | None = None
    box: Annotated[tuple[Interval, ...], Field(min_length=1)] | None = None  # an interval for each entry
    choice: Annotated[tuple[float, ...], Field(min_length=1)] | None = None
    ood: tuple[tuple[Interval, ...] | Interval | float, ...] = ()
    unit: str = ""

    @model_validator(mode="after")
    def _one_distribution(self) -> DistributionSpec:
        names = ("uniform", "log_uniform", "box", "choice")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a distribution is one of {', '.join(names)}, not {' and '.join(given) or 'none'}")
        for low, high in filter(None, (self.uniform, self.log_uniform)):
            if not low < high:
                raise ValueError(f"a distribution goes from a lower to a higher end, not from {low:g} to {high:g}")
        for low, high in self.box or ():  # a side may have no width
            if low > high:
                raise ValueError(f"a side of a box goes from a lower to a higher end, not from {low:g} to {high:g}")
        if self.log_uniform and self.log_uniform[0] <= 0:
            raise ValueError(f"log_uniform begins above 0, not at {self.log_uniform[0]:g}")
        for entry in self.ood:
            self._check_ood(entry)
        return self

    def _check_ood(self, entry: tuple[Interval, ...] | Interval | float) -> None:
        intervals: list[Any] = []
        if isinstance(entry, tuple):
            intervals = [one for one in entry if isinstance(one, tuple)]
            kind = "box" if intervals and len(intervals) == len(entry) else "interval"
            intervals = intervals or [entry] * bool(entry)
        else:
            kind = "number"
        wanted = "number" if self.choice is not None else "box" if self.box is not None else "interval"
        if kind != wanted or (self.box is not None and len(intervals) != len(self.box)):
            raise ValueError(
                "ood lists intervals of a uniform distribution, boxes of as many sides of a box, or values of a choice"
            )
        for low, high in intervals:
            if low > high or (low == high and self.box is None):
                raise ValueError(f"an ood interval goes from a lower to a higher end, not from {low:g} to {high:g}")

    def distribution(self, shape: tuple[int, ...]) -> Distribution:
        """Return the distribution of a parameter of this shape."""
        if self.choice is not None:
            return Choice(self.choice, self.unit, cast("tuple[float, ...]", self.ood))
        if self.box is not None:
            if shape != (len(self.box),):
                raise TaskError(
                    f"a box of {len(self.box)} sides draws as many numbers, and {shape[0] if shape else 1} are wanted"
                )
            return Box(self.box, self.unit, cast("tuple[tuple[Interval, ...], ...]", self.ood))
        kind, ends = (Uniform, self.uniform) if self.uniform else (LogUniform, self.log_uniform)
        assert ends is not None
        return kind(*ends, shape=shape, unit=self.unit, ood=cast("tuple[Interval, ...]", self.ood))


class ModelParameter(DistributionSpec):
    """A change of the model, or a command: what `tasks` draws for a task and `randomize` for an episode."""

    change: str | None = None
    of: str | Annotated[tuple[str, ...], Field(min_length=1)] = "*"
    how: Literal["scale", "add", "set"] = "scale"
    each: bool = False  # a value for each element, instead of one for all
    inertia_follows: bool = True
    command: Command | None = None
    size: PositiveInt | None = None  # entries of a goal

    @model_validator(mode="after")
    def _sized(self) -> ModelParameter:
        if self.command == "goal" and (self.entries not in (2, 3) or self.choice is not None):
            raise ValueError("a goal has size 2 (x, y) or 3 (x, y, z) and a uniform distribution, or is a box")
        if self.command != "goal" and (self.size is not None or (self.box is not None and self.change is None)):
            raise ValueError("only a goal has a size or is a box")
        if self.box is not None and self.size is not None and self.size != len(self.box):
            raise ValueError(f"a box of {len(self.box)} sides has no size {self.size}; leave out size")
        if self.each and (self.choice is not None or self.change is None):
            raise ValueError(
                "each draws a value of a uniform or log_uniform distribution for every element of a change"
            )
        return self

    @property
    def entries(self) -> int | None:
        """Numbers in a value; None where it is one number."""
        return len(self.box) if self.box is not None else self.size

    @property
    def elements(self) -> tuple[str, ...]:
        """Names and wildcards."""
        return (self.of,) if isinstance(self.of, str) else self.of


class TaskParameter(ModelParameter):
    """A task parameter: a change of the model, a command, or the delay of sensors or actions."""

    sensor_delay: bool = False  # control steps
    action_delay: bool = False  # control steps

    @model_validator(mode="after")
    def _one_purpose(self) -> TaskParameter:
        delay = self.sensor_delay + self.action_delay
        if (self.change is not None) + (self.command is not None) + delay != 1:
            raise ValueError("a task parameter has one of change, command, sensor_delay or action_delay")
        delays = (self.choice or ()) + self.ood
        if delay and (
            self.choice is None or any(isinstance(one, tuple) or one < 0 or one != int(one) for one in delays)
        ):
            raise ValueError("a delay is a choice of whole control steps, 0 or more")
        return self


class EpisodeParameter(ModelParameter):
    """A change of the model or a command that is drawn anew for every episode, of whatever task."""

    every_s: PositiveFloat | None = None  # commands alone: drawn anew within the episode too

    @model_validator(mode="after")
    def _one_purpose(self) -> EpisodeParameter:
        if (self.change is not None) + (self.command is not None) != 1:
            raise ValueError("what is randomized has one of change and command")
        if self.every_s is not None and self.command is None:
            raise ValueError("only a command is drawn anew within an episode; leave out every_s")
        if self.ood:
            raise ValueError("ood is of task parameters; what is randomized differs in every episode, leave it out")
        return self
