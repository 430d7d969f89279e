"""Ant with a hidden command: a direction, a goal or a velocity."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.mujoco.locomotion import Locomotion
from envs.mujoco.robot import Robot
from envs.mujoco.state import Motion, SimulationState
from envs.task import Choice, PlanView, Split, Task, Uniform, Value

ANT = Robot("ant.xml", frame_skip=5, hidden=2, height=2, y=1, reset_noise=0.1, sensed=("cfrc_ext",))


def contact_cost(motion: Motion) -> np.ndarray:
    """[n] 0.5e-3 |contact forces on the bodies, each entry clipped to +-1|^2."""
    forces = motion.after.sensed["cfrc_ext"]
    return 0.5e-3 * np.square(np.clip(forces, -1.0, 1.0)).sum(axis=(1, 2))


class UprightAnt(Locomotion):
    """An Ant whose episode ends when its torso is below 0.2 m or above 1 m."""

    robot = ANT
    episode_steps = 200

    def fallen(self, motion: Motion) -> np.ndarray:
        height = motion.after.qpos[:, 2] - motion.after.ground
        return ~((height >= 0.2) & (height <= 1.0))


class AntRun(UprightAnt):
    """An Ant that is to run along x, whatever its task hides: x velocity - 0.5 |action|^2 - contact cost + 1."""

    def reward(self, motion: Motion) -> np.ndarray:
        return motion.planar[:, 0] - 0.5 * motion.effort - contact_cost(motion) + 1.0


class AntDir(UprightAnt):
    """ant_dir-v1: run in a hidden direction.

    * Observation: positions but x and y (13), velocities (14). Action: 8 joint torques, [-1, 1]. Control step 0.05 s.
    * Reward: velocity along the direction - 0.5 |action|^2 - 0.5e-3 |clipped contact forces|^2 + 1.
    * Ends: terminated when the torso's height leaves [0.2, 1] m; truncated after 200 steps.
    * Task distribution: direction_rad ~ U[0, 6.28319] rad.
    * Source: Rothfuss et al. 2019, Rakelly et al. 2019. VariBAD's AntDir reads +-1 as radians: its two tasks are 57
      degrees to either side, not forwards and backwards. Velocity is the torso's mean over the control step.
    * Versions: v1, 2026.
    """

    name = "ant_dir-v1"
    parameters = {"direction_rad": Uniform(0.0, 6.28319, unit="rad")}

    def reward(self, motion: Motion) -> np.ndarray:
        angle = motion.command["direction_rad"]
        along = motion.planar[:, 0] * np.cos(angle) + motion.planar[:, 1] * np.sin(angle)
        return along - 0.5 * motion.effort - contact_cost(motion) + 1.0


class AntFwdBack(UprightAnt):
    """ant_fwd_back-v1: run forwards or backwards along x, whichever is rewarded.

    * Observation, action, control step, reward: as ant_dir-v1, along +x or -x.
    * Ends: terminated when the torso's height leaves [0.2, 1] m; truncated after 200 steps.
    * Task distribution: direction is one of -1, 1. Finite: the held-out tasks are the training tasks.
    * Source: Finn et al. 2017, section 5.3, in the form of ProMP and PEARL.
    * Versions: v1, 2026.
    """

    name = "ant_fwd_back-v1"
    parameters = {"direction": Choice((-1, 1))}
    kind = "finite"

    def reward(self, motion: Motion) -> np.ndarray:
        along = motion.command["direction"] * motion.planar[:, 0]
        return along - 0.5 * motion.effort - contact_cost(motion) + 1.0


class AntVel(UprightAnt):
    """ant_vel-v1: walk along x at a hidden velocity.

    * Observation, action, control step: as ant_dir-v1.
    * Reward: -|x velocity - velocity_m_per_s| + 1 - 0.5e-2 |action|^2 - 0.5e-3 |clipped contact forces|^2 + 0.05.
    * Ends: terminated when the torso's height leaves [0.2, 1] m; truncated after 200 steps.
    * Task distribution: velocity_m_per_s ~ U[0, 3] m/s. Out of distribution: [3, 4].
    * Source: Finn et al. 2017 and its ports; some observe 111 entries, with contact forces.
    * Versions: v1, 2026.
    """

    name = "ant_vel-v1"
    parameters = {"velocity_m_per_s": Uniform(0.0, 3.0, unit="m/s", ood=((3.0, 4.0),))}

    def reward(self, motion: Motion) -> np.ndarray:
        error = np.abs(motion.planar[:, 0] - motion.command["velocity_m_per_s"])
        return 1.0 - error - 0.5e-2 * motion.effort - contact_cost(motion) + 0.05


class AntGoal(Locomotion):
    """ant_goal-v1: go to a hidden place.

    * Observation: positions (15), velocities (14), contact forces on the bodies clipped to +-1 (78): 107 entries; the
      ports on older simulators have 84 contact values, and read zeros where contact forces were never computed.
    * Action, control step: as ant_dir-v1.
    * Reward: -|x - goal_x| - |y - goal_y| - 0.1 |action|^2 - 0.5e-3 |clipped contact forces|^2.
    * Ends: truncated after 200 steps.
    * Task distribution: the goal is uniform in the disc of 3 m: goal_m ~ U[-3, 3]^2 m inside it. Out of distribution:
      the ring from 3 to 4 m.
    * Source: Rakelly et al. 2019.
    * Versions: v1, 2026.
    """

    name = "ant_goal-v1"
    robot = Robot("ant.xml", frame_skip=5, hidden=0, height=2, y=1, reset_noise=0.1, sensed=("cfrc_ext",))
    parameters = {"goal_m": Uniform(-3.0, 3.0, shape=(2,), unit="m", ood=((-4.0, -3.0), (3.0, 4.0)))}
    episode_steps = 200

    def draw(self, rng: np.random.Generator, split: Split) -> dict[str, Value]:
        inner, outer = (3.0, 4.0) if split == "ood" else (0.0, 3.0)
        radius, angle = np.sqrt(rng.uniform(inner**2, outer**2)), rng.uniform(0.0, 2 * np.pi)
        return {"goal_m": (float(radius * np.cos(angle)), float(radius * np.sin(angle)))}

    def observe(self, state: SimulationState) -> np.ndarray:
        forces = np.clip(state.sensed["cfrc_ext"][:, 1:], -1.0, 1.0)
        return np.concatenate([super().observe(state), forces.reshape(len(forces), -1)], 1)

    def reward(self, motion: Motion) -> np.ndarray:
        away = np.abs(motion.after.qpos[:, :2] - motion.command["goal_m"]).sum(1)
        return -away - 0.1 * motion.effort - contact_cost(motion)

    def plan_view(self, task: Task) -> PlanView:
        goal: Any = task["goal_m"]
        return PlanView((0, 1), goal)
