"""The YAML description of a task family, as a schema: docs/own-robot.md explains each key."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from envs.distributions import Choice, Distribution, LogUniform, Uniform
from envs.mujoco.terrains import TERRAINS
from envs.task import EARLIER_KINDS
from envs.validation import Strict, nearest

Interval = tuple[float, float]
Command = Literal["velocity", "lateral_velocity", "yaw_rate", "heading", "goal"]


class DistributionSpec(Strict):
    """Distribution of a task parameter: exactly one of uniform, log_uniform, choice."""

    uniform: Interval | None = None
    log_uniform: Interval | None = None
    choice: Annotated[tuple[float, ...], Field(min_length=1)] | None = None
    ood: tuple[Interval | float, ...] = ()
    unit: str = ""

    @model_validator(mode="after")
    def _one_distribution(self) -> DistributionSpec:
        given = [name for name in ("uniform", "log_uniform", "choice") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a distribution is one of uniform, log_uniform, choice, not {' and '.join(given) or 'none'}"
            )
        for low, high in filter(None, (self.uniform, self.log_uniform)):
            if not low < high:
                raise ValueError(f"a distribution goes from a lower to a higher end, not from {low:g} to {high:g}")
        if self.log_uniform and self.log_uniform[0] <= 0:
            raise ValueError(f"log_uniform begins above 0, not at {self.log_uniform[0]:g}")
        if any(isinstance(entry, tuple) == (self.choice is not None) for entry in self.ood):
            raise ValueError("ood lists intervals of a uniform distribution, or values of a choice")
        for entry in self.ood:
            if isinstance(entry, tuple) and not entry[0] < entry[1]:
                raise ValueError(
                    f"an ood interval goes from a lower to a higher end, not from {entry[0]:g} to {entry[1]:g}"
                )
        return self

    def distribution(self, shape: tuple[int, ...]) -> Distribution:
        """Return the distribution of a parameter of this shape."""
        if self.choice is not None:
            return Choice(self.choice, self.unit, cast("tuple[float, ...]", self.ood))
        kind, ends = (Uniform, self.uniform) if self.uniform else (LogUniform, self.log_uniform)
        assert ends is not None
        return kind(*ends, shape=shape, unit=self.unit, ood=cast("tuple[Interval, ...]", self.ood))


class TaskParameter(DistributionSpec):
    """A task parameter: a change of the model, a command, or the delay of the sensors."""

    change: str | None = None
    of: str | Annotated[tuple[str, ...], Field(min_length=1)] = "*"
    how: Literal["scale", "add", "set"] = "scale"
    each: bool = False  # a value for each element, instead of one for all
    inertia_follows: bool = True
    command: Command | None = None
    size: PositiveInt | None = None  # entries of a goal
    sensor_delay: bool = False  # control steps

    @model_validator(mode="after")
    def _one_purpose(self) -> TaskParameter:
        if (self.change is not None) + (self.command is not None) + self.sensor_delay != 1:
            raise ValueError("a task parameter has one of change, command or sensor_delay")
        if self.command == "goal" and (self.size not in (2, 3) or self.choice is not None):
            raise ValueError("a goal has size 2 (x, y) or 3 (x, y, z), and a uniform distribution")
        if self.command != "goal" and self.size is not None:
            raise ValueError("only a goal has a size")
        if self.each and (self.choice is not None or self.change is None):
            raise ValueError(
                "each draws a value of a uniform or log_uniform distribution for every element of a change"
            )
        delays = (self.choice or ()) + self.ood
        if self.sensor_delay and (
            self.choice is None or any(isinstance(delay, tuple) or delay < 0 or delay != int(delay) for delay in delays)
        ):
            raise ValueError("a sensor delay is a choice of whole control steps, 0 or more")
        return self

    @property
    def elements(self) -> tuple[str, ...]:
        """Names and wildcards."""
        return (self.of,) if isinstance(self.of, str) else self.of


class TerrainSpec(Strict):
    """The ground: its kind, and distributions of its parameters in place of the default ones."""

    renamed = {"laws": "distributions"}
    kind: str
    distributions: dict[str, DistributionSpec] = {}
    scan: tuple[float, ...] = ()  # m ahead

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in TERRAINS:
            raise ValueError(f"there is no such ground; {nearest(kind, TERRAINS)}")
        return kind


class ObservationTerm(Strict):
    """An observation term with its place."""

    term: str
    of: str | None = None
    noise: NonNegativeFloat = 0.0  # normal deviation, in the term's unit
    delay: NonNegativeInt = 0  # control steps


class Tolerance(Strict):
    """1 within bounds, falling as a Gaussian to 0.1 at the margin beyond them (dm_control's `tolerance`)."""

    low: float
    high: float
    margin: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _bounds(self) -> Tolerance:
        if self.low > self.high:
            raise ValueError(f"tolerance goes from a lower to a higher bound, not from {self.low:g} to {self.high:g}")
        return self


class RewardTerm(Strict):
    """A reward term with its weight."""

    term: str | None = None  # the key it stands under, if not given
    weight: float
    of: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    to: str | None = None  # of distance
    radius: PositiveFloat = 0.1  # m, of goal_reached
    threshold_s: NonNegativeFloat = 0.5  # of foot_air_time
    soft: Annotated[float, Field(gt=0, le=1)] = 0.9  # share of a joint's range, of joint_limits
    exp: PositiveFloat | None = None  # kernel exp(-(x / exp)^2)
    tolerance: Tolerance | None = None  # the other kernel

    @model_validator(mode="after")
    def _one_kernel(self) -> RewardTerm:
        if self.exp is not None and self.tolerance is not None:
            raise ValueError("a term has one kernel: exp or tolerance")
        return self


class Condition(Strict):
    """A reward term below or above a value."""

    term: str
    of: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    to: str | None = None
    below: float | None = None
    above: float | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Condition:
        if (self.below is None) == (self.above is None):
            raise ValueError("a condition has one of below and above")
        return self


class Termination(Strict):
    """When an episode ends before its horizon."""

    height_below_m: float | None = None
    height_above_m: float | None = None
    tilt_above_deg: Annotated[float, Field(gt=0, le=180)] | None = None
    contact: tuple[str, ...] = ()  # geoms, with wildcards, that may touch nothing
    success: bool = False  # where success is reached


class Actions(Strict):
    """How actions in [-1, 1] become controls."""

    scale: PositiveFloat | None = None  # control units for a unit of action; half of the range by default
    offset: Literal["middle", "start"] = "middle"  # control at action 0: the range's middle, or what holds the start
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of what was sent before in what is sent


class Pushes(Strict):
    """Sudden changes of the base's velocity in the plane."""

    every_s: PositiveFloat
    speed_m_per_s: PositiveFloat  # each entry is uniform in +- it


class StartPose(Strict):
    """Where episodes start: a keyframe of the model, or its own pose, with some joints elsewhere."""

    keyframe: str | None = None
    joints: dict[str, float] = {}  # rad or m, by name of the joint


class Reset(Strict):
    """How the first state of an episode differs from the model's initial pose."""

    noise: NonNegativeFloat = 0.0  # positions uniform in +-, velocities normal with this deviation
    velocity_noise: NonNegativeFloat | None = None  # of velocities, where it is another
    joints: dict[str, NonNegativeFloat] = {}  # of some joints' positions, by name or wildcard
    position_m: NonNegativeFloat = 0.0  # of the base in the plane, uniform in +-
    yaw_deg: Annotated[float, Field(ge=0, le=180)] = 0.0  # of a free base, uniform in +-


def _as_term(value: Any) -> Any:
    """A term's name alone stands for the term."""
    return {"term": value} if isinstance(value, str) else value


def _as_weight(value: Any) -> Any:
    """A number alone stands for a term of that weight."""
    return {"weight": value} if isinstance(value, (int, float)) else value


class Description(Strict):
    """A family's YAML file."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*-v[0-9]+$", examples=["my_robot-v1"])]
    mjcf: str
    control_dt_s: PositiveFloat
    episode_steps: PositiveInt
    kind: Literal["distribution", "finite"] = "distribution"
    tasks: Annotated[dict[str, TaskParameter], Field(min_length=1)] | None = None
    terrain: TerrainSpec | None = None
    observe: Annotated[tuple[Annotated[ObservationTerm, BeforeValidator(_as_term)], ...], Field(min_length=1)]
    reward: Annotated[dict[str, Annotated[RewardTerm, BeforeValidator(_as_weight)]], Field(min_length=1)]
    base: str | None = None  # body that is the robot's base; none for one that is fixed
    start: StartPose = StartPose()
    actions: Actions = Actions()
    pushes: Pushes | None = None
    success: Condition | None = None
    terminate: Termination = Termination()
    reset: Reset = Reset()
    air_density: NonNegativeFloat = 0.0  # kg/m^3

    @field_validator("kind", mode="before")
    @classmethod
    def _accept_earlier_kinds(cls, kind: Any) -> Any:
        return EARLIER_KINDS.get(kind, kind) if isinstance(kind, str) else kind

    @model_validator(mode="after")
    def _something_varies(self) -> Description:
        if not self.tasks and self.terrain is None:
            raise ValueError("nothing varies between tasks; give tasks or a terrain")
        return self
