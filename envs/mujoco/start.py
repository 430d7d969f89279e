"""Where an episode starts."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np


class Start:
    """A pose, and noise around it.

    Args:
        pose: [nq].
    """

    def __init__(self, pose: np.ndarray) -> None:
        self.pose = pose

    def drawn(self, rng: np.random.Generator, noise: float) -> np.ndarray:
        """A pose [nq], uniform in +- `noise` around it."""
        return self.pose + rng.uniform(-noise, noise, len(self.pose))


class ValidStart(Start):
    """Whose noise brings no joint beyond its limits, and leaves quaternions at unit length.

    Args:
        pose: [nq]; a joint that it puts beyond its limits is the author's wish, and noise brings it no further.
        model: whose joints are limited.
        noises: (joint, deviation) of joints whose noise is another.
        plane: entries of qpos that are moved in the plane, and by how much, m.
        turned: first entry of the quaternion that is turned about the vertical, and by how much, rad; None for none.
    """

    def __init__(
        self,
        pose: np.ndarray,
        model: mujoco.MjModel,
        noises: Sequence[tuple[int, float]] = (),
        plane: tuple[tuple[int, ...], float] = ((), 0.0),
        turned: tuple[int, float] | None = None,
    ) -> None:
        super().__init__(pose)
        self._plane, self._turned = plane, turned
        self._noises = [(int(model.jnt_qposadr[joint]), deviation) for joint, deviation in noises]
        plain = np.isin(model.jnt_type, [mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE])
        limited = np.flatnonzero(plain & model.jnt_limited.astype(bool))
        self._entries = model.jnt_qposadr[limited]
        low, high = model.jnt_range[limited].T
        self._low, self._high = np.minimum(low, pose[self._entries]), np.maximum(high, pose[self._entries])
        turning = {mujoco.mjtJoint.mjJNT_FREE: 3, mujoco.mjtJoint.mjJNT_BALL: 0}
        self._quaternions = [
            int(model.jnt_qposadr[joint]) + turning[mujoco.mjtJoint(model.jnt_type[joint])]
            for joint in range(model.njnt)
            if model.jnt_type[joint] in turning
        ]

    def drawn(self, rng: np.random.Generator, noise: float) -> np.ndarray:
        qpos = super().drawn(rng, noise)
        for entry, deviation in self._noises:
            qpos[entry] = self.pose[entry] + rng.uniform(-deviation, deviation)
        entries, reach = self._plane
        for entry in entries:
            qpos[entry] += rng.uniform(-reach, reach) if reach else 0.0
        if self._turned is not None:
            first, angle = self._turned
            turn, was = np.zeros(4), qpos[first : first + 4].copy()
            mujoco.mju_axisAngle2Quat(turn, np.array([0.0, 0.0, 1.0]), rng.uniform(-angle, angle))
            mujoco.mju_mulQuat(qpos[first : first + 4], turn, was)
        qpos[self._entries] = np.clip(qpos[self._entries], self._low, self._high)
        for first in self._quaternions:
            qpos[first : first + 4] /= np.linalg.norm(qpos[first : first + 4])
        return qpos
