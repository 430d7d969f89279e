"""Checks of a described robot, beyond those of every family (`acclimate check`).

All sequences of actions are played side by side from one start, so that whatever differs comes from the task or from
the actions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import mujoco
import numpy as np

from envs.check import TASKS_DIFFER
from envs.distributions import Choice, Distribution, Value
from envs.mujoco.changes import Change
from envs.mujoco.elements import choose, element_names
from envs.mujoco.locomotion import Locomotion
from envs.mujoco.locomotion_env import LocomotionEnv
from envs.mujoco.randomized import Randomized
from envs.task import Task

Check = tuple[str, Callable[[Locomotion], str | None]]
_SEQUENCES = 12  # of actions: one held at each end, the others random, held for 1 to 20 steps
_STEPS = 200  # at most
_PHYSICS_STEPS = 50
_DEEP = 0.1  # of a geom's size: a penetration that throws a robot into the air
_SHALLOW_M = 0.002


@dataclass(frozen=True)
class Played:
    """The sequences of actions on one task.

    Attributes:
        reward: [steps, sequences]; 0 after the end.
        observation: [steps + 1, sequences, O].
        qpos: [steps, sequences, nq].
        alive: [steps, sequences] bool, whether the episode ran when the step began.
        success: [steps, sequences] bool, whether the task's goal was reached; False where the family does not say.
        unstable: [steps, sequences] bool, whether the step could not be computed.
        outcome: [steps, sequences] reward without what the actions themselves cost; 0 after the end.
    """

    reward: np.ndarray
    observation: np.ndarray
    qpos: np.ndarray
    alive: np.ndarray
    success: np.ndarray
    unstable: np.ndarray
    outcome: np.ndarray

    def same_as(self, other: Played, *, but_observation: bool = False) -> bool:
        """Whether both moved, paid and saw the same; `but_observation`: whatever they saw."""
        compared = ("alive", "reward", "qpos") if but_observation else ("alive", "reward", "qpos", "observation")
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in compared)


def checks() -> list[Check]:
    """All of them, by what they say."""

    @cache
    def played(family: Locomotion) -> Played:
        return _play(family, _some_task(family), _sequences(family))

    return [
        ("its start is one that a robot can stand in", _start),
        ("its motion is plain MuJoCo's", _plain_physics),
        ("its simulation is stable", lambda family: _stable(played(family))),
        ("actions matter", lambda family: _actions_matter(played(family))),
        (TASKS_DIFFER, _parameters_matter),
        ("success is no matter of course", lambda family: _success_is_earned(played(family))),
    ]


def _some_task(family: Locomotion, **given: Value) -> Task:
    drawn = family.sample(1, np.random.default_rng(0), "train")[0]
    return family.task(**(drawn.parameters | given))


def _sequences(family: Locomotion) -> np.ndarray:
    """[steps, sequences, nu] in [-1, 1]."""
    steps, rng = min(_STEPS, family.episode_steps), np.random.default_rng(0)
    size = family.base.nu
    found = [np.ones((steps, size)), -np.ones((steps, size))]
    for held in np.linspace(1, min(20, steps), _SEQUENCES - 2).round().astype(int).tolist():
        found.append(rng.uniform(-1, 1, (-(-steps // held), size)).repeat(held, axis=0)[:steps])
    return np.stack(found, axis=1)


def _play(
    family: Locomotion, task: Task, actions: np.ndarray, randomized: Mapping[str, Randomized] | None = None
) -> Played:
    """Every sequence from the same start, until each has ended; `randomized` in place of the family's own."""
    steps, count = actions.shape[:2]
    env = LocomotionEnv(family, [task], count, randomized)
    observation, _ = env.reset(seed=[0] * count)
    running = np.ones(count, bool)
    seen, rewards, places, alive = [observation.copy()], [], [], []
    signals: dict[str, list[np.ndarray]] = {"success": [], "unstable": []}
    outcome = []
    judged = [column for column in range(len(family.reward_terms)) if column not in family.action_costs]
    for step in range(steps):
        observation, reward, terminated, truncated, info = env.step(actions[step])
        for name, values in signals.items():
            values.append(info.get(name, np.zeros(count, bool)) & running)
        rewards.append(np.where(running, reward, 0.0))
        terms = info["reward_terms"][:, judged].sum(1) if family.reward_terms else reward
        outcome.append(np.where(running, terms, 0.0))
        seen.append(np.where(running[:, None], observation, 0.0))
        places.append(np.where(running[:, None], env.simulations.qpos, 0.0))
        alive.append(running.copy())
        running &= ~(terminated | truncated)
        if not running.any():
            break
        if (terminated | truncated).any():
            env.reset(options={"reset_mask": terminated | truncated})
    env.close()
    return Played(
        np.array(rewards),
        np.array(seen),
        np.array(places),
        np.array(alive),
        np.array(signals["success"]),
        np.array(signals["unstable"]),
        np.array(outcome),
    )


def _start(family: Locomotion) -> str | None:
    task = _some_task(family)
    model = family.model(task)
    data = mujoco.MjData(model)
    data.qpos[:] = family.start(model).pose
    mujoco.mj_forward(model, data)
    if outside := _outside_limits(model, data.qpos):
        return outside
    names = element_names(model, "geom")
    for contact in data.contact[: data.ncon]:
        smaller = min(float(model.geom_rbound[geom]) or np.inf for geom in contact.geom)
        if contact.exclude == 0 and -contact.dist > max(_SHALLOW_M, _DEEP * smaller):
            one, other = (names[geom] for geom in contact.geom)
            return (
                f"at the start {one} is {-100 * contact.dist:.1f} cm inside {other}, which throws them apart; move the "
                "start (start.keyframe, start.joints, or the body's pos) or exclude the contact"
            )
    still = _play(family, task, np.zeros((2, 1, model.nu)))
    if len(still.reward) == 1 and family.episode_steps > 1:
        return (
            "every episode ends at its first step, for the start meets a condition of terminate; move the start or the "
            "condition"
        )
    return None


def _outside_limits(model: mujoco.MjModel, pose: np.ndarray) -> str | None:
    """A joint that starts beyond its limits, which throw it back with all their force."""
    plain = np.isin(model.jnt_type, [mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE])
    for joint in np.flatnonzero(plain & model.jnt_limited.astype(bool)).tolist():
        place, (low, high) = float(pose[model.jnt_qposadr[joint]]), model.jnt_range[joint]
        if not low - _DEEP * (high - low) <= place <= high + _DEEP * (high - low):
            name = element_names(model, "joint")[joint]
            return (
                f"joint {name} starts at {place:.3g}, far outside its limits {low:.3g} to "
                f"{high:.3g}, which throw it back; give a start that it can stand in (start.keyframe or start.joints)"
            )
    return None


def _stable(played: Played) -> str | None:
    if not played.unstable.any():
        return None
    return (
        f"the simulation becomes unstable under {int(played.unstable.any(0).sum())} of {_SEQUENCES} sequences of "
        f"actions, first at step {int(np.argmax(played.unstable.any(1)))}; give the model a shorter timestep, "
        'integrator="implicitfast", or motors that are less strong'
    )


def _plain_physics(family: Locomotion) -> str | None:
    task = _some_task(family)
    model = family.model(task)
    env = family.make_vector_env([task], 2)
    env.reset(seed=[0, 1])
    models = env.simulations.models  # of their episodes
    own = [mujoco.MjData(one) for one in models]
    for row, data in enumerate(own):
        data.qpos[:], data.qvel[:] = env.simulations.qpos[row], env.simulations.qvel[row]
        mujoco.mj_forward(models[row], data)
    rng = np.random.default_rng(0)
    for step in range(min(_PHYSICS_STEPS, family.episode_steps)):
        actions = rng.uniform(-1, 1, (2, model.nu))
        controls = env.controls(slice(None), actions)
        if env.disturbances.due(step):
            break
        *_, terminated, truncated, info = env.step(actions)
        if "unstable" in info:
            break  # another check says so
        for row, data in enumerate(own):
            data.ctrl[:] = controls[row]
            mujoco.mj_step(models[row], data, family.robot.frame_skip)
            if not np.allclose(env.simulations.qpos[row], data.qpos, rtol=0, atol=1e-8):
                return f"step {step} is not the one that MuJoCo takes from the same state with the same controls"
        if (terminated | truncated).any():
            break
    return None


def _actions_matter(played: Played) -> str | None:
    together = np.asarray(played.alive.all(1))  # steps that every sequence took
    if np.ptp(played.outcome[together], axis=1).any():
        return None
    if not played.alive.all():
        return None  # some end and some do not
    if np.ptp(played.qpos, axis=1).any():
        return (
            f"but for what actions cost, the reward is the same whatever the robot does ({_SEQUENCES} sequences of "
            f"actions, {len(played.reward)} steps), so nothing can be learned; do its motors move what is rewarded?"
        )
    return f"{_SEQUENCES} sequences of actions moved it alike: do its actuators act on anything?"


def _parameters_matter(family: Locomotion) -> str | None:
    actions = _sequences(family)
    of_ground = set(family.terrain.parameters) if family.terrain is not None else set()
    for name, distribution in family.parameters.items():
        if name in of_ground:
            continue  # is met further on
        low, high = (_play(family, _some_task(family, **{name: end}), actions) for end in distribution.corners)
        if low.same_as(high, but_observation=name in family.observed_parameters):
            return _changes_nothing(name, distribution, _cure(family, family.changes.get(name)))
        friction = name in family.changes and family.changes[name].field == "friction"
        if friction and (problem := _not_where_it_stands(family, name, distribution)):
            return problem
    for name, one in family.randomized.items():
        low, high = (
            _play(
                family,
                _some_task(family),
                actions,
                {**family.randomized, name: replace(one, distribution=Choice((end,)))},
            )
            for end in one.distribution.corners
        )
        if low.same_as(high):
            return _changes_nothing(f"randomize.{name}", one.distribution, _cure(family, one.change))
    return None


def _not_where_it_stands(family: Locomotion, name: str, distribution: Distribution) -> str | None:
    """A friction that none of the contacts has on which the robot stands, though a fall may meet it."""
    if family.robot.height < 0:
        return None  # it stands on nothing
    frictions = []
    for end in distribution.corners:
        env = LocomotionEnv(family, [_some_task(family, **{name: end})], 1)
        env.reset(seed=[0])
        for _ in range(min(_PHYSICS_STEPS, family.episode_steps) // 2):
            env.step(np.zeros((1, family.base.nu)))
        model = env.simulations.models[0]
        data = mujoco.MjData(model)
        data.qpos[:] = env.simulations.qpos[0]
        mujoco.mj_forward(model, data)
        chosen = set(choose(model, "geom", family.changes[name].elements).tolist())
        frictions.append([one.friction[0] for one in data.contact[: data.ncon] if chosen & set(one.geom.tolist())])
    low, high = (set(np.round(values, 9)) for values in frictions)
    if not low or low != high or len(low) > 1:
        return None
    return (
        f"{name} does not act where the robot stands: its contacts there have a friction of {low.pop():g} at both ends "
        f"of the distribution; {_cure(family, family.changes[name])}"
    )


def _success_is_earned(played: Played) -> str | None:
    if played.success[0].all():
        return (
            f"success is reached at the first step, whatever the robot does ({_SEQUENCES} sequences of actions), so it "
            "says nothing; make its condition stricter, or start farther from it"
        )
    return None


def _changes_nothing(name: str, distribution: Distribution, cure: str) -> str:
    low, high = distribution.corners
    return (
        f"{name} changes nothing: at {low} and at {high} the robot moves, sees and is paid the same under {_SEQUENCES} "
        f"sequences of actions; {cure}"
    )


def _cure(family: Locomotion, change: Change | None) -> str:
    model = family.base
    if change is None:
        return (
            "no term of the reward reads it, or to none of these motions does it make a difference; add one that does"
        )
    if change.how == "scale" and not change.values(model).any():
        return "in the model file that is 0, which no factor changes; write how: set, or how: add"
    if change.field == "friction":
        chosen = choose(model, "geom", change.elements)
        others = np.setdiff1d(np.arange(model.ngeom), chosen)
        names = element_names(model, "geom")
        above = [one for one in others.tolist() if model.geom_priority[one] > model.geom_priority[chosen].max()]
        if above:
            return (
                f"in a contact the geom of higher priority decides, such as {names[above[0]]}; change the friction of "
                "that one, or give both the same priority in the model file"
            )
        if model.npair:
            return "contacts of the model's <pair>s have a friction of their own; leave out the pairs"
        return (
            'of two geoms that touch the larger friction counts; give the one that is changed priority="1" in the '
            "model file"
        )
    if change.field in ("wind", "density", "viscosity"):
        return "wind and drag need a medium: give air_density: 1.2"
    return f"do {', '.join(change.elements)} take part in what the robot does? change others, or leave it out"
