"""Humanoid that runs in a hidden direction."""

from __future__ import annotations

import numpy as np

from envs.mujoco.locomotion import Locomotion
from envs.mujoco.robot import Robot
from envs.mujoco.state import Motion, SimulationState
from envs.task import Uniform

# Gymnasium's Humanoid-v5 with the warm start, for without it a step differs in the sixth digit.
HUMANOID = Robot(
    "humanoid.xml", frame_skip=5, hidden=2, height=2, y=1, reset_noise=0.01, normal_velocity=False,
    sensed=("xipos", "cinert", "cvel", "qfrc_actuator", "cfrc_ext"),
)  # fmt: skip
_PHYSICS_STEP_S = 0.003


class HumanoidDir(Locomotion):
    """humanoid_dir-v1: run in a hidden direction.

    * Observation: as Gymnasium's Humanoid-v5, 348 entries: positions but x and y (22), velocities (23), inertias of the
      bodies (130), their velocities (78), actuator forces (17), contact forces (78). Older ports have 376.
    * Action: 17 joint torques, [-0.4, 0.4]. Control step 0.015 s.
    * Reward: 0.25 (centre of mass after - before) along the direction / 0.003 s - 0.1 |action|^2
      - min(0.5e-6 |contact forces|^2, 10) + 5. The published reward divides by the physics step, not the control step:
      a metre counts five times.
    * Ends: terminated when the torso's height leaves [1, 2] m; truncated after 200 steps.
    * Task distribution: direction_rad ~ U[0, 6.28319] rad.
    * Source: Rothfuss et al. 2019, Rakelly et al. 2019.
    * Versions: v1, 2026.
    """

    name = "humanoid_dir-v1"
    robot = HUMANOID
    parameters = {"direction_rad": Uniform(0.0, 6.28319, unit="rad")}
    episode_steps = 200

    def observe(self, state: SimulationState) -> np.ndarray:
        sensed, rows = state.sensed, len(state.qpos)
        return np.concatenate(
            [
                super().observe(state),
                sensed["cinert"][:, 1:].reshape(rows, -1),
                sensed["cvel"][:, 1:].reshape(rows, -1),
                sensed["qfrc_actuator"][:, 6:],
                sensed["cfrc_ext"][:, 1:].reshape(rows, -1),
            ],
            1,
        )

    def _centre(self, state: SimulationState) -> np.ndarray:
        """[n, 2] x and y of the centre of mass."""
        mass = self.base.body_mass
        return np.einsum("b,nbk->nk", mass, state.sensed["xipos"][:, :, :2]) / mass.sum()

    def reward(self, motion: Motion) -> np.ndarray:
        velocity = (self._centre(motion.after) - self._centre(motion.before)) / _PHYSICS_STEP_S
        angle = motion.command["direction_rad"]
        along = velocity[:, 0] * np.cos(angle) + velocity[:, 1] * np.sin(angle)
        contact = np.minimum(0.5e-6 * np.square(motion.after.sensed["cfrc_ext"]).sum(axis=(1, 2)), 10.0)
        return 0.25 * along - 0.1 * motion.effort - contact + 5.0

    def fallen(self, motion: Motion) -> np.ndarray:
        height = motion.after.qpos[:, 2]
        return ~((height >= 1.0) & (height <= 2.0))
