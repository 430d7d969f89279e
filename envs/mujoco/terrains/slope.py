"""A slope ahead of level ground."""

from __future__ import annotations

import mujoco
import numpy as np

from envs.distributions import Distribution, Uniform
from envs.mujoco.terrains.base import DEPTH_M, LEVEL_M, Elevation, Terrain, Values, geom_of


class Slope(Terrain):
    """A slope ahead of level ground: `slope_deg` up along x, for robots that can turn along `heading_deg`."""

    def distributions(self) -> dict[str, Distribution]:
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
        half, thick = 40.0, DEPTH_M
        # Both tops meet at the line across the heading, LEVEL_M ahead of the start.
        forward = LEVEL_M + half * np.cos(slope) + thick * np.sin(slope)
        for geom, along, height, quaternion in (
            (level, LEVEL_M - half, -thick, turned),
            (ramp, forward, half * np.sin(slope) - thick * np.cos(slope), both),
        ):
            geom.size = [half, 50.0, thick]
            geom.pos = [along * np.cos(heading), along * np.sin(heading), height]
            geom.quat = quaternion
        geom_of(spec, "floor").pos = [0, 0, -2 * half * abs(np.sin(slope)) - 2 * thick]

    def elevation(self, values: Values, digest: str) -> Elevation:
        slope, heading = np.deg2rad(values["slope_deg"]), np.deg2rad(values.get("heading_deg", 0.0))
        return lambda x, y: np.tan(slope) * np.maximum(np.cos(heading) * x + np.sin(heading) * y - LEVEL_M, 0.0)
