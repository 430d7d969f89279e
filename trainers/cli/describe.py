"""`acclimate describe`: everything there is to know of a name: every key of an agent, the tasks of a family."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainers.cli.completing import describable
from trainers.cli.console import console, entry

if TYPE_CHECKING:
    from trainers.recipes.describing import Key


def describe(
    name: Annotated[
        str,
        typer.Argument(
            help="an agent, a baseline, a family, a recipe, a section such as evaluation, or recipe for all other keys",
            autocompletion=describable,
        ),
    ],
) -> None:
    """Describe a name: every key with its type, range, default and meaning; or a family's tasks and spaces."""
    from agents import ALGORITHMS
    from agents.baselines import BASELINES
    from agents.contract import Algorithm
    from envs import FAMILIES
    from envs.validation import nearest
    from trainers.errors import RecipeError
    from trainers.recipes import loading, registry
    from trainers.recipes.describing import keys
    from trainers.recipes.schema import Recipe

    top = keys(Recipe)
    sections = sorted({key.section for key in top if key.section})
    if name == "recipe":
        _print_keys(top)
    elif name in sections:
        _print_keys([key for key in top if key.section == name])
    elif name in ALGORITHMS:
        _describe_agent(name, registry.algorithm(name))
    elif name in BASELINES:
        _describe_baseline(name, registry.baseline(name))
    elif name in FAMILIES or (name.endswith((".yaml", ".yml")) and _is_description(Path(name))):
        _describe_family(name, registry.family(name))
    elif ":" in name:
        found = registry.imported(name)
        if isinstance(found, Algorithm):
            _describe_agent(name, found)
        elif hasattr(found, "trial_rounds"):
            _describe_baseline(name, found)
        else:
            _describe_family(name, registry.family(name))
    elif Path(name).is_file() or Path(name).name.removesuffix(".yaml") in loading.shipped():
        _describe_recipe(loading.find(name))
    else:
        known = [*ALGORITHMS, *BASELINES, *FAMILIES, *loading.shipped(), *sections, "recipe"]
        close = nearest(name, known)
        where = close if close.startswith("did") else "acclimate agents, baselines, families and recipes list all"
        raise RecipeError(f"there is nothing called {name} to describe; {where}")


def _is_description(path: Path) -> bool:
    """Whether a YAML file describes a family, not a recipe: it names a model."""
    from trainers.recipes import loading

    return path.is_file() and "mjcf" in loading.read(path)


def _print_keys(keys: list[Key]) -> None:
    for key in keys:
        kind = f" ({key.kind})" if key.kind else ""
        about = key.type + (f", {key.range}" if key.range else "")
        earlier = f"; earlier {', '.join(key.earlier)}" if key.earlier else ""
        default = key.default if key.default == "required" else f"default {key.default}"
        console.print(f"{key.name}{kind}", style="bold", soft_wrap=True)
        console.print(f"    {about}; {default}{earlier}", soft_wrap=True)
        console.print(f"    {key.meaning}", soft_wrap=True)


def _describe_agent(name: str, algorithm: Any) -> None:
    from trainers.recipes import loading
    from trainers.recipes.describing import keys

    entry(name, *_docstring(inspect.getmodule(algorithm.make_agent)))
    console.print()
    _print_keys(keys(algorithm.config, "agent."))
    for key, value in loading.dotted(algorithm.config().recipe_defaults()).items():
        console.print(f"With this agent {key} is {value} if a recipe does not say.", soft_wrap=True)


def _describe_baseline(name: str, baseline: Any) -> None:
    needs = "observes the task's parameters" if baseline.needs_task else "does not observe the task"
    entry(name, *_docstring(baseline), f"It {needs}.", f"Measure it: acclimate evaluate RUN --agent {name}")


def _describe_family(name: str, family: Any) -> None:
    from trainers.cli.families import HELD_OUT

    entry(
        name,
        *_docstring(type(family) if family.digest is None else family, inherited=False),
        *(_parameter(family, name) for name in family.parameters),
        f"held-out tasks: {HELD_OUT[family.kind]}",
        f"episode: {family.episode_steps} steps",
        f"observation: {family.observation_space}",
        f"action: {family.action_space}",
    )


def _parameter(family: Any, name: str) -> str:
    """A task parameter: its distribution, what lies beyond it, and whether agents observe it."""
    distribution = family.parameters[name]
    beyond = f"; out of distribution: {', '.join(map(str, distribution.ood))}" if distribution.ood else ""
    observed = "; the observation tells it" if name in family.observed_parameters else ""
    return f"task parameter {name} ~ {distribution}{beyond}{observed}"


def _describe_recipe(path: Path) -> None:
    from trainers.recipes import loading
    from trainers.recipes.describing import recipe_keys
    from trainers.recipes.schema import Recipe

    data, recipe = loading.read(path), Recipe.load(path, quiet=True)
    entry(str(path), *loading.header(path))
    console.print()
    given = set(loading.dotted(data))
    values = loading.dotted(recipe.to_data())
    for key in recipe_keys(Recipe, recipe.algorithm.config):
        kind = values.get(f"{key.section}.name") if key.kind else None
        if key.name in given and key.kind == kind and not key.is_section:
            console.print(f"{key.name}: {values[key.name]}", style="bold", soft_wrap=True)
            console.print(f"    {key.meaning}", soft_wrap=True)


def _docstring(thing: Any, *, inherited: bool = True) -> list[str]:
    """Its lines; [] for one that says nothing of itself, where what it inherits is of another thing."""
    said = inspect.getdoc(thing) if inherited else inspect.cleandoc(thing.__doc__ or "")
    return (said or "").splitlines()
