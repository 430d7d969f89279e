"""Task families by name, and the framework that they stand on.

Each room of families lists its own; `FAMILIES` is all of them. Importing this package registers their single
environments with Gymnasium as `acclimate/<family>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pkgutil import extend_path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from envs import locomotion, navigation, tabular
from envs.errors import TaskError
from envs.task import Split, Task, TaskFamily
from envs.validation import nearest

# A user's folder of this name without __init__.py is on the path as well, perhaps: its modules join ours (ADR 1).
__path__ = extend_path(__path__, __name__)

FAMILIES = dict(sorted({**locomotion.FAMILIES, **navigation.FAMILIES, **tabular.FAMILIES}.items()))


def make_family(family: str | type[TaskFamily] | TaskFamily) -> TaskFamily:
    """A family as it is, or made of its class; a listed one by name, or one's own by `package.module:Name`.

    Raises:
        TaskError: no family of this name is listed, or it cannot be imported.
    """
    if isinstance(family, TaskFamily):
        return family
    if isinstance(family, type) and issubclass(family, TaskFamily):
        return family()
    path = FAMILIES.get(family, family) if isinstance(family, str) else ""
    module, colon, name = path.partition(":")
    if not colon:
        known = nearest(str(family), FAMILIES)
        raise TaskError(f"there is no family {family}; {known}; your own is a class, or package.module:Name")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise TaskError(f"the family {family} cannot be imported ({error}); check its path") from error
    if not (isinstance(found, TaskFamily) or (isinstance(found, type) and issubclass(found, TaskFamily))):
        raise TaskError(f"{family} is {found!r}, not a subclass of envs.task.TaskFamily")
    return make_family(found)


def make_env(family: str, **parameters: Any) -> gymnasium.Env:
    """A single environment of a listed family: of the task with these task parameters, else of its first training draw.

    Raises:
        TaskError: no family of this name is listed, or the task is outside its space.
    """
    made = make_family(family)
    task = made.task(**parameters) if parameters else made.sample(1, np.random.default_rng(0), "train")[0]
    return made.make_env(task)


def make_vec_env(
    family: str | type[TaskFamily] | TaskFamily,
    tasks: int | Sequence[Task] = 1,
    rows: int = 1,
    *,
    split: Split = "train",
    seed: int = 0,
) -> VectorEnv:
    """A batched environment of some tasks of a family, as agents are trained on it; its contract is in `envs.vector`.

    Args:
        family: a family or its class, a listed family's name, or `package.module:Name`.
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
