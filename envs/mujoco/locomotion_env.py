"""Rows of a robot family: simulations side by side, with the family's reward and observation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Protocol

import gymnasium
import mujoco
import numpy as np

from envs.distributions import Distribution
from envs.mujoco.disturbances import Disturbances, Pull, Push
from envs.mujoco.drive import Actuation, Drive
from envs.mujoco.elements import element_names
from envs.mujoco.engines.base import TOUCHED, Rows
from envs.mujoco.engines.choice import simulate
from envs.mujoco.randomized import Draws, Randomized
from envs.mujoco.robot import Robot, control_range, floors_of
from envs.mujoco.start import Start
from envs.mujoco.state import Motion, SimulationState
from envs.mujoco.terrains.base import Elevation, Terrain
from envs.task import Task
from envs.vector import BatchedEnv

DELAY = "sensor_delay_steps"  # a task parameter of this name delays observations
ACTION_DELAY = "action_delay_steps"  # and one of this name actions


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
    feet: ClassVar[tuple[tuple[int, ...], ...]]
    push: ClassVar[Push | None]
    pull: ClassVar[Pull | None]
    randomized: ClassVar[Mapping[str, Randomized]]
    observation_noise: ClassVar[np.ndarray | None]
    observation_delay: ClassVar[np.ndarray | None]

    @property
    def base(self) -> mujoco.MjModel:
        """The model that tasks change copies of."""

    def drive(self, model: mujoco.MjModel) -> Drive | None:
        """How actions become controls."""

    def start(self, model: mujoco.MjModel) -> Start:
        """Where episodes start."""

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


def geoms_of_base(base: mujoco.MjModel, model: mujoco.MjModel) -> Callable[[np.ndarray], np.ndarray] | None:
    """How [n, geoms of a task's model] become [n, geoms of the base model], by name; None where they are the same.

    The floor of the base model is all the ground of a terrain.
    """
    names, own = element_names(base, "geom"), element_names(model, "geom")
    if names == own:
        return None
    ground = [number for number, name in enumerate(own) if name == "floor" or name.startswith("floor_")]
    floor = floors_of(base)[0]  # which the ground replaces
    places = [ground if number == floor else [own.index(name)] for number, name in enumerate(names)]

    def of_base(touched: np.ndarray) -> np.ndarray:
        return np.stack([touched[:, place].any(1) for place in places], 1)

    return of_base


class LocomotionEnv(BatchedEnv):
    """Rows of one robot.

    Args:
        family: its rules.
        tasks: each with `rows` rows, task by task.
        rows: of each task.
        randomized: what is drawn for every episode, in place of the family's.
    """

    def __init__(
        self,
        family: RobotRules,
        tasks: Sequence[Task],
        rows: int,
        randomized: Mapping[str, Randomized] | None = None,
    ) -> None:
        robot = family.robot
        model_of = {part: family.model(part) for part in {part for task in tasks for _, part in task.segments}}
        segments = [[(when, model_of[part], part) for when, part in task.segments] for task in tasks]
        models = [parts[0][1] for parts in segments for _ in range(rows)]
        model = models[0]
        low, high = control_range(model, family.name)
        self._family, self._robot = family, robot
        self._dt = model.opt.timestep * robot.frame_skip
        self.simulations = simulate(models, robot.frame_skip, robot.sensed, forced=family.pull is not None)
        self._draws = Draws(family.randomized if randomized is None else randomized, self.simulations)
        self.disturbances = Disturbances(self.simulations, family.push, family.pull)
        self._elevations: list[Elevation] | None = None
        if family.terrain is not None:
            self._elevations = [family.elevation(task) for task in tasks]
        # Tasks may differ in their joints' limits.
        self._starts = {key: family.start(one) for key, one in {id(one): one for one in models}.items()}
        self._touched = geoms_of_base(family.base, model) if TOUCHED in self.simulations.sensed else None
        self._command = {
            name: np.repeat(_column([task[name] for task in tasks]), rows, axis=0) for name in family.parameters
        } | self._draws.commands
        self._task_of = np.repeat(np.arange(len(tasks)), rows)
        self._switching = {row: segments[place] for row, place in enumerate(self._task_of) if len(segments[place]) > 1}
        self._active = np.zeros(len(models), int)
        self._last_action = np.zeros((len(models), model.nu))
        self._air_time = np.zeros((len(models), len(family.feet)))
        size = self._observe(slice(None), self._state(slice(None))).shape[1]
        observed = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        drive = family.drive(model)
        late = ACTION_DELAY in self._command
        self._actuation = (
            None
            if drive is None
            else Actuation(
                drive,
                len(models),
                self._command[ACTION_DELAY] if late else None,
                int(max(family.parameters[ACTION_DELAY].extremes)) if late else 0,
            )
        )
        ends = (low, high) if drive is None else (-np.ones_like(low), np.ones_like(high))
        super().__init__(len(models), observed, gymnasium.spaces.Box(*ends), family.episode_steps)
        self._delay_steps = self._command.get(DELAY)
        observed_late = family.observation_delay
        self._delays = self._delay_steps is not None or observed_late is not None
        if self._delays:  # the newest observations, newest first
            longest = 0 if observed_late is None else int(observed_late.max())
            longest += 0 if self._delay_steps is None else family.longest_delay
            self._newest = np.zeros((longest + 1, len(models), size), np.float32)

    def _state(self, rows: Rows, *, copied: bool = False) -> SimulationState:
        """The rows now; `copied` where they are about to move and a slice would move along."""
        simulations = self.simulations
        take = np.copy if copied and isinstance(rows, slice) else np.asarray
        qpos = take(simulations.qpos[rows])
        sensed = {name: take(values[rows]) for name, values in simulations.sensed.items()}
        if self._touched is not None:
            sensed[TOUCHED] = self._touched(sensed[TOUCHED])
        return SimulationState(
            qpos, take(simulations.qvel[rows]), sensed, partial(self._ground, rows, qpos),
            take(self._last_action[rows]), self._commands(rows),
        )  # fmt: skip

    def _commands(self, rows: Rows) -> dict[str, np.ndarray]:
        return {name: values[rows] for name, values in self._command.items()}

    def _ground(self, rows: Rows, qpos: np.ndarray) -> np.ndarray:
        if self._elevations is None:
            return np.full(len(qpos), self._robot.floor)
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

    def _with_scan(self, values: np.ndarray) -> np.ndarray:
        """Values [n, O] of the family's own entries, and 0 for those of a height scan behind them."""
        return np.pad(values, ((0, 0), (0, len(self._family.scan)))) if self._family.scan else values

    def _delayed(self, rows: Rows, observation: np.ndarray, *, first: bool) -> np.ndarray:
        """The observations with noise and delay; until that has passed, the first one of the episode."""
        noise = self._family.observation_noise
        if noise is not None:
            drawn = [self.generator(row).standard_normal(len(noise)) for row in np.arange(self.num_envs)[rows].tolist()]
            observation = observation + self._with_scan(noise * np.array(drawn))
        if not self._delays:
            return observation
        if first:
            self._newest[:, rows] = observation
        else:
            self._newest[1:, rows] = self._newest[:-1, rows].copy()
            self._newest[0, rows] = observation
        chosen, late = np.arange(self._newest.shape[1])[rows], np.zeros((1, self._newest.shape[2]), int)
        if self._delay_steps is not None:
            late = late + self._delay_steps[chosen].astype(int)[:, None]
        if self._family.observation_delay is not None:
            late = late + self._with_scan(self._family.observation_delay[None])
        return self._newest[late, chosen[:, None], np.arange(self._newest.shape[2])]

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
                self._draws.put_model(row, model)
                for name in self._family.parameters:
                    self._command[name][row] = task[name]
                self._active[row] = active

    def _reset_rows(self, rows: np.ndarray) -> np.ndarray:
        if self._switching:
            self._switch(rows, np.zeros(len(rows), int))
        noise, normal, size = self._robot.reset_noise, self._robot.normal_velocity, self.simulations.qvel.shape[1]
        speed = noise if self._robot.velocity_noise is None else self._robot.velocity_noise
        positions, velocities = [], []
        self._draws.begin(rows, self.generator)
        for row in rows:
            rng = self.generator(row)
            positions.append(self._start_of(int(row)).drawn(rng, noise))
            velocities.append(speed * rng.standard_normal(size) if normal else rng.uniform(-speed, speed, size))
        self.simulations.place(rows, np.array(positions), np.array(velocities))
        self.disturbances.forget(rows)
        self._last_action[rows], self._air_time[rows] = 0.0, 0.0
        if self._actuation is not None:
            self._actuation.forget(rows)
        return self._delayed(rows, self._observe(rows, self._state(rows)), first=True)

    def _start_of(self, row: int) -> Start:
        """Where a row starts, within the limits of its own model."""
        model = self.simulations.models[row]
        if id(model) in self._starts:
            return self._starts[id(model)]
        return self._family.start(model)  # changed for its episode, or by a schedule

    def command(self, name: str) -> np.ndarray:
        """[B] or [B, k], the value of a task parameter, or of what is randomized, that each row has now."""
        return self._command[name]

    def controls(self, rows: Rows, actions: np.ndarray) -> np.ndarray:
        """The controls [n, nu] that the rows' next actions [n, nu] are; nothing is changed by it."""
        return actions if self._actuation is None else self._actuation.controls(rows, actions)

    def _step_rows(
        self, rows: Rows, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        family, simulations = self._family, self.simulations
        if self._switching:
            indices = np.arange(self.num_envs)[rows]
            self._switch(indices, self._elapsed[indices])
        before = self._state(rows, copied=True)
        self.disturbances.act(rows, self._elapsed, self.generator)
        simulations.step(rows, actions if self._actuation is None else self._actuation.send(rows, actions))
        self._last_action[rows] = actions
        after = self._state(rows)
        motion = Motion(before, after, actions, self._dt, self._flight(rows, after))
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
        if self._draws.act(rows, self._elapsed + 1, self.generator):  # after the reward: the agent sees them first
            after = replace(after, command=self._commands(rows))
        observation = self._delayed(rows, self._observe(rows, after), first=False)
        return observation, reward, terminated, info

    def _flight(self, rows: Rows, after: SimulationState) -> np.ndarray:
        """[n, feet], s that each foot had been in the air; counts on from there."""
        if not self._family.feet:
            return self._air_time[rows]
        flown = self._air_time[rows] + self._dt
        touched = after.sensed[TOUCHED]
        down = np.stack([touched[:, list(geoms)].any(1) for geoms in self._family.feet], 1)
        self._air_time[rows] = np.where(down, 0.0, flown)
        return np.where(flown > 1.5 * self._dt, flown, 0.0)
