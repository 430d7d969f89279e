"""Contestants: learners that are trained on a task, or across tasks, and measured by the same rows as our agents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import pyarrow as pa

from agents.contract import Round
from envs.task import Task, TaskFamily
from trainers.baselines import LEARNERS
from trainers.baselines.metering import Meter, rows
from trainers.errors import UsageError
from trainers.process import torch_threads
from trainers.recipes import registry


@dataclass(frozen=True)
class Settings:
    """Budgets that a contest gives a learner.

    Attributes:
        env_steps: budget on a task, or of training where the learner is trained across tasks.
        episodes: of a trial on a task, for learners that are trained across tasks.
        probe_episodes: uncharged test episodes at each probe.
    """

    env_steps: int
    episodes: int
    probe_episodes: int


class Contestant(ABC):
    """A learner from elsewhere. Subclasses are made with `Settings` and are picklable.

    Class attributes:
        label: its name in tables and plots.
        across_tasks: whether it is trained once on the family's training tasks, then measured on all; else it is
            trained from scratch on each.
    """

    label: ClassVar[str]
    across_tasks: ClassVar[bool] = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def identity(self) -> dict[str, int]:
        """Of its settings those that its rows depend on."""
        used = vars(self.settings)
        return used if self.across_tasks else {name: value for name, value in used.items() if name != "episodes"}

    @abstractmethod
    def run(self, family: TaskFamily, tasks: tuple[Task, ...], seed: int, meter: Meter) -> None:
        """Train, and let the meter keep every episode; `tasks` is one, unless it is trained across tasks."""


@dataclass(frozen=True)
class Contest:
    """One training of a contestant, as a worker does it (`trainers.sampling.shards.Work`).

    Attributes:
        contestant: who.
        tasks: on which; one, unless it is trained across tasks.
        seed: of its training.
        columns: that all of its rows share.
    """

    contestant: Contestant
    tasks: tuple[Task, ...]
    seed: int
    columns: tuple[tuple[str, Any], ...]
    rounds: tuple[Round, ...] = ()
    timeout_s: ClassVar[float] = 24 * 3600.0

    def run(self, family: TaskFamily) -> pa.Table | str:
        """The rows, or one sentence that says why there are none: a contestant that fails stops no other."""
        meter = Meter(self.contestant.settings.env_steps, task=self.tasks[0].index)
        where = f"{label_of(type(self.contestant))}, seed {self.seed}, task {self.tasks[0].index}"
        try:
            with torch_threads(1):
                self.contestant.run(family, self.tasks, self.seed, meter)
            if problem := meter.problem({task.index for task in self.tasks}):
                return f"{where}: {problem}"
            return rows(meter, self.tasks, dict(self.columns))
        except MemoryError:
            return f"{where}: there is not enough memory for it"
        except (Exception, SystemExit) as error:  # of any kind: the libraries' own, the environment's
            return f"{where}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def label_of(contestant: type[Contestant]) -> str:
    """Its name in tables and plots: its class's where it declares none."""
    label = getattr(contestant, "label", None)
    return label if isinstance(label, str) else contestant.__name__


def contestant_class(name: str) -> type[Contestant] | None:
    """The contestant of this name, a listed one or `package.module:Name`; None if what has the name is none.

    Raises:
        UsageError: a package that it needs is not installed, or it cannot be imported.
    """
    if ":" in name:
        found = registry.imported(name)
        return found if isinstance(found, type) and issubclass(found, Contestant) else None
    if name not in LEARNERS:
        return None
    module, _, attribute = LEARNERS[name].partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        raise UsageError(
            f"{name} needs a package that is not installed ({error}); install acclimate[contrib], or leave it out"
        ) from error
