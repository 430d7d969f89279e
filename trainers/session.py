"""Training from a script, a notebook or a thread.

    outcome = acclimate.train(family=MyFamily, agent=..., iterations=50)
    outcome.run.adaptation()

The training itself is `trainers.training`; here are its progress, its callbacks, and recipes of keys given in Python.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from agents.contract import Algorithm
from trainers.cli.console import TrainingDisplay, console, say
from trainers.errors import UsageError
from trainers.notebook import NotebookDisplay
from trainers.recipes import loading, registry
from trainers.recipes.registry import AnyFamily
from trainers.recipes.schema import Recipe
from trainers.runs.run_folder import Run
from trainers.stopping import StopRequest
from trainers.training import running
from trainers.training.callbacks import Callback, Callbacks
from trainers.training.loop import Outcome, Report
from trainers.training.setup import create_run, open_for_resume


def train(
    recipe: Recipe | str | Path | None = None,
    out: str | Path | None = None,
    report: Report | None = None,
    *,
    family: AnyFamily | None = None,
    agent: str | Algorithm | Mapping[str, Any] | None = None,
    callbacks: Callback | Sequence[Callback] = (),
    overrides: str | Sequence[str] = (),
    **keys: Any,
) -> Outcome:
    """Meta-train an agent on a task family, or what a recipe says, into a new run folder.

    In the main thread the first Ctrl-C (in a notebook: interrupt) ends the run after its update, with a checkpoint; in
    another thread, or a trial of Ray Tune, nothing is done about signals, and a callback can stop the run.

    Args:
        recipe: a recipe, or the name or path of one; None where `family` and `agent` say it all.
        out: the run folder to make; None makes one in `runs/`, named by recipe or family and agent and by the time.
        report: called with each iteration's metrics; True stops the run. None shows progress (`progress` below).
        family: in the recipe's place: a name, `module:Class`, a path, a subclass of `TaskFamily` or one made already.
            It may be defined right here, in a script, a notebook or a function: Ray workers get it by value.
        agent: in the recipe's place: a name, or a mapping of `name` and the agent's keys.
        callbacks: one, or several, each called with an `Update` after each iteration; one that returns True, or calls
            `update.stop()`, ends the run with a checkpoint, and so does an exception, which is raised again then.
        overrides: changes as on the command line, such as `"agent.gamma=0.9"`.
        **keys: other keys of the recipe, such as `iterations=50`, `seed=1`, `workers=0`, `evaluation={...}`; and
            `progress=False`, which shows nothing.

    Returns:
        the run, how far it is, and what stopped it (None: it is complete). `outcome.run.adaptation()` is what it
        measured on held-out tasks, `acclimate.resume(outcome.run)` goes on.

    Raises:
        UserError, TaskError, AgentError: one sentence; what was written stays.
    """
    registry.refuse_while_importing()
    shows, watching = bool(keys.pop("progress", report is None)), _callables(callbacks)
    given: dict[str, Any] = {key: _plain(key, value) for key, value in keys.items()}
    if family is not None:
        given["family"] = registry.give(family)
    if agent is not None:
        given["agent"] = _agent(agent)
    loaded = _recipe(recipe, given, _texts(overrides))
    folder = _new_folder(recipe, loaded) if out is None else Path(out)
    return _run(create_run(loaded, folder), watching, report, shows)


def resume(
    run: Run | str | Path,
    report: Report | None = None,
    *,
    family: AnyFamily | None = None,
    callbacks: Callback | Sequence[Callback] = (),
    overrides: str | Sequence[str] = (),
    **keys: Any,
) -> Outcome:
    """Go on with a run from its newest checkpoint, to the bits of a run that never stopped; or extend a finished one.

    Args:
        run: a run, or its folder.
        report, callbacks, overrides: as of `train`.
        family: in the place of the one that the run names, where that was defined in a script or a notebook.
        **keys: what may change in a run, such as `iterations=200` or `workers=4`; and `progress=False`.

    Raises:
        UserError, TaskError, AgentError: one sentence; what was written stays.
    """
    registry.refuse_while_importing()
    shows, watching = bool(keys.pop("progress", report is None)), _callables(callbacks)
    if isinstance(run, Run) and family is None:
        family = run.recipe.family  # which it may have been opened with
    path = run.path if isinstance(run, Run) else Path(run)
    changes = [*_texts(overrides), *(f"{key}={json.dumps(_plain(key, value))}" for key, value in keys.items())]
    return _run(open_for_resume(path, changes, family=family), watching, report, shows)


def _run(run: Run, callbacks: Sequence[Callback], report: Report | None, shows: bool) -> Outcome:
    """Train a run as far as it goes, shown and watched."""
    reports = [] if report is None else [report]
    title = f"{run.recipe.title}, seed {run.recipe.seed}"
    with ExitStack() as stack:
        if shows:
            say(f"Training {title} → {run.path}")
            display = _display(title, run.recipe.iterations)
            stack.enter_context(display)
            reports.append(display.report)
        watched = Callbacks(run, callbacks, reports)
        outcome = running.run(run, watched, StopRequest(say) if shows else None)
    watched.reraise()
    if shows and outcome.stopped_by:
        say(
            f"Stopped by {outcome.stopped_by} after {outcome.iteration} of {run.recipe.iterations} meta-updates; go on "
            f"with: acclimate.resume({str(run.path)!r})"
        )
    return outcome


def _display(title: str, iterations: int) -> NotebookDisplay | TrainingDisplay:
    """Progress as this process can show it: in a notebook, in a terminal, else as lines; in a thread as lines too."""
    if console.is_jupyter:
        return NotebookDisplay(title, iterations)
    if threading.current_thread() is threading.main_thread():
        return TrainingDisplay(console, title, iterations)
    # A terminal has room for one live line, and that is the main thread's.
    return TrainingDisplay(Console(highlight=False, emoji=False, markup=False, force_terminal=False), title, iterations)


def _callables(callbacks: Callback | Sequence[Callback]) -> list[Callback]:
    """One callback, or several, as a list of them."""
    listed = [callbacks] if callable(callbacks) else list(callbacks)
    for one in listed:
        if not callable(one):
            raise UsageError(f"callbacks holds {one!r}, which cannot be called; give functions of an update")
    return listed


def _texts(overrides: str | Sequence[str]) -> list[str]:
    """One override, or several, as a list of them."""
    listed = [overrides] if isinstance(overrides, str) else list(overrides)
    for one in listed:
        if not isinstance(one, str):
            raise UsageError(f"overrides holds {one!r}; give texts such as 'iterations=50', or keys as arguments")
    return listed


def _plain(key: str, value: Any) -> Any:
    """A key's value as a recipe's file would have it: lists for tuples, Python's numbers for NumPy's."""
    try:
        return json.loads(json.dumps(value, default=lambda one: one.tolist()))
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(
            f"{key} is {value!r}, but a recipe holds numbers, texts, lists and mappings of them"
        ) from error


def _agent(agent: str | Algorithm | Mapping[str, Any]) -> str | dict[str, Any]:
    """The section `agent` of a recipe, with algorithms by the names that they are found by."""
    if isinstance(agent, Mapping):
        named = {key: registry.give(value) if isinstance(value, Algorithm) else value for key, value in agent.items()}
        return _plain("agent", named)
    if not isinstance(agent, (str, Algorithm)):
        raise UsageError(f"agent is {agent!r}, but must be a name, a mapping of name and keys, or an Algorithm")
    return registry.give(agent)


def _recipe(recipe: Recipe | str | Path | None, given: Mapping[str, Any], overrides: Sequence[str]) -> Recipe:
    """The recipe with the keys that are given in Python, then the overrides."""
    if isinstance(recipe, Recipe):
        return Recipe.of({**recipe.to_data(), **given}, overrides) if given or overrides else recipe
    if recipe is None:
        return Recipe.of(given, overrides, where="the recipe, of the given keys alone")
    path = loading.find(str(recipe))
    return Recipe.of(
        {**loading.read(path), **given}, overrides, where=f"{path} with the given keys" if given else str(path)
    )


def _new_folder(recipe: Recipe | str | Path | None, loaded: Recipe) -> Path:
    """runs/<name>-<time>, a folder that is not there yet."""
    if isinstance(recipe, (str, Path)):
        name = Path(recipe).name.removesuffix(".yaml")
    else:
        name = f"{registry.family(loaded.family).name}_{loaded.agent_name.rpartition(':')[2]}"
    stem = f"{re.sub(r'[^A-Za-z0-9_.-]', '-', name)}-{datetime.now():%Y%m%d-%H%M%S}"
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(path for path in (Path("runs") / name for name in names) if not path.exists())
