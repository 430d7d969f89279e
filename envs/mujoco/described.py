"""A task family out of two files, an MJCF model and a YAML description, and no Python.

    family = described.load(Path("examples/robots/quadruped.yaml"))

The description names the parts of the model that vary between tasks, the robot's command, its observation, the terms of
its reward and the end of an episode. docs/own-robot.md goes through it with two robots. Terms:
`envs/mujoco/observation_terms.py`, `envs/mujoco/reward_terms.py`; changes of the model: `envs/mujoco/changes.py`;
grounds: `envs/mujoco/terrains/`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from pydantic import ValidationError

from envs.distributions import Distribution, Uniform
from envs.errors import TaskError
from envs.mujoco.changes import Change
from envs.mujoco.description import Description, ObservationTerm, RewardTerm, TaskParameter, Termination
from envs.mujoco.locomotion import Locomotion
from envs.mujoco.locomotion_env import DELAY
from envs.mujoco.observation_terms import ObservationFunction, observation_term
from envs.mujoco.reward_terms import Commands, RewardFunction, reward_term
from envs.mujoco.robot import Robot, load_mjcf
from envs.mujoco.robot_base import RobotBase, base_of, height, up
from envs.mujoco.state import Motion, SimulationState
from envs.mujoco.terrains import TERRAINS
from envs.mujoco.terrains.base import SQUARE, STRIP, Terrain
from envs.task import Task
from envs.validation import sentence
from envs.yaml_text import load_yaml


class DescribedFamily(Locomotion):
    """The family that a description and a model file make. Made by `load`."""

    def __init__(self, description: Description, path: Path) -> None:
        self._source = path
        model_file = (path.parent / description.mjcf).resolve()
        if not model_file.is_file():
            raise TaskError(f"mjcf is {description.mjcf}, but there is no file {model_file}")
        # Compiled anew: a file that was edited since must not be answered out of a cache.
        model = self.base = load_mjcf(model_file)[1]
        self._base = base_of(model)
        parameters = description.tasks or {}
        frame_skip = _frame_skip(description.control_dt_s, model)
        terrain = _terrain(description, self._base)
        commands = _commands(parameters)
        self._goal = commands["goal"][0] if "goal" in commands else None
        self._observed, observation_reads = _observation(description, model)
        self._rewarded, reward_reads = _reward(description, model, commands)
        self._reached = [
            function
            for (name, entry), (_, function) in zip(description.reward.items(), self._rewarded, strict=True)
            if (name if isinstance(entry, float) else entry.term or name) == "goal_reached"
        ]
        self._termination = description.terminate
        _check_termination(self._termination, self._base)
        robot = Robot(
            str(model_file), frame_skip, hidden=0, height=-1 if self._base.z is None else self._base.z,
            reset_noise=description.reset.noise, sensed=tuple(sorted({*observation_reads, *reward_reads})),
            x=0 if self._base.x is None else self._base.x, y=self._base.y,
        )  # fmt: skip
        self._declare(description, model, terrain, robot)
        digest = hashlib.sha256(path.read_bytes() + model_file.read_bytes()).hexdigest()
        for name, value in {"digest": digest, "__doc__": _docstring(description, path)}.items():
            setattr(self, name, value)
        self._check_extremes()

    def _declare(self, description: Description, model: mujoco.MjModel, terrain: Terrain | None, robot: Robot) -> None:
        """Set the attributes that other families declare in their class."""
        parameters = description.tasks or {}
        scan = description.terrain.scan if description.terrain else ()
        declared: dict[str, Any] = {
            "name": description.name,
            "kind": description.kind,
            "episode_steps": description.episode_steps,
            "air_density": description.air_density,
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
            "reset_depends_on_task": bool(scan),
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
            env.reset(seed=[0])
            env.step(np.zeros((1, *env.single_action_space.shape)))  # type: ignore[misc]
        except TaskError:
            raise
        except Exception as error:
            raise TaskError(f"its first step fails ({type(error).__name__}: {error}); look at its terms") from error

    def goal(self, task: Task) -> tuple[float, ...] | None:
        return task[self._goal] if self._goal is not None else None

    def observe(self, state: SimulationState) -> np.ndarray:
        return np.concatenate([term(state) for term in self._observed], 1)

    def reward(self, motion: Motion) -> np.ndarray:
        return self.reward_parts(motion).sum(1)

    def reward_parts(self, motion: Motion) -> np.ndarray:
        return np.stack([weight * term(motion) for weight, term in self._rewarded], 1)

    def succeeded(self, motion: Motion) -> np.ndarray:
        return np.all([term(motion) > 0 for term in self._reached], axis=0)

    def fallen(self, motion: Motion) -> np.ndarray:
        ended = np.zeros(len(motion.action), bool)
        if self._termination.height_below_m is not None:
            ended |= height(self._base, motion.after) < self._termination.height_below_m
        if self._termination.height_above_m is not None:
            ended |= height(self._base, motion.after) > self._termination.height_above_m
        if self._termination.tilt_above_deg is not None:
            ended |= up(self._base, motion.after) < np.cos(np.deg2rad(self._termination.tilt_above_deg))
        return ended

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_again, (self._source.resolve(), self.digest)


def _docstring(description: Description, path: Path) -> str:
    return f"{description.name}: {description.mjcf} as {path} describes it."


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


def _observation(description: Description, model: mujoco.MjModel) -> tuple[list[ObservationFunction], set[str]]:
    """The terms of the observation in order, and the arrays of MjData that they read."""
    functions, reads = [], set()
    for entry in description.observe:
        term = ObservationTerm(term=entry) if isinstance(entry, str) else entry
        function, arrays = observation_term(term.term, model, term.of)
        functions.append(function)
        reads |= set(arrays)
    return functions, reads


def _reward(
    description: Description, model: mujoco.MjModel, commands: Commands
) -> tuple[list[tuple[float, RewardFunction]], set[str]]:
    """The weights and terms of the reward in order, and the arrays of MjData that they read."""
    weighted, reads = [], set()
    for name, entry in description.reward.items():
        term = RewardTerm(weight=entry) if isinstance(entry, float) else entry
        function, arrays = reward_term(term.term or name, model, term.of, commands, term.radius)
        weighted.append((term.weight, function))
        reads |= set(arrays)
    return weighted, reads


def _check_termination(termination: Termination, base: RobotBase) -> None:
    if termination.tilt_above_deg is not None and base.pitch is None and base.quaternion is None:
        raise TaskError("terminate names a tilt, but this robot's base cannot lean")
    if (termination.height_below_m is not None or termination.height_above_m is not None) and base.z is None:
        raise TaskError("terminate names a height, but this robot's base does not move")


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
