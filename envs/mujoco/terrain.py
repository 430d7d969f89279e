"""Ground as a task parameter: slopes, steps, gaps, friction patches, waves, roughness.

Planes and boxes where they serve, for they cost nearly nothing; a height field where the surface needs one, which
halves the speed. The ground of every task of a family is made of the same parts, of other sizes and heights, so that
models of all tasks can be stepped in one batch. Each task's model is compiled: MuJoCo's trees of bounding boxes would
be stale in a model whose geoms were moved afterwards. Every terrain is level within a metre of the start, so that a
first observation tells nothing. All geoms of a ground are called `floor` or `floor_...`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from envs.task import Distribution, TaskError, Uniform

Elevation = Callable[[np.ndarray, np.ndarray], np.ndarray]
Values = Mapping[str, float]

LEVEL_M = 1.0  # from the start to where a terrain begins
_BOXES = 40
_DEEP_M = 0.5  # of boxes, and of ditches
_SUNK_M = 0.05  # how far below a height field the plane lies that goes on beyond its border
_CELL_M = 0.2  # of a strip for planar robots
_WIDE_CELL_M = 0.3  # of a field
_WAVES = 64  # cosines that a rough ground is made of


@dataclass(frozen=True)
class Extent:
    """Where there is ground to shape: a strip for planar robots, a square for others.

    Attributes:
        back_m, front_m: ends along x, from the start.
        side_m: half-width along y.
        planar: whether the ground is the same all along y.
    """

    back_m: float
    front_m: float
    side_m: float
    planar: bool


STRIP = Extent(10.0, 50.0, 0.4, planar=True)
SQUARE = Extent(15.0, 15.0, 15.0, planar=False)


# What a parameter of a ground may be at all.
LIMITS = {
    "slope_deg": (-45.0, 45.0),
    "heading_deg": (-360.0, 360.0),
    "step_height_m": (0.0, 1.0),
    "step_length_m": (0.1, 10.0),
    "gap_width_m": (0.0, 5.0),
    "platform_length_m": (0.1, 20.0),
    "patch_friction": (0.0, 10.0),
    "patch_length_m": (0.1, 10.0),
    "wave_height_m": (0.0, 5.0),
    "roughness_m": (0.0, 1.0),
}


class Terrain(ABC):
    """A kind of ground. `parameters` are its task parameters with their laws."""

    def __init__(self, extent: Extent, **laws: Distribution) -> None:
        self.extent = extent
        self.parameters: dict[str, Distribution] = self.laws() | laws
        if unknown := set(self.parameters) - set(self.laws()):
            raise TaskError(f"{type(self).__name__} has no parameter {min(unknown)}; it has {', '.join(self.laws())}")
        for name, law in self.parameters.items():
            low, high = self.limits(name)
            if outside := [value for value in law.extremes if not low <= value <= high]:
                raise TaskError(
                    f"{name} goes to {outside[0]:g}, but this ground can be shaped from {low:g} to {high:g} only; "
                    "narrow its law"
                )

    def limits(self, name: str) -> tuple[float, float]:
        """Between which values a parameter must stay."""
        return LIMITS[name]

    @abstractmethod
    def laws(self) -> dict[str, Distribution]:
        """The law of each task parameter where nobody gives another."""

    @abstractmethod
    def build(self, spec: mujoco.MjSpec, floor: mujoco.MjsGeom) -> None:
        """Adds what the ground is made of to the robot's description; `floor` is the plane it stands on."""

    @abstractmethod
    def shape(self, spec: mujoco.MjSpec, values: Values, elevation: Elevation) -> None:
        """Gives what `build` added this task's shape; what an earlier task left is overwritten."""

    @abstractmethod
    def elevation(self, values: Values, digest: str) -> Elevation:
        """Height of the ground, m, at x [...], y [...], m; `digest` decides what is random in it."""

    def _box(self, spec: mujoco.MjSpec, floor: mujoco.MjsGeom, name: str, rgba: tuple[float, ...]) -> None:
        """A box of ground, as rough and as hard as the floor; `shape` gives it its place."""
        spec.worldbody.add_geom(
            name=name, type=mujoco.mjtGeom.mjGEOM_BOX, size=[1, 1, 1], rgba=rgba, **_surface(floor)
        )  # fmt: skip


def geom_of(spec: mujoco.MjSpec, name: str) -> mujoco.MjsGeom:
    """A geom of the world by name, also before the description is compiled."""
    return next(geom for geom in spec.worldbody.geoms if geom.name == name)


def _surface(floor: mujoco.MjsGeom) -> dict[str, object]:
    return {
        name: np.array(value) if isinstance(value := getattr(floor, name), np.ndarray) else value
        for name in ("friction", "solref", "solimp", "condim", "contype", "conaffinity", "margin", "priority")
    }


class Slope(Terrain):
    """A slope ahead of level ground: `slope_deg` up along x, for robots that can turn along `heading_deg`."""

    def laws(self) -> dict[str, Distribution]:
        slope = Uniform(-10.0, 10.0, unit="deg", ood=((-15.0, -10.0), (10.0, 15.0)))
        heading = {} if self.extent.planar else {"heading_deg": Uniform(0.0, 360.0, unit="deg")}
        return {"slope_deg": slope, **heading}

    def build(self, spec: mujoco.MjSpec, floor: mujoco.MjsGeom) -> None:
        self._box(spec, floor, "floor_level", (0.5, 0.55, 0.5, 1))
        self._box(spec, floor, "floor_slope", (0.6, 0.6, 0.5, 1))

    def shape(self, spec: mujoco.MjSpec, values: Values, elevation: Elevation) -> None:
        slope, heading = np.deg2rad(values["slope_deg"]), np.deg2rad(values.get("heading_deg", 0.0))
        turned, tilted, both = np.zeros(4), np.zeros(4), np.zeros(4)
        mujoco.mju_axisAngle2Quat(turned, np.array([0.0, 0.0, 1.0]), heading)
        mujoco.mju_axisAngle2Quat(tilted, np.array([0.0, 1.0, 0.0]), -slope)
        mujoco.mju_mulQuat(both, turned, tilted)
        level, ramp = geom_of(spec, "floor_level"), geom_of(spec, "floor_slope")
        half, thick = 40.0, _DEEP_M
        # Both tops meet at the line across the heading, LEVEL_M ahead of the start.
        ahead = LEVEL_M + half * np.cos(slope) + thick * np.sin(slope)
        for geom, along, height, quaternion in (
            (level, LEVEL_M - half, -thick, turned),
            (ramp, ahead, half * np.sin(slope) - thick * np.cos(slope), both),
        ):
            geom.size = [half, 50.0, thick]
            geom.pos = [along * np.cos(heading), along * np.sin(heading), height]
            geom.quat = quaternion
        geom_of(spec, "floor").pos = [0, 0, -2 * half * abs(np.sin(slope)) - 2 * thick]

    def elevation(self, values: Values, digest: str) -> Elevation:
        slope, heading = np.deg2rad(values["slope_deg"]), np.deg2rad(values.get("heading_deg", 0.0))
        return lambda x, y: np.tan(slope) * np.maximum(np.cos(heading) * x + np.sin(heading) * y - LEVEL_M, 0.0)


class Boxes(Terrain):
    """Ground of boxes one behind another along x; where there is none, the floor.

    Class attributes:
        colours: of every other box.
        floor_m: height of the floor.
    """

    colours: tuple[tuple[float, ...], tuple[float, ...]] = ((0.5, 0.55, 0.5, 1), (0.5, 0.55, 0.5, 1))
    floor_m = -_DEEP_M

    @abstractmethod
    def boxes(self, values: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where each box begins, how long it is and how high its top is, m, [_BOXES] each, in order along x."""

    def build(self, spec: mujoco.MjSpec, floor: mujoco.MjsGeom) -> None:
        floor.pos = [0, 0, self.floor_m]
        for number in range(_BOXES):
            self._box(spec, floor, f"floor_box_{number}", self.colours[number % 2])

    def shape(self, spec: mujoco.MjSpec, values: Values, elevation: Elevation) -> None:
        for number, (begin, length, top) in enumerate(zip(*self.boxes(values), strict=True)):
            geom, half = geom_of(spec, f"floor_box_{number}"), (top + 2 * _DEEP_M) / 2
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
    lengths = np.full(_BOXES, length)
    lengths[0] = 50.0 + LEVEL_M
    return np.concatenate([[-50.0], begins]), lengths, np.zeros(_BOXES)


class Steps(Boxes):
    """A staircase along x, `step_height_m` up every `step_length_m`."""

    colours = ((0.45, 0.45, 0.55, 1), (0.6, 0.6, 0.7, 1))
    floor_m = 0.0

    def laws(self) -> dict[str, Distribution]:
        return {
            "step_height_m": Uniform(0.0, 0.1, unit="m", ood=((0.1, 0.15),)),
            "step_length_m": Uniform(0.6, 1.5, unit="m"),
        }

    def boxes(self, values: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        length, number = values["step_length_m"], np.arange(_BOXES)
        return LEVEL_M + number * length, np.full(_BOXES, length), (number + 1) * values["step_height_m"]


class Gaps(Boxes):
    """Ditches across x, `gap_width_m` wide and half a metre deep, between platforms of `platform_length_m`."""

    def laws(self) -> dict[str, Distribution]:
        return {
            "gap_width_m": Uniform(0.05, 0.4, unit="m", ood=((0.4, 0.6),)),
            "platform_length_m": Uniform(1.0, 3.0, unit="m"),
        }

    def boxes(self, values: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        width, length = values["gap_width_m"], values["platform_length_m"]
        return _behind_a_platform(LEVEL_M + width + np.arange(_BOXES - 1) * (length + width), length)


class FrictionPatches(Boxes):
    """Level ground whose sliding friction alternates along x between the floor's and `patch_friction`."""

    colours = ((0.45, 0.5, 0.45, 1), (0.6, 0.75, 0.9, 1))

    def laws(self) -> dict[str, Distribution]:
        return {
            "patch_friction": Uniform(0.05, 0.6, ood=((0.01, 0.05), (0.6, 1.5))),
            "patch_length_m": Uniform(0.5, 2.0, unit="m"),
        }

    def boxes(self, values: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        length = values["patch_length_m"]
        return _behind_a_platform(LEVEL_M + np.arange(_BOXES - 1) * length, length)

    def build(self, spec: mujoco.MjSpec, floor: mujoco.MjsGeom) -> None:
        super().build(spec, floor)
        for number in range(_BOXES):
            # Of two geoms that touch, the rougher decides; a higher priority makes it the ground.
            geom_of(spec, f"floor_box_{number}").priority = 1

    def shape(self, spec: mujoco.MjSpec, values: Values, elevation: Elevation) -> None:
        super().shape(spec, values, elevation)
        for number in range(1, _BOXES, 2):
            geom_of(spec, f"floor_box_{number}").friction[0] = values["patch_friction"]


class HeightField(Terrain):
    """Ground given by its elevation, on a grid; beyond the grid a plane goes on, a little lower."""

    def build(self, spec: mujoco.MjSpec, floor: mujoco.MjsGeom) -> None:
        along, across = (len(axis) for axis in self._grid())
        spec.add_hfield(name="floor_field", nrow=across, ncol=along)
        spec.worldbody.add_geom(
            name="floor_field", type=mujoco.mjtGeom.mjGEOM_HFIELD, hfieldname="floor_field", rgba=(0.5, 0.55, 0.5, 1),
            **_surface(floor),
        )  # fmt: skip

    def shape(self, spec: mujoco.MjSpec, values: Values, elevation: Elevation) -> None:
        along, across = self._grid()
        heights = np.broadcast_to(elevation(along[None, :], across[:, None]), (len(across), len(along)))
        lowest, highest = float(heights.min()), float(heights.max())
        extent = self.extent
        field = next(one for one in spec.hfields if one.name == "floor_field")
        # The compiler scales what is given to the height in `size`, which must not be 0 for level ground either.
        field.userdata = heights.ravel()
        field.size = [(extent.back_m + extent.front_m) / 2, extent.side_m, max(highest - lowest, 1e-6), 0.1]
        geom_of(spec, "floor_field").pos = [(extent.front_m - extent.back_m) / 2, 0, lowest]
        geom_of(spec, "floor").pos = [0, 0, lowest - _SUNK_M]

    def limits(self, name: str) -> tuple[float, float]:
        if name not in ("wave_length_m", "correlation_m"):
            return super().limits(name)
        # Waves shorter than two cells, or longer than the field, are none.
        along, _ = self._grid()
        return round(2 * float(along[1] - along[0]), 9), float(along[-1] - along[0])

    @abstractmethod
    def surface(self, values: Values, digest: str) -> Elevation:
        """Height within the field."""

    def elevation(self, values: Values, digest: str) -> Elevation:
        surface, extent = self.surface(values, digest), self.extent
        known: list[float] = []

        def plane() -> float:
            if not known:
                along, across = self._grid()
                known.append(float(surface(along[None, :], across[:, None]).min()) - _SUNK_M)
            return known[0]

        def of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            heights = surface(x, y)
            outside = (x < -extent.back_m) | (x > extent.front_m) | (np.abs(y) > extent.side_m)
            return np.where(outside, plane(), heights) if outside.any() else heights

        return of

    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Places along x and along y where the field has a height."""
        extent = self.extent
        length = extent.back_m + extent.front_m
        cell = _CELL_M if extent.planar else _WIDE_CELL_M
        along = np.linspace(-extent.back_m, extent.front_m, round(length / cell) + 1)
        count = 2 if extent.planar else round(2 * extent.side_m / cell) + 1
        return along, np.linspace(-extent.side_m, extent.side_m, count)

    def _fade(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """0 around the start, 1 from 2 m on."""
        away = np.abs(x) if self.extent.planar else np.hypot(x, y)
        return np.clip(away - LEVEL_M, 0.0, 1.0)


class Waves(HeightField):
    """Waves across x, `wave_height_m` from bottom to top, `wave_length_m` apart."""

    def laws(self) -> dict[str, Distribution]:
        return {
            "wave_height_m": Uniform(0.0, 0.3, unit="m", ood=((0.3, 0.45),)),
            "wave_length_m": Uniform(1.5, 5.0, unit="m"),
        }

    def surface(self, values: Values, digest: str) -> Elevation:
        height, length = values["wave_height_m"], values["wave_length_m"]

        def of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            wave = (1 - np.cos(2 * np.pi * (x - LEVEL_M) / length)) / 2
            return np.where(x > LEVEL_M, height * wave, 0.0)

        return of


def rough_surface(digest: str, correlation_m: float, planar: bool) -> Elevation:
    """A smooth random surface of mean 0 and deviation about 1, always the same for a digest.

    A sum of cosines with normal wave numbers: its covariance is exp(-distance^2 / (2 correlation_m^2)). Rahimi and
    Recht 2007, random Fourier features.
    """
    rng = np.random.default_rng(int(digest[:16], 16))
    numbers = rng.standard_normal((_WAVES, 2)) / correlation_m
    if planar:
        numbers[:, 1] = 0.0
    phases = rng.uniform(0, 2 * np.pi, _WAVES)

    def of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        along = np.exp(1j * np.multiply.outer(x, numbers[:, 0]))
        across = np.exp(1j * (np.multiply.outer(y, numbers[:, 1]) + phases))
        # cos(a + b) is the real part of a product: of two small matrices where x and y span a grid.
        grid = x.ndim == 2 and x.shape[0] == 1 and y.shape[1] == 1
        product = (across[:, 0] @ along[0].T) if grid else (along * across).sum(-1)
        return np.sqrt(2 / _WAVES) * product.real

    return of


class Rough(HeightField):
    """Random smooth ground: `roughness_m` is its standard deviation, `correlation_m` how far a bump reaches."""

    def laws(self) -> dict[str, Distribution]:
        return {
            "roughness_m": Uniform(0.0, 0.08, unit="m", ood=((0.08, 0.12),)),
            "correlation_m": Uniform(0.6, 1.5, unit="m"),
        }

    def surface(self, values: Values, digest: str) -> Elevation:
        surface = rough_surface(digest, values["correlation_m"], self.extent.planar)
        return lambda x, y: values["roughness_m"] * self._fade(x, y) * surface(x, y)


class Mixed(HeightField):
    """Waves, roughness and steps up and down (every 3 m, over one cell) at once."""

    def laws(self) -> dict[str, Distribution]:
        return {
            "wave_height_m": Uniform(0.0, 0.2, unit="m", ood=((0.2, 0.3),)),
            "wave_length_m": Uniform(1.5, 5.0, unit="m"),
            "roughness_m": Uniform(0.0, 0.05, unit="m", ood=((0.05, 0.08),)),
            "step_height_m": Uniform(0.0, 0.08, unit="m", ood=((0.08, 0.12),)),
        }

    def surface(self, values: Values, digest: str) -> Elevation:
        surface = rough_surface(digest, 0.6, self.extent.planar)
        height, length, step = values["wave_height_m"], values["wave_length_m"], values["step_height_m"]

        def of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            wave = np.where(x > LEVEL_M, (1 - np.cos(2 * np.pi * (x - LEVEL_M) / length)) / 2, 0.0)
            up = np.where((x > LEVEL_M) & (np.mod(np.floor((x - LEVEL_M) / 3.0), 2) == 0), step, 0.0)
            return height * wave + values["roughness_m"] * self._fade(x, y) * surface(x, y) + up

        return of
