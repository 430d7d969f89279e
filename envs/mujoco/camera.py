"""A camera that draws a robot, without a screen."""

from __future__ import annotations

import ctypes.util
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.mujoco import LIBRARIES, gl_problem, refused_gl

if TYPE_CHECKING:
    from envs.mujoco.arrows import Arrow


class NoCamera(RuntimeError):
    """Nothing can be drawn on this machine; the message names the missing system package."""


def choose_gl() -> None:
    """Choose the OpenGL library that MuJoCo draws with, before it is imported: MUJOCO_GL, a screen, or none.

    Raises:
        NoCamera: neither a screen nor a library for drawing without one.
    """
    wanted, platform = (os.environ.get(name, "") for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM"))
    if problem := refused_gl or gl_problem(wanted, platform):
        raise NoCamera(problem)
    if wanted.lower() in ("disable", "disabled", "off", "false", "0"):
        raise NoCamera(f"MUJOCO_GL is {wanted}, so nothing can be drawn; it is one of egl, glfw, osmesa")
    if wanted or os.environ.get("DISPLAY") or sys.platform == "darwin":
        return
    for name, library in LIBRARIES.items():
        if platform in ("", name) and ctypes.util.find_library(library):
            os.environ["MUJOCO_GL"] = name
            return
    limited = f", as PYOPENGL_PLATFORM is {platform}: unset that, or" if platform else ";"
    raise NoCamera(
        f"there is no screen, and no OpenGL library that draws without one{limited} install one (Debian: apt install "
        "libosmesa6) and set MUJOCO_GL=osmesa"
    )


_LINES = 6  # on either side of the robot


def extent_of(model: Any) -> float:
    """How large a robot is at the pose of its file, m: the span of what is not fixed to the world."""
    import mujoco

    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    moving = np.flatnonzero(model.body_weldid[model.geom_bodyid] != 0)
    if not len(moving):
        return float(model.stat.extent)
    places, reach = data.geom_xpos[moving], model.geom_rbound[moving, None]
    return float(np.ptp(np.concatenate([places - reach, places + reach]), axis=0).max())


class Camera:
    """A camera that follows a robot from the side.

    Args:
        model: MjModel of the robot.
        width, height: of a picture, pixels.
        distance: from the robot, m.
        azimuth_deg, elevation_deg: direction of sight.
        name: of a camera of the model, in the place of all that.

    Raises:
        NoCamera: MuJoCo cannot draw here.
    """

    def __init__(
        self, model: Any, width: int, height: int, *, distance: float = 1.0, azimuth_deg: float = 90.0,
        elevation_deg: float = -12.0, name: str | None = None,
    ) -> None:  # fmt: skip
        choose_gl()
        import mujoco

        self._mujoco, self._model, self._data = mujoco, model, mujoco.MjData(model)
        try:
            self._renderer = mujoco.Renderer(model, height, width)
        except Exception as error:  # OpenGL's own errors are of many classes
            raise NoCamera(
                f"MuJoCo cannot draw here with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')} ({error}); install a "
                "library that draws without a screen (Debian: apt install libosmesa6) and set MUJOCO_GL=osmesa"
            ) from error
        self._camera = mujoco.MjvCamera()
        self._camera.azimuth, self._camera.elevation = azimuth_deg, elevation_deg
        self._camera.distance = distance
        self._name = name
        plain = [
            geom
            for geom in range(model.ngeom)
            if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_PLANE and model.geom_matid[geom] < 0
        ]
        self._floor = plain[0] if plain else None
        # Shadows and mirrors cost a second pass each, and speckle ground made of boxes and fields.
        for effect in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._renderer.scene.flags[effect] = False

    def picture(
        self, qpos: np.ndarray, goal: tuple[float, ...] | None = None, arrows: Sequence[Arrow] = ()
    ) -> np.ndarray:
        """[height, width, 3] uint8, the robot in this pose, a mark at its goal (x, y[, z]), m, and arrows."""
        self._data.qpos[:] = qpos
        self._mujoco.mj_forward(self._model, self._data)
        self._camera.lookat = self._data.subtree_com[1]
        self._renderer.update_scene(self._data, self._camera if self._name is None else self._name)
        if self._floor is not None:
            self._draw_lines(self._floor)
        if goal is not None:
            self._mark(np.array([*goal, 0.0][:3]))
        for arrow in arrows:
            self._draw_arrow(arrow)
        return self._renderer.render()

    def _draw_lines(self, floor: int) -> None:
        """Lines every metre on a floor that has no pattern: without them nothing shows that the robot moves.

        Every 10 cm around a robot that is smaller than that; none beyond the floor's edges.
        """
        unit = 1.0 if self._camera.distance > 1.0 else 0.1
        middle = np.round(self._camera.lookat[:2] / unit) * unit
        centre, size = self._model.geom_pos[floor], self._model.geom_size[floor, :2]
        half = np.where(size > 0, size, np.inf)  # a plane of size 0 has no edge
        low = np.maximum(middle - _LINES * unit, centre[:2] - half)
        high = np.minimum(middle + _LINES * unit, centre[:2] + half)
        thin = 0.01 * unit
        for number in range(-_LINES, _LINES + 1):
            for axis in (0, 1):
                at = middle[axis] + number * unit
                if not low[axis] <= at <= high[axis]:
                    continue
                place, reach = (low + high) / 2, (high - low) / 2
                place[axis], reach[axis] = at, thin
                self._add(
                    self._mujoco.mjtGeom.mjGEOM_BOX, np.array([*reach, 1e-3 * unit]), np.array([*place, centre[2]]),
                    (0.55, 0.57, 0.55, 1.0),
                )  # fmt: skip

    def _add(self, kind: Any, size: np.ndarray, place: np.ndarray, rgba: tuple[float, ...]) -> None:
        scene = self._renderer.scene
        if scene.ngeom < scene.maxgeom:
            geom = scene.geoms[scene.ngeom]
            self._mujoco.mjv_initGeom(geom, kind, size, place, np.eye(3).ravel(), np.array(rgba, np.float32))
            scene.ngeom += 1

    def _draw_arrow(self, arrow: Arrow) -> None:
        scene = self._renderer.scene
        self._add(self._mujoco.mjtGeom.mjGEOM_ARROW, np.full(3, 0.02), arrow.place, arrow.rgba)
        self._mujoco.mjv_connector(
            scene.geoms[scene.ngeom - 1], self._mujoco.mjtGeom.mjGEOM_ARROW, 0.018, arrow.place,
            arrow.place + arrow.vector,
        )  # fmt: skip

    def _mark(self, place: np.ndarray) -> None:
        size = np.full(3, 0.014 * self._camera.distance)
        self._add(self._mujoco.mjtGeom.mjGEOM_SPHERE, size, place, (0.85, 0.2, 0.15, 1.0))
