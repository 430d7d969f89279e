"""HalfCheetah with a hidden command, a velocity or a direction, or a hidden body."""

from __future__ import annotations

import numpy as np

from envs.mujoco.bodies import BODY_CHANGES, body_distributions
from envs.mujoco.changes import Change
from envs.mujoco.locomotion import Locomotion
from envs.mujoco.robot import Robot
from envs.mujoco.state import Motion
from envs.task import Choice, LogUniform, Task, Uniform

HALF_CHEETAH = Robot("half_cheetah.xml", frame_skip=5, hidden=1, height=1, reset_noise=0.1)


class HalfCheetahRun(Locomotion):
    """A HalfCheetah that is to run forwards, whatever its task hides: x velocity - 0.05 |action|^2."""

    robot = HALF_CHEETAH
    episode_steps = 200

    def reward(self, motion: Motion) -> np.ndarray:
        return motion.forward - 0.05 * motion.effort


class HalfCheetahVel(Locomotion):
    """half_cheetah_vel-v1: run at a hidden velocity.

    * Observation: positions but the first (8), velocities (9): 17 entries, as in Gymnasium's HalfCheetah-v5.
    * Action: 6 joint torques, [-1, 1]. Control step 0.05 s.
    * Reward: -|x velocity - velocity_m_per_s| - 0.05 |action|^2. Ends: truncated after 200 steps.
    * Task distribution: velocity_m_per_s ~ U[0, 2]. Out of distribution: [2, 3].
    * Source: Finn et al. 2017 and garage take U[0, 2], ProMP, VariBAD and PEARL U[0, 3] (`half_cheetah_vel_u03-v1`);
      oyster, VariBAD and pytorch-maml-rl observe 20 entries. The rllab original ran one physics step a control step:
      the MAML paper's returns do not compare.
    * Versions: v1, 2026.
    """

    name = "half_cheetah_vel-v1"
    robot = HALF_CHEETAH
    parameters = {"velocity_m_per_s": Uniform(0.0, 2.0, unit="m/s", ood=((2.0, 3.0),))}
    episode_steps = 200

    def reward(self, motion: Motion) -> np.ndarray:
        return -np.abs(motion.forward - motion.command["velocity_m_per_s"]) - 0.05 * motion.effort

    def reference_returns(self, task: Task) -> dict[str, float]:
        """`blind`: the middle velocity at every step and without effort; averaged over the task distribution, no policy
        that neither observes nor learns its velocity has a higher return."""
        velocities = self.parameters["velocity_m_per_s"]
        assert isinstance(velocities, Uniform)
        middle = (velocities.low + velocities.high) / 2
        return {"blind": -self.episode_steps * abs(task["velocity_m_per_s"] - middle)}


class HalfCheetahVelU03(HalfCheetahVel):
    """half_cheetah_vel_u03-v1: half_cheetah_vel-v1 with the wider distribution of ProMP, VariBAD and PEARL.

    * Task distribution: velocity_m_per_s ~ U[0, 3]. Out of distribution: [3, 4]. Ends: truncated after 200 steps. All
      else as half_cheetah_vel-v1.
    * Versions: v1, 2026.
    """

    name = "half_cheetah_vel_u03-v1"
    parameters = {"velocity_m_per_s": Uniform(0.0, 3.0, unit="m/s", ood=((3.0, 4.0),))}


class HalfCheetahDir(Locomotion):
    """half_cheetah_dir-v1: run forwards or backwards, whichever is rewarded.

    * Observation, action, control step: as half_cheetah_vel-v1.
    * Reward: direction times x velocity - 0.05 |action|^2. Ends: truncated after 200 steps.
    * Task distribution: direction is one of -1, 1. Finite: the held-out tasks are the training tasks.
    * Source: Finn et al. 2017 (arXiv:1703.03400), Rothfuss et al. 2019, Rakelly et al. 2019.
    * Versions: v1, 2026.
    """

    name = "half_cheetah_dir-v1"
    robot = HALF_CHEETAH
    parameters = {"direction": Choice((-1, 1))}
    episode_steps = 200
    kind = "finite"

    def reward(self, motion: Motion) -> np.ndarray:
        return motion.command["direction"] * motion.forward - 0.05 * motion.effort


class HalfCheetahRandParams(HalfCheetahRun):
    """half_cheetah_rand_params-v1: run forwards in a body with hidden masses, joints and motors.

    * Observation, action, control step: as half_cheetah_vel-v1.
    * Reward: x velocity - 0.05 |action|^2. Ends: truncated after 200 steps.
    * Task distribution, all factors of what the model file says: mass_scale ~ logU[0.296296, 3.375]^7, one for each
      body, its inertia with it; friction_scale ~ logU[0.296296, 3.375]^9, one for each geom; damping_scale ~
      logU[0.455166, 2.197]^9, one for each joint; gear_scale ~ logU[0.5, 1.5]^6, one for each motor. Out of
      distribution: masses, frictions and dampings beyond, to the fourth power of 1.5 and 1.3.
    * Source: the distributions of rand_param_envs (x 1.5^U(-3, 3), damping x 1.3^U(-3, 3)), which has no HalfCheetah
      and no gears; there inertia is scaled independently of mass, and friction in each of its three entries.
    * Versions: v1, 2026.
    """

    name = "half_cheetah_rand_params-v1"
    parameters = body_distributions(7, 9, 9) | {"gear_scale": LogUniform(0.5, 1.5, shape=(6,))}
    changes = BODY_CHANGES | {"gear_scale": Change("gear")}
