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

# Everything that the next step of a row depends on. Its order: time, qpos, qvel, act, plugins, warm start, controls;
# then forces from outside, where there are any.
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
        forced: whether forces from outside act on bodies.
    """

    def __init__(
        self, models: Sequence[mujoco.MjModel], frame_skip: int, sensed: Sequence[str] = (), *, forced: bool = False
    ) -> None:
        super().__init__(models, frame_skip)
        first, count = self.models[0], len(self.models)
        self._data = mujoco.MjData(first)
        self._which = _STATE | int(mujoco.mjtState.mjSTATE_XFRC_APPLIED) * forced
        self._state = np.zeros((count, mujoco.mj_stateSize(first, self._which)))
        self._state_of = list(self._state)  # views, made once: making one costs as much as a tenth of a step
        size = mujoco.mj_stateSize(first, _STATE)
        self._controls = self._state[:, size - first.nu : size]
        self._dynamic = self._state[:, : size - first.nu]
        self.forces = self._state[:, size:].reshape(count, -1, 6)
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
        which = self._which
        for row, position, velocity in zip(rows.tolist(), qpos, qvel, strict=True):
            model, data = self.models[row], self._data
            mujoco.mj_resetData(model, data)
            data.qpos[:], data.qvel[:] = position, velocity
            mujoco.mj_forward(model, data)
            mujoco.mj_getState(model, data, self._state_of[row], which)
            self._sense(row)
        self.unstable[rows] = False

    def step(self, rows: Rows, controls: np.ndarray) -> None:
        data, skip, models = self._data, self.frame_skip, self.models
        states, which = self._state_of, self._which
        set_state, take_steps, get_state = mujoco.mj_setState, mujoco.mj_step, mujoco.mj_getState
        before = self._state[rows].copy()
        self._controls[rows] = controls
        indices = np.arange(len(models))[rows]
        for row in indices.tolist():
            model, state = models[row], states[row]
            set_state(model, data, state, which)
            take_steps(model, data, skip)
            get_state(model, data, state, which)
            if self._sensors or self._touched is not None:
                if self._contact_forces:
                    mujoco.mj_rnePostConstraint(model, data)
                self._sense(row)
        fine = np.all(np.abs(self._dynamic[rows]) < LARGEST, axis=1)  # false for NaN as well
        if not fine.all():
            self._state[indices[~fine]] = before[~fine]
            for row in indices[~fine].tolist():  # as sensed where it stands again
                set_state(models[row], data, states[row], which)
                mujoco.mj_forward(models[row], data)
                if self._contact_forces:
                    mujoco.mj_rnePostConstraint(models[row], data)
                self._sense(row)
        self.unstable[indices] = ~fine

    def _sense(self, row: int) -> None:
        for values, array in self._sensors:
            values[row] = array
        if self._touched is not None:
            contact = self._data.contact
            self._touched[row] = False
            self._touched[row, contact.geom[contact.efc_address >= 0]] = True
