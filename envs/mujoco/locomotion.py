"""Robots as batched task families: what varies is a command, the body, the ground, or what a robot meets in the field.

A family names its robot and says, for whole batches, what a task parameter changes, what is observed, what a motion is
worth and when an episode ends. Gymnasium's own model files are used, so bodies are those of its v5 environments.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import mujoco
import numpy as np

from envs.mujoco.changes import Change, element_names
from envs.mujoco.engines.simulations import LoopSimulations, RolloutSimulations, Rows, Simulations
from envs.mujoco.state import Motion, State
from envs.mujoco.terrain import Elevation, Terrain
from envs.task import Task, TaskError, TaskFamily
from envs.vector import BatchedEnv, SingleEnv

_CACHED = ("base", "_scratch", "_spaces", "_on_terrain")
DELAY = "sensor_delay_steps"  # a task parameter of this name delays what is observed


@dataclass(frozen=True)
class Robot:
    """A robot, and how its simulation is read.

    Attributes:
        file: its MJCF file: a path, or a name among Gymnasium's assets.
        frame_skip: physics steps of a control step.
        hidden: leading entries of qpos that are not observed: where it stands in the plane.
        height, x, y: the entries of qpos that are its height and its place; y is None for a planar robot.
        reset_noise: the first qpos is uniform in +- this around the initial pose.
        normal_velocity: whether the first qvel is normal with deviation `reset_noise`, or uniform in +- it.
        largest_velocity: observed velocities are clipped to +- this.
        sensed: arrays of MjData that rewards or observations need; with them the robot is stepped with the solver's
            warm start (simulations.py).
    """

    file: str
    frame_skip: int
    hidden: int
    height: int
    reset_noise: float
    normal_velocity: bool = True
    largest_velocity: float = np.inf
    sensed: tuple[str, ...] = ()
    x: int = 0
    y: int | None = None

    @property
    def path(self) -> Path:
        """Of its model file."""
        own = Path(self.file)
        return own if own.parts[1:] else Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / self.file

    def simulations(self, models: Sequence[mujoco.MjModel]) -> Simulations:
        """One simulation of each model, by the engine that gives what the robot needs."""
        if self.sensed:
            return LoopSimulations(models, self.frame_skip, self.sensed)
        return RolloutSimulations(models, self.frame_skip)


@cache
def base_model(path: Path) -> mujoco.MjModel:
    """A robot as its file has it, shared by all rows: a task that changes the body changes a copy."""
    return load_mjcf(path)[1]


def load_mjcf(path: Path) -> tuple[mujoco.MjSpec, mujoco.MjModel]:
    """An MJCF file's description, and the model it compiles to; TaskError where it does not."""
    try:
        spec = mujoco.MjSpec.from_file(str(path))
        return spec, spec.compile()
    except ValueError as error:
        raise TaskError(f"{path} does not compile as MJCF: {' '.join(str(error).split())[:300]}") from error


def control_range(model: mujoco.MjModel, family: str) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the action space, [nu] float32 each; TaskError for a motor that has none."""
    low, high = model.actuator_ctrlrange.T
    free = np.flatnonzero(~model.actuator_ctrllimited.astype(bool) | (low >= high))
    if not model.nu:
        raise TaskError(f"{family}: its model has no actuators, so there is nothing to learn; add motors")
    if free.size:
        name = element_names(model, "actuator")[free[0]]
        raise TaskError(f"{family}: actuator {name} has no control range; give it ctrllimited and ctrlrange")
    return low.astype(np.float32), high.astype(np.float32)


def _column(values: Sequence[Any]) -> np.ndarray:
    """Task parameters side by side; whole numbers as floats, for a schedule may go on with others."""
    array = np.array(values)
    return array.astype(float) if array.dtype.kind in "iub" else array


class LocomotionEnv(BatchedEnv):
    """Rows of one robot; the family says what a motion is worth."""

    def __init__(self, family: Locomotion, tasks: Sequence[Task], rows: int) -> None:
        robot = family.robot
        made = {part: family.model(part) for part in {part for task in tasks for _, part in task.segments}}
        segments = [[(when, made[part], part) for when, part in task.segments] for task in tasks]
        models = [parts[0][1] for parts in segments for _ in range(rows)]
        model = models[0]
        low, high = control_range(model, family.name)
        self._family, self._robot = family, robot
        self._dt = model.opt.timestep * robot.frame_skip
        self.simulations = robot.simulations(models)
        self._elevations: list[Elevation] | None = None
        if family.terrain is not None:
            self._elevations = [family.elevation(task) for task in tasks]
        self._start = model.qpos0.copy()
        self._command = {
            name: np.repeat(_column([task[name] for task in tasks]), rows, axis=0) for name in family.parameters
        }
        self._task_of = np.repeat(np.arange(len(tasks)), rows)
        self._switching = {row: segments[place] for row, place in enumerate(self._task_of) if len(segments[place]) > 1}
        self._active = np.zeros(len(models), int)
        size = self._observe(slice(None), self._state(slice(None))).shape[1]
        observed = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        super().__init__(len(models), observed, gymnasium.spaces.Box(low, high), family.episode_steps)
        self._late = self._command.get(DELAY)
        if self._late is not None:
            self._seen = np.zeros((family.longest_delay + 1, len(models), size), np.float32)  # newest first

    def _state(self, rows: Rows, *, copied: bool = False) -> State:
        """The rows now; `copied` where they are about to move and a slice would move along."""
        simulations = self.simulations
        take = np.copy if copied and isinstance(rows, slice) else np.asarray
        qpos = take(simulations.qpos[rows])
        sensed = {name: take(values[rows]) for name, values in simulations.sensed.items()}
        return State(qpos, take(simulations.qvel[rows]), sensed, partial(self._ground, rows, qpos))

    def _ground(self, rows: Rows, qpos: np.ndarray) -> np.ndarray:
        if self._elevations is None:
            return np.zeros(len(qpos))
        return self._elevation_at(rows, qpos[:, self._robot.x], self._sideways(qpos))

    def _sideways(self, qpos: np.ndarray) -> np.ndarray:
        return np.zeros(len(qpos)) if self._robot.y is None else qpos[:, self._robot.y]

    def _elevation_at(self, rows: Rows, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Height of each row's own ground at x, y [n, ...]."""
        assert self._elevations is not None
        tasks, heights = self._task_of[rows], np.zeros(x.shape)
        for place in np.unique(tasks):
            mine = tasks == place
            heights[mine] = self._elevations[place](x[mine], y[mine])
        return heights

    def _observe(self, rows: Rows, state: State) -> np.ndarray:
        observation = self._family.observe(state)
        if not self._family.scan:
            return observation
        offsets = np.array(self._family.scan)
        x = state.qpos[:, [self._robot.x]] + offsets
        y = self._sideways(state.qpos)[:, None] + np.zeros_like(x)
        below = state.qpos[:, self._robot.height][:, None] - self._elevation_at(rows, x, y)
        return np.concatenate([observation, below], 1)

    def _late_observation(self, rows: Rows, observation: np.ndarray, *, fresh: bool) -> np.ndarray:
        """What is seen with the rows' delay; the first observation of an episode is all there is to see before."""
        if self._late is None:
            return observation
        if fresh:
            self._seen[:, rows] = observation
        else:
            self._seen[1:, rows] = self._seen[:-1, rows].copy()
            self._seen[0, rows] = observation
        chosen = np.arange(self._seen.shape[1])[rows]
        return self._seen[self._late[chosen].astype(int), chosen]

    def _switch(self, rows: np.ndarray, elapsed: np.ndarray) -> None:
        """Gives rows of scheduled tasks the parameters of their moment."""
        for row, step in zip(rows.tolist(), elapsed.tolist(), strict=True):
            parts = self._switching.get(row)
            if parts is None:
                continue
            now = (int(self._episode[row]), step)
            active = max(index for index, (when, _, _) in enumerate(parts) if when <= now)
            if active != self._active[row]:
                _, model, task = parts[active]
                self.simulations.put_model(row, model)
                for name, values in self._command.items():
                    values[row] = task[name]
                self._active[row] = active

    def _reset_rows(self, rows: np.ndarray) -> np.ndarray:
        if self._switching:
            self._switch(rows, np.zeros(len(rows), int))
        noise, normal, size = self._robot.reset_noise, self._robot.normal_velocity, self.simulations.qvel.shape[1]
        positions, velocities = [], []
        for row in rows:
            rng = self.generator(row)
            positions.append(self._start + rng.uniform(-noise, noise, len(self._start)))
            velocities.append(noise * rng.standard_normal(size) if normal else rng.uniform(-noise, noise, size))
        self.simulations.place(rows, np.array(positions), np.array(velocities))
        return self._late_observation(rows, self._observe(rows, self._state(rows)), fresh=True)

    def _step_rows(
        self, rows: Rows, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        simulations = self.simulations
        if self._switching:
            indices = np.arange(self.num_envs)[rows]
            self._switch(indices, self._elapsed[indices])
        before = self._state(rows, copied=True)
        simulations.step(rows, actions)
        command = {name: values[rows] for name, values in self._command.items()}
        after = self._state(rows)
        motion = Motion(before, after, actions, self._dt, command)
        unstable = simulations.unstable[rows]
        info = {"unstable": unstable.copy()} if unstable.any() else {}
        if self._family.reward_terms:
            parts = np.where(unstable[:, None], 0.0, self._family.reward_parts(motion))
            reward, info["reward_terms"] = parts.sum(1), parts
        else:
            reward = np.where(unstable, 0.0, self._family.reward(motion))
        if self._family.has_success:
            info["success"] = ~unstable & self._family.succeeded(motion)
        terminated = unstable | self._family.fallen(motion)
        observation = self._late_observation(rows, self._observe(rows, after), fresh=False)
        return observation, reward, terminated, info


class Locomotion(TaskFamily):
    """A robot that is told nothing of what it should do, of what its body is or of the ground it walks on.

    Class attributes, beyond those of every family:
        robot: the robot.
        changes: what task parameters change in its model, by their names; the others are commands to `reward`.
        terrain: the ground, whose parameters are task parameters too; None is the plane of the model file.
        scan: a height scan: how far above the ground ahead the robot's base is, at these distances along x, m, added
            to the observation. () by default, so that a terrain must be inferred from experience.
        air_density: of the medium, kg/m^3; 0 leaves what the model file says. Wind needs one.
    """

    robot: ClassVar[Robot]
    changes: ClassVar[Mapping[str, Change]] = {}
    terrain: ClassVar[Terrain | None] = None
    scan: ClassVar[tuple[float, ...]] = ()
    air_density: ClassVar[float] = 0.0
    can_switch = True

    @cached_property
    def base(self) -> mujoco.MjModel:
        """The model that tasks change copies of, on the plane of its file."""
        return base_model(self.robot.path)

    @cached_property
    def _on_terrain(self) -> mujoco.MjSpec:
        """The robot's description, on ground that is yet to be shaped."""
        spec, _ = load_mjcf(self.robot.path)
        floor = next((geom for geom in spec.worldbody.geoms if geom.type == mujoco.mjtGeom.mjGEOM_PLANE), None)
        if floor is None:
            raise TaskError(f"{self.robot.path} has no plane in its worldbody to shape a terrain from; add one")
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

    def _ground(self, task: Task) -> mujoco.MjModel:
        """The robot on this task's ground."""
        assert self.terrain is not None
        values = {name: task[name] for name in self.terrain.parameters}
        self.terrain.shape(self._on_terrain, values, self.elevation(task))
        try:
            return self._on_terrain.compile()
        except ValueError as error:
            raise TaskError(f"its ground does not compile: {' '.join(str(error).split())[:200]}") from error

    def elevation(self, task: Task) -> Elevation:
        """Height of the task's ground."""
        assert self.terrain is not None
        return self.terrain.elevation({name: task[name] for name in self.terrain.parameters}, task.digest)

    def observe(self, state: State) -> np.ndarray:
        """[n, O]: positions but the hidden ones, and clipped velocities."""
        limit = self.robot.largest_velocity
        velocity = state.qvel if limit == np.inf else np.clip(state.qvel, -limit, limit)
        return np.concatenate([state.qpos[:, self.robot.hidden :], velocity], 1)

    def goal(self, task: Task) -> tuple[float, ...] | None:
        """The place (x, y[, z]) that the task is about, m, to be marked in pictures; None if there is none."""
        view = self.plan_view(task)
        return view.goal if view is not None else None

    @abstractmethod
    def reward(self, motion: Motion) -> np.ndarray:
        """[n], of one control step."""

    def reward_parts(self, motion: Motion) -> np.ndarray:
        """[n, K], what each of `reward_terms` adds to the reward, where a family names them."""
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
        """A worker compiles its own base model: what is cached stays here."""
        return {key: value for key, value in self.__dict__.items() if key not in _CACHED}
