"""A task family out of two files, an MJCF model and a YAML description, and no Python.

    family = described.load(Path("examples/robots/quadruped.yaml"))

The description says which parts of the model vary between tasks and how, what the robot is commanded, what it observes,
what it is paid and when an episode ends. docs/own-robot.md goes through it with two robots. Terms:
`envs/mujoco/terms.py`; what may be changed: `envs/mujoco/changes.py`; grounds: `envs/mujoco/terrain.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import yaml
from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from envs.mujoco import terrain as grounds
from envs.mujoco.changes import Change
from envs.mujoco.locomotion import DELAY, Locomotion, Robot, load_mjcf
from envs.mujoco.state import Motion, State
from envs.mujoco.terms import Observe, Reward, Roles, base_of, height, observation, reward, up
from envs.task import EARLIER_KINDS, Choice, Distribution, LogUniform, Task, TaskError, Uniform
from envs.validation import Strict, nearest, sentence

Interval = tuple[float, float]
Command = Literal["velocity", "heading", "goal"]
TERRAINS: dict[str, type[grounds.Terrain]] = {
    "slope": grounds.Slope,
    "steps": grounds.Steps,
    "gaps": grounds.Gaps,
    "friction": grounds.FrictionPatches,
    "waves": grounds.Waves,
    "rough": grounds.Rough,
    "mixed": grounds.Mixed,
}


class Law(Strict):
    """Over which values a task parameter varies: exactly one of uniform, log_uniform, choice."""

    uniform: Interval | None = None
    log_uniform: Interval | None = None
    choice: Annotated[tuple[float, ...], Field(min_length=1)] | None = None
    ood: tuple[Interval | float, ...] = ()
    unit: str = ""

    @model_validator(mode="after")
    def _one_law(self) -> Law:
        given = [name for name in ("uniform", "log_uniform", "choice") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a law is one of uniform, log_uniform, choice, not {' and '.join(given) or 'none'}")
        for low, high in filter(None, (self.uniform, self.log_uniform)):
            if not low < high:
                raise ValueError(f"a law goes from a lower to a higher end, not from {low:g} to {high:g}")
        if self.log_uniform and self.log_uniform[0] <= 0:
            raise ValueError(f"log_uniform begins above 0, not at {self.log_uniform[0]:g}")
        if any(isinstance(one, tuple) == (self.choice is not None) for one in self.ood):
            raise ValueError("ood lists intervals of a uniform law, or values of a choice")
        for one in self.ood:
            if isinstance(one, tuple) and not one[0] < one[1]:
                raise ValueError(
                    f"an ood interval goes from a lower to a higher end, not from {one[0]:g} to {one[1]:g}"
                )
        return self

    def law(self, shape: tuple[int, ...]) -> Distribution:
        """The law of a parameter of this shape."""
        if self.choice is not None:
            return Choice(self.choice, self.unit, cast("tuple[float, ...]", self.ood))
        kind, ends = (Uniform, self.uniform) if self.uniform else (LogUniform, self.log_uniform)
        assert ends is not None
        return kind(*ends, shape=shape, unit=self.unit, ood=cast("tuple[Interval, ...]", self.ood))


class Varied(Law):
    """A task parameter: what it changes in the model, or what it commands, or how late sensors are."""

    change: str | None = None
    of: str | Annotated[tuple[str, ...], Field(min_length=1)] = "*"
    how: Literal["scale", "add", "set"] = "scale"
    each: bool = False  # a value for each element, instead of one for all
    inertia_follows: bool = True
    command: Command | None = None
    size: PositiveInt | None = None  # entries of a goal
    sensor_delay: bool = False  # control steps

    @model_validator(mode="after")
    def _one_purpose(self) -> Varied:
        if (self.change is not None) + (self.command is not None) + self.sensor_delay != 1:
            raise ValueError("a task parameter has one of change, command or sensor_delay")
        if self.command == "goal" and (self.size not in (2, 3) or self.choice is not None):
            raise ValueError("a goal has size 2 (x, y) or 3 (x, y, z), and a uniform law")
        if self.command != "goal" and self.size is not None:
            raise ValueError("only a goal has a size")
        if self.each and (self.choice is not None or self.change is None):
            raise ValueError("each draws a value of a uniform or log_uniform law for every element of a change")
        late = (self.choice or ()) + self.ood
        if self.sensor_delay and (
            self.choice is None or any(isinstance(one, tuple) or one < 0 or one != int(one) for one in late)
        ):
            raise ValueError("a sensor delay is a choice of whole control steps, 0 or more")
        return self

    @property
    def elements(self) -> tuple[str, ...]:
        """Names and wildcards."""
        return (self.of,) if isinstance(self.of, str) else self.of


class Ground(Strict):
    """The ground: its kind, and other laws for its parameters."""

    kind: str
    laws: dict[str, Law] = {}
    scan: tuple[float, ...] = ()  # m ahead

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in TERRAINS:
            raise ValueError(f"there is no such ground; {nearest(kind, TERRAINS)}")
        return kind


class Seen(Strict):
    """An observation term with its place."""

    term: str
    of: str | None = None


class Paid(Strict):
    """A reward term with its weight."""

    term: str | None = None  # the key it stands under, if not given
    weight: float
    of: str | None = None
    radius: PositiveFloat = 0.1  # m, of goal_reached


class End(Strict):
    """When an episode ends before its horizon."""

    height_below_m: float | None = None
    height_above_m: float | None = None
    tilt_above_deg: Annotated[float, Field(gt=0, le=180)] | None = None


class Reset(Strict):
    """How the first state of an episode differs from the model's initial pose."""

    noise: NonNegativeFloat = 0.0  # positions uniform in +-, velocities normal with this deviation


class Description(Strict):
    """A family's YAML file."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*-v[0-9]+$")]
    mjcf: str
    control_dt_s: PositiveFloat
    episode_steps: PositiveInt
    kind: Literal["distribution", "finite"] = "distribution"
    tasks: Annotated[dict[str, Varied], Field(min_length=1)] | None = None
    terrain: Ground | None = None
    observe: Annotated[tuple[str | Seen, ...], Field(min_length=1)]
    reward: Annotated[dict[str, float | Paid], Field(min_length=1)]
    terminate: End = End()
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


class DescribedFamily(Locomotion):
    """The family that a description and a model file make. Made by `load`."""

    def __init__(self, description: Description, path: Path) -> None:
        self._source = path
        model_file = (path.parent / description.mjcf).resolve()
        if not model_file.is_file():
            raise TaskError(f"mjcf is {description.mjcf}, but there is no file {model_file}")
        # Compiled anew: a file that was edited since must not be answered out of a cache.
        model = self.base = load_mjcf(model_file)[1]
        base = base_of(model)
        varied = description.tasks or {}
        skip = description.control_dt_s / model.opt.timestep
        if abs(skip - round(skip)) > 1e-6 or round(skip) < 1:
            raise TaskError(
                f"control_dt_s is {description.control_dt_s:g} s, no multiple of the model's physics step of "
                f"{model.opt.timestep:g} s; change one of them"
            )
        ground = self._make_ground(description, base.planar)
        roles: dict[str, tuple[str, int]] = {}
        for name, one in varied.items():
            if one.command in roles:
                raise TaskError(f"{name} and {roles[one.command][0]} both command a {one.command}; keep one")
            if one.command:
                roles[one.command] = name, one.size or 1
        seen, reads = self._make_observation(description, model)
        paid, reads_more = self._make_reward(description, model, roles)
        self._goal = roles["goal"][0] if "goal" in roles else None
        # The weighted terms in order; those of them that tell whether a goal is reached.
        self._reached = [
            term
            for (name, entry), (_, term) in zip(description.reward.items(), paid, strict=True)
            if (name if isinstance(entry, float) else entry.term or name) == "goal_reached"
        ]
        self._seen, self._paid, self._end, self._base = seen, paid, description.terminate, base
        ends = description.terminate
        if ends.tilt_above_deg is not None and base.pitch is None and base.quaternion is None:
            raise TaskError("terminate names a tilt, but this robot's base cannot lean")
        if ground is not None and (base.x is None or base.z is None):
            raise TaskError("a terrain is for robots whose base moves along x and up; leave it out")
        if (ends.height_below_m is not None or ends.height_above_m is not None) and base.z is None:
            raise TaskError("terminate names a height, but this robot's base does not move")
        scan = description.terrain.scan if description.terrain else ()
        settings: dict[str, Any] = {
            "name": description.name,
            "__doc__": f"{description.name}: {description.mjcf} as {path} describes it.",
            "kind": description.kind,
            "episode_steps": description.episode_steps,
            "air_density": description.air_density,
            "terrain": ground,
            "scan": scan,
            "robot": Robot(
                str(model_file), round(skip), hidden=0, height=-1 if base.z is None else base.z,
                reset_noise=description.reset.noise, sensed=tuple(sorted({*reads, *reads_more})),
                x=0 if base.x is None else base.x, y=base.y,
            ),
            "can_switch": ground is None,
            "parameters": self._laws(varied, model, ground) | (ground.parameters if ground else {}),
            "changes": {
                name: Change(one.change, one.how, one.elements, one.inertia_follows)
                for name, one in varied.items() if one.change
            },
            "reward_terms": tuple(description.reward),
            "has_success": bool(self._reached),
            "differs_at_once": False,
            "reset_depends_on_task": bool(scan),
            "digest": hashlib.sha256(path.read_bytes() + model_file.read_bytes()).hexdigest(),
        }  # fmt: skip
        for name, value in settings.items():
            setattr(self, name, value)
        self._check_ends()

    @staticmethod
    def _make_ground(description: Description, planar: bool) -> grounds.Terrain | None:
        if description.terrain is None:
            return None
        kind = TERRAINS[description.terrain.kind]
        extent = grounds.STRIP if planar else grounds.SQUARE
        return kind(extent, **{name: law.law(()) for name, law in description.terrain.laws.items()})

    @staticmethod
    def _laws(varied: Mapping[str, Varied], model: Any, ground: grounds.Terrain | None) -> dict[str, Distribution]:
        laws = {}
        for name, one in varied.items():
            if one.sensor_delay != (name == DELAY):
                raise TaskError(f"a parameter with sensor_delay is called {DELAY}, and no other is; rename {name}")
            shape: tuple[int, ...] = (one.size,) if one.size else ()
            if one.change and one.each:
                if ground is not None and one.change == "friction":
                    raise TaskError(f"{name}: on a terrain, friction is changed for all geoms alike; leave out each")
                shape = (Change(one.change, one.how, one.elements).size(model),)
            laws[name] = one.law(shape)
        return laws

    @staticmethod
    def _make_observation(description: Description, model: Any) -> tuple[list[Observe], set[str]]:
        terms, reads = [], set()
        for entry in description.observe:
            one = Seen(term=entry) if isinstance(entry, str) else entry
            term, arrays = observation(one.term, model, one.of)
            terms.append(term)
            reads |= set(arrays)
        return terms, reads

    @staticmethod
    def _make_reward(description: Description, model: Any, roles: Roles) -> tuple[list[tuple[float, Reward]], set[str]]:
        terms, reads = [], set()
        for name, entry in description.reward.items():
            one = Paid(weight=entry) if isinstance(entry, float) else entry
            term, arrays = reward(one.term or name, model, one.of, roles, one.radius)
            terms.append((one.weight, term))
            reads |= set(arrays)
        return terms, reads

    def _check_ends(self) -> None:
        """Builds the models at the ends of every law: a range that MuJoCo cannot take is refused before training."""
        for which in ("low", "high"):
            values = {}
            for name, law in self.parameters.items():
                end = min(law.extremes) if which == "low" else max(law.extremes)
                values[name] = end if not isinstance(law, Uniform) or not law.shape else (end,) * law.shape[0]
            task = self.task(**values)
            self.model(task)
        try:  # what is left to go wrong goes wrong here, not in the middle of a training
            env = self.make_vector_env([task], 1)
            env.reset(seed=[0])
            env.step(np.zeros((1, *env.single_action_space.shape)))  # type: ignore[misc]
        except TaskError:
            raise
        except Exception as error:
            raise TaskError(f"its first step fails ({type(error).__name__}: {error}); look at its terms") from error

    def goal(self, task: Task) -> tuple[float, ...] | None:
        return task[self._goal] if self._goal is not None else None

    def observe(self, state: State) -> np.ndarray:
        return np.concatenate([term(state) for term in self._seen], 1)

    def reward(self, motion: Motion) -> np.ndarray:
        return self.reward_parts(motion).sum(1)

    def reward_parts(self, motion: Motion) -> np.ndarray:
        return np.stack([weight * term(motion) for weight, term in self._paid], 1)

    def succeeded(self, motion: Motion) -> np.ndarray:
        return np.all([term(motion) > 0 for term in self._reached], axis=0)

    def fallen(self, motion: Motion) -> np.ndarray:
        ended = np.zeros(len(motion.action), bool)
        if self._end.height_below_m is not None:
            ended |= height(self._base, motion.after) < self._end.height_below_m
        if self._end.height_above_m is not None:
            ended |= height(self._base, motion.after) > self._end.height_above_m
        if self._end.tilt_above_deg is not None:
            ended |= up(self._base, motion.after) < np.cos(np.deg2rad(self._end.tilt_above_deg))
        return ended

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_again, (self._source.resolve(), self.digest)


def _load_again(path: Path, digest: str) -> DescribedFamily:
    """The family that another process was given, read from the same files."""
    family = load(path)
    if family.digest != digest:
        raise TaskError(f"{path} or its model file was changed while it was in use; start again")
    return family


def load(path: Path) -> DescribedFamily:
    """The family in a YAML file.

    Raises:
        TaskError: one sentence with the file, the key, and the nearest known name where one is misspelt.
    """
    try:
        if not path.is_file():
            raise OSError("it is no file")
        data = yaml.safe_load(path.read_text())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise TaskError(f"{path} is not a YAML description: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(data, dict):
        raise TaskError(f"{path} is no description of a family: it must be a mapping of keys such as name and mjcf")
    try:
        description = Description.model_validate(data)
    except ValidationError as error:
        raise TaskError(sentence(error, Description, str(path))) from error
    try:
        return DescribedFamily(description, path)
    except TaskError as error:
        raise TaskError(f"{path}: {error}") from error
