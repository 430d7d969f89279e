"""The parts of a described family that are not terms: where it starts, its ground, what is drawn, what befalls it."""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from envs.distributions import Distribution
from envs.errors import TaskError
from envs.mujoco.changes import Change
from envs.mujoco.description import Description
from envs.mujoco.disturbances import Pull, Push
from envs.mujoco.drawn import ModelParameter, TaskParameter
from envs.mujoco.elements import choose, find
from envs.mujoco.locomotion_env import ACTION_DELAY, DELAY
from envs.mujoco.model_fields import FIELDS
from envs.mujoco.randomized import Randomized
from envs.mujoco.robot_base import RobotBase
from envs.mujoco.terrains import TERRAINS
from envs.mujoco.terrains.base import SQUARE, STRIP, Terrain


def start_pose(description: Description, model: mujoco.MjModel) -> np.ndarray:
    """[nq]: the keyframe, or the model's own pose, with the joints that are named elsewhere."""
    start, pose = description.start, model.qpos0.copy()
    for pattern in description.reset.joints:
        choose(model, "joint", (pattern,))
    if start.keyframe is not None:
        pose = model.key_qpos[find(model, "keyframe", start.keyframe)].copy()
    for name, place in start.joints.items():
        joint = find(model, "joint", name)
        if model.jnt_type[joint] not in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE):
            raise TaskError(f"start.joints: {name} is a free or a ball joint, which no number places; use a keyframe")
        low, high = model.jnt_range[joint]
        if model.jnt_limited[joint] and not low <= place <= high:
            raise TaskError(f"start.joints: {name} starts at {place:g}, outside its limits {low:g} to {high:g}")
        pose[model.jnt_qposadr[joint]] = place
    return pose


def frame_skip(control_dt_s: float, model: mujoco.MjModel) -> int:
    """Physics steps of a control step."""
    steps = control_dt_s / model.opt.timestep
    if abs(steps - round(steps)) > 1e-6 or round(steps) < 1:
        raise TaskError(
            f"control_dt_s is {control_dt_s:g} s, no multiple of the model's physics step of "
            f"{model.opt.timestep:g} s; change one of them"
        )
    return round(steps)


def terrain_of(description: Description, base: RobotBase) -> Terrain | None:
    """The ground, None for the plane of the model file."""
    if description.terrain is None:
        return None
    if base.x is None or base.z is None:
        raise TaskError("a terrain is for robots whose base moves along x and up; leave it out")
    given = {name: spec.distribution(()) for name, spec in description.terrain.distributions.items()}
    return TERRAINS[description.terrain.kind](STRIP if base.planar else SQUARE, **given)


def commands_of(parameters: Mapping[str, ModelParameter]) -> dict[str, tuple[str, int]]:
    """By command, the parameter that gives it and its number of entries."""
    commands: dict[str, tuple[str, int]] = {}
    for name, parameter in parameters.items():
        if parameter.command in commands:
            first = commands[parameter.command][0]
            raise TaskError(f"{name} and {first} both command a {parameter.command}; keep one")
        if parameter.command:
            commands[parameter.command] = name, parameter.entries or 1
    return commands


def changes_of(parameters: Mapping[str, ModelParameter]) -> dict[str, Change]:
    """The changes of the model among them, by name."""
    return {
        name: Change(parameter.change, parameter.how, parameter.elements, parameter.inertia_follows)
        for name, parameter in parameters.items()
        if parameter.change
    }


def distributions_of(
    parameters: Mapping[str, ModelParameter], model: mujoco.MjModel, terrain: Terrain | None
) -> dict[str, Distribution]:
    """The distribution of each, with the shape that its change or command takes."""
    distributions = {}
    for name, parameter in parameters.items():
        shape: tuple[int, ...] = (parameter.entries,) if parameter.entries else ()
        if parameter.change and parameter.each:
            if terrain is not None and parameter.change in FIELDS and FIELDS[parameter.change].kind == "geom":
                raise TaskError(
                    f"{name}: on a terrain, {parameter.change} is changed for all geoms alike; leave out each"
                )
            shape = (Change(parameter.change, parameter.how, parameter.elements).size(model),)
        try:
            distributions[name] = parameter.distribution(shape)
        except TaskError as error:
            raise TaskError(f"{name}: {error}") from error
    return distributions


def refuse_misnamed_delays(parameters: Mapping[str, TaskParameter], randomized: Mapping[str, ModelParameter]) -> None:
    """TaskError where a delay is not called by its own name, or another parameter is."""
    if taken := {DELAY, ACTION_DELAY} & set(randomized):
        raise TaskError(f"randomize.{min(taken)}: that is the name of a delay, which a task has; rename it")
    for name, parameter in parameters.items():
        for what, own in (("sensor_delay", DELAY), ("action_delay", ACTION_DELAY)):
            if getattr(parameter, what) != (name == own):
                raise TaskError(f"a parameter with {what} is called {own}, and no other is; rename {name}")


def refuse_taken_names(description: Description, terrain: Terrain | None) -> None:
    """TaskError where something else is called as a parameter of the ground."""
    own = {*(description.tasks or {}), *description.randomize}
    if terrain is not None and (taken := own & set(terrain.parameters)):
        raise TaskError(f"{min(taken)} is a parameter of the ground {description.terrain.kind}; rename it")  # type: ignore[union-attr]


def randomized_of(description: Description, model: mujoco.MjModel, terrain: Terrain | None) -> dict[str, Randomized]:
    """The values that are drawn for every episode, by name."""
    changes = changes_of(description.randomize)
    return {
        name: Randomized(
            distribution,
            changes.get(name),
            _steps(f"randomize.{name}.every_s", every, description)
            if (every := description.randomize[name].every_s)
            else None,
        )
        for name, distribution in distributions_of(description.randomize, model, terrain).items()
    }


def _steps(key: str, seconds: float, description: Description) -> int:
    """Control steps in so many seconds; TaskError for less than one."""
    steps = round(seconds / description.control_dt_s)
    if steps < 1:
        raise TaskError(f"{key} is {seconds:g} s, less than a control step; make it longer")
    if steps >= description.episode_steps:
        whole = description.episode_steps * description.control_dt_s
        raise TaskError(f"{key} is {seconds:g} s, and an episode {whole:g} s, so that it never comes; make it shorter")
    if abs(steps - seconds / description.control_dt_s) > 1e-6 * steps:
        raise TaskError(
            f"{key} is {seconds:g} s, no multiple of the control step of {description.control_dt_s:g} s; "
            f"{steps * description.control_dt_s:g} s is the nearest"
        )
    return steps


def push_of(description: Description, base: RobotBase) -> Push | None:
    """The pushes, None for none."""
    spec = description.pushes
    if spec is None:
        return None
    if base.x is None:
        raise TaskError("pushes are for robots whose base moves; leave them out")
    entries = tuple(entry for entry in base.in_plane if entry is not None)
    return Push(_steps("pushes.every_s", spec.every_s, description), spec.speed_m_per_s, entries)


def pull_of(description: Description, model: mujoco.MjModel, base: RobotBase) -> Pull | None:
    """The forces, None for none."""
    spec = description.forces
    if spec is None:
        return None
    if spec.of is None and base.body is None:
        raise TaskError("forces act on the base, which this robot has not; name a body with `of`")
    body = base.body if spec.of is None else find(model, "body", spec.of)
    assert body is not None
    if not model.body_weldid[body]:
        raise TaskError(f"forces.of is {spec.of}, which is fixed to the world, so that no force moves it; name another")
    every, steps = (_steps(f"forces.{key}", getattr(spec, key), description) for key in ("every_s", "for_s"))
    return Pull(every, steps, spec.force_n, body, 1 if base.x is not None and base.y is None else 2)


def senses_forces(description: Description) -> bool:
    """Whether the first observation tells what the body is like, as a force sensor's first reading does."""
    observed = {one.term for one in description.observe}
    changed = any(parameter.change for parameter in (description.tasks or {}).values())
    return changed and bool(observed & {"sensors", "sensor", "contact_forces"})
