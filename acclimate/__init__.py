"""Acclimate: meta-reinforcement learning in Python. The names that users need, each imported when first asked for.

    import acclimate

    class PendulumMass(acclimate.TaskFamily): ...

    run = acclimate.train(family=PendulumMass, agent="rl2", iterations=50).run
    run.adaptation()  # a data frame
    acclimate.plot(run, "adaptation_curve")
    agent = acclimate.load(run)

Every name stands in its room (`agents`, `envs`, `trainers`), where it is documented. What this file does itself is look
whether these rooms are ours: other projects have folders of the same names (ADR 1).
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envs import distributions as distributions
    from envs import make_vec_env as make_vec_env
    from envs.distributions import Choice as Choice
    from envs.distributions import Integer as Integer
    from envs.distributions import LogUniform as LogUniform
    from envs.distributions import Uniform as Uniform
    from envs.task import Task as Task
    from envs.task import TaskFamily as TaskFamily
    from trainers.evaluation.run_evaluation import evaluate as evaluate
    from trainers.online import load as load
    from trainers.recipes.schema import Recipe as Recipe
    from trainers.reporting.run_plots import plot as plot
    from trainers.runs.run_folder import Run as Run
    from trainers.session import resume as resume
    from trainers.session import train as train

# name: where it is defined, `module` or `module:name`. Lazy, so that importing takes no torch, MuJoCo or Ray.
_PLACES = {
    "Choice": "envs.distributions:Choice",
    "Integer": "envs.distributions:Integer",
    "LogUniform": "envs.distributions:LogUniform",
    "Recipe": "trainers.recipes.schema:Recipe",
    "Run": "trainers.runs.run_folder:Run",
    "Task": "envs.task:Task",
    "TaskFamily": "envs.task:TaskFamily",
    "Uniform": "envs.distributions:Uniform",
    "distributions": "envs.distributions",
    "evaluate": "trainers.evaluation.run_evaluation:evaluate",
    "load": "trainers.online:load",
    "make_vec_env": "envs:make_vec_env",
    "plot": "trainers.reporting.run_plots:plot",
    "resume": "trainers.session:resume",
    "train": "trainers.session:train",
}
__all__ = list(_PLACES)
_HOME = Path(__file__).resolve().parents[1]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"acclimate has no {name}; it offers {', '.join(_PLACES)}")
    module, _, symbol = _PLACES[name].partition(":")
    found = import_module(module)
    return getattr(found, symbol) if symbol else found


def __dir__() -> list[str]:
    return __all__


def command() -> None:
    """The console script `acclimate`."""
    import_module("trainers.cli.app").entry()


def _refuse_shadowed_packages() -> None:
    """Raises ImportError, naming both places, where another `agents`, `envs` or `trainers` answers in place of ours.

    On the command line the sentence is all that is printed. A folder without __init__.py does no harm: its modules join
    ours, unless one of the same name was imported already.
    """
    for name in ("agents", "envs", "trainers"):
        loaded = sys.modules.get(name)
        where = _place(loaded.__spec__ if loaded is not None else find_spec(name))
        if where is None:
            # Such a folder, which an editable installation comes after; a package on the path comes before it. Ray's
            # workers are told by the environment.
            sys.modules.pop(name, None)
            sys.path.append(str(_HOME))
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(_HOME)]))
            where = _place(find_spec(name))
        for module in [other for other in sys.modules if other.startswith(f"{name}.")]:
            place = _place(sys.modules[module].__spec__)
            ours = _HOME.joinpath(*module.split("."))
            if place is not None and _HOME not in place.parents and (ours.is_dir() or ours.with_suffix(".py").exists()):
                name, where = module, place
        if where is None or _HOME not in where.parents:
            sentence = (
                f"Acclimate's own {name} is hidden by {where}, which is imported in its place; rename that one or "
                f"uninstall it, or start Python in another folder (Acclimate is in {_HOME})"
            )
            if Path(sys.argv[0]).stem == "acclimate":  # the console script
                print(f"acclimate: {sentence}", file=sys.stderr)
                sys.exit(2)
            raise ImportError(sentence, name=name, path=str(where))


def _place(spec: Any) -> Path | None:
    """The folder or file of a package that was found; None for none, and for a folder without __init__.py."""
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    origin = Path(spec.origin).resolve()
    return origin.parent if origin.name == "__init__.py" else origin


_refuse_shadowed_packages()
