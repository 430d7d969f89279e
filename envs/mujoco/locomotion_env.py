"""Rows of a robot family: simulations side by side, with the family's reward and observation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Protocol

import gymnasium
import mujoco
import numpy as np

from envs.distributions import Distribution
from envs.mujoco.engines.base import Rows
from envs.mujoco.engines.choice import simulate
from envs.mujoco.robot import Robot, control_range
from envs.mujoco.state import Motion, SimulationState
from envs.mujoco.terrains.base import Elevation, Terrain
from envs.task import Task
from envs.vector import BatchedEnv

DELAY = "sensor_delay_steps"  # a task parameter of this name delays observations


class RobotRules(Protocol):
    """The part of a robot family that its rows need; `envs.mujoco.locomotion.Locomotion` documents each."""

    name: ClassVar[str]
    parameters: ClassVar[Mapping[str, Distribution]]
    episode_steps: ClassVar[int]
    reward_terms: ClassVar[tuple[str, ...]]
    has_success: ClassVar[bool]
    robot: ClassVar[Robot]
    terrain: ClassVar[Terrain | None]
    scan: ClassVar[tuple[float, ...]]

    @property
    def longest_delay(self) -> int:
        """Control steps."""

    def model(self, task: Task) -> mujoco.MjModel:
        """The task's model."""

    def elevation(self, task: Task) -> Elevation:
        """Height of the task's ground."""

    def observe(self, state: SimulationState) -> np.ndarray:
        """[n, O]."""

    def reward(self, motion: Motion) -> np.ndarray:
        """[n]."""

    def reward_parts(self, motion: Motion) -> np.ndarray:
        """[n, K]."""

    def succeeded(self, motion: Motion) -> np.ndarray:
        """[n] bool."""

    def fallen(self, motion: Motion) -> np.ndarray:
        """[n] bool."""


def _column(values: Sequence[Any]) -> np.ndarray:
    """Task parameters side by side; whole numbers as floats, for a schedule may continue with others."""
    array = np.array(values)
    return array.astype(float) if array.dtype.kind in "iub" else array


class LocomotionEnv(BatchedEnv):
    """Rows of one robot."""

    def __init__(self, family: RobotRules, tasks: Sequence[Task], rows: int) -> None:
        robot = family.robot
        model_of = {part: family.model(part) for part in {part for task in tasks for _, part in task.segments}}
        segments = [[(when, model_of[part], part) for when, part in task.segments] for task in tasks]
        models = [parts[0][1] for parts in segments for _ in range(rows)]
        model = models[0]
        low, high = control_range(model, family.name)
        self._family, self._robot = family, robot
        self._dt = model.opt.timestep * robot.frame_skip
        self.simulations = simulate(models, robot.frame_skip, robot.sensed)
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
        self._delay_steps = self._command.get(DELAY)
        if self._delay_steps is not None:  # the newest observations, newest first
            self._newest = np.zeros((family.longest_delay + 1, len(models), size), np.float32)

    def _state(self, rows: Rows, *, copied: bool = False) -> SimulationState:
        """The rows now; `copied` where they are about to move and a slice would move along."""
        simulations = self.simulations
        take = np.copy if copied and isinstance(rows, slice) else np.asarray
        qpos = take(simulations.qpos[rows])
        sensed = {name: take(values[rows]) for name, values in simulations.sensed.items()}
        return SimulationState(qpos, take(simulations.qvel[rows]), sensed, partial(self._ground, rows, qpos))

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
        for task in np.unique(tasks):
            of_task = tasks == task
            heights[of_task] = self._elevations[task](x[of_task], y[of_task])
        return heights

    def _observe(self, rows: Rows, state: SimulationState) -> np.ndarray:
        observation = self._family.observe(state)
        if not self._family.scan:
            return observation
        offsets = np.array(self._family.scan)
        x = state.qpos[:, [self._robot.x]] + offsets
        y = self._sideways(state.qpos)[:, None] + np.zeros_like(x)
        below = state.qpos[:, self._robot.height][:, None] - self._elevation_at(rows, x, y)
        return np.concatenate([observation, below], 1)

    def _delayed(self, rows: Rows, observation: np.ndarray, *, first: bool) -> np.ndarray:
        """The observations with the rows' delay; until it has passed, the first one of the episode."""
        if self._delay_steps is None:
            return observation
        if first:
            self._newest[:, rows] = observation
        else:
            self._newest[1:, rows] = self._newest[:-1, rows].copy()
            self._newest[0, rows] = observation
        chosen = np.arange(self._newest.shape[1])[rows]
        return self._newest[self._delay_steps[chosen].astype(int), chosen]

    def _switch(self, rows: np.ndarray, elapsed: np.ndarray) -> None:
        """Give rows of scheduled tasks the model and the parameters of their moment."""
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
        return self._delayed(rows, self._observe(rows, self._state(rows)), first=True)

    def _step_rows(
        self, rows: Rows, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        family, simulations = self._family, self.simulations
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
        if family.reward_terms:
            parts = np.where(unstable[:, None], 0.0, family.reward_parts(motion))
            reward, info["reward_terms"] = parts.sum(1), parts
        else:
            reward = np.where(unstable, 0.0, family.reward(motion))
        if family.has_success:
            info["success"] = ~unstable & family.succeeded(motion)
        terminated = unstable | family.fallen(motion)
        observation = self._delayed(rows, self._observe(rows, after), first=False)
        return observation, reward, terminated, info
