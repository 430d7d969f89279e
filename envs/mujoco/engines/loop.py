"""A loop over the rows, each stepped by MuJoCo's own `mj_step`: exact, and nearly as fast as its `rollout`.

A row moves as it would in an `MjData` of its own, for everything that its next step depends on is carried from one
control step to the next. `mujoco.rollout` carries no warm start of the constraint solver: models with few solver
iterations move wrongly there, and others to other last digits, which grow. An `MjData` of its own for each row is as
exact, but no faster (its cache misses cost what copying the state costs) and takes half a megabyte and more a row;
benchmarks/physics.py measures all three.
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from envs.mujoco.engines.base import LARGEST, TOUCHED, Rows, Simulations

# Everything that the next step of a row depends on. Its order: time, qpos, qvel, act, plugins, warm start, controls.
_STATE = int(
    mujoco.mjtState.mjSTATE_FULLPHYSICS | mujoco.mjtState.mjSTATE_WARMSTART | mujoco.mjtState.mjSTATE_CTRL
)  # fmt: skip


class LoopSimulations(Simulations):
    """One MjData, into which the state of each row is put for its step.

    Args:
        models: of each row.
        frame_skip: physics steps of one control step.
        sensed: `TOUCHED`, and arrays of MjData to keep for every row as they are after its step, such as `cfrc_ext`
            (contact forces on the bodies: torque, force) or `xipos`. As in MuJoCo, what depends on positions is that of
            the last physics step's start.
    """

    def __init__(self, models: Sequence[mujoco.MjModel], frame_skip: int, sensed: Sequence[str] = ()) -> None:
        super().__init__(models, frame_skip)
        first, count = self.models[0], len(self.models)
        self._data = mujoco.MjData(first)
        size = mujoco.mj_stateSize(first, _STATE)
        self._state = np.zeros((count, size))
        self._state_of = list(self._state)  # views, made once: making one costs as much as a tenth of a step
        self._controls = self._state[:, size - first.nu :]
        self._dynamic = self._state[:, : size - first.nu]
        self.qpos = self._state[:, 1 : 1 + first.nq]
        self.qvel = self._state[:, 1 + first.nq : 1 + first.nq + first.nv]
        arrays = [name for name in sensed if name != TOUCHED]
        self.sensed = {name: np.zeros((count, *getattr(self._data, name).shape)) for name in arrays}
        self._sensors = [(self.sensed[name], getattr(self._data, name)) for name in arrays]
        self._touched = np.zeros((count, first.ngeom), bool) if TOUCHED in sensed else None
        if self._touched is not None:
            self.sensed[TOUCHED] = self._touched
        self._contact_forces = "cfrc_ext" in self.sensed

    def place(self, rows: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> None:
        for row, position, velocity in zip(rows.tolist(), qpos, qvel, strict=True):
            model, data = self.models[row], self._data
            mujoco.mj_resetData(model, data)
            data.qpos[:], data.qvel[:] = position, velocity
            mujoco.mj_forward(model, data)
            mujoco.mj_getState(model, data, self._state_of[row], _STATE)
            self._sense(row)
        self.unstable[rows] = False

    def step(self, rows: Rows, controls: np.ndarray) -> None:
        data, skip, models, states = self._data, self.frame_skip, self.models, self._state_of
        set_state, take_steps, get_state = mujoco.mj_setState, mujoco.mj_step, mujoco.mj_getState
        before = self._state[rows].copy()
        self._controls[rows] = controls
        indices = np.arange(len(models))[rows]
        for row in indices.tolist():
            model, state = models[row], states[row]
            set_state(model, data, state, _STATE)
            take_steps(model, data, skip)
            get_state(model, data, state, _STATE)
            if self._sensors or self._touched is not None:
                if self._contact_forces:
                    mujoco.mj_rnePostConstraint(model, data)
                self._sense(row)
        fine = np.all(np.abs(self._dynamic[rows]) < LARGEST, axis=1)  # false for NaN as well
        if not fine.all():
            self._state[indices[~fine]] = before[~fine]
            for row in indices[~fine].tolist():  # as sensed where it stands again
                set_state(models[row], data, states[row], _STATE)
                mujoco.mj_forward(models[row], data)
                self._sense(row)
        self.unstable[indices] = ~fine

    def _sense(self, row: int) -> None:
        for values, array in self._sensors:
            values[row] = array
        if self._touched is not None:
            contact = self._data.contact
            self._touched[row] = False
            self._touched[row, contact.geom[contact.efc_address >= 0]] = True
