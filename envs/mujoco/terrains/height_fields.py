"""Grounds given by their elevation on a grid: waves, roughness, and both with steps."""

from __future__ import annotations

from abc import abstractmethod

import mujoco
import numpy as np

from envs.distributions import Distribution, Uniform
from envs.mujoco.terrains.base import LEVEL_M, Elevation, Terrain, Values, geom_of, surface_of

SUNK_M = 0.05  # how far below a height field the plane lies that goes on beyond its border
CELL_M = 0.2  # of a strip for planar robots
WIDE_CELL_M = 0.3  # of a field
COSINES = 64  # that a rough ground is made of


class HeightField(Terrain):
    """Ground given by its elevation, on a grid; beyond the grid a plane goes on, a little lower."""

    def build(self, spec: mujoco.MjSpec, floor: mujoco.MjsGeom) -> None:
        along, across = (len(axis) for axis in self._grid())
        spec.add_hfield(name="floor_field", nrow=across, ncol=along)
        spec.worldbody.add_geom(
            name="floor_field", type=mujoco.mjtGeom.mjGEOM_HFIELD, hfieldname="floor_field", rgba=(0.5, 0.55, 0.5, 1),
            **surface_of(floor),
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
        geom_of(spec, "floor").pos = [0, 0, lowest - SUNK_M]

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
                known.append(float(surface(along[None, :], across[:, None]).min()) - SUNK_M)
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
        cell = CELL_M if extent.planar else WIDE_CELL_M
        along = np.linspace(-extent.back_m, extent.front_m, round(length / cell) + 1)
        count = 2 if extent.planar else round(2 * extent.side_m / cell) + 1
        return along, np.linspace(-extent.side_m, extent.side_m, count)

    def _fade(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """0 around the start, 1 from 2 m on."""
        away = np.abs(x) if self.extent.planar else np.hypot(x, y)
        return np.clip(away - LEVEL_M, 0.0, 1.0)


class Waves(HeightField):
    """Waves across x, `wave_height_m` from bottom to top, `wave_length_m` apart."""

    def distributions(self) -> dict[str, Distribution]:
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
    numbers = rng.standard_normal((COSINES, 2)) / correlation_m
    if planar:
        numbers[:, 1] = 0.0
    phases = rng.uniform(0, 2 * np.pi, COSINES)

    def of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        along = np.exp(1j * np.multiply.outer(x, numbers[:, 0]))
        across = np.exp(1j * (np.multiply.outer(y, numbers[:, 1]) + phases))
        # cos(a + b) is the real part of a product: of two small matrices where x and y span a grid.
        grid = x.ndim == 2 and x.shape[0] == 1 and y.shape[1] == 1
        product = (across[:, 0] @ along[0].T) if grid else (along * across).sum(-1)
        return np.sqrt(2 / COSINES) * product.real

    return of


class Rough(HeightField):
    """Random smooth ground: `roughness_m` is its standard deviation, `correlation_m` how far a bump reaches."""

    def distributions(self) -> dict[str, Distribution]:
        return {
            "roughness_m": Uniform(0.0, 0.08, unit="m", ood=((0.08, 0.12),)),
            "correlation_m": Uniform(0.6, 1.5, unit="m"),
        }

    def surface(self, values: Values, digest: str) -> Elevation:
        surface = rough_surface(digest, values["correlation_m"], self.extent.planar)
        return lambda x, y: values["roughness_m"] * self._fade(x, y) * surface(x, y)


class Mixed(HeightField):
    """Waves, roughness and steps up and down (every 3 m, over one cell) at once."""

    def distributions(self) -> dict[str, Distribution]:
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
