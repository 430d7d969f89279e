"""Walker2d with a hidden velocity or a hidden body."""

from __future__ import annotations

import numpy as np

from envs.mujoco.bodies import BODY_CHANGES, INDEPENDENT_CHANGES, body_distributions, independent_distributions
from envs.mujoco.locomotion import Locomotion
from envs.mujoco.robot import Robot
from envs.mujoco.state import Motion
from envs.task import Uniform

WALKER2D = Robot(
    "walker2d_v5.xml", frame_skip=4, hidden=1, height=1, reset_noise=5e-3, normal_velocity=False, largest_velocity=10.0
)


class UprightWalker(Locomotion):
    """A Walker2d whose episode ends when its torso's height leaves (0.8, 2) m or it leans by 1 rad."""

    robot = WALKER2D
    episode_steps = 200

    def fallen(self, motion: Motion) -> np.ndarray:
        height, lean = motion.after.qpos[:, 1] - motion.after.ground, motion.after.qpos[:, 2]
        return ~((height > 0.8) & (height < 2.0) & (np.abs(lean) < 1.0))


class Walker2dRun(UprightWalker):
    """A Walker2d that is to walk forwards, whatever its task hides: x velocity + 1 - 1e-3 |action|^2."""

    def reward(self, motion: Motion) -> np.ndarray:
        return motion.forward + 1.0 - 1e-3 * motion.effort


class Walker2dVel(UprightWalker):
    """walker2d_vel-v1: walk at a hidden velocity.

    * Observation: positions but the first (8), velocities clipped to +-10 (9). Action: 6 joint torques, [-1, 1].
      Control step 0.008 s.
    * Reward: 2 - |x velocity - velocity_m_per_s| - 1e-3 |action|^2.
    * Ends: terminated when the torso's height leaves (0.8, 2) m or it leans by 1 rad; truncated after 200 steps.
    * Task distribution: velocity_m_per_s ~ U[0, 2] m/s. Out of distribution: [2, 3].
    * Source: ours. ProMP's has U[0, 10], 15 for being alive and 8 physics steps a control step.
    * Versions: v1, 2026.
    """

    name = "walker2d_vel-v1"
    parameters = {"velocity_m_per_s": Uniform(0.0, 2.0, unit="m/s", ood=((2.0, 3.0),))}

    def reward(self, motion: Motion) -> np.ndarray:
        return 2.0 - np.abs(motion.forward - motion.command["velocity_m_per_s"]) - 1e-3 * motion.effort


class Walker2dRandParams(Walker2dRun):
    """walker2d_rand_params-v1: walk forwards in a hidden body.

    * Observation, action, control step: as walker2d_vel-v1.
    * Reward: x velocity + 1 - 1e-3 |action|^2.
    * Ends: terminated when the torso's height leaves (0.8, 2) m or it leans by 1 rad; truncated after 200 steps.
    * Task distribution, all factors of what the model file says: mass_scale ~ logU[0.296296, 3.375]^7, one for each
      body, its inertia with it; friction_scale ~ logU[0.296296, 3.375]^24, one for each entry of each geom;
      damping_scale ~ logU[0.455166, 2.197]^9, one for each joint. Out of distribution: beyond, to the fourth power of
      1.5 and 1.3.
    * Source: rand_param_envs (log scale limit 3), used by PEARL. There inertia is scaled independently of mass, which
      no body does: `walker2d_rand_params_independent-v1`.
    * Versions: v1, 2026.
    """

    name = "walker2d_rand_params-v1"
    parameters = body_distributions(7, 24, 9)
    changes = BODY_CHANGES


class Walker2dRandParamsIndependent(Walker2dRandParams):
    """walker2d_rand_params_independent-v1: walker2d_rand_params-v1 with inertias as published, independent of masses.

    * Ends: as there; truncated after 200 steps.
    * Task distribution: mass_scale ~ logU[0.296296, 3.375]^7, inertia_scale ~ logU[0.296296, 3.375]^21, friction_scale
      ~ logU[0.296296, 3.375]^24, damping_scale ~ logU[0.455166, 2.197]^9. An inertia is scaled by its own factor
      alone, not with the mass.
    * Source: rand_param_envs, used by PEARL.
    * Versions: v1, 2026.
    """

    name = "walker2d_rand_params_independent-v1"
    parameters = independent_distributions(7, 24, 9)
    changes = INDEPENDENT_CHANGES
