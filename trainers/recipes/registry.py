"""Families, algorithms and baselines by listed name or by import path `package.module:Name`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol, get_args

from agents import ALGORITHMS
from agents.baselines import BASELINES
from agents.contract import Agent, Algorithm, Interface
from envs import FAMILIES
from envs.oracle import OracleWrapper
from envs.task import Kind, TaskFamily
from envs.validation import nearest
from trainers.errors import RecipeError


class Baseline(Protocol):
    """The class of an agent that learns nothing across tasks, made for an interface and the episodes of a trial.

    Attributes:
        needs_task: whether its observations must hold the task.
    """

    needs_task: ClassVar[bool]

    def __call__(self, interface: Interface, episodes: int) -> Agent:
        """The agent; AgentError where it cannot serve the interface."""


def family(name: str, *, task_in_observation: bool = False) -> TaskFamily:
    """An instance of the family of this name: a listed one, `package.module:Name`, or a description's YAML file.

    With `task_in_observation` its observations hold the task, for an oracle.
    """
    made = _family(name)
    return OracleWrapper(made) if task_in_observation else made


def _family(name: str) -> TaskFamily:
    if name.endswith((".yaml", ".yml")):
        from envs.mujoco import described  # MuJoCo is only needed by those who use it

        return described.load(Path(name))
    found = _import(name, FAMILIES, "family")
    if isinstance(found, type) and issubclass(found, TaskFamily):
        try:
            made = found()
        except TypeError as error:
            raise RecipeError(f"family: {name} cannot be made without arguments ({error})") from error
    elif isinstance(found, TaskFamily):
        made = found
    else:
        raise RecipeError(f"family: {name} is {found!r}, not a subclass of envs.task.TaskFamily")
    for attribute in ("name", "parameters", "episode_steps"):
        if not hasattr(made, attribute):
            raise RecipeError(f"family: {name} lacks the class attribute {attribute}; see envs.task.TaskFamily")
    if made.kind not in get_args(Kind):
        raise RecipeError(f"family: the kind of {name} is {made.kind!r}; it is one of {', '.join(get_args(Kind))}")
    return made


def algorithm(name: str) -> Algorithm:
    """The algorithm of this name."""
    found = _import(name, ALGORITHMS, "agent.name")
    if not isinstance(found, Algorithm):
        raise RecipeError(f"agent.name: {name} is {type(found).__name__}, not an agents.contract.Algorithm")
    return found


def baseline(name: str) -> Baseline:
    """The class of the baseline of this name."""
    found = _import(name, BASELINES, "--agent")
    if not (isinstance(found, type) and all(hasattr(found, attribute) for attribute in ("needs_task", "trial_rounds"))):
        raise RecipeError(f"--agent: {name} is {found!r}, not the class of a baseline; see agents/baselines/base.py")
    return found  # type: ignore[return-value]


def _import(name: str, listed: Mapping[str, str], key: str) -> Any:
    path = listed.get(name, name)
    module_name, colon, attribute = path.partition(":")
    if not colon:
        raise RecipeError(
            f"{key}: there is no {name!r}; {nearest(name, listed)}; your own is named package.module:Name"
        )
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a user's own module lies where the command is run
    try:
        refuse_foreign_code(module_name, key)
        module = import_module(module_name)
    except RecipeError:
        raise
    except (ImportError, ValueError) as error:
        raise RecipeError(f"{key}: {name} cannot be imported ({error}); check the path and the installation") from error
    if not hasattr(module, attribute):
        raise RecipeError(f"{key}: module {module_name} has no {attribute}; {nearest(attribute, vars(module))}")
    found = getattr(module, attribute)
    if isinstance(found, type) and (lacking := getattr(found, "__abstractmethods__", None)):
        raise RecipeError(f"{key}: {name} must define {', '.join(sorted(lacking))}")
    return found


def refuse_foreign_code(module_name: str, key: str) -> None:
    """A run folder is data: what it names is not imported out of any run folder, and the standard library is no agent.

    Parents are looked at before their children, for finding a child imports them.
    """
    parts = module_name.split(".")
    if parts[0] in sys.stdlib_module_names:
        raise RecipeError(f"{key}: {module_name} is a part of Python and defines none; name a module of your own")
    for end in range(1, len(parts) + 1):
        spec = find_spec(".".join(parts[:end]))
        if spec is None or spec.origin is None:
            continue  # a missing module is reported by the import, a namespace package holds no code
        for folder in Path(spec.origin).resolve().parents:
            if (folder / "config.yaml").exists() and (folder / "checkpoints").exists():
                raise RecipeError(
                    f"{key}: {module_name} lies in the run folder {folder}, whose code is not executed; if you trust "
                    "it, move the module elsewhere"
                )
