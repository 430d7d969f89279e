"""Making the entrants of a comparison from folders of runs and names of baselines."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.baselines import BASELINES
from agents.common.ablations import ablate_context
from agents.contract import Weights, policy_weights
from envs.task import TaskFamily, TaskSet
from envs.validation import nearest
from trainers.baselines import LEARNERS
from trainers.baselines.contestants import Contestant, Settings, contestant_class, label_of
from trainers.errors import USER_ERRORS, UsageError
from trainers.evaluation.dataset import check_label
from trainers.evaluation.entrants import Entrant, EntrantKind, ScratchEntrant, TrialEntrant, tasks_per_shard
from trainers.evaluation.evaluator import EvaluationJob, Origin
from trainers.evaluation.leaks import refuse_leaks
from trainers.evaluation.suites import Suite, SuiteFamily
from trainers.recipes import registry
from trainers.recipes.assembling import build
from trainers.recipes.registry import interface_of
from trainers.recipes.schema import Evaluation
from trainers.runs import metrics, provenance
from trainers.runs.run_folder import Run, named_folder, run_folders

# Controls that are made of the runs: what they are without training, and without their context.
CONTROLS = {"untrained": "untrained", "no-context": "context ablated"}


@dataclass(frozen=True)
class Missing:
    """A contestant that does not come out of a comparison.

    Attributes:
        contestant: who.
        why: a sentence.
        family: that it is about, if it is about one.
        alike: how many more of its tasks and seeds lack for the same reason.
    """

    contestant: str
    why: str
    family: str | None = None
    alike: int = 0


@dataclass
class Entries:
    """The entrants of a comparison, and what could not enter.

    Attributes:
        entrants: who plays.
        missing: who does not, and why.
    """

    entrants: list[Entrant] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    _sources: dict[str, str] = field(default_factory=dict)

    def add(self, entrant: Entrant, source: str) -> None:
        """Let it play.

        Raises:
            UsageError: its label is that of another source, or its seed plays already.
        """
        check_label(entrant.label)
        taken = self._sources.setdefault(entrant.label, source)
        if taken != source:
            raise UsageError(
                f"{source} and {taken} are both called {entrant.label}; give a run another name: NAME=FOLDER"
            )
        line = (entrant.label, entrant.family.name, entrant.seed)
        if any((one.label, one.family.name, one.seed) == line for one in self.entrants):
            raise UsageError(f"the training seed {entrant.seed} of {entrant.label} plays already; a copy counts once")
        self.entrants.append(entrant)

    @contextmanager
    def or_missing(self, label: str, family: str | None = None) -> Iterator[None]:
        """Note a user's error in the body, and let the rest go on; `family` is the one that it is about."""
        try:
            yield
        except USER_ERRORS as error:
            self.missing.append(Missing(label, str(error), family))


def enter(suite: Suite, runs: Sequence[str], baselines: Sequence[str]) -> Entries:
    """All entrants of a suite.

    Args:
        runs: folders of runs or of `seed-*` runs, each may be `label=folder`.
        baselines: names: of baselines, `untrained` or `no-context` of each run, or learners from scratch.

    Raises:
        UsageError: a baseline of that name does not exist, or two folders have one label.
    """
    for name in baselines:
        if name not in {**BASELINES, **CONTROLS, **LEARNERS} and ":" not in name:
            known = [*CONTROLS, *BASELINES, *LEARNERS]
            raise UsageError(f"there is no baseline {name}; {nearest(name, known)}")
    entries = Entries()
    folders: dict[str, Path] = {}
    for text in runs:
        label, path = _labelled(text)
        if label in folders:
            raise UsageError(f"{folders[label]} and {path} are both called {label}; name one of them: NAME={path}")
        folders[label] = path
    for label, path in folders.items():
        with entries.or_missing(label):
            for folder in run_folders(path):
                with entries.or_missing(f"{label}, {folder.name}"):
                    _enter_run(entries, suite, label, Run.open(folder), [one for one in baselines if one in CONTROLS])
    for entry in suite.families:
        for name in dict.fromkeys(baselines):
            if name in CONTROLS:
                continue
            with entries.or_missing(name, entry.family):
                _enter_baseline(entries, suite, entry, name)
    return entries


def _labelled(text: str) -> tuple[str, Path]:
    """(label, folder) of `label=folder` or of a folder, whose label is its name without the family's."""
    named, path = named_folder(text)
    if named is not None:
        return named, path
    name = path.name or path.resolve().name
    try:
        run = Run.open(run_folders(path)[0])
        base = registry.family(run.recipe.family).name.rpartition("-v")[0]
    except USER_ERRORS:
        return name, path
    return name.removeprefix(f"{base}_") or name, path


def _enter_run(entries: Entries, suite: Suite, label: str, run: Run, controls: Sequence[str]) -> None:
    recipe = run.recipe
    family = run.family()
    entry = suite.entry(recipe.family) or suite.entry(family.name)
    if entry is None:
        listed = ", ".join(one.family for one in suite.families)
        raise UsageError(
            f"{run.path} is a run of {family.name}, and suite {suite.name} is of {listed}; compare it there"
        )
    sets = entry.task_sets(family)
    for task_set in sets.values():
        refuse_leaks(run, family, task_set, suite.max_chance)
    agent, weights, iteration = run.load(family)
    settings = _settings(suite, agent, recipe.evaluation)
    about = about_run(run, iteration)
    kind: EntrantKind = "oracle" if recipe.task_in_observation else "run"
    policy = suite.policies.get(recipe.agent_name, suite.policy)
    sets = _own_training_tasks(run, family, sets)

    def entrant(name: str, kind: EntrantKind, acting: Any, tensors: Any, done: int, what: str) -> TrialEntrant:
        origin = Origin(run.id, recipe.agent_name, recipe.seed, done)
        played = {"held-out": sets["held-out"]} if kind == "control" else sets
        jobs = _jobs(acting, family, tensors, played, settings, origin, policy)
        identity = {"run": run.id or _digest_of(weights), "iteration": done, "what": what}
        return TrialEntrant(name, kind, recipe.agent_name, recipe.seed, family, about, jobs, identity)

    source = str(run.path.parent if run.path.name.startswith("seed-") else run.path)
    entries.add(entrant(label, kind, agent, weights, iteration, "run"), source)
    if "untrained" in controls:
        fresh, learner = build(recipe, family, torch.device("cpu"))
        name = f"{label}, untrained"
        entries.add(entrant(name, "control", fresh, policy_weights(learner), 0, "untrained"), source)
    memoryless = getattr(getattr(recipe.agent, "memory", None), "name", None) == "none"  # its control is itself
    if "no-context" in controls and kind == "run" and not memoryless:
        name = f"{label}, context ablated"
        ablated = ablate_context(agent, "none")
        entries.add(entrant(name, "control", ablated, weights, iteration, "no-context"), source)


def _digest_of(weights: Weights) -> str:
    """The SHA-256 of weights: who a run is that has no name of its own, wherever its folder lies."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode() + np.ascontiguousarray(np.asarray(tensor)).tobytes())
    return digest.hexdigest()


def _own_training_tasks(run: Run, family: TaskFamily, sets: Mapping[str, TaskSet]) -> dict[str, TaskSet]:
    """The sets, with the run's own training tasks in the place of fresh draws if it has fixed ones."""
    if "train" not in sets or run.recipe.train_tasks is None:
        return dict(sets)
    own = run.task_set(family, "train")
    return {**sets, "train": TaskSet(own.family, "train", own.tasks[: len(sets["train"].tasks)], own.seed)}


def _enter_baseline(entries: Entries, suite: Suite, entry: SuiteFamily, name: str) -> None:
    plain = registry.family(entry.family)
    sets = entry.task_sets(plain)
    about: dict[str, Any] = {"provenance": provenance.provenance()}
    if contestant := contestant_class(name):
        budget = suite.budgets.get(name, suite.env_steps)
        if budget < plain.episode_steps:
            raise UsageError(
                f"{name} has a budget of {budget:,} environment steps, less than an episode of {plain.name} "
                f"({plain.episode_steps:,}); raise env_steps or budgets.{name} of suite {suite.name}"
            )
        made = _made(contestant, name, Settings(budget, suite.episodes, suite.probe_episodes))
        how: EntrantKind = "run" if contestant.across_tasks else "from scratch"
        if contestant.across_tasks:
            about["training_steps"] = budget
        for seed in range(suite.seeds_of.get(name, suite.seeds)):
            entrant = ScratchEntrant(
                label_of(contestant), how, name, seed, plain, about, made, sets["held-out"], entry.from_scratch
            )
            entries.add(entrant, name)
        return
    if ":" in name and not hasattr(registry.imported(name), "needs_task"):
        raise UsageError(
            f"{name} is neither a contestant (a subclass of trainers.baselines.contestants.Contestant) nor a baseline "
            "(agents.baselines.base.Baseline)"
        )
    kind = registry.baseline(name)
    family = registry.family(entry.family, task_in_observation=kind.needs_task)
    agent = kind(interface_of(family), suite.episodes)
    settings = _settings(suite, agent, None)
    jobs = _jobs(agent, family, {}, sets, settings, Origin(None, name, 0, 0), "stochastic")
    side: EntrantKind = "oracle" if kind.needs_task else "baseline"
    entries.add(TrialEntrant(name, side, name, 0, family, about, jobs, {"baseline": name}), name)


def _made(contestant: type[Contestant], name: str, settings: Settings) -> Contestant:
    """The contestant, ready to be sent to a worker; UsageError where its own code fails at that."""
    try:
        made = contestant(settings)
        pickle.dumps(made)
    except Exception as error:
        message = " ".join(str(error).split())[:200]
        raise UsageError(f"{name} cannot be made or pickled: {type(error).__name__}: {message}; mend it") from None
    return made


def _settings(suite: Suite, agent: Any, own: Evaluation | None) -> Evaluation:
    """As many adaptations as the budget holds: an agent with R rollouts a round spends R episodes on each.

    A run is never cut short of what its own recipe measures.
    """
    rollouts = own.rollouts if own is not None else 1
    adaptations = max(suite.episodes // rollouts, 1) - 1
    if own is not None:
        adaptations = max(adaptations, own.rounds)
    data = (own or Evaluation()).model_dump() | {
        "rounds": max(adaptations, 1), "rollouts": rollouts, "repeats": suite.repeats, "seed": suite.seed,
    }  # fmt: skip
    return Evaluation.model_validate(data)


def _jobs(
    agent: Any,
    family: TaskFamily,
    weights: Any,
    sets: Mapping[str, TaskSet],
    settings: Evaluation,
    origin: Origin,
    policy: str,
) -> dict[str, EvaluationJob]:
    rows = settings.rollouts * settings.repeats
    return {
        split: EvaluationJob(
            agent, family, weights, task_set, settings, tasks_per_shard(rows), origin,
            deterministic=policy == "deterministic", mean_actions=policy == "mean-action",
        )
        for split, task_set in sets.items()
    }  # fmt: skip


def about_run(run: Run, iteration: int) -> dict[str, Any]:
    """Where a run comes from: what the report says of it."""
    lines = metrics.read(run.metrics_file) if run.metrics_file.exists() else []
    last: Mapping[str, Any] = lines[-1] if lines else {}
    return {
        "run": str(run.path),
        "iteration": iteration,
        "held_out_hash": run.task_set(run.family(), "held-out").digest,
        "recipe": run.recipe.to_data(),
        "provenance": run.provenance(),
        "training_steps": last.get("environment_steps"),
        "training_minutes": round(last["seconds_elapsed"] / 60, 1) if "seconds_elapsed" in last else None,
        "trained_episodes": _trained_episodes(run),
    }


def _trained_episodes(run: Run) -> int:
    """Episodes of the trials that the run's recipe measures: the budget that it was meant for."""
    settings = run.recipe.evaluation
    return (settings.rounds + 1) * settings.rollouts
