"""The YAML description of a task family, as a schema: docs/own-robot.md explains each key."""

from __future__ import annotations

from typing import Annotated, Any, Literal

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

from envs.mujoco.drawn import DistributionSpec, EpisodeParameter, TaskParameter
from envs.mujoco.terrains import TERRAINS
from envs.task import EARLIER_KINDS
from envs.validation import Strict, nearest


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
    of: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
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
    delay: NonNegativeInt = 0  # control steps by which actions are late
    kp: PositiveFloat | None = None  # motors on joints become position servos of this gain, N m/rad
    kd: NonNegativeFloat = 0.0  # and of this damping, N m s/rad

    @model_validator(mode="after")
    def _of_servos(self) -> Actions:
        if self.kd and self.kp is None:
            raise ValueError("kd is of the servos that kp makes of motors; give kp too")
        return self


class Pushes(Strict):
    """Sudden changes of the base's velocity in the plane."""

    every_s: PositiveFloat
    speed_m_per_s: PositiveFloat  # each entry is uniform in +- it


class Forces(Strict):
    """Forces in the plane on a body, again and again."""

    of: str | None = None  # a body; the base by default
    force_n: PositiveFloat  # each entry is uniform in +- it
    every_s: PositiveFloat
    for_s: PositiveFloat

    @model_validator(mode="after")
    def _shorter(self) -> Forces:
        if self.for_s > self.every_s:
            raise ValueError(f"for_s is {self.for_s:g} s, longer than from one force to the next ({self.every_s:g} s)")
        return self


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


def _as_list(value: Any) -> Any:
    """One condition alone is a list of one."""
    return (value,) if isinstance(value, dict) else value


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
    forces: Forces | None = None
    randomize: dict[str, EpisodeParameter] = {}  # drawn anew for every episode
    camera: str | None = None  # of the model, that videos are seen through
    success: Annotated[tuple[Condition, ...], BeforeValidator(_as_list)] = ()  # all of them at once
    terminate: Termination = Termination()
    reset: Reset = Reset()
    air_density: NonNegativeFloat = 0.0  # kg/m^3

    @field_validator("kind", mode="before")
    @classmethod
    def _accept_earlier_kinds(cls, kind: Any) -> Any:
        return EARLIER_KINDS.get(kind, kind) if isinstance(kind, str) else kind

    @model_validator(mode="after")
    def _consistent(self) -> Description:
        if self.actions.delay >= self.episode_steps:
            raise ValueError(
                f"actions.delay is {self.actions.delay} control steps, as long as an episode; make it shorter"
            )
        if not self.tasks and self.terrain is None:
            raise ValueError("nothing varies between tasks; give tasks or a terrain")
        if both := {*self.randomize} & {*(self.tasks or {})}:
            raise ValueError(f"{min(both)} is drawn twice; keep one")
        return self
