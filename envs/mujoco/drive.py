"""How the actions of an agent become a robot's controls, and pushes that it has to bear."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from envs.errors import TaskError
from envs.mujoco.elements import element_names


@dataclass(frozen=True)
class Drive:
    """Controls of actions in [-1, 1].

    Attributes:
        low, high: ends of the controls' range, [nu].
        middle: control at action 0, [nu]; the middle of the range by default.
        scale: control for a unit of action, [nu]; half of the range by default. Controls stay within it.
        share: of a new action in what is sent, the rest is what was sent before: a low-pass filter below 1.
    """

    low: np.ndarray
    high: np.ndarray
    middle: np.ndarray
    scale: np.ndarray
    share: float = 1.0

    def filtered(self, before: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Actions [n, nu] as they are sent after `before` was."""
        return actions if self.share == 1.0 else before + self.share * (actions - before)

    def controls(self, sent: np.ndarray) -> np.ndarray:
        """[n, nu]."""
        return np.clip(self.middle + sent * self.scale, self.low, self.high)


@dataclass(frozen=True)
class Push:
    """A sudden change of a base's velocity, again and again.

    Attributes:
        every_steps: control steps from one to the next.
        speed: each entry is uniform in +- it, m/s.
        entries: of qvel: the base's velocity along x, and y if it has one.
    """

    every_steps: int
    speed: float
    entries: tuple[int, ...]


def held_by(model: mujoco.MjModel, pose: np.ndarray) -> np.ndarray:
    """[nu], the targets by which position servos on joints hold a pose [nq].

    Raises:
        TaskError: an actuator is no such servo.
    """
    names, targets = element_names(model, "actuator"), np.zeros(model.nu)
    for actuator in range(model.nu):
        gain, bias = model.actuator_gainprm[actuator, 0], model.actuator_biasprm[actuator, 1]
        joint = int(model.actuator_trnid[actuator, 0])
        on_joint = model.actuator_trntype[actuator] == mujoco.mjtTrn.mjTRN_JOINT
        if not on_joint or gain <= 0 or bias != -gain:
            raise TaskError(
                f"actions.offset is start, but actuator {names[actuator]} is no position servo on a joint, so no "
                "target holds the start; leave it out"
            )
        targets[actuator] = pose[model.jnt_qposadr[joint]] * model.actuator_gear[actuator, 0]
    return targets
