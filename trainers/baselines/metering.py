"""Metering: every step that a learner takes on a task is counted, every episode becomes a row.

Rows are *online* if their steps are charged to the budget: what the learner trained on. *Probe* rows are test episodes
of the policy so far, without action noise, on an environment of their own that charges nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from envs.task import Task, TaskFamily
from trainers.runs.rows import ROWS

Act = Callable[[np.ndarray], np.ndarray]  # observations [rows, ...] -> actions [rows, ...], without noise
PROBES = 12  # beside the one before the first step, spread evenly on a logarithmic scale
_FIRST_PROBE = 0.005  # of the budget
_MOST_OVERSPENT = 2  # budgets: the last batch of a learner may go beyond its own


@dataclass
class Meter:
    """Counts environment steps on a task and keeps its episodes.

    Attributes:
        budget: environment steps that may be charged.
        task: index of the task that episodes are of, unless they say another.
        spent: environment steps charged so far.
        episodes: columns of each episode, as in `trainers.runs.rows.ROWS`.
    """

    budget: int
    spent: int = 0
    task: int = 0
    episodes: list[dict[str, Any]] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=lambda: {"online": 0, "probe": 0})

    @property
    def exhausted(self) -> bool:
        """Whether the budget is spent."""
        return self.spent >= self.budget

    def add(
        self,
        charge: str,
        row: int,
        before: int,
        total: float,
        length: int,
        success: bool | None,
        task: int | None = None,
    ) -> None:
        """Keep an episode of a row that began when `before` steps were spent."""
        self.episodes.append(
            {
                "task": self.task if task is None else task,
                "rollout": row,
                "adaptation_step": self._counts[charge],
                "policy": "stochastic" if charge == "online" else "deterministic",
                "charge": charge,
                "env_steps_before": before,
                "env_steps_after": before if charge == "probe" else self.spent,
                "return": total,
                "length": length,
                "success": success,
            }
        )
        self._counts[charge] += charge == "online"

    def problem(self, tasks: Collection[int]) -> str | None:
        """Why its episodes cannot be rows of these tasks, or None."""
        online = [one for one in self.episodes if one["charge"] == "online"]
        if not online and self.spent >= self.budget:
            return f"its budget of {self.budget:,} environment steps ended before its first episode did"
        if not online:
            return "it returned without an episode that its meter kept"
        if self.spent > _MOST_OVERSPENT * self.budget:
            return (
                f"it spent {self.spent:,} of {self.budget:,} environment steps; let it stop when its meter is exhausted"
            )
        for number, one in enumerate(self.episodes):
            if not isinstance(one["return"], (float, int)) or not np.isfinite(one["return"]):
                return f"the return of its episode {number} is {one['return']!r}, no finite number"
            if one["length"] < 1:
                return f"its episode {number} has {one['length']} steps"
            if one["task"] not in tasks:
                return f"its episode {number} is of task {one['task']}, which it was not to play"
        return None

    def probed(self) -> None:
        """The probe episodes since the last call were one probe."""
        self._counts["probe"] += 1

    def of_another_task(self) -> Meter:
        """A meter that counts from 0 and keeps its episodes beside these."""
        return Meter(self.budget, task=self.task, episodes=self.episodes)


class RunningEpisodes:
    """Return, length and success of the episode that runs in each row of an environment.

    Attributes:
        meter: is charged each step and keeps the episodes that end, if there is one.
    """

    def __init__(self, family: TaskFamily, tasks: Sequence[Task], meter: Meter | None = None) -> None:
        """Watch an environment whose row i plays `tasks[i]`."""
        self.meter = meter
        self._tasks, self._has_success = tasks, family.has_success
        rows = len(tasks)
        self._returns, self._lengths = np.zeros(rows), np.zeros(rows, int)
        self._success, self._before = np.zeros(rows, bool), np.zeros(rows, int)

    def begin(self, rows: np.ndarray) -> None:
        """An episode begins in each of these rows, a mask."""
        self._returns[rows], self._lengths[rows], self._success[rows] = 0.0, 0, False
        self._before[rows] = self.meter.spent if self.meter else 0

    def step(self, reward: np.ndarray, info: Mapping[str, Any], moved: np.ndarray) -> None:
        """Add a step of the rows that moved, a mask."""
        self._returns += reward * moved
        self._lengths += moved
        if "success" in info:
            self._success |= info["success"] & moved
        if self.meter:
            self.meter.spent += int(np.count_nonzero(moved))

    def end(self, row: int) -> tuple[float, int, bool | None]:
        """(return, length, success) of the row's episode, which is over; success is None where the family has none."""
        total, length = float(self._returns[row]), int(self._lengths[row])
        success = bool(self._success[row]) if self._has_success else None
        if self.meter:
            self.meter.add("online", row, int(self._before[row]), total, length, success, task=self._tasks[row].index)
        return total, length, success


def probe_steps(budget: int) -> list[int]:
    """When to probe: before the first step, and at 12 points on a logarithmic scale, the last one at the budget."""
    return [0, *sorted({round(budget * share) for share in np.geomspace(_FIRST_PROBE, 1.0, PROBES)})]


def probe(meter: Meter, family: TaskFamily, task: Task, act: Act, episodes: int, seed: int) -> None:
    """One episode in each of `episodes` rows, uncharged; what the resets draw depends on the seed alone."""
    env = family.make_vector_env([task], episodes)
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=rng.integers(2**31, size=episodes).tolist())
    played, moved = RunningEpisodes(family, [task] * episodes), np.ones(episodes, bool)
    for _ in range(family.episode_steps):
        observation, reward, terminated, truncated, info = env.step(act(observation))
        played.step(reward, info, moved)
        moved &= ~(terminated | truncated)
        if not moved.any():
            break
    env.close()
    for row in range(episodes):
        meter.add("probe", row, meter.spent, *played.end(row), task=task.index)
    meter.probed()


class Probes:
    """Probes of a policy on its task, whenever the meter has passed one of `probe_steps`."""

    def __init__(self, meter: Meter, family: TaskFamily, task: Task, episodes: int, seed: int) -> None:
        """Of so many episodes each."""
        self._meter, self._family, self._task, self._episodes, self._seed = meter, family, task, episodes, seed
        self._due = probe_steps(meter.budget)

    def update(self, act: Act) -> None:
        """Probe the policy if that is due."""
        passed = [steps for steps in self._due if steps <= self._meter.spent]
        if passed:
            self._due = self._due[len(passed) :]
            probe(self._meter, self._family, self._task, act, self._episodes, self._seed)


def rows(meter: Meter, tasks: Sequence[Task], columns: Mapping[str, Any]) -> pa.Table:
    """Adaptation rows of what a meter kept; `columns` are those that all rows share."""
    count = len(meter.episodes)
    data: dict[str, Any] = {name: [value] * count for name, value in columns.items()}
    data |= {name: [one[name] for one in meter.episodes] for name in meter.episodes[0]} if count else {}
    by_index = {task.index: json.dumps(task.parameters | task.schedule_to_json()) for task in tasks}
    data["parameters"] = [by_index[one["task"]] for one in meter.episodes]
    data["repeat"], data["segments"] = [0] * count, ["0"] * count
    if not count:
        return ROWS.empty_table()
    return pa.table({name: pa.array(data[name]).cast(ROWS.field(name).type) for name in ROWS.names}, schema=ROWS)
