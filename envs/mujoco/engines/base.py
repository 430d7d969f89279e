"""Simulations side by side: many rows of one robot, each with its own model where its task changes the model.

A simulation that becomes unstable is not reset silently, as MuJoCo would: automatic reset is switched off, the row
keeps its last finite state and is marked `unstable`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import mujoco
import numpy as np

Rows = np.ndarray | slice
TOUCHED = "geom_touched"  # in the place of an array's name: [geoms] bool, those in a contact that pushes
LARGEST = 1e10  # MuJoCo's own border of a bad state (mjMAXVAL)

if mujoco.get_mju_user_warning() is None:
    # Unstable rows are marked by `unstable`; MuJoCo would also write MUJOCO_LOG.TXT wherever the user happens to be.
    mujoco.set_mju_user_warning(lambda message: None)


def _never_reset_silently(model: mujoco.MjModel) -> None:
    """Switch off MuJoCo's automatic reset of unstable simulations."""
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET


class Simulations(ABC):
    """B simulations of one robot.

    Attributes:
        models: of each row; rows of one task share one.
        frame_skip: physics steps of one control step.
        qpos: [B, nq] float64, generalised positions, MuJoCo's units.
        qvel: [B, nv] float64.
        unstable: [B] bool, rows whose last step could not be computed; they stand where they were before it.
        sensed: by name, [B, ...], other arrays of MjData; {} where only states come back.
        forces: [B, nbody, 6], N and N m in the world's axes, that act on each body's centre of mass until they are
            changed; 0 after a row is placed. Of simulations that were made with `forced`.
    """

    qpos: np.ndarray
    qvel: np.ndarray
    sensed: dict[str, np.ndarray]
    forces: np.ndarray

    def __init__(self, models: Sequence[mujoco.MjModel], frame_skip: int) -> None:
        self.models, self.frame_skip = list(models), frame_skip
        for model in {id(model): model for model in models}.values():
            _never_reset_silently(model)
        self.unstable = np.zeros(len(self.models), bool)
        self.sensed = {}

    def put_model(self, row: int, model: mujoco.MjModel) -> None:
        """Give a row another model from its next step on: the same robot, changed while it moves."""
        _never_reset_silently(model)
        self.models[row] = model

    @abstractmethod
    def place(self, rows: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Put rows [n] in these states [n, nq], [n, nv] at time 0, with nothing left of their past."""

    @abstractmethod
    def step(self, rows: Rows, controls: np.ndarray) -> None:
        """Take one control step of these rows with their controls [n, nu]; the others stand still at no cost."""
