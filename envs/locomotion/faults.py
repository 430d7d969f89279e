"""Faults and conditions of the field as tasks: weak motors, payloads, gravity, wind, late sensors, and faults that
come in the middle of an episode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from envs.locomotion.ant import AntRun
from envs.locomotion.half_cheetah import HalfCheetahRun
from envs.mujoco.changes import Change
from envs.mujoco.locomotion_env import DELAY
from envs.task import Choice, Split, Uniform, Value


def one_weak_motor(rng: np.random.Generator, motors: int, low: float, high: float) -> dict[str, Value]:
    """Parameters of a robot one of whose motors gives only a fraction of its torque."""
    strength = np.ones(motors)
    strength[rng.integers(motors)] = rng.uniform(low, high)
    return {"motor_strength": tuple(strength.tolist())}


class HalfCheetahWeakMotor(HalfCheetahRun):
    """half_cheetah_weak_motor-v1: run forwards with one motor that is weak or dead.

    * Observation, action, control step: as half_cheetah_vel-v1. Reward: x velocity - 0.05 |action|^2.
    * Ends: truncated after 200 steps.
    * Task distribution: motor_strength ~ U[0, 1]^6, factors of the motors' torques: one motor, each as likely, has a
      factor of U[0, 0.5], the others 1. Out of distribution: two motors so.
    * Source: ours, after the crippled robots of Nagabandi et al. 2019 (arXiv:1803.11347).
    * Versions: v1, 2026.
    """

    name = "half_cheetah_weak_motor-v1"
    parameters = {"motor_strength": Uniform(0.0, 1.0, shape=(6,))}
    changes = {"motor_strength": Change("gear")}
    has_ood = True

    def draw(self, rng: np.random.Generator, split: Split) -> dict[str, Value]:
        parameters = one_weak_motor(rng, 6, 0.0, 0.5)
        if split != "ood":
            return parameters
        strength = np.array(parameters["motor_strength"])
        strength[rng.choice(np.flatnonzero(strength == 1.0))] = rng.uniform(0.0, 0.5)
        return {"motor_strength": tuple(strength.tolist())}


class AntWeakMotor(AntRun):
    """ant_weak_motor-v1: run along x with one motor that is weak or dead.

    * Observation, action, control step: as ant_dir-v1. Reward: x velocity - 0.5 |action|^2 - contact cost + 1.
    * Ends: terminated when the torso's height leaves [0.2, 1] m; truncated after 200 steps.
    * Task distribution: motor_strength ~ U[0, 1]^8, factors of the motors' torques: one motor, each as likely, has a
      factor of U[0, 0.5], the others 1.
    * Source: ours, after the crippled robots of Nagabandi et al. 2019 (arXiv:1803.11347).
    * Versions: v1, 2026.
    """

    name = "ant_weak_motor-v1"
    parameters = {"motor_strength": Uniform(0.0, 1.0, shape=(8,))}
    changes = {"motor_strength": Change("gear")}

    def draw(self, rng: np.random.Generator, split: Split) -> dict[str, Value]:
        return one_weak_motor(rng, 8, 0.0, 0.5)


class HalfCheetahMotorFails(HalfCheetahWeakMotor):
    """half_cheetah_motor_fails-v1: run forwards; a motor fails in the middle of every trial's second episode.

    * Observation, action, control step, reward: as half_cheetah_weak_motor-v1. Ends: truncated after 200 steps.
    * Task distribution: motor_strength ~ U[0, 1]^6: all motors are whole (1) until step 100 of episode 1 of the trial,
      episodes counted from 0; from then on one motor, each as likely, has a factor of U[0, 0.5]. Out of distribution:
      two do.
    * Source: ours. Versions: v1, 2026.
    """

    name = "half_cheetah_motor_fails-v1"
    differs_at_once = False

    def draw(self, rng: np.random.Generator, split: Split) -> dict[str, Value]:
        return {"motor_strength": (1.0,) * 6}

    def draw_schedule(
        self, rng: np.random.Generator, split: Split, parameters: Mapping[str, Value]
    ) -> Sequence[Mapping[str, Any]]:
        return ({"episode": 1, "step": 100, "parameters": super().draw(rng, split)},)


class HalfCheetahPayload(HalfCheetahRun):
    """half_cheetah_payload-v1: run forwards with a load on the back.

    * Observation, action, control step: as half_cheetah_vel-v1. Reward: x velocity - 0.05 |action|^2.
    * Ends: truncated after 200 steps.
    * Task distribution: payload_kg ~ U[0, 6] kg, a point mass at the torso's centre (the robot weighs 14 kg). Out of
      distribution: [6, 9].
    * Source: ours. Versions: v1, 2026.
    """

    name = "half_cheetah_payload-v1"
    parameters = {"payload_kg": Uniform(0.0, 6.0, unit="kg", ood=((6.0, 9.0),))}
    changes = {"payload_kg": Change("mass", "add", ("torso",))}


class HalfCheetahGravity(HalfCheetahRun):
    """half_cheetah_gravity-v1: run forwards under another gravity.

    * Observation, action, control step: as half_cheetah_vel-v1. Reward: x velocity - 0.05 |action|^2.
    * Ends: truncated after 200 steps.
    * Task distribution: gravity_m_per_s2 ~ U[5, 15] m/s^2, downwards. Out of distribution: [3, 5] and [15, 18].
    * Source: ours. Versions: v1, 2026.
    """

    name = "half_cheetah_gravity-v1"
    parameters = {"gravity_m_per_s2": Uniform(5.0, 15.0, unit="m/s^2", ood=((3.0, 5.0), (15.0, 18.0)))}
    changes = {"gravity_m_per_s2": Change("gravity", "set")}


class HalfCheetahWind(HalfCheetahRun):
    """half_cheetah_wind-v1: run forwards in head wind or tail wind.

    * Observation, action, control step: as half_cheetah_vel-v1. Reward: x velocity - 0.05 |action|^2.
    * Ends: truncated after 200 steps.
    * Task distribution: wind_m_per_s ~ U[-20, 20] m/s along x, in air of 1.2 kg/m^3 (without a medium MuJoCo's wind
      does nothing). Out of distribution: up to 30 either way.
    * Source: ours. Versions: v1, 2026.
    """

    name = "half_cheetah_wind-v1"
    parameters = {"wind_m_per_s": Uniform(-20.0, 20.0, unit="m/s", ood=((-30.0, -20.0), (20.0, 30.0)))}
    changes = {"wind_m_per_s": Change("wind", "set")}
    air_density = 1.2


class HalfCheetahLateSensors(HalfCheetahRun):
    """half_cheetah_late_sensors-v1: run forwards on observations that come late.

    * Observation: as half_cheetah_vel-v1, sensor_delay_steps control steps old. Action, control step: as there.
      Reward: x velocity - 0.05 |action|^2. Ends: truncated after 200 steps.
    * Task distribution: sensor_delay_steps is one of 0, 1, 2, 3 control steps. Finite: the held-out tasks are the
      training tasks. Out of distribution: 4 and 5.
    * Source: ours. Versions: v1, 2026.
    """

    name = "half_cheetah_late_sensors-v1"
    parameters = {DELAY: Choice((0, 1, 2, 3), unit="control steps", ood=(4, 5))}
    kind = "finite"
