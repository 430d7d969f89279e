"""How a task parameter changes a robot's model: which field, of which elements, scaled, raised or set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import mujoco
import numpy as np

from envs.errors import TaskError
from envs.mujoco.elements import choose, element_names
from envs.mujoco.model_fields import FIELDS, fitting
from envs.validation import nearest

How = Literal["scale", "add", "set"]


@dataclass(frozen=True)
class Change:
    """The change that a task parameter makes to the model.

    A single value changes all chosen elements alike; a value for each element (or each entry of each element) changes
    them one by one, in the model's order. Scaling a mass scales its inertia with it, as the same shape of another
    density; adding to a mass puts a point mass at the body's centre. Gravity set to one number points down, wind blows
    along x. A strength is a share of all that an actuator can do, whatever its kind; a centre of mass moves by x, y, z
    in its body's frame.

    Attributes:
        field: one of `FIELDS`.
        how: "scale" multiplies the value of the model file, "add" raises it, "set" replaces it; adding to friction or
            setting it is meant for the sliding one.
        elements: names, with wildcards (`envs.mujoco.elements`).
        inertia_follows: whether a scaled or set mass takes its inertia with it.
    """

    field: str
    how: How = "scale"
    elements: tuple[str, ...] = ("*",)
    inertia_follows: bool = True

    def __post_init__(self) -> None:
        if self.field not in FIELDS:
            raise TaskError(f"a model has no {self.field} to change; {nearest(self.field, FIELDS)}")
        if self.how not in (ways := FIELDS[self.field].ways):
            raise TaskError(f"{self.field} cannot be changed by how: {self.how}; write how: {' or how: '.join(ways)}")

    def size(self, model: mujoco.MjModel) -> int:
        """Return the number of values of a task parameter that changes each element by itself.

        Raises:
            TaskError: a name or wildcard that matches nothing; a field of the whole world.
        """
        if not FIELDS[self.field].kind:
            raise TaskError(f"there is one {self.field} in the world; leave out each")
        return len(self._entries(model)) * (3 if self.field == "com" else 1)

    def values(self, model: mujoco.MjModel) -> np.ndarray:
        """The numbers that the change would scale, as the model has them."""
        if not FIELDS[self.field].kind:
            return self._option(model)
        return self._read(model, self._entries(model))

    def _option(self, model: mujoco.MjModel) -> np.ndarray:
        return np.asarray(getattr(model.opt, FIELDS[self.field].array), float)

    def _read(self, model: mujoco.MjModel, entries: np.ndarray) -> np.ndarray:
        field = FIELDS[self.field]
        return field.read(model, entries) if field.read else getattr(model, field.array)[entries]

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
        try:
            entries = self._entries(model)
        except TaskError as error:
            raise TaskError(f"{parameter}: {error}") from error
        old = self._read(model, entries)
        new = self._changed(old, self._spread(given, old, parameter))
        if self.field == "friction" and self.how != "scale" and given.size != old.size:
            new[:, 1:] = old[:, 1:]  # one number is the sliding friction; torsional and rolling ones have other units
        self._check(new, parameter)
        if field.write:
            field.write(model, entries, new)
        else:
            getattr(model, field.array)[entries] = new
        if self.field == "mass" and self.how != "add" and self.inertia_follows:
            model.body_inertia[entries] *= (new / old)[:, None]

    def _entries(self, model: mujoco.MjModel) -> np.ndarray:
        """Rows of the field's array: those of the elements, or of their degrees of freedom."""
        field = FIELDS[self.field]
        names = element_names(model, field.kind)
        named = frozenset(names.index(one) for one in self.elements if one in names)
        chosen = fitting(model, self.field, choose(model, field.kind, self.elements), named)
        if not field.array.startswith("dof_"):
            return chosen
        return np.flatnonzero(np.isin(model.dof_jntid, chosen))

    def _spread(self, given: np.ndarray, old: np.ndarray, parameter: str) -> np.ndarray:
        """The value as the entries' shape: one for all, one for each element, or one for each entry."""
        if given.ndim == 0 or (self.field == "com" and given.size == 3):
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
        old = self._option(model)
        if old.ndim and not given.ndim and self.how != "scale":
            given = np.array([0.0, 0.0, -given] if self.field == "gravity" else [given, 0.0, 0.0])
        if given.ndim and given.shape != old.shape:
            wanted = f"{old.size} numbers" if old.ndim else "one number"
            raise TaskError(f"{parameter} has {given.size} values, but {self.field} is {wanted}")
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
