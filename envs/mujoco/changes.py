"""How a task parameter changes a robot's model: which field, of which elements, scaled, raised or set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import mujoco
import numpy as np

from envs.task import TaskError
from envs.validation import nearest

How = Literal["scale", "add", "set"]


@dataclass(frozen=True)
class Field:
    """A part of MjModel that may be changed.

    Attributes:
        kind: of the elements that have it: body, geom, joint or actuator; "" for the whole world's.
        array: its name in MjModel, or in MjModel.opt.
        unit: of an entry.
        least: smallest valid entry; MuJoCo itself does not check.
        positive: whether an entry must even be above it.
    """

    kind: str
    array: str
    unit: str = ""
    least: float = -np.inf
    positive: bool = False


FIELDS = {
    "mass": Field("body", "body_mass", "kg", 0.0, positive=True),
    "inertia": Field("body", "body_inertia", "kg m^2", 0.0, positive=True),
    "friction": Field("geom", "geom_friction", "", 0.0),
    "damping": Field("joint", "dof_damping", "N m s/rad", 0.0),
    "armature": Field("joint", "dof_armature", "kg m^2", 0.0),
    "stiffness": Field("joint", "jnt_stiffness", "N m/rad", 0.0),
    "gear": Field("actuator", "actuator_gear"),
    "gravity": Field("", "gravity", "m/s^2"),
    "wind": Field("", "wind", "m/s"),
    "density": Field("", "density", "kg/m^3", 0.0),
    "viscosity": Field("", "viscosity", "Pa s", 0.0),
}
_OBJECTS = {
    "body": mujoco.mjtObj.mjOBJ_BODY,
    "geom": mujoco.mjtObj.mjOBJ_GEOM,
    "joint": mujoco.mjtObj.mjOBJ_JOINT,
    "actuator": mujoco.mjtObj.mjOBJ_ACTUATOR,
}


@dataclass(frozen=True)
class Change:
    """The change that a task parameter makes to the model.

    A single value changes all chosen elements alike; a value for each element (or each entry of each element) changes
    them one by one, in the model's order. Scaling a mass scales its inertia with it, as the same shape of another
    density; adding to a mass puts a point mass at the body's centre. Gravity set to one number points down, wind blows
    along x.

    Attributes:
        field: one of `FIELDS`.
        how: "scale" multiplies the value of the model file, "add" raises it, "set" replaces it; adding to friction or
            setting it is meant for the sliding one.
        elements: names, with wildcards; an element without a name is called by its kind and number (body_4), an
            actuator without one by its joint. The world's body is never meant.
        inertia_follows: whether a scaled or set mass takes its inertia with it.
    """

    field: str
    how: How = "scale"
    elements: tuple[str, ...] = ("*",)
    inertia_follows: bool = True

    def __post_init__(self) -> None:
        if self.field not in FIELDS:
            raise TaskError(f"a model has no {self.field} to change; {nearest(self.field, FIELDS)}")

    def size(self, model: mujoco.MjModel) -> int:
        """Return the number of values of a task parameter that changes each element by itself.

        Raises:
            TaskError: a name or wildcard that matches nothing; a field of the whole world.
        """
        if not FIELDS[self.field].kind:
            raise TaskError(f"there is one {self.field} in the world; leave out each")
        return len(self._entries(model))

    def apply(self, model: mujoco.MjModel, value: float | Sequence[float], parameter: str) -> None:
        """Change a model that is not shared; the caller calls `mj_setConst` afterwards.

        Raises:
            TaskError: a value of the wrong length, or one that MuJoCo would not survive, naming the parameter.
        """
        field = FIELDS[self.field]
        given = np.asarray(value, float)
        if not field.kind:
            self._change_option(model, given, parameter)
            return
        entries = self._entries(model)
        array = getattr(model, field.array)
        old = array[entries]
        new = self._changed(old, self._spread(given, old, parameter))
        if self.field == "friction" and self.how != "scale" and given.size != old.size:
            new[:, 1:] = old[:, 1:]  # one number is the sliding friction; torsional and rolling ones have other units
        self._check(new, parameter)
        array[entries] = new
        if self.field == "mass" and self.how != "add" and self.inertia_follows:
            model.body_inertia[entries] *= (new / old)[:, None]

    def _entries(self, model: mujoco.MjModel) -> np.ndarray:
        """Rows of the field's array: those of the elements, or of their degrees of freedom."""
        field = FIELDS[self.field]
        chosen = choose(model, field.kind, self.elements)
        if field.positive and not (massive := chosen[model.body_mass[chosen] > 0]).size:
            raise TaskError(f"{', '.join(self.elements)} has no mass to change")
        elif field.positive:
            return massive  # frames without mass have none to change
        if not field.array.startswith("dof_"):
            return chosen
        return np.flatnonzero(np.isin(model.dof_jntid, chosen))

    def _spread(self, given: np.ndarray, old: np.ndarray, parameter: str) -> np.ndarray:
        """The value as the entries' shape: one for all, one for each element, or one for each entry."""
        if given.ndim == 0:
            return np.broadcast_to(given, old.shape)
        if len(given) == len(old):
            return np.broadcast_to(given.reshape(-1, *[1] * (old.ndim - 1)), old.shape)
        if given.size == old.size:
            return given.reshape(old.shape)
        raise TaskError(f"{parameter} has {len(given)} values, but it changes the {self.field} of {len(old)} elements")

    def _changed(self, old: np.ndarray, value: np.ndarray) -> np.ndarray:
        return old * value if self.how == "scale" else old + value if self.how == "add" else value + 0.0 * old

    def _change_option(self, model: mujoco.MjModel, given: np.ndarray, parameter: str) -> None:
        array = FIELDS[self.field].array
        old = np.asarray(getattr(model.opt, array), float)
        if old.ndim and not given.ndim and self.how != "scale":
            given = np.array([0.0, 0.0, -given] if self.field == "gravity" else [given, 0.0, 0.0])
        new = self._changed(old, given)
        self._check(new, parameter)
        if old.ndim:
            getattr(model.opt, array)[:] = new
        else:
            setattr(model.opt, array, float(new))

    def _check(self, new: np.ndarray, parameter: str) -> None:
        field = FIELDS[self.field]
        fine = np.isfinite(new) & ((new > field.least) if field.positive else (new >= field.least))
        if not fine.all():
            border = f"above {field.least:g}" if field.positive else f"at least {field.least:g}"
            raise TaskError(
                f"{parameter} would make a {self.field} {float(new[~fine].flat[0]):g} {field.unit}".rstrip()
                + f", but it must be finite and {border}; narrow its range"
            )


def element_names(model: mujoco.MjModel, kind: str) -> list[str]:
    """Names of all bodies, geoms, joints or actuators, in the model's order, as `Change.elements` matches them."""
    names = []
    for number in range(getattr(model, {"body": "nbody", "geom": "ngeom", "joint": "njnt", "actuator": "nu"}[kind])):
        name = mujoco.mj_id2name(model, _OBJECTS[kind], number)
        if not name and kind == "actuator":
            name = mujoco.mj_id2name(model, _OBJECTS["joint"], int(model.actuator_trnid[number, 0]))
        names.append(name or f"{kind}_{number}")
    return names


def choose(model: mujoco.MjModel, kind: str, patterns: Sequence[str]) -> np.ndarray:
    """Numbers of the elements of a kind whose names match any of the patterns, in the model's order.

    Raises:
        TaskError: a pattern that matches nothing; it names the nearest element.
    """
    names = element_names(model, kind)
    first = 1 if kind == "body" else 0  # the world has no mass
    chosen: set[int] = set()
    for pattern in patterns:
        found = {number for number in range(first, len(names)) if fnmatchcase(names[number], pattern)}
        if not found:
            raise TaskError(f"no {kind} is called {pattern}; {nearest(pattern, names[first:])}")
        chosen |= found
    return np.array(sorted(chosen), int)
