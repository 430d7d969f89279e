"""A loop over the rows in Python, which keeps all that the next step of a row depends on."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from envs.mujoco.engines.base import LARGEST, Rows, Simulations

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION  # all that the next step depends on, the warm start included


class LoopSimulations(Simulations):
    """One MjData, into which the state of each row is put for its step, the solver's warm start included.

    So a row moves as it would in an MjData of its own, and the arrays that MuJoCo computed on the way can be read.

    Args:
        sensed: arrays of MjData to keep for every row as they are after its step, such as `cfrc_ext` (contact forces
            on the bodies: torque, force) or `xipos`. As in MuJoCo, what depends on positions is that of the last
            physics step's start.
    """

    def __init__(self, models: Sequence[mujoco.MjModel], frame_skip: int, sensed: Sequence[str] = ()) -> None:
        super().__init__(models, frame_skip)
        first, count = self.models[0], len(self.models)
        self._data = mujoco.MjData(first)
        self._state = np.zeros((count, mujoco.mj_stateSize(first, _STATE)))
        self._rows = list(self._state)  # views, made once: making one costs as much as a tenth of a step
        self.qpos = self._state[:, 1 : 1 + first.nq]
        self.qvel = self._state[:, 1 + first.nq : 1 + first.nq + first.nv]
        self._views = {name: getattr(self._data, name) for name in sensed}
        self.sensed = {name: np.zeros((count, *view.shape)) for name, view in self._views.items()}
        self._contact_forces = "cfrc_ext" in self._views

    def place(self, rows: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> None:
        for row, position, velocity in zip(rows, qpos, qvel, strict=True):
            model, data = self.models[row], self._data
            mujoco.mj_resetData(model, data)
            data.qpos[:], data.qvel[:] = position, velocity
            mujoco.mj_forward(model, data)
            mujoco.mj_getState(model, data, self._rows[row], _STATE)
            self._sense(row)
        self.unstable[rows] = False

    def step(self, rows: Rows, controls: np.ndarray) -> None:
        data, models, states = self._data, self.models, self._rows
        control, skip = data.ctrl, self.frame_skip
        before = self._state[rows].copy()
        indices = np.arange(len(models))[rows]
        for place, row in enumerate(indices.tolist()):
            model, state = models[row], states[row]
            mujoco.mj_setState(model, data, state, _STATE)
            control[:] = controls[place]
            mujoco.mj_step(model, data, skip)
            if self._contact_forces:
                mujoco.mj_rnePostConstraint(model, data)
            mujoco.mj_getState(model, data, state, _STATE)
            self._sense(row)
        fine = np.all(np.abs(self._state[rows]) < LARGEST, axis=1)  # false for NaN as well
        if not fine.all():
            self._state[indices[~fine]] = before[~fine]
            for row in indices[~fine].tolist():  # as sensed where it stands again
                mujoco.mj_setState(models[row], data, states[row], _STATE)
                mujoco.mj_forward(models[row], data)
                self._sense(row)
        self.unstable[indices] = ~fine

    def _sense(self, row: int) -> None:
        for name, view in self._views.items():
            self.sensed[name][row] = view
