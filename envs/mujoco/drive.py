"""How the actions of an agent become a robot's controls."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from envs.errors import TaskError
from envs.mujoco.elements import element_names
from envs.mujoco.engines.base import Rows
from envs.mujoco.model_fields import kind_of


@dataclass(frozen=True)
class Drive:
    """Controls of actions in [-1, 1].

    Attributes:
        low, high: ends of the controls' range, [nu].
        middle: control at action 0, [nu]; the middle of the range by default.
        scale: control for a unit of action, [nu]; half of the range by default. Controls stay within it.
        share: of a new action in what is sent, the rest is what was sent before: a low-pass filter below 1.
        delay: control steps by which actions are late.
    """

    low: np.ndarray
    high: np.ndarray
    middle: np.ndarray
    scale: np.ndarray
    share: float = 1.0
    delay: int = 0

    def filtered(self, before: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Actions [n, nu] as they are sent after `before` was."""
        return actions if self.share == 1.0 else before + self.share * (actions - before)

    def controls(self, sent: np.ndarray) -> np.ndarray:
        """[n, nu]."""
        return np.clip(self.middle + sent * self.scale, self.low, self.high)


class Actuation:
    """How the rows' actions reach their motors: late, through the filter, within the controls' range.

    Args:
        drive: of all rows.
        delays: control steps by which each row's actions are late beyond the drive's own, [B]; read at every step, for
            a schedule may change them; None where none is.
        longest: of them.
    """

    def __init__(self, drive: Drive, rows: int, delays: np.ndarray | None, longest: int = 0) -> None:
        self._drive, self._delays = drive, delays
        self._filtered = np.zeros((rows, len(drive.low)))
        self._sent = np.zeros((drive.delay + longest, rows, len(drive.low)))  # earlier actions, newest first

    def forget(self, rows: np.ndarray) -> None:
        """Begin an episode of these rows: nothing was sent before."""
        self._filtered[rows] = 0.0
        self._sent[:, rows] = 0.0

    def _filter(self, rows: Rows, actions: np.ndarray) -> np.ndarray:
        if len(self._sent):
            at_hand = np.concatenate([actions[None], self._sent[:, rows]])
            late = 0 if self._delays is None else self._delays[rows].astype(int)
            actions = at_hand[self._drive.delay + late, np.arange(len(actions))]
        return self._drive.filtered(self._filtered[rows], actions)

    def controls(self, rows: Rows, actions: np.ndarray) -> np.ndarray:
        """The controls [n, nu] that the rows' next actions [n, nu] are; nothing is changed by it."""
        return self._drive.controls(self._filter(rows, actions))

    def send(self, rows: Rows, actions: np.ndarray) -> np.ndarray:
        """The controls [n, nu] of the rows' next actions [n, nu], which are sent."""
        filtered = self._filtered[rows] = self._filter(rows, actions)
        if len(self._sent):
            self._sent[1:, rows] = self._sent[:-1, rows].copy()
            self._sent[0, rows] = actions
        return self._drive.controls(filtered)


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


def give_muscles_their_range(spec: mujoco.MjSpec, model: mujoco.MjModel) -> None:
    """Muscles without a control range get the one that MuJoCo clamps their controls to, 0 to 1."""
    for number, actuator in enumerate(spec.actuators):
        if kind_of(model, number) == "muscle" and not model.actuator_ctrllimited[number]:
            actuator.ctrllimited, actuator.ctrlrange = True, [0.0, 1.0]


def make_servos(spec: mujoco.MjSpec, model: mujoco.MjModel, kp: float, kd: float) -> None:
    """Make position servos of a description's motors, as a controller on the robot does of its torques.

    A motor's control becomes the angle that its joint is to take, rad or m; its force kp (control - position) - kd
    velocity stays within what the motor could do.

    Args:
        spec: is changed; compile it anew.
        model: what it compiles to.

    Raises:
        TaskError: an actuator is no motor on a joint, or has no control range.
    """
    names = element_names(model, "actuator")
    turning = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
    for number, actuator in enumerate(spec.actuators):
        joint = int(model.actuator_trnid[number, 0])
        on_joint = model.actuator_trntype[number] == mujoco.mjtTrn.mjTRN_JOINT and model.jnt_type[joint] in turning
        plain = kind_of(model, number) == "motor" and model.actuator_dyntype[number] == mujoco.mjtDyn.mjDYN_NONE
        if not plain or not on_joint or not model.actuator_ctrllimited[number]:
            raise TaskError(
                f"actions.kp makes position servos of motors with a control range on joints, and actuator "
                f"{names[number]} is none; leave kp out"
            )
        gear, gain = model.actuator_gear[number, 0], model.actuator_gainprm[number, 0]
        limits = [gear * gain * model.actuator_ctrlrange[number]]
        if model.actuator_forcelimited[number]:
            limits.append(gear * model.actuator_forcerange[number])
        low, high = np.sort(limits, axis=1).T
        if not low.max() < high.min():
            raise TaskError(f"actions.kp: actuator {names[number]} can do no force (gear, ctrlrange, forcerange)")
        actuator.gear[0] = 1.0
        actuator.gainprm[0], actuator.biastype = kp, mujoco.mjtBias.mjBIAS_AFFINE
        actuator.biasprm[:3] = 0.0, -kp, -kd
        actuator.forcelimited, actuator.forcerange = True, [low.max(), high.min()]
        actuator.ctrlrange = model.jnt_range[joint] if model.jnt_limited[joint] else [-np.pi, np.pi]
