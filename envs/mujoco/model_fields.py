"""Fields of MjModel that a task parameter may change, each read and written as one array of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import mujoco
import numpy as np

from envs.errors import TaskError
from envs.mujoco.elements import element_names

Read = Callable[[mujoco.MjModel, np.ndarray], np.ndarray]
Write = Callable[[mujoco.MjModel, np.ndarray, np.ndarray], None]
Fits = Callable[[mujoco.MjModel, np.ndarray], Mapping[int, str]]


@dataclass(frozen=True)
class Field:
    """A part of MjModel that may be changed.

    Attributes:
        kind: of the elements that have it: body, geom, joint or actuator; "" for the whole world's.
        array: its name in MjModel, or in MjModel.opt; "" where `read` and `write` know more.
        unit: of an entry.
        least: smallest valid entry; MuJoCo itself does not check.
        positive: whether an entry must even be above it.
        ways: how it may be changed.
        read: [n] or [n, k] of entries; those of `array` by default.
        write: puts them back.
        unfit: the elements, by number, that have no such thing, and why. A wildcard passes them over, a name does not.
    """

    kind: str
    array: str = ""
    unit: str = ""
    least: float = -np.inf
    positive: bool = False
    ways: tuple[str, ...] = ("scale", "add", "set")
    read: Read | None = None
    write: Write | None = None
    unfit: Fits | None = None


# -- actuators

_FIXED, _AFFINE, _MUSCLE = (
    mujoco.mjtGain.mjGAIN_FIXED, mujoco.mjtGain.mjGAIN_AFFINE, mujoco.mjtGain.mjGAIN_MUSCLE
)  # fmt: skip
_PEAK, _SCALE = 2, 3  # of a muscle's parameters: peak force, and what it is made of where that is negative


def kind_of(model: mujoco.MjModel, actuator: int) -> str:
    """Motor, position servo, velocity servo, muscle, or another: by what its force is made of."""
    gain, bias = model.actuator_gaintype[actuator], model.actuator_biastype[actuator]
    gains, biases = model.actuator_gainprm[actuator], model.actuator_biasprm[actuator]
    if gain == _MUSCLE or bias == mujoco.mjtBias.mjBIAS_MUSCLE:
        return "muscle"
    if gain == mujoco.mjtGain.mjGAIN_USER or bias == mujoco.mjtBias.mjBIAS_USER:
        return "user-defined actuator"
    if bias == mujoco.mjtBias.mjBIAS_NONE:
        return "motor" if gain == _FIXED else "damper"
    if gain == _FIXED and gains[0] > 0 and biases[1] == -gains[0]:
        return "position servo"
    if gain == _FIXED and gains[0] > 0 and biases[1] == 0 and biases[2] == -gains[0]:
        return "velocity servo"
    return "actuator with a bias"


def _only(*kinds: str, why: str) -> Fits:
    """Fits actuators of these kinds alone."""

    def unfit(model: mujoco.MjModel, actuators: np.ndarray) -> dict[int, str]:
        found = {one: kind_of(model, one) for one in actuators.tolist()}
        return {one: f"is a {kind}, {why}" for one, kind in found.items() if kind not in kinds}

    return unfit


def _no_user_code(model: mujoco.MjModel, actuators: np.ndarray) -> dict[int, str]:
    return {
        one: "is user-defined, so its strength is not known"
        for one in actuators.tolist()
        if kind_of(model, one) == "user-defined actuator"
    }


def _whole(model: mujoco.MjModel, actuators: np.ndarray) -> np.ndarray:
    return np.ones(len(actuators))


def _strengthen(model: mujoco.MjModel, actuators: np.ndarray, factor: np.ndarray) -> None:
    """Scale whatever force the actuators can make: gain, bias, limits of force; of muscles the peak force.

    A servo keeps its target and pulls towards it with a share of its stiffness, damping and greatest force.
    """
    for one, share in zip(actuators.tolist(), factor.tolist(), strict=True):
        if kind_of(model, one) == "muscle":
            for array in (model.actuator_gainprm, model.actuator_biasprm):
                array[one, _PEAK if array[one, _PEAK] >= 0 else _SCALE] *= share
        else:
            model.actuator_gainprm[one, :3] *= share
            model.actuator_biasprm[one, :3] *= share
        model.actuator_forcerange[one] *= share
        joint = _driven_joint(model, one)
        if joint is not None and model.jnt_actfrclimited[joint]:
            model.jnt_actfrcrange[joint] *= share


def _driven_joint(model: mujoco.MjModel, actuator: int) -> int | None:
    """The joint that this actuator alone drives, whose limit of actuator force is then its own."""
    on_joints = np.isin(
        model.actuator_trntype, [mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT]
    )  # fmt: skip
    joint = int(model.actuator_trnid[actuator, 0])
    alone = on_joints[actuator] and np.sum(on_joints & (model.actuator_trnid[:, 0] == joint)) == 1
    return joint if alone else None


def _read_kp(model: mujoco.MjModel, actuators: np.ndarray) -> np.ndarray:
    return model.actuator_gainprm[actuators, 0]


def _write_kp(model: mujoco.MjModel, actuators: np.ndarray, new: np.ndarray) -> None:
    model.actuator_gainprm[actuators, 0], model.actuator_biasprm[actuators, 1] = new, -new


def _read_kd(model: mujoco.MjModel, actuators: np.ndarray) -> np.ndarray:
    return -model.actuator_biasprm[actuators, 2]


def _write_kd(model: mujoco.MjModel, actuators: np.ndarray, new: np.ndarray) -> None:
    for one, value in zip(actuators.tolist(), new.tolist(), strict=True):
        if kind_of(model, one) == "velocity servo":
            model.actuator_gainprm[one, 0] = value
        model.actuator_biasprm[one, 2] = -value


def _without_limit(model: mujoco.MjModel, actuators: np.ndarray) -> dict[int, str]:
    return {one: "has no forcerange" for one in actuators.tolist() if not model.actuator_forcelimited[one]}


def _read_force_limit(model: mujoco.MjModel, actuators: np.ndarray) -> np.ndarray:
    return np.abs(model.actuator_forcerange[actuators]).max(1)


def _write_force_limit(model: mujoco.MjModel, actuators: np.ndarray, new: np.ndarray) -> None:
    old = _read_force_limit(model, actuators)
    model.actuator_forcerange[actuators] *= np.divide(new, old, out=np.zeros_like(new), where=old > 0)[:, None]


# -- joints, bodies, geoms


def _without_mass(model: mujoco.MjModel, bodies: np.ndarray) -> dict[int, str]:
    return {one: "has no mass to change" for one in bodies.tolist() if not model.body_mass[one] > 0}


def _without_range(model: mujoco.MjModel, joints: np.ndarray) -> dict[int, str]:
    plain = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
    return {
        one: "has no range" for one in joints.tolist() if not model.jnt_limited[one] or model.jnt_type[one] not in plain
    }


def _read_half_range(model: mujoco.MjModel, joints: np.ndarray) -> np.ndarray:
    return np.ptp(model.jnt_range[joints], axis=1) / 2


def _write_half_range(model: mujoco.MjModel, joints: np.ndarray, new: np.ndarray) -> None:
    middle = model.jnt_range[joints].mean(1)
    model.jnt_range[joints] = np.stack([middle - new, middle + new], 1)


def _read_com(model: mujoco.MjModel, bodies: np.ndarray) -> np.ndarray:
    return model.body_ipos[bodies]


def _write_com(model: mujoco.MjModel, bodies: np.ndarray, new: np.ndarray) -> None:
    """A centre of mass that was at the body's origin is somewhere else, and so MuJoCo may take no short cut there."""
    model.body_ipos[bodies] = new
    model.body_sameframe[bodies] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE
    model.body_simple[bodies] = 0
    model.dof_simplenum[np.isin(model.dof_bodyid, bodies)] = 0
    of_inertia = (mujoco.mjtSameFrame.mjSAMEFRAME_INERTIA, mujoco.mjtSameFrame.mjSAMEFRAME_INERTIAROT)
    for same, owner in ((model.geom_sameframe, model.geom_bodyid), (model.site_sameframe, model.site_bodyid)):
        same[np.isin(owner, bodies) & np.isin(same, [int(one) for one in of_inertia])] = 0


def _read_first(array: str, model: mujoco.MjModel, geoms: np.ndarray) -> np.ndarray:
    return getattr(model, array)[geoms, 0]


def _write_first(array: str, model: mujoco.MjModel, geoms: np.ndarray, new: np.ndarray) -> None:
    getattr(model, array)[geoms, 0] = new


def _of_other_shape(model: mujoco.MjModel, geoms: np.ndarray) -> dict[int, str]:
    kinds = (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_HFIELD, mujoco.mjtGeom.mjGEOM_MESH)
    return {
        one: "is a plane, a height field or a mesh, whose size is none of its own"
        for one in geoms.tolist()
        if model.geom_type[one] in kinds
    }


def _read_size(model: mujoco.MjModel, geoms: np.ndarray) -> np.ndarray:
    return np.ones(len(geoms))


def _write_size(model: mujoco.MjModel, geoms: np.ndarray, factor: np.ndarray) -> None:
    """Scale geoms about their own centres; masses stay, for `mass` changes those."""
    model.geom_size[geoms] *= factor[:, None]
    model.geom_rbound[geoms] *= factor
    model.geom_aabb[geoms] *= factor[:, None]
    # Trees of bounding boxes are those of the old sizes; without them every pair is looked at.
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE


_GEAR = _only("motor", "damper", why="whose gear moves its target instead of its strength; change strength")
_KP = _only("position servo", why="which has no kp")
_KD = _only("position servo", "velocity servo", why="which has no kd")

FIELDS = {
    "mass": Field("body", "body_mass", "kg", 0.0, positive=True, unfit=_without_mass),
    "inertia": Field("body", "body_inertia", "kg m^2", 0.0, positive=True, unfit=_without_mass),
    "com": Field("body", "body_ipos", "m", ways=("add", "set"), read=_read_com, write=_write_com),
    "friction": Field("geom", "geom_friction", "", 0.0),
    "solref": Field(
        "geom", "geom_solref", "s", 0.0, positive=True,
        read=partial(_read_first, "geom_solref"), write=partial(_write_first, "geom_solref"),
    ),
    "geom_size": Field("geom", "", "", 0.0, positive=True, ways=("scale",), read=_read_size, write=_write_size,
                       unfit=_of_other_shape),
    "damping": Field("joint", "dof_damping", "N m s/rad", 0.0),
    "armature": Field("joint", "dof_armature", "kg m^2", 0.0),
    "frictionloss": Field("joint", "dof_frictionloss", "N m", 0.0),
    "stiffness": Field("joint", "jnt_stiffness", "N m/rad", 0.0),
    "joint_limits": Field("joint", "", "rad", 0.0, positive=True, read=_read_half_range, write=_write_half_range,
                          unfit=_without_range),
    "strength": Field("actuator", "", "", 0.0, ways=("scale",), read=_whole, write=_strengthen, unfit=_no_user_code),
    "gear": Field("actuator", "actuator_gear", unfit=_GEAR),
    "kp": Field("actuator", "", "", 0.0, read=_read_kp, write=_write_kp, unfit=_KP),
    "kd": Field("actuator", "", "", 0.0, read=_read_kd, write=_write_kd, unfit=_KD),
    "force_limit": Field("actuator", "", "N", 0.0, read=_read_force_limit, write=_write_force_limit,
                         unfit=_without_limit),
    "gravity": Field("", "gravity", "m/s^2"),
    "wind": Field("", "wind", "m/s"),
    "density": Field("", "density", "kg/m^3", 0.0),
    "viscosity": Field("", "viscosity", "Pa s", 0.0),
}  # fmt: skip


def fitting(model: mujoco.MjModel, name: str, chosen: np.ndarray, named: frozenset[int]) -> np.ndarray:
    """Of the chosen elements those that have this field.

    Args:
        named: elements that were asked for by their very names.

    Raises:
        TaskError: one of those lacks it, or all do.
    """
    field = FIELDS[name]
    if field.unfit is None:
        return chosen
    unfit = field.unfit(model, chosen)
    if named & set(unfit) or len(unfit) == len(chosen):
        first = min(named & set(unfit)) if named & set(unfit) else chosen[0]
        called = element_names(model, field.kind)[first]
        raise TaskError(f"{field.kind} {called} {unfit[int(first)]}")
    return np.array([one for one in chosen.tolist() if one not in unfit], int)
