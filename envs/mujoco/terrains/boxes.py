"""Grounds of boxes one behind another: a staircase, ditches, patches of another friction."""

from __future__ import annotations

from abc import abstractmethod

import mujoco
import numpy as np

from envs.distributions import Distribution, Uniform
from envs.mujoco.terrains.base import DEPTH_M, LEVEL_M, Elevation, Terrain, Values, geom_of

BOXES = 40


class Boxes(Terrain):
    """Ground of boxes one behind another along x; where there is none, the floor.

    Class attributes:
        colours: of every other box.
        floor_m: height of the floor.
    """

    colours: tuple[tuple[float, ...], tuple[float, ...]] = ((0.5, 0.55, 0.5, 1), (0.5, 0.55, 0.5, 1))
    floor_m = -DEPTH_M

    @abstractmethod
    def boxes(self, values: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where each box begins, how long it is and how high its top is, m, [BOXES] each, in order along x."""

    def build(self, spec: mujoco.MjSpec, floor: mujoco.MjsGeom) -> None:
        floor.pos = [0, 0, self.floor_m]
        for number in range(BOXES):
            self._box(spec, floor, f"floor_box_{number}", self.colours[number % 2])

    def shape(self, spec: mujoco.MjSpec, values: Values, elevation: Elevation) -> None:
        for number, (begin, length, top) in enumerate(zip(*self.boxes(values), strict=True)):
            geom, half = geom_of(spec, f"floor_box_{number}"), (top + 2 * DEPTH_M) / 2
            geom.size = [length / 2, 50.0, half]
            geom.pos = [begin + length / 2, 0.0, top - half]

    def elevation(self, values: Values, digest: str) -> Elevation:
        begins, lengths, tops = self.boxes(values)

        def of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            number = np.searchsorted(begins, x, side="right") - 1
            on_box = (number >= 0) & (x < begins[number] + lengths[number])
            return np.where(on_box, tops[number], self.floor_m)

        return of


def _behind_a_platform(begins: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Level boxes of one length, behind one that the robot starts on."""
    lengths = np.full(BOXES, length)
    lengths[0] = 50.0 + LEVEL_M
    return np.concatenate([[-50.0], begins]), lengths, np.zeros(BOXES)


class Steps(Boxes):
    """A staircase along x, `step_height_m` up every `step_length_m`."""

    colours = ((0.45, 0.45, 0.55, 1), (0.6, 0.6, 0.7, 1))
    floor_m = 0.0

    def distributions(self) -> dict[str, Distribution]:
        return {
            "step_height_m": Uniform(0.0, 0.1, unit="m", ood=((0.1, 0.15),)),
            "step_length_m": Uniform(0.6, 1.5, unit="m"),
        }

    def boxes(self, values: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        length, number = values["step_length_m"], np.arange(BOXES)
        return LEVEL_M + number * length, np.full(BOXES, length), (number + 1) * values["step_height_m"]


class Gaps(Boxes):
    """Ditches across x, `gap_width_m` wide and half a metre deep, between platforms of `platform_length_m`."""

    def distributions(self) -> dict[str, Distribution]:
        return {
            "gap_width_m": Uniform(0.05, 0.4, unit="m", ood=((0.4, 0.6),)),
            "platform_length_m": Uniform(1.0, 3.0, unit="m"),
        }

    def boxes(self, values: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        width, length = values["gap_width_m"], values["platform_length_m"]
        return _behind_a_platform(LEVEL_M + width + np.arange(BOXES - 1) * (length + width), length)


class FrictionPatches(Boxes):
    """Level ground whose sliding friction alternates along x between the floor's and `patch_friction`."""

    colours = ((0.45, 0.5, 0.45, 1), (0.6, 0.75, 0.9, 1))

    def distributions(self) -> dict[str, Distribution]:
        return {
            "patch_friction": Uniform(0.05, 0.6, ood=((0.01, 0.05), (0.6, 1.5))),
            "patch_length_m": Uniform(0.5, 2.0, unit="m"),
        }

    def boxes(self, values: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        length = values["patch_length_m"]
        return _behind_a_platform(LEVEL_M + np.arange(BOXES - 1) * length, length)

    def build(self, spec: mujoco.MjSpec, floor: mujoco.MjsGeom) -> None:
        super().build(spec, floor)
        for number in range(BOXES):
            # Of two geoms that touch, the rougher decides; a higher priority makes it the ground.
            geom_of(spec, f"floor_box_{number}").priority = 1

    def shape(self, spec: mujoco.MjSpec, values: Values, elevation: Elevation) -> None:
        super().shape(spec, values, elevation)
        for number in range(1, BOXES, 2):
            geom_of(spec, f"floor_box_{number}").friction[0] = values["patch_friction"]
