"""Acclimate: meta-reinforcement learning in Python. The names that users need, each imported when first asked for.

    import acclimate

    class PendulumMass(acclimate.TaskFamily): ...

    run = acclimate.train("point_nav_maml", "runs/first", overrides=["iterations=50"]).run
    agent = acclimate.load("runs/first")

This file has no logic of its own: every name stands in its room (`agents`, `envs`, `trainers`), where it is documented.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envs import distributions as distributions
    from envs import make_vec_env as make_vec_env
    from envs.task import Task as Task
    from envs.task import TaskFamily as TaskFamily
    from trainers.evaluation.run_evaluation import evaluate as evaluate
    from trainers.online import load as load
    from trainers.recipes.schema import Recipe as Recipe
    from trainers.reporting.run_plots import plot as plot
    from trainers.runs.run_folder import Run as Run
    from trainers.training.loop import train as train

# name: where it is defined, `module` or `module:name`. Lazy, so that importing takes no torch, MuJoCo or Ray.
_PLACES = {
    "Recipe": "trainers.recipes.schema:Recipe",
    "Run": "trainers.runs.run_folder:Run",
    "Task": "envs.task:Task",
    "TaskFamily": "envs.task:TaskFamily",
    "distributions": "envs.distributions",
    "evaluate": "trainers.evaluation.run_evaluation:evaluate",
    "load": "trainers.online:load",
    "make_vec_env": "envs:make_vec_env",
    "plot": "trainers.reporting.run_plots:plot",
    "train": "trainers.training.loop:train",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"acclimate has no {name}; it offers {', '.join(_PLACES)}")
    module, _, symbol = _PLACES[name].partition(":")
    found = import_module(module)
    return getattr(found, symbol) if symbol else found


def __dir__() -> list[str]:
    return __all__
