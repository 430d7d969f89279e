"""Families, algorithms and baselines by listed name or by import path `package.module:Name`.

What a script, a notebook or a function defines has no import path that another process could follow: it is given to the
registry as it is, and found by the name that `give` returns for as long as this process lives.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from pkgutil import extend_path
from typing import Any, ClassVar, Protocol

from agents import ALGORITHMS
from agents.baselines import BASELINES
from agents.contract import Agent, AgentError, Algorithm, Interface
from envs import FAMILIES
from envs.declared import malformed
from envs.errors import TaskError
from envs.oracle import OracleWrapper
from envs.task import TaskFamily
from envs.validation import nearest
from trainers.errors import RecipeError

AnyFamily = str | Path | type[TaskFamily] | TaskFamily  # by name, or as it is
_IMPORTING: list[str] = []  # modules on their way in, of families and agents
_GIVEN: dict[str, Any] = {}  # what no import path leads to, by the name that stands for it in recipes


class Baseline(Protocol):
    """The class of an agent that learns nothing across tasks, made for an interface and the episodes of a trial.

    Attributes:
        needs_task: whether its observations must hold the task.
    """

    needs_task: ClassVar[bool]

    def __call__(self, interface: Interface, episodes: int) -> Agent:
        """The agent; AgentError where it cannot serve the interface."""


def give(thing: AnyFamily | Algorithm) -> str:
    """The name by which a family or an algorithm is found in this process; that of a name is the name.

    A class, or a value that a module holds, is named `module:Name`. Anything else can be found only here: what is
    defined in a script or a notebook (`__main__:Name`) or inside a function, and a family made with arguments.

    Raises:
        RecipeError: it is neither of them.
    """
    if isinstance(thing, (str, Path)):
        return str(thing)
    kind = thing if isinstance(thing, type) else type(thing)
    if not isinstance(thing, Algorithm) and not issubclass(kind, TaskFamily):
        raise RecipeError(
            f"family is {thing!r}, but must be a name, a subclass of TaskFamily or one that is made; an environment "
            "becomes a family by a TaskFamily whose make_env makes it"
        )
    name = f"{kind.__module__}:{kind.__qualname__}"
    if not isinstance(thing, type):
        home = thing.config if isinstance(thing, Algorithm) else kind
        name = _held_as(thing, home.__module__) or f"{name}(...)"
        while (
            _GIVEN.get(name, thing) is not thing
        ):  # a class that is defined anew takes its name over, a value does not
            name += "'"
    if name not in _GIVEN and _imported(name) is thing:
        return name
    _GIVEN[name] = thing
    return name


def _held_as(thing: Any, module: str) -> str | None:
    """`module:NAME` of a value that its module, or the script, holds."""
    for place in (module, "__main__"):
        for attribute, value in vars(sys.modules[place]).items() if place in sys.modules else ():
            if value is thing:
                return f"{place}:{attribute}"
    return None


def _imported(name: str) -> Any:
    """The thing that another process would import by this name; None if it could not."""
    module, _, attribute = name.partition(":")
    if module == "__main__" or module not in sys.modules or find_spec(module) is None:
        return None
    try:
        return attrgetter(attribute)(sys.modules[module])
    except AttributeError:
        return None


def family(
    name: str, *, task_in_observation: bool = False, near: Sequence[Path] = (), digest: str | None = None
) -> TaskFamily:
    """An instance of the family of this name: a listed one, `package.module:Name`, or a description's YAML file.

    With `task_in_observation` its observations hold the task, for an oracle. `near` and `digest` help to find the
    file: see `described_family`.
    """
    described = name.endswith((".yaml", ".yml"))
    if name.endswith(".xml"):
        raise RecipeError(
            f"family: {name} is a model; name the YAML file that describes tasks on it (docs/own-robot.md), such as "
            f"{Path(name).with_suffix('.yaml')}"
        )
    made = described_family(name, near, digest) if described else _family(name)
    return OracleWrapper(made) if task_in_observation else made


def _family(name: str) -> TaskFamily:
    found = _import(name, FAMILIES, "family")
    if isinstance(found, type) and issubclass(found, TaskFamily):
        try:
            made = found()
        except TypeError as error:
            raise RecipeError(f"family: {name} cannot be made without arguments ({error})") from error
        except Exception as error:
            raise RecipeError(f"family: {name} raises {_named(error)} when it is made; mend it") from error
    elif isinstance(found, TaskFamily):
        made = found
    else:
        raise RecipeError(f"family: {name} is {found!r}, not a subclass of envs.task.TaskFamily")
    if wrong := malformed(made):
        raise RecipeError(f"family: {name} {wrong}; see envs.task.TaskFamily")
    return made


def interface_of(family: TaskFamily) -> Interface:
    """The side of a family that its agents may know."""
    return Interface(family.observation_space, family.action_space, family.episode_steps)


def algorithm(name: str) -> Algorithm:
    """The algorithm of this name."""
    found = _import(name, ALGORITHMS, "agent.name")
    if not isinstance(found, Algorithm):
        raise RecipeError(f"agent.name: {name} is {type(found).__name__}, not an agents.contract.Algorithm")
    return found


def who_serves(interface: Interface) -> dict[str, str | None]:
    """Every listed algorithm, by name: None if its agent serves these spaces as it is by default, else why not."""
    served: dict[str, str | None] = {}
    for name in ALGORITHMS:
        found = algorithm(name)
        try:
            found.make_agent(found.config(), interface)
        except AgentError as error:
            served[name] = str(error)
        else:
            served[name] = None
    return served


def baseline(name: str) -> Baseline:
    """The class of the baseline of this name."""
    found = _import(name, BASELINES, "--agent")
    if not (isinstance(found, type) and all(hasattr(found, attribute) for attribute in ("needs_task", "trial_rounds"))):
        raise RecipeError(f"--agent: {name} is {found!r}, not the class of a baseline; see agents/baselines/base.py")
    return found  # type: ignore[return-value]


def described_family(name: str, near: Sequence[Path] = (), digest: str | None = None) -> TaskFamily:
    """The family of a description's YAML file: of the first place that has it as it was, else of the first that has it.

    Args:
        name: a path, relative to the folder where the command is run.
        near: other folders that it may be relative to, and other paths of the file itself.
        digest: of the family that is looked for, if it is known.

    Raises:
        RecipeError: it is in none of these places.
        TaskError: it is no description of a family, or the only place has none.
    """
    from envs.mujoco import described  # MuJoCo is only needed by those who use it

    places = [Path(name), *(place / name if place.is_dir() else place for place in near)]
    there = [place for place in places if place.is_file()]
    if not there:
        looked = ", ".join(dict.fromkeys(str(place.absolute()) for place in places))
        if len(places) == 1:
            raise TaskError(f"{name} is not a YAML description: it is no file (looked for {looked}); name its path")
        raise RecipeError(f"family: {name} is nowhere to be found (looked for {looked}); put the file back")
    first: TaskFamily | TaskError | None = None
    for place in there if digest is not None else there[:1]:
        try:
            made = described.load(place)
        except TaskError as error:  # edited since, perhaps: another place may have it as it was
            first = first or error
            continue
        if digest is None or made.digest == digest:
            return made
        first = first or made
    if isinstance(first, TaskError):
        raise first
    assert first is not None
    return first


def _named(error: BaseException) -> str:
    """An exception's kind and message, in one line."""
    message = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def imported(name: str) -> Any:
    """Whatever stands at `package.module:Name`."""
    return _import(name, {}, "name")


def _import(name: str, listed: Mapping[str, str], key: str) -> Any:
    if name in _GIVEN:
        return _GIVEN[name]
    path = listed.get(name, name)
    module_name, colon, attribute = path.partition(":")
    if not colon:
        raise RecipeError(
            f"{key}: there is no {name!r}; {nearest(name, listed)}; your own is named package.module:Name"
        )
    if module_name == "__main__" or not all(part.isidentifier() for part in attribute.split(".")):
        passed_on = "; or pass the class on in Python: acclimate.Run.open(run, family=...)" if key == "family" else ""
        raise RecipeError(
            f"{key}: {name} was defined in a script, a notebook or a function of another process; put it into a module "
            f"and name that (--family my_module:MyClass){passed_on}"
        )
    if module_name.endswith(".py") or not all(part.isidentifier() for part in module_name.split(".")):
        stem = Path(module_name.removesuffix(".py")).name
        raise RecipeError(
            f"{key}: {module_name} is no module's name as Python imports it; name it {stem}:{attribute} and run from "
            "its folder"
        )
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a user's own module lies where the command is run
        if (package := sys.modules.get(module_name.partition(".")[0])) and hasattr(package, "__path__"):
            package.__path__ = extend_path(package.__path__, package.__name__)  # so may one in a folder named as ours
    try:
        refuse_foreign_code(module_name, key)
        _IMPORTING.append(module_name)
        module = import_module(module_name)
    except RecipeError:
        raise
    except (ImportError, ValueError) as error:
        raise RecipeError(f"{key}: {name} cannot be imported ({error}); check the path and the installation") from error
    except (Exception, SystemExit) as error:
        raise RecipeError(
            f"{key}: {name} cannot be imported, for its module raises {_named(error)}; mend it"
        ) from error
    finally:
        if module_name in _IMPORTING:
            _IMPORTING.remove(module_name)
    try:
        found = attrgetter(attribute)(module)
    except AttributeError:
        raise RecipeError(
            f"{key}: module {module_name} has no {attribute}; {nearest(attribute, _public(module))}"
        ) from None
    if isinstance(found, type) and (lacking := getattr(found, "__abstractmethods__", None)):
        raise RecipeError(f"{key}: {name} must define {', '.join(sorted(lacking))}")
    return found


def _public(module: Any) -> list[str]:
    return [name for name in vars(module) if not name.startswith("_")]


def refuse_while_importing() -> None:
    """A script that trains is no module to find a family in, for each process that looks for it would train, too.

    Raises:
        RecipeError: it is being imported for its family or agent.
    """
    if _IMPORTING:
        raise RecipeError(
            f"{_IMPORTING[-1]} trains when it is imported, as it is now for what it defines; put its call of "
            'acclimate.train under `if __name__ == "__main__":`'
        )


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
