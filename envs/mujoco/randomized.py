"""Domain randomisation: values that are drawn for every episode of a row, and commands that change within one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from envs.distributions import Distribution
from envs.mujoco.changes import Change
from envs.mujoco.disturbances import Generator
from envs.mujoco.engines.base import Rows, Simulations


@dataclass(frozen=True)
class Randomized:
    """A value of an episode.

    Attributes:
        distribution: it is drawn from.
        change: that it makes to the model; None for a command.
        every_steps: control steps after which a command is drawn anew; None for once in an episode.
    """

    distribution: Distribution
    change: Change | None = None
    every_steps: int | None = None


class Draws:
    """The values of the rows' episodes, drawn from each row's own generator.

    Args:
        randomized: by name.
        simulations: whose models are changed.
    """

    def __init__(self, randomized: Mapping[str, Randomized], simulations: Simulations) -> None:
        self._randomized, self._simulations = randomized, simulations
        self._changes = {name: one.change for name, one in randomized.items() if one.change is not None}
        self._resampled = {name: one.every_steps for name, one in randomized.items() if one.every_steps is not None}
        self._models = list(simulations.models)  # of each row, as its task has it
        self._scratch = mujoco.MjData(self._models[0])
        rng, count = np.random.default_rng(0), len(self._models)
        # By name, [B] or [B, k].
        self._values = {
            name: np.array([one.distribution.draw(rng, ood=False)] * count, float) for name, one in randomized.items()
        }
        self.commands = {name: values for name, values in self._values.items() if name not in self._changes}

    def begin(self, rows: np.ndarray, generator: Generator) -> None:
        """Draw the values of these rows' new episodes, and change their models."""
        for row in rows.tolist():
            for name, one in self._randomized.items():
                self._values[name][row] = one.distribution.draw(generator(row), ood=False)
            if self._changes:
                self.put_model(row, self._models[row])

    def put_model(self, row: int, model: mujoco.MjModel) -> None:
        """Give a row another model of its task, with the changes of its episode."""
        self._models[row] = model
        if self._changes:
            model = copy.deepcopy(model)
            for name, change in self._changes.items():
                change.apply(model, self._values[name][row], name)
            mujoco.mj_setConst(model, self._scratch)
        self._simulations.put_model(row, model)

    def act(self, rows: Rows, elapsed: np.ndarray, generator: Generator) -> bool:
        """Draw the commands anew whose time has come, `elapsed` [B] control steps after the episodes began.

        Returns whether any was.
        """
        changed = False
        for name, every in self._resampled.items():
            indices = np.arange(len(elapsed))[rows]
            steps = elapsed[indices]
            for row in indices[(steps > 0) & (steps % every == 0)].tolist():
                self._values[name][row] = self._randomized[name].distribution.draw(generator(row), ood=False)
                changed = True
        return changed
