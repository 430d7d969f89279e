"""MuJoCo's `rollout`: one call into C steps all rows and hands back their states only."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from mujoco import rollout

from envs.mujoco.engines.base import LARGEST, Rows, Simulations

_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS


class RolloutSimulations(Simulations):
    """MuJoCo's `rollout` on the calling thread: the constraint solver starts cold in every control step."""

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
        fine = np.all(np.abs(after) < LARGEST, axis=1)  # false for NaN as well
        if fine.all():
            self._state[rows] = after
        else:
            self._state[rows] = np.where(fine[:, None], after, state)
            self.unstable[rows] = ~fine
