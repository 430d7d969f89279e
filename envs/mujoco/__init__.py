"""Batched MuJoCo: many rows, each a robot with a body of its own, stepped by one call into C.

MuJoCo loads OpenGL when it is imported, as MUJOCO_GL says, and cannot be imported where that fails. Motion needs no
OpenGL, so a value that would fail is set aside here, before anything imports MuJoCo, and named by whoever draws.
"""

from __future__ import annotations

import ctypes.util
import os

LIBRARIES = {"osmesa": "OSMesa", "egl": "EGL"}  # that draw without a screen, by their names in MUJOCO_GL


def gl_problem(wanted: str, platform: str) -> str | None:
    """Why MuJoCo could not be imported with these values of MUJOCO_GL and PYOPENGL_PLATFORM; None if it could."""
    wanted = wanted.lower().strip()
    if wanted in LIBRARIES:
        if platform not in ("", wanted):
            return f"MUJOCO_GL is {wanted}, but PYOPENGL_PLATFORM is {platform}; unset PYOPENGL_PLATFORM"
        if not ctypes.util.find_library(LIBRARIES[wanted]):
            return f"MUJOCO_GL is {wanted}, but the library {LIBRARIES[wanted]} is not installed; install or unset it"
    elif wanted not in ("", "glfw", "glx", "cgl", "disable", "disabled", "off", "false", "0"):
        return f"MUJOCO_GL is {wanted}; it is one of egl, glfw, osmesa"
    return None


refused_gl = gl_problem(os.environ.get("MUJOCO_GL", ""), os.environ.get("PYOPENGL_PLATFORM", ""))
if refused_gl:
    os.environ["MUJOCO_GL"] = "disabled"
