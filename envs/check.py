"""The public conformance check of a task family: every finding is a sentence. `acclimate check module:Class`."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from gymnasium.utils.env_checker import check_env

from envs.checked import RAISED, make_checked
from envs.declared import malformed
from envs.errors import TaskError
from envs.leak import leak, leak_of
from envs.signals import STEP_SIGNALS, declared_by
from envs.task import KINDS, SPLITS, Task, TaskFamily
from envs.task_sets import check_disjoint
from envs.trajectories import STEPS, TASKS, Trajectory, fixed_actions, play_once, some_tasks, trajectories

TASKS_DIFFER = "different tasks differ in reward or dynamics"
_ATTEMPTS = 16  # action sequences to tell two tasks apart by


@dataclass(frozen=True)
class Finding:
    """The result of one check; `problem` is None when all is well."""

    check: str
    problem: str | None


def check_task_family(family: TaskFamily) -> list[Finding]:
    """Run every check; one that raises is a finding too, so that all findings of a broken family come at once."""
    checks: dict[str, Callable[[TaskFamily], str | None]] = {
        "it names a version, a horizon and its parameters": _declaration,
        "its splits draw valid tasks, by the generator alone": _splits,
        "tasks are data: JSON and pickle give them back": _plain_data,
        "its environments pass Gymnasium's own checker": _gymnasium,
        "same task, seed and actions give the same trajectory": _repeatable,
        TASKS_DIFFER: _tasks_differ,
        "nothing in observation or info reveals the task": leak,
        "rewards and observations are finite, episodes end at the horizon": _finite,
        "the batched environment is its single ones side by side": _batched,
        "its step signals are those that it declares": _signals,
        "no global random state is touched": _no_global_random,
        "reference returns are in order: blind <= bayes <= oracle": _reference_returns,
    }
    checks |= dict(family.own_checks())  # one of the same name says it better for this kind of family
    findings: list[Finding] = []
    with without_gymnasiums_warnings():
        for name, check in checks.items():
            try:
                problem = check(family)
            except TaskError as error:
                problem = str(error)
            except RAISED as error:  # someone else's code: whatever it raises is the finding
                problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
            findings.append(Finding(name, problem))
    return _each_problem_once(findings)


@contextmanager
def without_gymnasiums_warnings() -> Iterator[None]:
    """No warnings of Gymnasium's: what matters of them is a finding."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*WARN: ")
        yield


def _each_problem_once(findings: Sequence[Finding]) -> list[Finding]:
    """Join checks that stopped at the same problem, however far they had come, to the first of them."""
    first: dict[str, Finding] = {}
    joined: list[Finding] = []
    stopped: dict[str, int] = {}
    for finding in findings:
        key = re.sub(r" \((reset|step \d+ of the episode)?,? ?(task \{.*\})?\)", "", finding.problem or "")
        if key and key in first:
            stopped[key] = stopped.get(key, 0) + 1
            continue
        if key:
            first[key] = finding
        joined.append(finding)
    for key, more in stopped.items():
        at = joined.index(first[key])
        others = f"{more} more check{'s' if more > 1 else ''}"
        joined[at] = replace(first[key], problem=f"{first[key].problem} ({others} stopped at the same)")
    return joined


def check_no_leak(family: TaskFamily) -> None:
    """Raise TaskError if observation or info reveals the task, or a number in the first episodes is not finite.

    Cheap enough to run before every training.
    """
    tasks = some_tasks(family)
    played = trajectories(family, tasks)
    for task, trajectory in zip(tasks, played, strict=True):
        for name, values in (("reward", trajectory.reward), ("observation", trajectory.observation)):
            finite = np.isfinite(values)
            if not finite.all():
                raise TaskError(
                    f"{family.name}: the {name} of task {task.parameters} is {values[~finite][0]} at step "
                    f"{int(np.argwhere(~finite)[0][0])} of the episode; give finite numbers"
                )
    if problem := leak_of(family, tasks, played):
        raise TaskError(f"{family.name} leaks its task: {problem}")


# -- the checks


def _declaration(family: TaskFamily) -> str | None:
    if family.kind not in KINDS:
        return f"its kind is {family.kind!r}, not one of {', '.join(KINDS)}"
    if wrong := malformed(family):
        return f"it {wrong}"
    stem, dash, number = family.name.rpartition("-v")
    if not (stem and dash and number.isdigit()):
        return f"its name {family.name!r} has no version; call it {family.name}-v1"
    if not family.parameters:
        return "it has no task parameters, so all its tasks are one; declare `parameters`"
    return None


def _splits(family: TaskFamily) -> str | None:
    sets = []
    for split in SPLITS:
        if split == "ood" and not family.has_ood:
            continue
        first, again = (family.sample(TASKS, np.random.default_rng(7), split) for _ in range(2))
        if first != again:
            return f"two generators with the same seed gave different {split} tasks; draw from `rng` alone"
        for task in first:
            family.check_task(task)
        if split != "ood":
            sets.append(family.task_set(split, TASKS, 0))
    check_disjoint(family.kind, sets)
    return None


def _plain_data(family: TaskFamily) -> str | None:
    for task in some_tasks(family):
        if Task.from_json(task.to_json()) != task or pickle.loads(pickle.dumps(task)) != task:
            return f"task {task.parameters} does not survive JSON and pickle"
    pickle.loads(pickle.dumps(family))
    return None


def _gymnasium(family: TaskFamily) -> str | None:
    env = make_checked(family.make_env, some_tasks(family)[0])
    check_env(env.unwrapped, skip_render_check=True)
    env.close()
    return None


def _repeatable(family: TaskFamily) -> str | None:
    tasks = some_tasks(family)
    for task, first, again in zip(tasks, trajectories(family, tasks), trajectories(family, tasks), strict=True):
        same = zip((first.observation, first.reward), (again.observation, again.reward), strict=True)
        if not all(np.array_equal(one, other, equal_nan=True) for one, other in same):
            return f"task {task.parameters} played twice with one seed and the same actions went two ways"
    return None


def _tasks_differ(family: TaskFamily) -> str | None:
    if not family.differs_at_once:
        return None
    tasks = some_tasks(family)
    alike = {(i, j) for j in range(len(tasks)) for i in range(j)}
    played: list[Trajectory] = []
    for attempt in range(_ATTEMPTS):
        # Later attempts hold one action: random ones stay near the start, where a sparse reward may be silent.
        actions = fixed_actions(family.action_space, min(STEPS, family.episode_steps), 1, seed=attempt)[:, 0]
        if attempt:
            actions = np.repeat(actions[:1], len(actions), axis=0)
        played = [play_once(family, task, actions) for task in tasks]
        alike = {(i, j) for i, j in alike if _same(played[i], played[j])}
        if not alike:
            return None
    first, second = min(alike)
    return (
        f"tasks {tasks[first].parameters} and {tasks[second].parameters} gave the same rewards and observations for "
        f"{len(played[first].reward)} steps: do the parameters reach the simulator?"
    )


def _same(one: Trajectory, other: Trajectory) -> bool:
    return (
        np.array_equal(one.reward, other.reward)
        and np.array_equal(one.observation, other.observation)
        and str(one.infos) == str(other.infos)
    )


def _finite(family: TaskFamily) -> str | None:
    tasks = some_tasks(family)
    env = family.make_vector_env(tasks, 1)
    actions = fixed_actions(family.action_space, family.episode_steps, len(tasks))
    env.reset(seed=list(range(len(tasks))))  # type: ignore[arg-type]
    ended = np.zeros(len(tasks), bool)
    for step, action in enumerate(actions):
        observation, reward, terminated, truncated, _ = env.step(action)
        for name, values in (("reward", reward), ("observation", observation)):
            if not np.isfinite(values).all():
                return f"the {name} of task {tasks[_first_bad(values)].parameters} is not finite at step {step}"
        ended |= terminated | truncated
    env.close()
    if not ended.all():
        return f"an episode was still running after the {family.episode_steps} steps of its horizon"
    return None


def _first_bad(values: np.ndarray) -> int:
    return int(np.argwhere(~np.isfinite(values))[0][0])


def _batched(family: TaskFamily) -> str | None:
    tasks = some_tasks(family, 3)
    rows, steps = 2, min(STEPS, family.episode_steps)
    actions = fixed_actions(family.action_space, steps, len(tasks) * rows)
    batched = family.make_vector_env(tasks, rows)
    if batched.num_envs != len(tasks) * rows:
        return f"make_vector_env({len(tasks)} tasks, {rows} rows) has {batched.num_envs} rows"
    seeds = list(range(100, 100 + batched.num_envs))
    observation, _ = batched.reset(seed=seeds)  # type: ignore[arg-type]
    observations, rewards = [observation], []
    for action in actions:
        observation, reward, *_ = batched.step(action)
        observations.append(observation)
        rewards.append(reward)
    batched.close()
    for row, seed in enumerate(seeds):
        task = tasks[row // rows]
        alone = play_once(family, task, actions[:, row], seed)
        length = len(alone.reward)
        together = np.array(observations)[: length + 1, row]
        if not (
            np.allclose(together, alone.observation, rtol=1e-5, atol=1e-6, equal_nan=True)
            and np.allclose(np.array(rewards)[:length, row], alone.reward, rtol=1e-5, atol=1e-6, equal_nan=True)
        ):
            return f"row {row} of the batched environment and a single one of task {task.parameters} part ways"
    return None


def _signals(family: TaskFamily) -> str | None:
    tasks = some_tasks(family, 2)
    env = family.make_vector_env(tasks, 1)
    env.reset(seed=list(range(len(tasks))))  # type: ignore[arg-type]
    declared = declared_by(family)
    for action in fixed_actions(family.action_space, min(STEPS, family.episode_steps), len(tasks)):
        *_, terminated, truncated, info = env.step(action)
        for name, signal in STEP_SIGNALS.items():
            if name not in info:
                if name in declared:
                    return f"it declares {name} by `{signal.declared_by}`, but a step info lacks it"
                continue
            if signal.declared_by and name not in declared:
                return f"the step info holds {name}; declare it by `{signal.declared_by}`, or leave it out"
            shape = (len(tasks), *(len(family.reward_terms) for _ in signal.axes))
            if np.shape(info[name]) != shape or not np.can_cast(info[name].dtype, signal.dtype, "same_kind"):
                return f"the step info {name} is {_kind_of(info[name])}, not {signal.dtype.__name__} of shape {shape}"
        if (terminated | truncated).all():
            break
    env.close()
    return None


def _kind_of(values: np.ndarray) -> str:
    return f"{values.dtype} of shape {values.shape}"


def _no_global_random(family: TaskFamily) -> str | None:
    before = _global_state()
    trajectories(family, some_tasks(family, 2))
    family.sample(3, np.random.default_rng(0), "train")
    if before != _global_state():
        return "it draws from NumPy's global generator; use the environment's np_random and the rng it is given"
    return None


def _global_state() -> str:
    state = np.random.get_state(legacy=False)  # noqa: NPY002
    return repr([np.asarray(state["state"]["key"]).tobytes(), state["state"]["pos"]])


def _reference_returns(family: TaskFamily) -> str | None:
    for task in some_tasks(family):
        known = family.reference_returns(task)
        ordered = [known[name] for name in ("blind", "bayes", "oracle") if name in known]
        if ordered != sorted(ordered):
            return f"the reference returns of task {task.parameters} are out of order: {known}"
    return None
