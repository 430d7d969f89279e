"""Names of a model's bodies, geoms, joints and actuators, and choosing among them by name or wildcard."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import mujoco
import numpy as np

from envs.errors import TaskError
from envs.validation import nearest

_OBJECTS = {
    "body": (mujoco.mjtObj.mjOBJ_BODY, "nbody"),
    "geom": (mujoco.mjtObj.mjOBJ_GEOM, "ngeom"),
    "joint": (mujoco.mjtObj.mjOBJ_JOINT, "njnt"),
    "actuator": (mujoco.mjtObj.mjOBJ_ACTUATOR, "nu"),
    "sensor": (mujoco.mjtObj.mjOBJ_SENSOR, "nsensor"),
    "site": (mujoco.mjtObj.mjOBJ_SITE, "nsite"),
    "keyframe": (mujoco.mjtObj.mjOBJ_KEY, "nkey"),
    "camera": (mujoco.mjtObj.mjOBJ_CAMERA, "ncam"),
}
# What an actuator acts on, by its kind of transmission: an actuator without a name is called by it.
_ACTED_ON = {
    mujoco.mjtTrn.mjTRN_JOINT: mujoco.mjtObj.mjOBJ_JOINT,
    mujoco.mjtTrn.mjTRN_JOINTINPARENT: mujoco.mjtObj.mjOBJ_JOINT,
    mujoco.mjtTrn.mjTRN_TENDON: mujoco.mjtObj.mjOBJ_TENDON,
    mujoco.mjtTrn.mjTRN_SITE: mujoco.mjtObj.mjOBJ_SITE,
    mujoco.mjtTrn.mjTRN_SLIDERCRANK: mujoco.mjtObj.mjOBJ_SITE,
    mujoco.mjtTrn.mjTRN_BODY: mujoco.mjtObj.mjOBJ_BODY,
}


def element_names(model: mujoco.MjModel, kind: str) -> list[str]:
    """Names of all elements of a kind, in the model's order.

    An element without a name is called by its kind and number (body_4), an actuator without one by what it acts on.
    """
    of, count = _OBJECTS[kind]
    names = []
    for number in range(getattr(model, count)):
        name = mujoco.mj_id2name(model, of, number)
        if not name and kind == "actuator":
            transmission = mujoco.mjtTrn(model.actuator_trntype[number])
            name = mujoco.mj_id2name(model, _ACTED_ON[transmission], int(model.actuator_trnid[number, 0]))
        names.append(name or f"{kind}_{number}")
    return names


def choose(model: mujoco.MjModel, kind: str, patterns: Sequence[str]) -> np.ndarray:
    """Numbers of the elements of a kind whose names match any of the patterns, in the model's order.

    A name is matched as it is before it is read as a wildcard, for names may hold brackets. Wildcards never mean the
    world's body or a free joint: in empty space, nothing brakes a body.

    Raises:
        TaskError: a pattern that matches nothing; it names the nearest element.
    """
    names = element_names(model, kind)
    first = 1 if kind == "body" else 0
    free = set(np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE).tolist()) if kind == "joint" else set()
    chosen: set[int] = set()
    for pattern in patterns:
        found = {number for number in range(first, len(names)) if names[number] == pattern}
        found = found or {
            number for number in range(first, len(names)) if number not in free and fnmatchcase(names[number], pattern)
        }
        if not found and pattern == "*" and free:
            raise TaskError("it has no joints but free ones, which no wildcard means; name one")
        if not found:
            known = names[first:]
            raise TaskError(
                f"no {kind} is called {pattern}; " + (nearest(pattern, known) if known else "there is none")
            )
        chosen |= found
    return np.array(sorted(chosen), int)


def tracking_camera(model: mujoco.MjModel) -> str | None:
    """The first camera that follows the robot or looks at it, None if there is none."""
    following = np.flatnonzero(model.cam_mode != mujoco.mjtCamLight.mjCAMLIGHT_FIXED)
    return element_names(model, "camera")[following[0]] if len(following) else None


def find(model: mujoco.MjModel, kind: str, name: str) -> int:
    """The number of the element of this very name; TaskError with the nearest one."""
    names = element_names(model, kind)
    if name not in names:
        raise TaskError(f"no {kind} is called {name}; " + (nearest(name, names) if names else "there is none"))
    return names.index(name)
