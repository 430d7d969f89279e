"""Robots of Gymnasium's MuJoCo suite as batched task families: what varies is a command or the body.

A family names its robot and gives, for whole batches, the model of a task, the observation, the reward and the
termination. Gymnasium's own model files are used, so bodies are those of its v5 environments.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import mujoco
import numpy as np

from envs.mujoco.simulations import RolloutSimulations, Rows
from envs.task import Task, TaskFamily
from envs.vector import BatchedEnv, SingleEnv


@dataclass(frozen=True)
class Robot:
    """A robot of the suite.

    Attributes:
        file: its model file among Gymnasium's assets.
        frame_skip: physics steps of a control step.
        hidden: leading entries of qpos that are not observed: where it stands in the plane.
        reset_noise: the first qpos is uniform in +- this around the initial pose, qvel normal with this deviation.
    """

    file: str
    frame_skip: int
    hidden: int
    reset_noise: float


@cache
def base_model(file: str) -> mujoco.MjModel:
    """The robot as Gymnasium ships it, shared by all rows: a task that changes the body changes a copy."""
    folder = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
    return mujoco.MjModel.from_xml_path(str(folder / file))


@dataclass(frozen=True)
class Motion:
    """One control step of n rows.

    Attributes:
        before, after: qpos [n, nq] at its two ends.
        velocity: qvel [n, nv] after it.
        action: [n, nu], as the simulator got it.
        dt: control step, s.
        command: task parameters of the rows by name, [n] or [n, k].
    """

    before: np.ndarray
    after: np.ndarray
    velocity: np.ndarray
    action: np.ndarray
    dt: float
    command: Mapping[str, np.ndarray]

    @property
    def forward(self) -> np.ndarray:
        """[n] mean velocity along x, m/s."""
        return (self.after[:, 0] - self.before[:, 0]) / self.dt

    @property
    def effort(self) -> np.ndarray:
        """[n] squared Euclidean norm of the action."""
        return np.einsum("na,na->n", self.action, self.action)


class LocomotionEnv(BatchedEnv):
    """Rows of one robot; the family says what a motion is worth."""

    def __init__(self, family: Locomotion, tasks: Sequence[Task], rows: int) -> None:
        robot = family.robot
        models = [model for task in tasks for model in [family.model(task)] * rows]
        model = models[0]
        low, high = model.actuator_ctrlrange.T.astype(np.float32)
        size = model.nq - robot.hidden + model.nv
        observed = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        super().__init__(len(models), observed, gymnasium.spaces.Box(low, high), family.episode_steps)
        self._family, self._robot = family, robot
        self._dt = model.opt.timestep * robot.frame_skip
        self._start = model.qpos0.copy()
        self.simulations = RolloutSimulations(models, robot.frame_skip)
        self._command = {
            name: np.repeat(np.array([task[name] for task in tasks]), rows, axis=0) for name in family.parameters
        }

    def _observe(self, rows: Rows) -> np.ndarray:
        return np.concatenate([self.simulations.qpos[rows, self._robot.hidden :], self.simulations.qvel[rows]], 1)

    def _reset_rows(self, rows: np.ndarray) -> np.ndarray:
        noise, size = self._robot.reset_noise, self.simulations.qvel.shape[1]
        positions, velocities = [], []
        for row in rows:
            rng = self.generator(row)
            positions.append(self._start + rng.uniform(-noise, noise, len(self._start)))
            velocities.append(noise * rng.standard_normal(size))
        self.simulations.place(rows, np.array(positions), np.array(velocities))
        return self._observe(rows)

    def _step_rows(
        self, rows: Rows, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        simulations = self.simulations
        before = simulations.qpos[rows].copy()
        simulations.step(rows, actions)
        command = {name: values[rows] for name, values in self._command.items()}
        motion = Motion(before, simulations.qpos[rows], simulations.qvel[rows], actions, self._dt, command)
        unstable = simulations.unstable[rows]
        reward = np.where(unstable, 0.0, self._family.reward(motion))
        terminated = unstable | self._family.fallen(motion)
        return self._observe(rows), reward, terminated, {"unstable": unstable.copy()} if unstable.any() else {}


class Locomotion(TaskFamily):
    """A robot that is told nothing of what it should do, or of what its body is."""

    robot: ClassVar[Robot]

    def model(self, task: Task) -> mujoco.MjModel:
        """The task's model; one for all where the task is a command only."""
        return base_model(self.robot.file)

    @abstractmethod
    def reward(self, motion: Motion) -> np.ndarray:
        """[n], of one control step."""

    def fallen(self, motion: Motion) -> np.ndarray:
        """[n] bool, whether the episode ends here; never by default."""
        return np.zeros(len(motion.action), bool)

    def make_vector_env(self, tasks: Sequence[Task], rows: int) -> LocomotionEnv:
        return LocomotionEnv(self, [self.check_task(task) for task in tasks], rows)

    def make_env(self, task: Task) -> gymnasium.Env[Any, Any]:
        return SingleEnv(self.make_vector_env([task], 1))
