"""Robots as batched task families: tasks differ in a command, the body, the ground, or in faults.

A family names its robot and says, for whole batches, which parts of the model a task parameter changes, what is
observed, the reward of a motion and when an episode ends. Gymnasium's own model files are used, so bodies are those of
its v5 environments.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import gymnasium
import mujoco
import numpy as np

from envs.errors import TaskError
from envs.mujoco.arrows import Arrow
from envs.mujoco.changes import Change
from envs.mujoco.disturbances import Pull, Push
from envs.mujoco.drive import Drive
from envs.mujoco.locomotion_env import DELAY, LocomotionEnv
from envs.mujoco.randomized import Randomized
from envs.mujoco.robot import Robot, base_model, floors_of, load_mjcf
from envs.mujoco.start import Start
from envs.mujoco.state import Motion, SimulationState
from envs.mujoco.terrains.base import Elevation, Terrain, raised
from envs.task import Task, TaskFamily
from envs.vector import SingleEnv

_CACHED = ("base", "_scratch", "_spaces", "_on_terrain")


class Locomotion(TaskFamily):
    """A robot with a hidden command, body or ground.

    Class attributes, beyond those of every family:
        robot: the robot.
        changes: by name of a task parameter, the change that it makes to the model; the others are commands that
            `reward` reads.
        terrain: the ground, whose parameters are task parameters too; None is the plane of the model file.
        scan: a height scan: how far above the ground ahead the robot's base is, at these distances along x, m, added
            to the observation. () by default, so that a terrain must be inferred from experience.
        feet: geoms of each foot, whose time in the air is counted.
        push, pull: disturbances, again and again: of the base's velocity, and forces on a body.
        randomized: what is drawn anew for every episode, by name: changes of the model, and commands.
        observation_noise, observation_delay: of each entry of the observation: a normal deviation, control steps.
        air_density: of the medium, kg/m^3; 0 keeps that of the model file. Wind needs one.
        action_costs: which of `reward_terms` are costs of the actions themselves, whatever they bring about.
        camera: of the model, that videos are seen through; None for one that frames the robot from the side.
    """

    robot: ClassVar[Robot]
    changes: ClassVar[Mapping[str, Change]] = {}
    terrain: ClassVar[Terrain | None] = None
    scan: ClassVar[tuple[float, ...]] = ()
    air_density: ClassVar[float] = 0.0
    feet: ClassVar[tuple[tuple[int, ...], ...]] = ()
    push: ClassVar[Push | None] = None
    pull: ClassVar[Pull | None] = None
    randomized: ClassVar[Mapping[str, Randomized]] = {}
    observation_noise: ClassVar[np.ndarray | None] = None
    observation_delay: ClassVar[np.ndarray | None] = None
    camera: ClassVar[str | None] = None
    action_costs: ClassVar[tuple[int, ...]] = ()
    can_switch = True

    @cached_property
    def base(self) -> mujoco.MjModel:
        """The model that tasks change copies of, on the plane of its file."""
        if type(self).prepare is Locomotion.prepare:
            return base_model(self.robot.path)
        return load_mjcf(self.robot.path, self.prepare)[1]

    @cached_property
    def _on_terrain(self) -> mujoco.MjSpec:
        """The robot's description, on ground that is yet to be shaped."""
        spec, model = load_mjcf(self.robot.path, self.prepare)
        floors = floors_of(model)
        if not floors:
            raise TaskError(
                f"{self.robot.path} has no level plane in its worldbody, with which something collides, to shape a "
                "terrain from; add one"
            )
        of_world = np.flatnonzero(model.geom_bodyid == 0).tolist()
        floor = spec.worldbody.geoms[of_world.index(floors[0])]
        if taken := [name for geom in spec.geoms if geom != floor and (name := geom.name).startswith("floor")]:
            raise TaskError(f"{self.robot.path} has a geom {taken[0]}, but the ground's geoms are called so; rename it")
        floor.name = "floor"
        assert self.terrain is not None
        self.terrain.build(spec, floor)
        return spec

    @cached_property
    def _scratch(self) -> mujoco.MjData:
        return mujoco.MjData(self.base)

    @property
    def longest_delay(self) -> int:
        """The largest sensor delay of any task, control steps."""
        return int(max(self.parameters[DELAY].extremes))

    def model(self, task: Task) -> mujoco.MjModel:
        """The task's model; one for all where the task is a command only."""
        if not self.changes and self.terrain is None and not self.air_density:
            return self.base
        try:
            model = self._ground(task) if self.terrain is not None else copy.deepcopy(self.base)
            if self.air_density:
                model.opt.density = self.air_density
            for name, change in self.changes.items():
                change.apply(model, task[name], name)
        except TaskError as error:
            raise TaskError(f"task {task.index} of {self.name}: {error}") from error
        if self.changes:
            mujoco.mj_setConst(model, mujoco.MjData(model) if self.terrain is not None else self._scratch)
        return model

    def drawn_model(self, task: Task) -> mujoco.MjModel:
        """The task's model as it is to be seen; its state is that of `model`."""
        return self.model(task)

    def _ground(self, task: Task) -> mujoco.MjModel:
        """The robot on this task's ground."""
        assert self.terrain is not None
        values = {name: task[name] for name in self.terrain.parameters}
        self.terrain.shape(self._on_terrain, values, self.terrain.elevation(values, task.digest))
        try:
            with raised(self._on_terrain, self.robot.floor):
                return self._on_terrain.compile()
        except ValueError as error:
            raise TaskError(f"its ground does not compile: {' '.join(str(error).split())[:200]}") from error

    def elevation(self, task: Task) -> Elevation:
        """Height of the task's ground."""
        assert self.terrain is not None
        of = self.terrain.elevation({name: task[name] for name in self.terrain.parameters}, task.digest)
        floor = self.robot.floor
        return of if not floor else lambda x, y: of(x, y) + floor

    def prepare(self, spec: mujoco.MjSpec, model: mujoco.MjModel) -> None:
        """Change the robot's description, which compiles to `model`, for all tasks alike; nothing by default."""

    def drive(self, model: mujoco.MjModel) -> Drive | None:
        """How actions in [-1, 1] become controls; None where actions are the controls."""
        return None

    def start(self, model: mujoco.MjModel) -> Start:
        """Where episodes start: at the pose of the model file."""
        return Start(model.qpos0.copy())

    def observe(self, state: SimulationState) -> np.ndarray:
        """[n, O]: positions but the hidden ones, and clipped velocities."""
        limit = self.robot.largest_velocity
        velocity = state.qvel if limit == np.inf else np.clip(state.qvel, -limit, limit)
        return np.concatenate([state.qpos[:, self.robot.hidden :], velocity], 1)

    def goal(self, task: Task) -> tuple[float, ...] | None:
        """The place (x, y[, z]) that the task is about, m, to be marked in pictures; None if there is none."""
        view = self.plan_view(task)
        return view.goal if view is not None else None

    def shown_goal(self, env: LocomotionEnv, row: int, task: Task) -> tuple[float, ...] | None:
        """The goal of a row as it stands, which may be of its episode alone."""
        return self.goal(task)

    def arrows(self, env: LocomotionEnv, row: int) -> list[Arrow]:
        """Arrows to be drawn in pictures of a row; none by default."""
        return []

    @abstractmethod
    def reward(self, motion: Motion) -> np.ndarray:
        """[n], of one control step."""

    def reward_parts(self, motion: Motion) -> np.ndarray:
        """[n, K], the value of each of `reward_terms`, where a family names them."""
        raise TaskError(f"{self.name} names reward terms and must define reward_parts")

    def succeeded(self, motion: Motion) -> np.ndarray:
        """[n] bool, whether the goal of the task is reached, where a family has success."""
        raise TaskError(f"{self.name} declares has_success and must define succeeded")

    def fallen(self, motion: Motion) -> np.ndarray:
        """[n] bool, whether the episode ends here; never by default."""
        return np.zeros(len(motion.action), bool)

    def make_vector_env(self, tasks: Sequence[Task], rows: int) -> LocomotionEnv:
        return LocomotionEnv(self, [self.check_task(task) for task in tasks], rows)

    def make_env(self, task: Task) -> gymnasium.Env[Any, Any]:
        return SingleEnv(self.make_vector_env([task], 1))

    def __getstate__(self) -> dict[str, Any]:
        """A worker compiles its own base model: cached models stay here."""
        return {key: value for key, value in self.__dict__.items() if key not in _CACHED}
