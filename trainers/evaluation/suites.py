"""Suites: what a comparison is made on. Families with frozen tasks, a budget, a policy mode, repeats.

A suite is a YAML file, `configs/suites/<name>.yaml` or one of your own. Its task sets are named by count, seed and
hash, so that a family which draws other tasks one day is found out; results on suites of another name or hash do not
compare.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, model_validator

from agents import ALGORITHMS
from agents.contract import Config
from envs.task import TaskFamily, TaskSet
from envs.validation import nearest
from trainers.baselines import LEARNERS
from trainers.errors import UsageError
from trainers.recipes import loading

Policy = Literal["stochastic", "deterministic", "mean-action"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
SUITES = loading.SHIPPED / "suites"


class FrozenTasks(Config):
    """A frozen task set that can be drawn again."""

    count: Annotated[int, Field(ge=1, le=100_000)]  # tasks
    seed: NonNegativeInt = 0  # of the draw
    hash: str  # of the tasks drawn, 16 hexadecimal digits: another one is another set


class SuiteFamily(Config):
    """A family of a suite, with its task sets."""

    family: str  # a listed one, module:Class or a YAML file
    held_out: FrozenTasks  # the tasks that agents are compared on
    ood: FrozenTasks | None = None  # out-of-distribution tasks, where the family has some
    train: FrozenTasks | None = None  # draws of the training distribution: what generalising costs
    from_scratch: PositiveInt = 6  # of the held-out tasks, the first: what learners from scratch are trained on

    @model_validator(mode="after")
    def _enough_tasks(self) -> SuiteFamily:
        if "from_scratch" in self.model_fields_set and self.from_scratch > self.held_out.count:
            raise ValueError(
                f"from_scratch is {self.from_scratch}, but there are {self.held_out.count} held-out tasks; lower it"
            )
        return self

    def task_sets(self, family: TaskFamily) -> dict[str, TaskSet]:
        """The sets by split, drawn again; UsageError where the family draws other tasks now."""
        sets = {}
        for split, frozen in (("held-out", self.held_out), ("ood", self.ood), ("train", self.train)):
            if frozen is None:
                continue
            drawn = family.task_set(split, frozen.count, frozen.seed)  # type: ignore[arg-type]
            if drawn.digest != frozen.hash:
                raise UsageError(
                    f"{family.name} draws {split} tasks that hash to {drawn.digest}, and the suite has {frozen.hash}: "
                    "its tasks are of another version of the family; take the version of Acclimate that the suite was "
                    "made with, or give the suite a new name with today's hash"
                )
            sets[split] = drawn
        return sets


class Suite(Config):
    """Tasks, budgets and ways to act of a comparison."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+-v\d+$")]  # versioned: another budget or task set is another suite
    families: Annotated[tuple[SuiteFamily, ...], Field(min_length=1)]  # each with its task sets
    episodes: PositiveInt = 20  # budget of a trial, of agents that adapt
    env_steps: PositiveInt = 100_000  # budget on a task, of learners from scratch
    budgets: dict[str, PositiveInt] = {}  # other budgets of learners from scratch, by their names
    probe_episodes: PositiveInt = 10  # uncharged test episodes of learners from scratch, at each probe
    policy: Policy = "stochastic"  # how agents act when they are measured
    policies: dict[str, Policy] = {}  # other policy modes, by name of the agent
    repeats: PositiveInt = 3  # independent trials of each task
    seeds: PositiveInt = 3  # training seeds of learners from scratch
    seeds_of: dict[str, PositiveInt] = {}  # other numbers of training seeds, by their names
    seed: NonNegativeInt = 0  # of what happens in trials
    max_chance: PositiveFloat = 1e-6  # chance under which near repeats of training tasks count as a leak

    @model_validator(mode="after")
    def _one_entry_a_family(self) -> Suite:
        names = [one.family for one in self.families]
        if len(set(names)) < len(names):
            raise ValueError(f"{max(names, key=names.count)} is named twice, but its tasks are one set; name it once")
        return self

    @property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of everything in it."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]

    def entry(self, family: str) -> SuiteFamily | None:
        """The entry of a family, by its name; None where the suite has none."""
        return next((one for one in self.families if one.family == family), None)


def shipped_suites() -> dict[str, Path]:
    """The suites that come with Acclimate, by name."""
    return {path.stem: path for path in sorted(SUITES.glob("*.yaml"))}


def load_suite(name: str | Path) -> Suite:
    """The checked suite of this name or in this file; UsageError where there is none or a key is not valid."""
    path = Path(name)
    if not path.is_file():
        known = shipped_suites()
        if str(name) not in known:
            raise UsageError(f"there is no suite {name}; {nearest(str(name), known)}; a suite of your own is a path")
        path = known[str(name)]
    try:
        suite = Suite.model_validate(loading.read(path, "suite"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise UsageError(f"{path}: {where}: {first['msg']}; mend that key") from error
    for key in ("budgets", "seeds_of"):
        for learner in getattr(suite, key):
            if learner not in LEARNERS and ":" not in learner:
                raise UsageError(
                    f"{path}: {key}: no learner from scratch is called {learner}; {nearest(learner, LEARNERS)}"
                )
    for agent in suite.policies:
        if agent not in ALGORITHMS and ":" not in agent:
            raise UsageError(f"{path}: policies: there is no agent {agent}; {nearest(agent, ALGORITHMS)}")
    return suite


def suite_of(name: str, family: TaskFamily, held_out: int, seed: int) -> str:
    """A suite for a family as the text of its file: tasks drawn now and frozen, every other key with its meaning."""
    stem = re.sub(r"[^a-z0-9_]+", "_", family.name.rpartition("-v")[0].lower()).strip("_") or "mine"
    few = min(held_out, 10)

    def frozen(split: str, count: int) -> str:
        drawn = family.task_set(split, count, seed)  # type: ignore[arg-type]
        return f'{{count: {len(drawn.tasks)}, seed: {seed}, hash: "{drawn.digest}"}}'

    ood = f"  ood: {frozen('ood', few)}\n" if family.has_ood else ""
    scratch = min(6, len(family.task_set("held-out", held_out, seed).tasks))
    return (
        f"# What agents are compared on: acclimate benchmark THIS_FILE --out FOLDER --runs ... --baselines random\n"
        f"name: {stem}-v1              # versioned: other tasks or budgets are another suite\n"
        f"families:\n"
        f"- family: {json.dumps(name)}\n"
        f"  held_out: {frozen('held-out', held_out)}\n"
        f"{ood}"
        f"  train: {frozen('train', few)}\n"
        f"  from_scratch: {scratch}            # of the held-out tasks, the first: for learners from scratch\n"
        f"episodes: 20                 # budget of a trial, of agents that adapt\n"
        f"env_steps: 100000            # budget on a task, of learners from scratch\n"
        f"repeats: 3                   # independent trials of each task\n"
        f"seeds: 3                     # training seeds of learners from scratch\n"
        f"policy: stochastic           # or deterministic, or mean-action\n"
    )
