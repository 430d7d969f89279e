"""A robot without what is only seen: meshes that nothing touches, and textures.

They are most of a model's memory and of the time that it takes to compile, and every task that changes the body or the
ground has a model of its own. Masses and inertias stay as the whole model has them, to the last bit; so do the names
and the order of what is left.
"""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np

from envs.mujoco.elements import element_names

_SMALL = 1_000_000  # bytes of meshes and textures below which a model stays as it is


def lighten(spec: mujoco.MjSpec, model: mujoco.MjModel) -> bool:
    """Take away what no motion depends on; returns whether there was anything to take away.

    Args:
        spec: is changed; compile it anew.
        model: what it compiles to.
    """
    heavy = model.nmeshvert * 3 * 4 + model.nmeshface * 3 * 4 + model.ntexdata
    sees = mujoco.mjtSensor.mjSENS_RANGEFINDER in model.sensor_type  # a ray meets what nothing touches, too
    if heavy < _SMALL or sees:
        return False
    bodies = list(_depth_first(spec.worldbody))
    for number, body in enumerate(bodies):
        if number and model.body_mass[number] > 0:
            body.explicitinertial = True
            body.fullinertia = [np.nan, 0, 0, 0, 0, 0]  # undefined: the diagonal one below is the same
            body.mass, body.inertia = model.body_mass[number], model.body_inertia[number]
            body.ipos, body.iquat = model.body_ipos[number], model.body_iquat[number]
    spec.compiler.inertiafromgeom = False
    _take_geoms(spec, model, bodies)
    used = {geom.meshname for body in bodies for geom in body.geoms if geom.meshname}
    for mesh in list(spec.meshes):
        if mesh.name not in used:
            mesh.delete()
    for texture in spec.textures:
        texture.file, texture.cubefiles = "", [""] * len(texture.cubefiles)
        texture.builtin, texture.width, texture.height = mujoco.mjtBuiltin.mjBUILTIN_FLAT, 1, 1
    return True


def give_sky(spec: mujoco.MjSpec) -> None:
    """A pale sky where a description has none, which would be black."""
    if any(texture.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX for texture in spec.textures):
        return
    spec.add_texture(
        name="acclimate_sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.85, 0.88, 0.92], rgb2=[0.62, 0.68, 0.75], width=64, height=384,
    )  # fmt: skip


def _take_geoms(spec: mujoco.MjSpec, model: mujoco.MjModel, bodies: list[mujoco.MjsBody]) -> None:
    """Delete geoms of meshes that nothing touches, no medium drags and nothing else names."""
    names = element_names(model, "geom")
    touched = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    named = {one for sensor in spec.sensors for one in (sensor.objname, sensor.refname)}
    named |= {one for pair in spec.pairs for one in (pair.geomname1, pair.geomname2)}
    wrapped = np.asarray(model.wrap_type) >= int(mujoco.mjtWrap.mjWRAP_SPHERE)
    named |= {names[number] for number in model.wrap_objid[wrapped].tolist() if number < len(names)}
    first = 0
    for body in bodies:
        geoms = list(body.geoms)
        for number, geom in enumerate(geoms, first):
            dragged = model.geom_fluid[number].any()
            if geom.meshname and not touched[number] and not dragged and names[number] not in named:
                geom.delete()
        first += len(geoms)


def name_geoms(spec: mujoco.MjSpec, model: mujoco.MjModel) -> None:
    """Give geoms without a name the one that they are called by, so that it stays where geoms are taken or added."""
    given = {geom.name for geom in spec.geoms}
    geoms = [geom for body in _depth_first(spec.worldbody) for geom in body.geoms]
    for geom, name in zip(geoms, element_names(model, "geom"), strict=True):
        if not geom.name and name not in given:
            geom.name = name


def _depth_first(body: mujoco.MjsBody) -> Iterator[mujoco.MjsBody]:
    """A body and those that hang from it, in the order of the compiled model."""
    yield body
    for child in body.bodies:
        yield from _depth_first(child)
