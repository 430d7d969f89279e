"""Simulations side by side: one call steps many rows in C, each with its own model where its task changes the model.

Two ways: MuJoCo's `rollout`, which steps all rows without coming back to Python and hands back their states only; and a
loop over the rows, which keeps the warm start of the constraint solver between control steps and can tell contact
forces. Both give the rows' `qpos` and `qvel`.

A simulation that becomes unstable is not reset silently, as MuJoCo would: automatic reset is switched off, the row
keeps its last finite state and is marked `unstable`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import mujoco
import numpy as np
from mujoco import rollout

Rows = np.ndarray | slice
_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS
_EXACT_STATE = mujoco.mjtState.mjSTATE_INTEGRATION  # and all that the next step depends on, the warm start included
_LARGE = 1e10  # MuJoCo's own border of a bad state (mjMAXVAL)

if mujoco.get_mju_user_warning() is None:
    # Unstable rows are told by `unstable`; MuJoCo would also write MUJOCO_LOG.TXT wherever the user happens to be.
    mujoco.set_mju_user_warning(lambda message: None)


def _never_reset_silently(model: mujoco.MjModel) -> None:
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET


class Simulations(ABC):
    """B simulations of one robot.

    Attributes:
        models: of each row; rows of one task share one.
        frame_skip: physics steps of one control step.
        qpos: [B, nq] float64, generalised positions, MuJoCo's units.
        qvel: [B, nv] float64.
        unstable: [B] bool, rows whose last step could not be computed; they stand where they were before it.
        sensed: by name, [B, ...], what else MuJoCo computed; {} where only states come back.
    """

    qpos: np.ndarray
    qvel: np.ndarray
    sensed: dict[str, np.ndarray]

    def __init__(self, models: Sequence[mujoco.MjModel], frame_skip: int) -> None:
        self.models, self.frame_skip = list(models), frame_skip
        for model in {id(model): model for model in models}.values():
            _never_reset_silently(model)
        self.unstable = np.zeros(len(self.models), bool)
        self.sensed = {}

    def put_model(self, row: int, model: mujoco.MjModel) -> None:
        """Another model for a row from its next step on: the same robot, changed while it moves."""
        _never_reset_silently(model)
        self.models[row] = model

    @abstractmethod
    def place(self, rows: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Puts rows [n] in these states [n, nq], [n, nv] at time 0, with nothing left of what they did before."""

    @abstractmethod
    def step(self, rows: Rows, controls: np.ndarray) -> None:
        """One control step of these rows with their controls [n, nu]; the others stand still at no cost."""


class RolloutSimulations(Simulations):
    """MuJoCo's `rollout` on the calling thread: states only, no warm start across control steps."""

    def __init__(self, models: Sequence[mujoco.MjModel], frame_skip: int) -> None:
        super().__init__(models, frame_skip)
        first = self.models[0]
        count, size = len(self.models), mujoco.mj_stateSize(first, _STATE)
        self._data = mujoco.MjData(first)
        self._rollout = rollout.Rollout(nthread=0)
        self._state = np.zeros((count, size))
        self._trace = np.zeros((count, frame_skip, size))
        self._controls = np.zeros((count, frame_skip, first.nu))
        # A full state is time, positions, velocities, activations.
        self.qpos = self._state[:, 1 : 1 + first.nq]
        self.qvel = self._state[:, 1 + first.nq : 1 + first.nq + first.nv]

    def place(self, rows: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> None:
        self._state[rows] = 0.0
        self.qpos[rows], self.qvel[rows] = qpos, qvel
        self.unstable[rows] = False

    def step(self, rows: Rows, controls: np.ndarray) -> None:
        models = self.models if isinstance(rows, slice) else [self.models[row] for row in rows]
        count, state = len(models), self._state[rows]
        trace, held = self._trace[:count], self._controls[:count]
        held[:] = controls[:, None]
        self._rollout.rollout(
            models, [self._data], state, held, skip_checks=True, nstep=self.frame_skip, state=trace,
            control_spec=mujoco.mjtState.mjSTATE_CTRL.value,
        )  # fmt: skip
        after = trace[:, -1]
        fine = np.all(np.abs(after) < _LARGE, axis=1)  # false for NaN as well
        if fine.all():
            self._state[rows] = after
        else:
            self._state[rows] = np.where(fine[:, None], after, state)
            self.unstable[rows] = ~fine


class LoopSimulations(Simulations):
    """One MjData, into which the state of each row is put for its step, the solver's warm start included.

    So a row moves as it would in an MjData of its own, and what MuJoCo computed on the way can be read.

    Args:
        sensed: arrays of MjData to keep for every row as they are after its step, such as `cfrc_ext` (contact forces
            on the bodies: torque, force) or `xipos`. As in MuJoCo, what depends on positions is that of the last
            physics step's start.
    """

    def __init__(self, models: Sequence[mujoco.MjModel], frame_skip: int, sensed: Sequence[str] = ()) -> None:
        super().__init__(models, frame_skip)
        first, count = self.models[0], len(self.models)
        self._data = mujoco.MjData(first)
        self._state = np.zeros((count, mujoco.mj_stateSize(first, _EXACT_STATE)))
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
            mujoco.mj_getState(model, data, self._rows[row], _EXACT_STATE)
            self._sense(row)
        self.unstable[rows] = False

    def step(self, rows: Rows, controls: np.ndarray) -> None:
        data, models, states = self._data, self.models, self._rows
        control, skip = data.ctrl, self.frame_skip
        before = self._state[rows].copy()
        indices = np.arange(len(models))[rows]
        for place, row in enumerate(indices.tolist()):
            model, state = models[row], states[row]
            mujoco.mj_setState(model, data, state, _EXACT_STATE)
            control[:] = controls[place]
            mujoco.mj_step(model, data, skip)
            if self._contact_forces:
                mujoco.mj_rnePostConstraint(model, data)
            mujoco.mj_getState(model, data, state, _EXACT_STATE)
            self._sense(row)
        fine = np.all(np.abs(self._state[rows]) < _LARGE, axis=1)  # false for NaN as well
        if not fine.all():
            self._state[indices[~fine]] = before[~fine]
            for row in indices[~fine].tolist():  # what is sensed where it stands again
                mujoco.mj_setState(models[row], data, states[row], _EXACT_STATE)
                mujoco.mj_forward(models[row], data)
                self._sense(row)
        self.unstable[indices] = ~fine

    def _sense(self, row: int) -> None:
        for name, view in self._views.items():
            self.sensed[name][row] = view
