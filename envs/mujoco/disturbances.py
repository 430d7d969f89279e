"""Pushes and forces on a robot in the middle of an episode, again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from envs.mujoco.engines.base import Rows, Simulations

Generator = Callable[[int], np.random.Generator]  # a row's own


@dataclass(frozen=True)
class Push:
    """A sudden change of a base's velocity, again and again.

    Attributes:
        every_steps: control steps from one to the next.
        speed: each entry is uniform in +- it, m/s.
        entries: of qvel: the base's velocity along x, and y if it has one.
    """

    every_steps: int
    speed: float
    entries: tuple[int, ...]


@dataclass(frozen=True)
class Pull:
    """A force on a body in the plane, again and again for a while.

    Attributes:
        every_steps: control steps from one to the next.
        steps: that it acts.
        force: each entry is uniform in +- it, N.
        body: it acts on, at its centre of mass.
        entries: of the force: 1 of a planar robot, 2 otherwise.
    """

    every_steps: int
    steps: int
    force: float
    body: int
    entries: int


class Disturbances:
    """The pushes and forces on rows, drawn from each row's own generator.

    Args:
        simulations: that are disturbed.
        push, pull: None for none.
    """

    def __init__(self, simulations: Simulations, push: Push | None, pull: Pull | None) -> None:
        self._simulations, self._push, self._pull = simulations, push, pull
        count = len(simulations.models)
        self._pushed = np.zeros((count, 2))  # the last change of velocity, m/s
        self._since = np.zeros(count, int)  # control steps since then

    @property
    def forces(self) -> np.ndarray:
        """[B, 2] that act now, N."""
        if self._pull is None:
            return np.zeros_like(self._pushed)
        return self._simulations.forces[:, self._pull.body, :2]

    def forget(self, rows: np.ndarray) -> None:
        """Begin an episode of these rows; the simulations have been placed."""
        self._pushed[rows] = 0.0

    def act(self, rows: Rows, elapsed: np.ndarray, generator: Generator) -> None:
        """Push and pull rows whose time has come, `elapsed` [B] control steps after their episodes began."""
        if self._push is None and self._pull is None:
            return
        indices = np.arange(len(elapsed))[rows]
        steps = elapsed[indices]
        self._since[indices] += 1
        if self._push is not None:
            for row in indices[(steps > 0) & (steps % self._push.every_steps == 0)].tolist():
                kick = generator(row).uniform(-self._push.speed, self._push.speed, len(self._push.entries))
                self._simulations.qvel[row, list(self._push.entries)] += kick
                self._pushed[row, : len(kick)], self._since[row] = kick, 0
        if self._pull is not None:
            forces = self._simulations.forces[:, self._pull.body]
            since = steps % self._pull.every_steps
            for row in indices[(steps > 0) & (since == 0)].tolist():
                force = generator(row).uniform(-self._pull.force, self._pull.force, self._pull.entries)
                forces[row, : len(force)] = force
            forces[indices[since == self._pull.steps]] = 0.0

    def seen(self, row: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """The push of the last so many control steps, m/s, and the force of now, N, [2] each; 0 where there is none."""
        return self._pushed[row] * (self._since[row] < steps), self.forces[row]

    def due(self, step: int) -> bool:
        """Whether a row is disturbed at this step of its episode, so that it moves as no motor would move it."""
        each = [one.every_steps for one in (self._push, self._pull) if one is not None]
        return step > 0 and any(step % every == 0 for every in each)
