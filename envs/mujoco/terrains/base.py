"""Ground as a task parameter: the base of all terrains.

Planes and boxes where they serve, for they cost nearly nothing; a height field where the surface needs one, which
halves the speed. The ground of every task of a family is made of the same parts, of other sizes and heights, so that
models of all tasks can be stepped in one batch. Each task's model is compiled: MuJoCo's trees of bounding boxes would
be stale in a model whose geoms were moved afterwards. Every terrain is level within a metre of the start, so that a
first observation does not depend on the task. All geoms of a ground are called `floor` or `floor_...`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import mujoco
import numpy as np

from envs.distributions import Distribution
from envs.errors import TaskError

Elevation = Callable[[np.ndarray, np.ndarray], np.ndarray]
Values = Mapping[str, float]

LEVEL_M = 1.0  # from the start to where a terrain begins
DEPTH_M = 0.5  # of boxes, and of ditches


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


# The smallest and the largest value that a ground can be shaped with.
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
    """A kind of ground. `parameters` are its task parameters with their distributions."""

    def __init__(self, extent: Extent, **distributions: Distribution) -> None:
        self.extent = extent
        default = self.distributions()
        if unknown := set(distributions) - set(default):
            raise TaskError(f"{type(self).__name__} has no parameter {min(unknown)}; it has {', '.join(default)}")
        self.parameters: dict[str, Distribution] = default | distributions
        for name, distribution in self.parameters.items():
            low, high = self.limits(name)
            if outside := [value for value in distribution.extremes if not low <= value <= high]:
                raise TaskError(
                    f"{name} goes to {outside[0]:g}, but this ground can be shaped from {low:g} to {high:g} only; "
                    "narrow its distribution"
                )

    def limits(self, name: str) -> tuple[float, float]:
        """Between which values a parameter must stay."""
        return LIMITS[name]

    @abstractmethod
    def distributions(self) -> dict[str, Distribution]:
        """The default distribution of each task parameter."""

    @abstractmethod
    def build(self, spec: mujoco.MjSpec, floor: mujoco.MjsGeom) -> None:
        """Add the parts of the ground to the robot's description; `floor` is the plane that it stands on."""

    @abstractmethod
    def shape(self, spec: mujoco.MjSpec, values: Values, elevation: Elevation) -> None:
        """Give the parts that `build` added this task's shape; the shape of an earlier task is overwritten."""

    @abstractmethod
    def elevation(self, values: Values, digest: str) -> Elevation:
        """Height of the ground, m, at x [...], y [...], m; `digest` is the seed of its random parts."""

    def _box(self, spec: mujoco.MjSpec, floor: mujoco.MjsGeom, name: str, rgba: tuple[float, ...]) -> None:
        """A box of ground, as rough and as hard as the floor; `shape` gives it its place."""
        spec.worldbody.add_geom(
            name=name, type=mujoco.mjtGeom.mjGEOM_BOX, size=[1, 1, 1], rgba=rgba, **surface_of(floor)
        )  # fmt: skip


@contextmanager
def raised(spec: mujoco.MjSpec, by: float) -> Iterator[None]:
    """All geoms of the ground higher by so many m, while it is compiled."""
    ground = [geom for geom in spec.worldbody.geoms if by and geom.name.startswith("floor")]
    places = [np.array(geom.pos) for geom in ground]
    for geom, place in zip(ground, places, strict=True):
        geom.pos = place + np.array([0.0, 0.0, by])
    try:
        yield
    finally:
        for geom, place in zip(ground, places, strict=True):
            geom.pos = place


def geom_of(spec: mujoco.MjSpec, name: str) -> mujoco.MjsGeom:
    """A geom of the world by name, also before the description is compiled."""
    return next(geom for geom in spec.worldbody.geoms if geom.name == name)


def surface_of(floor: mujoco.MjsGeom) -> dict[str, object]:
    """Friction, contact parameters and contact filters of a geom, for other geoms of the same ground."""
    return {
        name: np.array(value) if isinstance(value := getattr(floor, name), np.ndarray) else value
        for name in ("friction", "solref", "solimp", "condim", "contype", "conaffinity", "margin", "priority")
    }
