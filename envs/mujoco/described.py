"""A task family out of two files, an MJCF model and a YAML description, and no Python.

    family = described.load(Path("examples/robots/quadruped.yaml"))

The description names the parts of the model that vary between tasks, the robot's command, its observation, the terms of
its reward and the end of an episode. docs/own-robot.md goes through it with two robots. Terms:
`envs/mujoco/observation_terms.py`, `envs/mujoco/reward_terms.py`; changes of the model: `envs/mujoco/changes.py`;
grounds: `envs/mujoco/terrains/`.
"""

from __future__ import annotations

import copy
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from pydantic import ValidationError

from envs.distributions import Distribution, Value
from envs.errors import TaskError
from envs.mujoco import terms
from envs.mujoco.arrows import Arrow, arrows_of
from envs.mujoco.described_checks import Check, checks
from envs.mujoco.described_parts import (
    changes_of,
    commands_of,
    distributions_of,
    frame_skip,
    pull_of,
    push_of,
    randomized_of,
    refuse_misnamed_delays,
    refuse_taken_names,
    senses_forces,
    start_pose,
    terrain_of,
)
from envs.mujoco.description import Description
from envs.mujoco.drive import Drive, give_muscles_their_range, held_by, make_servos
from envs.mujoco.elements import choose, element_names, find, tracking_camera
from envs.mujoco.light import give_sky, lighten, name_geoms
from envs.mujoco.locomotion import Locomotion
from envs.mujoco.locomotion_env import LocomotionEnv
from envs.mujoco.model_files import digest_of, files_of
from envs.mujoco.observation_terms import Commands
from envs.mujoco.robot import Robot, floor_height, load_mjcf, standing_geoms
from envs.mujoco.robot_base import base_of
from envs.mujoco.start import Start, ValidStart
from envs.mujoco.state import Motion, SimulationState
from envs.mujoco.terrains.base import Terrain
from envs.task import Task
from envs.validation import sentence
from envs.yaml_text import load_yaml


class DescribedFamily(Locomotion):
    """The family that a description and a model file make. Made by `load`.

    Attributes:
        description: the YAML file's.
        widths: of the observation's terms, in order.
    """

    def __init__(self, description: Description, path: Path, *, whole: bool = False) -> None:
        self._source, self.description, self._whole = path, description, whole
        model_file = Path(os.path.abspath(path.parent / description.mjcf))  # noqa: PTH100 - links stay links
        if not model_file.is_file():
            raise TaskError(f"mjcf is {description.mjcf}, but there is no file {model_file}")
        # Compiled anew: a file that was edited since must not be answered out of a cache.
        model = self.base = load_mjcf(model_file, self.prepare)[1]
        self._pose = start_pose(description, model)
        self._base = base_of(model, description.base, self._pose)
        if description.reset.yaw_deg and self._base.quaternion is None:
            raise TaskError("reset.yaw_deg turns a free base, which this robot has not; leave it out")
        if description.reset.position_m and self._base.x is None:
            raise TaskError("reset.position_m moves a base in the plane, which this robot has not; leave it out")
        parameters = description.tasks or {}
        refuse_misnamed_delays(parameters, description.randomize)
        skip = frame_skip(description.control_dt_s, model)
        terrain = terrain_of(description, self._base)
        refuse_taken_names(description, terrain)
        commands = commands_of({**parameters, **description.randomize})
        if description.camera is not None:
            find(model, "camera", description.camera)
        self._goal = commands["goal"][0] if "goal" in commands else None
        changed = frozenset(one.change for one in (*parameters.values(), *description.randomize.values()) if one.change)
        part = terms.Part(model, self._base, commands, changed)
        self._observed, observation_reads = terms.observation(description, part)
        self._rewarded, reward_reads = terms.reward(description, part)
        self._reached, success_reads = terms.success(description, part, [one for _, one in self._rewarded])
        self._ends, end_reads = terms.endings(description, part, bool(self._reached))
        reads = {*observation_reads, *reward_reads, *success_reads, *end_reads}
        robot = Robot(
            str(model_file), skip, hidden=0, height=-1 if self._base.z is None else self._base.z,
            reset_noise=description.reset.noise, velocity_noise=description.reset.velocity_noise,
            sensed=tuple(sorted(reads)),
            x=0 if self._base.x is None else self._base.x, y=self._base.y, floor=floor_height(model),
        )  # fmt: skip
        self._commands = commands
        self._declare(description, model, terrain, robot, commands)
        files = [path, *files_of(model_file)]
        known = {"digest": digest_of(files), "files": files, "__doc__": self._summary(path)}
        for name, value in known.items():
            setattr(self, name, value)
        self._check_extremes()

    def _declare(
        self, description: Description, model: mujoco.MjModel, terrain: Terrain | None, robot: Robot, commands: Commands
    ) -> None:
        """Set the attributes that other families declare in their class."""
        parameters = description.tasks or {}
        scan = description.terrain.scan if description.terrain else ()
        declared: dict[str, Any] = {
            "name": description.name,
            "kind": description.kind,
            "episode_steps": description.episode_steps,
            "air_density": description.air_density,
            "feet": terms.feet_of(description, model),
            "push": push_of(description, self._base),
            "pull": pull_of(description, model, self._base),
            "randomized": randomized_of(description, model, terrain),
            "observed_parameters": terms.observed_parameters(description, commands),
            "terrain": terrain,
            "scan": scan,
            "robot": robot,
            "can_switch": terrain is None,
            "parameters": distributions_of(parameters, model, terrain) | (terrain.parameters if terrain else {}),
            "changes": changes_of(parameters),
            "camera": description.camera or tracking_camera(model),
            "reward_terms": tuple(description.reward),
            "action_costs": tuple(
                place
                for place, (name, term) in enumerate(description.reward.items())
                if (term.term or name) in ("action_squared", "action_rate", "torque")
            ),
            "has_success": bool(self._reached),
            "differs_at_once": terrain is None,  # else the difference is met further on
            "reset_depends_on_task": bool(scan) or senses_forces(description),
        }
        for name, value in declared.items():
            setattr(self, name, value)

    def _summary(self, path: Path) -> str:
        """The file, and what was found in its model."""
        description, bodies = self.description, element_names(self.base, "body")
        lines = [f"{description.name}: {description.mjcf} as {path} describes it."]
        moving = "none, it is fixed to the world" if self._base.body is None else bodies[self._base.body]
        lines.append(f"base: {moving}")
        if description.terrain is not None:
            lines.append(f"terrain: {description.terrain.kind}")
        for name, one in self.randomized.items():
            again = "" if one.every_steps is None else f", and every {one.every_steps} control steps"
            lines.append(f"drawn for every episode{again}: {name} ~ {one.distribution}")
        for what in ("pushes", "forces"):
            if (spec := getattr(description, what)) is not None:
                lines.append(f"{what}: " + ", ".join(f"{key} {value}" for key, value in spec if value is not None))
        if self.terrain is not None and (others := standing_geoms(self.base)):
            lines.append(f"on the ground, {', '.join(others)} of the model stay where they are, and can be touched")
        return "\n".join(lines)

    def _check_extremes(self) -> None:
        """Build the models at both ends of every distribution: a range that MuJoCo cannot take is refused at once."""
        drawn = [*self.parameters.values(), *(one.distribution for one in self.randomized.values())]
        for end in range(max(len(distribution.corners) for distribution in drawn)):
            task = self.task(**{name: _corner(distribution, end) for name, distribution in self.parameters.items()})
            model = copy.deepcopy(self.model(task))
            for name, one in self.randomized.items():
                if one.change is not None:
                    value: Any = _corner(one.distribution, end)
                    one.change.apply(model, value, f"randomize.{name}")
        try:  # whatever else can fail fails here, not in the middle of a training
            env = self.make_vector_env([task], 1)
            if not env.single_observation_space.shape[0]:  # type: ignore[index]
                raise TaskError("observe names terms that are empty for this robot; add one that says something")
            env.reset(seed=[0])
            env.step(np.zeros((1, *env.single_action_space.shape)))  # type: ignore[misc]
        except TaskError:
            raise
        except Exception as error:
            raise TaskError(f"its first step fails ({type(error).__name__}: {error}); look at its terms") from error

    def own_checks(self) -> list[Check]:
        return checks()

    def drive(self, model: mujoco.MjModel) -> Drive:
        low, high = model.actuator_ctrlrange.T
        middle, scale = (low + high) / 2, (high - low) / 2
        if self.description.actions.offset == "start":
            middle = held_by(self.base, self._pose)
        if self.description.actions.scale is not None:
            scale = np.full(model.nu, self.description.actions.scale)
        return Drive(low, high, middle, scale, 1.0 - self.description.actions.smoothing, self.description.actions.delay)

    def prepare(self, spec: mujoco.MjSpec, model: mujoco.MjModel) -> None:
        name_geoms(spec, model)
        give_muscles_their_range(spec, model)
        if (actions := self.description.actions).kp is not None:
            make_servos(spec, model, actions.kp, actions.kd)
        if self._whole:
            give_sky(spec)
        else:
            lighten(spec, model)

    def drawn_model(self, task: Task) -> mujoco.MjModel:
        return self._drawn.model(task)

    @cached_property
    def _drawn(self) -> DescribedFamily:
        """The family with the meshes and textures of its model file, changed in what can be seen."""
        whole = DescribedFamily(self.description, self._source, whole=True)
        whole.changes = {name: one for name, one in whole.changes.items() if one.field == "geom_size"}  # type: ignore[misc]
        return whole

    def start(self, model: mujoco.MjModel) -> Start:
        reset, base = self.description.reset, self._base
        noises = [
            (joint, deviation)
            for pattern, deviation in reset.joints.items()
            for joint in choose(model, "joint", (pattern,)).tolist()
        ]
        entries = tuple(entry for entry in (base.x, base.y) if entry is not None)
        turned = (base.quaternion, np.deg2rad(reset.yaw_deg)) if base.quaternion is not None and reset.yaw_deg else None
        return ValidStart(self._pose.copy(), model, noises, (entries, reset.position_m), turned)

    def arrows(self, env: LocomotionEnv, row: int) -> list[Arrow]:
        return arrows_of(env, row, self._base, self._commands)

    def goal(self, task: Task) -> tuple[float, ...] | None:
        return task[self._goal] if self._goal is not None and self._goal in self.parameters else None

    def shown_goal(self, env: LocomotionEnv, row: int, task: Task) -> tuple[float, ...] | None:
        return tuple(env.command(self._goal)[row].tolist()) if self._goal is not None else None

    def observe(self, state: SimulationState) -> np.ndarray:
        parts = [term(state) for term in self._observed]
        self.widths = [part.shape[1] for part in parts]
        return np.concatenate(parts, 1)

    @property
    def observation_noise(self) -> np.ndarray | None:  # type: ignore[override]
        return terms.of_entries(self.description, "noise", self.widths)

    @property
    def observation_delay(self) -> np.ndarray | None:  # type: ignore[override]
        return terms.of_entries(self.description, "delay", self.widths)

    @property
    def observed_entries(self) -> np.ndarray:
        return np.flatnonzero(np.repeat([one.term == "command" for one in self.description.observe], self.widths))

    def reward(self, motion: Motion) -> np.ndarray:
        return self.reward_parts(motion).sum(1)

    def reward_parts(self, motion: Motion) -> np.ndarray:
        return np.stack([weight * term(motion) for weight, term in self._rewarded], 1)

    def succeeded(self, motion: Motion) -> np.ndarray:
        return np.all([condition(motion) for condition in self._reached], axis=0)

    def fallen(self, motion: Motion) -> np.ndarray:
        ended = np.zeros(len(motion.action), bool)
        for condition in self._ends:
            ended |= self.succeeded(motion) if condition is None else condition(motion)
        return ended

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_again, (self._source.absolute(), self.digest)


def _corner(distribution: Distribution, number: int) -> Value:
    """One of the extreme values, the last one where there are fewer."""
    return distribution.corners[min(number, len(distribution.corners) - 1)]


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
        data = load_yaml(path.read_bytes())
    except (OSError, ValueError) as error:
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
