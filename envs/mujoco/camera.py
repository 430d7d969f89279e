"""Pictures of a robot, without a screen."""

from __future__ import annotations

import ctypes.util
import os
import sys

import numpy as np

_LIBRARIES = {"osmesa": "OSMesa", "egl": "EGL"}


class NoCamera(RuntimeError):
    """Nothing can be drawn on this machine; the message names the missing system package."""


def choose_gl() -> None:
    """Decides how MuJoCo draws, before it is imported: as MUJOCO_GL says, on a screen, else without one.

    Raises:
        NoCamera: neither a screen nor a library for drawing without one.
    """
    if "MUJOCO_GL" in os.environ or os.environ.get("DISPLAY") or sys.platform == "darwin":
        return
    for name, library in _LIBRARIES.items():
        if ctypes.util.find_library(library):
            os.environ["MUJOCO_GL"] = name
            return
    raise NoCamera(
        "there is no screen, and no OpenGL library that draws without one; install one (Debian: apt install libosmesa6) "
        "and set MUJOCO_GL=osmesa"
    )


class Camera:
    """Follows a robot from the side.

    Args:
        model: MjModel of the robot.
        width, height: of a picture, pixels.
        distance: from the robot, in extents of the model's initial pose.
        azimuth_deg, elevation_deg: direction of sight.

    Raises:
        NoCamera: MuJoCo cannot draw here.
    """

    def __init__(
        self, model: object, width: int, height: int, *, distance: float = 1.0, azimuth_deg: float = 90.0,
        elevation_deg: float = -12.0,
    ) -> None:  # fmt: skip
        choose_gl()
        import mujoco

        self._mujoco, self._model, self._data = mujoco, model, mujoco.MjData(model)
        try:
            self._renderer = mujoco.Renderer(model, height, width)
        except Exception as error:  # OpenGL's own errors are of many classes
            raise NoCamera(
                f"MuJoCo cannot draw here with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')} ({error}); install a library "
                "that draws without a screen (Debian: apt install libosmesa6) and set MUJOCO_GL=osmesa"
            ) from error
        self._camera = mujoco.MjvCamera()
        self._camera.azimuth, self._camera.elevation = azimuth_deg, elevation_deg
        self._camera.distance = distance

    def picture(self, qpos: np.ndarray) -> np.ndarray:
        """[height, width, 3] uint8, the robot in this pose."""
        self._data.qpos[:] = qpos
        self._mujoco.mj_forward(self._model, self._data)
        self._camera.lookat = self._data.subtree_com[1]
        self._renderer.update_scene(self._data, self._camera)
        return self._renderer.render()

    def close(self) -> None:
        self._renderer.close()
