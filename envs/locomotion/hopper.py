"""Hopper with a hidden velocity or a hidden body."""

from __future__ import annotations

import numpy as np

from envs.mujoco.bodies import BODY_CHANGES, INDEPENDENT_CHANGES, body_distributions, independent_distributions
from envs.mujoco.locomotion import Locomotion
from envs.mujoco.robot import Robot
from envs.mujoco.state import Motion
from envs.task import Uniform

HOPPER = Robot(
    "hopper.xml", frame_skip=4, hidden=1, height=1, reset_noise=5e-3, normal_velocity=False, largest_velocity=10.0
)


class UprightHopper(Locomotion):
    """A Hopper whose episode ends when it is below 0.7 m, leans by 0.2 rad, or an entry of its state reaches 100."""

    robot = HOPPER
    episode_steps = 200

    def fallen(self, motion: Motion) -> np.ndarray:
        height, lean = motion.after.qpos[:, 1] - motion.after.ground, motion.after.qpos[:, 2]
        rest = np.concatenate([motion.after.qpos[:, 2:], motion.after.qvel], 1)
        return ~((height > 0.7) & (np.abs(lean) < 0.2) & np.all(np.abs(rest) < 100.0, axis=1))


class HopperVel(UprightHopper):
    """hopper_vel-v1: hop at a hidden velocity.

    * Observation: positions but the first (5), velocities clipped to +-10 (6). Action: 3 joint torques, [-1, 1].
      Control step 0.008 s.
    * Reward: 2 - |x velocity - velocity_m_per_s| - 1e-3 |action|^2.
    * Ends: terminated below 0.7 m, at a lean of 0.2 rad, or when an entry of the state reaches 100; truncated after
      200 steps.
    * Task distribution: velocity_m_per_s ~ U[0, 1.5] m/s. Out of distribution: [1.5, 2].
    * Source: ours, after walker2d_vel-v1.
    * Versions: v1, 2026.
    """

    name = "hopper_vel-v1"
    parameters = {"velocity_m_per_s": Uniform(0.0, 1.5, unit="m/s", ood=((1.5, 2.0),))}

    def reward(self, motion: Motion) -> np.ndarray:
        return 2.0 - np.abs(motion.forward - motion.command["velocity_m_per_s"]) - 1e-3 * motion.effort


class HopperRandParams(UprightHopper):
    """hopper_rand_params-v1: hop forwards in a hidden body.

    * Observation, action, control step: as hopper_vel-v1.
    * Reward: x velocity + 1 - 1e-3 |action|^2.
    * Ends: terminated below 0.7 m, at a lean of 0.2 rad, or when an entry of the state reaches 100; truncated after
      200 steps.
    * Task distribution, all factors of what the model file says: mass_scale ~ logU[0.296296, 3.375]^4, one for each
      body, its inertia with it; friction_scale ~ logU[0.296296, 3.375]^15, one for each entry of each geom;
      damping_scale ~ logU[0.455166, 2.197]^6, one for each joint. Out of distribution: beyond, to the fourth power of
      1.5 and 1.3.
    * Source: rand_param_envs (log scale limit 3), used by PEARL. There inertia is scaled independently of mass:
      `hopper_rand_params_independent-v1`.
    * Versions: v1, 2026.
    """

    name = "hopper_rand_params-v1"
    parameters = body_distributions(4, 15, 6)
    changes = BODY_CHANGES

    def reward(self, motion: Motion) -> np.ndarray:
        return motion.forward + 1.0 - 1e-3 * motion.effort


class HopperRandParamsIndependent(HopperRandParams):
    """hopper_rand_params_independent-v1: hopper_rand_params-v1 with inertias as published, independent of masses.

    * Ends: as there; truncated after 200 steps.
    * Task distribution: mass_scale ~ logU[0.296296, 3.375]^4, inertia_scale ~ logU[0.296296, 3.375]^12, friction_scale
      ~ logU[0.296296, 3.375]^15, damping_scale ~ logU[0.455166, 2.197]^6. An inertia is scaled by its own factor
      alone, not with the mass.
    * Source: rand_param_envs, used by PEARL.
    * Versions: v1, 2026.
    """

    name = "hopper_rand_params_independent-v1"
    parameters = independent_distributions(4, 15, 6)
    changes = INDEPENDENT_CHANGES
