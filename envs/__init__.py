"""Task families by name, and the framework that they stand on.

Each room of families lists its own; `FAMILIES` is all of them. Importing this package registers their single
environments with Gymnasium as `acclimate/<family>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from envs import locomotion, navigation, tabular
from envs.errors import TaskError
from envs.task import Split, Task, TaskFamily
from envs.validation import nearest

FAMILIES = dict(sorted({**locomotion.FAMILIES, **navigation.FAMILIES, **tabular.FAMILIES}.items()))


def make_family(family: str | TaskFamily) -> TaskFamily:
    """A listed family by name; a family as it is.

    Raises:
        TaskError: no family of this name is listed.
    """
    if isinstance(family, TaskFamily):
        return family
    if family not in FAMILIES:
        raise TaskError(f"there is no family {family}; {nearest(family, FAMILIES)}")
    module, _, name = FAMILIES[family].partition(":")
    return getattr(import_module(module), name)()


def make_env(family: str, **parameters: Any) -> gymnasium.Env:
    """A single environment of a listed family: of the task with these task parameters, else of its first training draw.

    Raises:
        TaskError: no family of this name is listed, or the task is outside its space.
    """
    made = make_family(family)
    task = made.task(**parameters) if parameters else made.sample(1, np.random.default_rng(0), "train")[0]
    return made.make_env(task)


def make_vec_env(
    family: str | TaskFamily, tasks: int | Sequence[Task] = 1, rows: int = 1, *, split: Split = "train", seed: int = 0
) -> VectorEnv:
    """A batched environment of some tasks of a family, as agents are trained on it; its contract is in `envs.vector`.

    Args:
        family: a listed family's name, or a family.
        tasks: how many tasks to draw, or the tasks themselves.
        rows: environments of each task, side by side: row `i * rows + j` is copy j of task i.
        split: of the tasks that are drawn.
        seed: of their draw; `reset(seed=...)` seeds the episodes.

    Raises:
        TaskError: no family of this name is listed, or a task is outside its space.
    """
    made = make_family(family)
    drawn = made.sample(tasks, np.random.default_rng(seed), split) if isinstance(tasks, int) else list(tasks)
    return made.make_vector_env([made.check_task(task) for task in drawn], rows)


for _name in FAMILIES:
    if f"acclimate/{_name}" not in gymnasium.registry:
        gymnasium.register(f"acclimate/{_name}", entry_point="envs:make_env", kwargs={"family": _name})
