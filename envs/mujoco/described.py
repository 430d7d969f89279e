"""A task family out of two files, an MJCF model and a YAML description, and no Python.

    family = described.load(Path("examples/robots/quadruped.yaml"))

The description names the parts of the model that vary between tasks, the robot's command, its observation, the terms of
its reward and the end of an episode. docs/own-robot.md goes through it with two robots. Terms:
`envs/mujoco/observation_terms.py`, `envs/mujoco/reward_terms.py`; changes of the model: `envs/mujoco/changes.py`;
grounds: `envs/mujoco/terrains/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from pydantic import ValidationError

from envs.distributions import Distribution, Uniform
from envs.errors import TaskError
from envs.mujoco import terms
from envs.mujoco.changes import Change
from envs.mujoco.described_checks import Check, checks
from envs.mujoco.description import Description, TaskParameter
from envs.mujoco.drive import Drive, Push, held_by
from envs.mujoco.elements import choose, find
from envs.mujoco.locomotion import Locomotion
from envs.mujoco.locomotion_env import DELAY
from envs.mujoco.model_files import digest_of
from envs.mujoco.observation_terms import Commands
from envs.mujoco.robot import Robot, floor_height, load_mjcf
from envs.mujoco.robot_base import RobotBase, base_of
from envs.mujoco.start import Start, ValidStart
from envs.mujoco.state import Motion, SimulationState
from envs.mujoco.terrains import TERRAINS
from envs.mujoco.terrains.base import SQUARE, STRIP, Terrain
from envs.task import Task
from envs.validation import sentence
from envs.yaml_text import load_yaml


class DescribedFamily(Locomotion):
    """The family that a description and a model file make. Made by `load`."""

    def __init__(self, description: Description, path: Path) -> None:
        self._source, self._description = path, description
        model_file = (path.parent / description.mjcf).resolve()
        if not model_file.is_file():
            raise TaskError(f"mjcf is {description.mjcf}, but there is no file {model_file}")
        # Compiled anew: a file that was edited since must not be answered out of a cache.
        model = self.base = load_mjcf(model_file)[1]
        self._pose = _start_pose(description, model)
        self._base = base_of(model, description.base, self._pose)
        if description.reset.yaw_deg and self._base.quaternion is None:
            raise TaskError("reset.yaw_deg turns a free base, which this robot has not; leave it out")
        if description.reset.position_m and self._base.x is None:
            raise TaskError("reset.position_m moves a base in the plane, which this robot has not; leave it out")
        parameters = description.tasks or {}
        frame_skip = _frame_skip(description.control_dt_s, model)
        terrain = _terrain(description, self._base)
        commands = _commands(parameters)
        self._goal = commands["goal"][0] if "goal" in commands else None
        part = terms.Part(model, self._base, commands)
        self._observed, observation_reads = terms.observation(description, part)
        self._rewarded, reward_reads = terms.reward(description, part)
        self._reached, success_reads = terms.success(description, part, [one for _, one in self._rewarded])
        self._ends, end_reads = terms.endings(description, part, bool(self._reached))
        reads = {*observation_reads, *reward_reads, *success_reads, *end_reads}
        robot = Robot(
            str(model_file), frame_skip, hidden=0, height=-1 if self._base.z is None else self._base.z,
            reset_noise=description.reset.noise, velocity_noise=description.reset.velocity_noise,
            sensed=tuple(sorted(reads)),
            x=0 if self._base.x is None else self._base.x, y=self._base.y, floor=floor_height(model),
        )  # fmt: skip
        self._declare(description, model, terrain, robot, commands)
        digest = digest_of(path, model_file)
        for name, value in {"digest": digest, "__doc__": _docstring(description, path)}.items():
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
            "push": _push(description, model, self._base),
            "observed_parameters": terms.observed_parameters(description, commands),
            "terrain": terrain,
            "scan": scan,
            "robot": robot,
            "can_switch": terrain is None,
            "parameters": _distributions(parameters, model, terrain) | (terrain.parameters if terrain else {}),
            "changes": {
                name: Change(parameter.change, parameter.how, parameter.elements, parameter.inertia_follows)
                for name, parameter in parameters.items()
                if parameter.change
            },
            "reward_terms": tuple(description.reward),
            "has_success": bool(self._reached),
            "differs_at_once": False,
            "reset_depends_on_task": bool(scan) or _senses_forces(description),
        }
        for name, value in declared.items():
            setattr(self, name, value)

    def _check_extremes(self) -> None:
        """Build the models at both ends of every distribution: a range that MuJoCo cannot take is refused at once."""
        for extreme in (min, max):
            values = {}
            for name, distribution in self.parameters.items():
                end = extreme(distribution.extremes)
                shape = distribution.shape if isinstance(distribution, Uniform) else ()
                values[name] = (end,) * shape[0] if shape else end
            task = self.task(**values)
            self.model(task)
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
        if self._description.actions.offset == "start":
            middle = held_by(model, self._pose)
        if self._description.actions.scale is not None:
            scale = np.full(model.nu, self._description.actions.scale)
        return Drive(low, high, middle, scale, 1.0 - self._description.actions.smoothing)

    def start(self, model: mujoco.MjModel) -> Start:
        reset, base = self._description.reset, self._base
        noises = [
            (joint, deviation)
            for pattern, deviation in reset.joints.items()
            for joint in choose(model, "joint", (pattern,)).tolist()
        ]
        entries = tuple(entry for entry in (base.x, base.y) if entry is not None)
        turned = (base.quaternion, np.deg2rad(reset.yaw_deg)) if base.quaternion is not None and reset.yaw_deg else None
        return ValidStart(self._pose.copy(), model, noises, (entries, reset.position_m), turned)

    def goal(self, task: Task) -> tuple[float, ...] | None:
        return task[self._goal] if self._goal is not None else None

    def observe(self, state: SimulationState) -> np.ndarray:
        parts = [term(state) for term in self._observed]
        self._widths = [part.shape[1] for part in parts]
        return np.concatenate(parts, 1)

    @property
    def observation_noise(self) -> np.ndarray | None:  # type: ignore[override]
        return terms.of_entries(self._description, "noise", self._widths)

    @property
    def observation_delay(self) -> np.ndarray | None:  # type: ignore[override]
        return terms.of_entries(self._description, "delay", self._widths)

    @property
    def observed_entries(self) -> np.ndarray:
        return np.flatnonzero(np.repeat([one.term == "command" for one in self._description.observe], self._widths))

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
        return _load_again, (self._source.resolve(), self.digest)


def _senses_forces(description: Description) -> bool:
    """Whether the first observation tells what the body is like, as a force sensor's first reading does."""
    observed = {one.term for one in description.observe}
    changed = any(parameter.change for parameter in (description.tasks or {}).values())
    return changed and bool(observed & {"sensors", "sensor", "contact_forces"})


def _docstring(description: Description, path: Path) -> str:
    return f"{description.name}: {description.mjcf} as {path} describes it."


def _start_pose(description: Description, model: mujoco.MjModel) -> np.ndarray:
    """[nq]: the keyframe, or the model's own pose, with the joints that are named elsewhere."""
    start, pose = description.start, model.qpos0.copy()
    for pattern in description.reset.joints:
        choose(model, "joint", (pattern,))
    if start.keyframe is not None:
        pose = model.key_qpos[find(model, "keyframe", start.keyframe)].copy()
    for name, place in start.joints.items():
        joint = find(model, "joint", name)
        if model.jnt_type[joint] not in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE):
            raise TaskError(f"start.joints: {name} is a free or a ball joint, which no number places; use a keyframe")
        low, high = model.jnt_range[joint]
        if model.jnt_limited[joint] and not low <= place <= high:
            raise TaskError(f"start.joints: {name} starts at {place:g}, outside its limits {low:g} to {high:g}")
        pose[model.jnt_qposadr[joint]] = place
    return pose


def _frame_skip(control_dt_s: float, model: mujoco.MjModel) -> int:
    """Physics steps of a control step."""
    steps = control_dt_s / model.opt.timestep
    if abs(steps - round(steps)) > 1e-6 or round(steps) < 1:
        raise TaskError(
            f"control_dt_s is {control_dt_s:g} s, no multiple of the model's physics step of "
            f"{model.opt.timestep:g} s; change one of them"
        )
    return round(steps)


def _terrain(description: Description, base: RobotBase) -> Terrain | None:
    if description.terrain is None:
        return None
    if base.x is None or base.z is None:
        raise TaskError("a terrain is for robots whose base moves along x and up; leave it out")
    given = {name: spec.distribution(()) for name, spec in description.terrain.distributions.items()}
    return TERRAINS[description.terrain.kind](STRIP if base.planar else SQUARE, **given)


def _commands(parameters: Mapping[str, TaskParameter]) -> dict[str, tuple[str, int]]:
    """By command, the task parameter that gives it and its number of entries."""
    commands: dict[str, tuple[str, int]] = {}
    for name, parameter in parameters.items():
        if parameter.command in commands:
            first = commands[parameter.command][0]
            raise TaskError(f"{name} and {first} both command a {parameter.command}; keep one")
        if parameter.command:
            commands[parameter.command] = name, parameter.size or 1
    return commands


def _distributions(
    parameters: Mapping[str, TaskParameter], model: mujoco.MjModel, terrain: Terrain | None
) -> dict[str, Distribution]:
    distributions = {}
    for name, parameter in parameters.items():
        if parameter.sensor_delay != (name == DELAY):
            raise TaskError(f"a parameter with sensor_delay is called {DELAY}, and no other is; rename {name}")
        shape: tuple[int, ...] = (parameter.size,) if parameter.size else ()
        if parameter.change and parameter.each:
            if terrain is not None and parameter.change == "friction":
                raise TaskError(f"{name}: on a terrain, friction is changed for all geoms alike; leave out each")
            shape = (Change(parameter.change, parameter.how, parameter.elements).size(model),)
        distributions[name] = parameter.distribution(shape)
    return distributions


def _push(description: Description, model: mujoco.MjModel, base: RobotBase) -> Push | None:
    spec = description.pushes
    if spec is None:
        return None
    if base.x is None:
        raise TaskError("pushes are for robots whose base moves; leave them out")
    steps = round(spec.every_s / description.control_dt_s)
    if steps < 1:
        raise TaskError(f"pushes.every_s is {spec.every_s:g} s, less than a control step; make it longer")
    along = base.velocity["x"]
    across = () if base.y is None else (along + 1 if base.quaternion is not None else base.velocity["y"],)
    return Push(steps, spec.speed_m_per_s, (along, *across))


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
