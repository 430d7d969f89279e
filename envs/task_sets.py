"""Stored task sets: reading them with every task checked, and the check that splits do not leak into each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from envs.errors import TaskError
from envs.task import SPLITS, Kind, Task, TaskFamily, TaskSet
from envs.yaml_text import load_json


def load_task_set(path: Path, family: TaskFamily) -> TaskSet:
    """Read the task set in a JSON file.

    Raises:
        TaskError: the file holds no task set, a task is not one of the family, or the hash in the file is not that of
            its tasks.
    """
    try:
        if not path.is_file():
            raise OSError("it is no file")
        data = load_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TaskError(f"{path} is not a task set: {error}") from error
    if isinstance(data, Mapping) and "tasks" not in data and "hash" in data:
        return _draw_again(path, data, family)
    if not isinstance(data, Mapping) or not isinstance(data.get("tasks"), list) or not data["tasks"]:
        raise TaskError(f"{path} is not a task set: it needs a non-empty list under the key tasks")
    name = data.get("family", family.name)
    tasks = [_task_of_entry(name, entry, index) for index, entry in enumerate(data["tasks"])]
    for task in tasks:
        try:
            family.check_task(task)
        except TaskError as error:
            raise TaskError(f"{path}: {error}") from error
    task_set = TaskSet(name, str(data.get("split", path.stem)), tuple(tasks), data.get("seed"))
    if data.get("hash", task_set.digest) != task_set.digest:
        raise TaskError(
            f"{path} was changed: its tasks hash to {task_set.digest}, not {data['hash']}; "
            "take the original file, or delete its hash to make it a set of its own"
        )
    return task_set


def _draw_again(path: Path, data: Mapping[str, Any], family: TaskFamily) -> TaskSet:
    """Draw the set that a file names by split, count and seed; its hash must be that of the tasks drawn now."""
    split, count, seed = (data.get(name) for name in ("split", "count", "seed"))
    if split not in SPLITS or type(count) is not int or count < 1 or type(seed) is not int or seed < 0:
        raise TaskError(f"{path} is not a task set: without tasks it needs a split, a count and a seed to draw them")
    if data.get("family", family.name) != family.name:
        raise TaskError(f"{path} is a task set of {data['family']}, not of {family.name}; take the family's own")
    task_set = family.task_set(split, count, seed)
    if data["hash"] != task_set.digest:
        raise TaskError(
            f"{path} names tasks that hash to {data['hash']}, but {family.name} draws others from its seed now "
            f"({task_set.digest}); use the version of Acclimate that wrote it"
        )
    return task_set


def _task_of_entry(family: str, entry: Any, index: int) -> Task:
    """Return a task as a task set lists it: its parameters, and its schedule beside them."""
    if not isinstance(entry, Mapping):
        raise TaskError(f"a task's parameters are an object of names and values, not {entry!r}")
    parameters = {name: value for name, value in entry.items() if name != "schedule"}
    schedule = {"schedule": entry["schedule"]} if "schedule" in entry else {}
    return Task.from_json({"family": family, "parameters": parameters, "index": index, **schedule})


def check_disjoint(kind: Kind, sets: Iterable[TaskSet]) -> None:
    """Raise TaskError if a task occurs in two of the sets; the splits of a finite family share tasks by declaration."""
    if kind == "finite":
        return
    split_of: dict[Task, str] = {}
    for task_set in sets:
        for task in task_set.tasks:
            if split_of.setdefault(task, task_set.split) != task_set.split:
                raise TaskError(
                    f"task {task.parameters} of {task_set.family} is in both {split_of[task]} and {task_set.split}, so "
                    'results would leak; declare a finite family as kind "finite", or change the seed'
                )
