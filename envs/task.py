"""Tasks and task families: a family is a task distribution, and makes the environments of its tasks.

Distributions of task parameters are in `envs.distributions`, reading and checking of stored task sets in
`envs.task_sets`; what a family needs of them can be imported from here as well.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from envs.checked import make_checked
from envs.distributions import Box, Choice, Distribution, Integer, LogUniform, Uniform, Value, plain_value
from envs.errors import TaskError
from envs.plan_view import PlanView
from envs.vector import LoopVectorEnv, check_spaces

__all__ = [
    "EARLIER_KINDS", "KINDS", "SPLITS", "Box", "Choice", "Distribution", "Integer", "Kind", "LogUniform", "PlanView",
    "Split", "Task", "TaskError", "TaskFamily", "TaskSet", "Uniform", "Value",
]  # fmt: skip

Split = Literal["train", "validation", "held-out", "ood"]
SPLITS: tuple[Split, ...] = ("train", "validation", "held-out", "ood")
Kind = Literal["distribution", "region", "finite"]
KINDS: tuple[Kind, ...] = ("distribution", "region", "finite")
EARLIER_KINDS: Mapping[str, Kind] = {"law": "distribution", "closed": "finite"}  # names that are still read
_LONGEST_LIST = 1000  # tasks of a set that a file lists one by one


@dataclass(frozen=True)
class Task:
    """One member of a family: plain frozen data, hashable, JSON both ways. `index` is its place in its set.

    The index is no part of the task's identity: equal parameters are the same task wherever they stand.

    A task may hold a schedule: parameters that change within the trial, at a step of an episode. It is one task still;
    agents see nothing of it.

    Attributes:
        schedule: what changes, in order: (episode of the trial, step in it, the changed parameters).
    """

    family: str
    items: tuple[tuple[str, Value], ...]
    index: int = field(default=0, compare=False)
    schedule: tuple[tuple[int, int, tuple[tuple[str, Value], ...]], ...] = ()

    @classmethod
    def of(
        cls, family: str, parameters: Mapping[str, Any], index: int = 0, schedule: Iterable[Mapping[str, Any]] = ()
    ) -> Task:
        """A task from any mapping; arrays and lists become tuples, NumPy scalars become Python ones.

        Args:
            schedule: mappings with `episode`, `step` and the changed `parameters`, in the order of time.
        """
        items = _items(parameters)
        parts: list[tuple[int, int, tuple[tuple[str, Value], ...]]] = []
        for part in schedule:
            if not isinstance(part, Mapping) or set(part) != {"episode", "step", "parameters"}:
                raise TaskError(f"a schedule lists objects with episode, step and parameters, not {str(part)[:80]}")
            when = part["episode"], part["step"]
            before = parts[-1][:2] if parts else (0, 0)
            if not all(type(count) is int and count >= 0 for count in when) or when <= before:
                raise TaskError(f"a schedule's episodes and steps count from 0 and go on in time; {when} does not")
            if unknown := set(part["parameters"]) - {name for name, _ in items}:
                raise TaskError(f"a schedule changes {min(unknown)}, which is no parameter of the task")
            parts.append((*when, _items(part["parameters"])))
        return cls(family, items, index, tuple(parts))

    @cached_property
    def segments(self) -> tuple[tuple[tuple[int, int], Task], ...]:
        """((episode, step) from which, the plain task that holds then), from the trial's start on."""
        segments = [((0, 0), Task(self.family, self.items, self.index))]
        for episode, step, changed in self.schedule:
            items = dict(segments[-1][1].items) | dict(changed)
            segments.append(((episode, step), Task(self.family, tuple(sorted(items.items())), self.index)))
        return tuple(segments)

    def segment_at(self, episode: int, step: int) -> int:
        """Which of `segments` holds at a step of an episode of the trial."""
        return max(index for index, (when, _) in enumerate(self.segments) if when <= (episode, step))

    @property
    def parameters(self) -> dict[str, Value]:
        """The named parameters."""
        return dict(self.items)

    def __getitem__(self, name: str) -> Any:
        for key, value in self.items:
            if key == name:
                return value
        raise TaskError(f"a task of {self.family} has no parameter {name!r}; it has {', '.join(self.parameters)}")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of family and parameters, 64 hexadecimal digits."""
        identity = [self.family, self.items, *([self.schedule] if self.schedule else [])]
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` takes back."""
        return {"family": self.family, "parameters": self.parameters, "index": self.index, **self.schedule_to_json()}

    def schedule_to_json(self) -> dict[str, Any]:
        """{} or {"schedule": ...}, as it stands beside the parameters in a task set."""
        parts = [
            {"episode": episode, "step": step, "parameters": dict(changed)} for episode, step, changed in self.schedule
        ]
        return {"schedule": parts} if parts else {}

    @classmethod
    def from_json(cls, data: Any) -> Task:
        """The task that `to_json` wrote; raises TaskError for anything else."""
        if not isinstance(data, Mapping) or not {"family", "parameters"} <= set(data):
            raise TaskError(f"a task is an object with family and parameters, not {str(data)[:80]}")
        if not isinstance(data["parameters"], Mapping):
            raise TaskError(f"a task's parameters are an object of names and values, not {data['parameters']!r}")
        schedule = data.get("schedule", ())
        if not isinstance(schedule, (list, tuple)):
            raise TaskError(f"a task's schedule is a list, not {str(schedule)[:80]}")
        return cls.of(str(data["family"]), data["parameters"], int(data.get("index", 0)), schedule)


def _items(parameters: Mapping[str, Any]) -> tuple[tuple[str, Value], ...]:
    return tuple(sorted((name, plain_value(value)) for name, value in parameters.items()))


# -- frozen task sets


@dataclass(frozen=True)
class TaskSet:
    """A frozen set of tasks that results are reported on; `digest` names it in every result."""

    family: str
    split: str
    tasks: tuple[Task, ...]
    seed: int | None = None

    @cached_property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of all tasks in order."""
        return hashlib.sha256("".join(task.digest for task in self.tasks).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `envs.task_sets.load_task_set`.

        A large set that can be drawn again is given by its split, seed, count and hash.
        """
        summary: dict[str, Any] = {"family": self.family, "split": self.split, "seed": self.seed}
        summary |= {"count": len(self.tasks), "hash": self.digest}
        if self.seed is not None and len(self.tasks) > _LONGEST_LIST:
            return summary
        return summary | {"tasks": [task.parameters | task.schedule_to_json() for task in self.tasks]}


# -- families


class TaskFamily(ABC):
    """A versioned task distribution. Subclass it, name the parameters, and give `make_env`: the rest follows.

    Class attributes:
        name: versioned, such as "pendulum_mass-v1"; another distribution, reward or horizon is a new version.
        parameters: the distribution of each task parameter.
        episode_steps: the horizon; an episode is truncated there.
        kind: how held-out tasks differ from training tasks. "distribution": fresh draws (exact repeats are leaks).
            "region": a region cut out of the training distribution, see `in_held_out_region`. "finite": there are only
            so many tasks, held-out = train. The earlier names "law" and "closed" are still read.
        observed_parameters: task parameters that the observation tells by declaration, at `observed_entries`.
        privileged_info: keys of the step info that hold knowledge of the task, meant for learners only.
        has_success: declares that the step info has `success` [rows] bool at every step (`envs.signals`).
        reset_depends_on_task: declares that the first observation may differ between tasks (another body, say).
        differs_at_once: declares that random actions at the start of a trial show which task it is; where they need not
            (a robot falls before it reaches what differs), the conformance check does not ask for it.
        reward_terms: names of the parts that the reward is the sum of, logged one by one; () where it is one formula.
            Their values come in the step info `reward_terms`, [rows, K].
        digest, files: of the files that the family was read from, its own first; None, () for one that is code.
        can_switch: whether its environments follow a task's schedule (`Task.schedule`).
    """

    name: ClassVar[str]
    parameters: ClassVar[Mapping[str, Distribution]]
    episode_steps: ClassVar[int]
    kind: ClassVar[Kind] = "distribution"
    observed_parameters: ClassVar[tuple[str, ...]] = ()
    privileged_info: ClassVar[tuple[str, ...]] = ()
    has_success: ClassVar[bool] = False
    reset_depends_on_task: ClassVar[bool] = False
    differs_at_once: ClassVar[bool] = True
    can_switch: ClassVar[bool] = False
    reward_terms: ClassVar[tuple[str, ...]] = ()
    digest: ClassVar[str | None] = None
    files: ClassVar[Sequence[Path]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.kind in EARLIER_KINDS:
            cls.kind = EARLIER_KINDS[cls.kind]

    @abstractmethod
    def make_env(self, task: Task) -> gymnasium.Env:
        """A single environment of this task; nothing in its observation or info may tell the task."""

    def make_vector_env(self, tasks: Sequence[Task], rows: int) -> VectorEnv:
        """One batched environment of `rows` rows for each task, task by task; see `envs.vector`."""
        of_rows = [task for task in tasks for _ in range(rows)]
        envs = [make_checked(self.make_env, task) for task in of_rows]
        check_spaces(envs[0], of_rows[0], self.observation_space, self.action_space)
        return LoopVectorEnv(envs, self.episode_steps, can_switch=self.can_switch, tasks=of_rows)

    def reference_returns(self, task: Task) -> dict[str, float]:
        """Known returns of an episode: `blind` (best without learning the task), `bayes`, `oracle`; {} if unknown."""
        earlier = getattr(self, "yardsticks", None)  # the name of this method in families of the first version
        return earlier(task) if earlier is not None else {}

    @property
    def observed_entries(self) -> np.ndarray:
        """Entries of the flat observation that tell `observed_parameters`, such as a command that is to be followed."""
        return np.zeros(0, int)

    def own_checks(self) -> Sequence[tuple[str, Callable[[Any], str | None]]]:
        """Checks beyond those of every family: (what holds, a sentence where it does not)."""
        return ()

    def task_vector(self, task: Task) -> np.ndarray:
        """The task as a vector, for agents that observe it (`envs.oracle`): its parameters in order of their names."""
        values = [np.asarray(value, float).reshape(-1) for _, value in task.items]
        return np.concatenate(values)

    def plan_view(self, task: Task) -> PlanView | None:
        """How to draw its episodes from above; None where there is nothing to see."""
        return None

    def in_held_out_region(self, parameters: Mapping[str, Value]) -> bool:
        """For kind "region": whether these parameters belong to the held-out region."""
        raise TaskError(f"{self.name} is of kind region and must define in_held_out_region")

    def draw(self, rng: np.random.Generator, split: Split) -> dict[str, Value]:
        """The parameters of one task; override it where they do not vary independently of each other."""
        moved = [name for name, distribution in self.parameters.items() if distribution.ood] if split == "ood" else []
        return {name: distribution.draw(rng, ood=name in moved) for name, distribution in self.parameters.items()}

    def draw_schedule(
        self, rng: np.random.Generator, split: Split, parameters: Mapping[str, Value]
    ) -> Sequence[Mapping[str, Any]]:
        """The schedule of a task with these parameters, as `Task.of` takes it; () by default."""
        return ()

    @property
    def has_ood(self) -> bool:
        """Whether there are out-of-distribution tasks: a parameter has an ood range."""
        return any(distribution.ood for distribution in self.parameters.values())

    # -- inherited by every family

    def sample(self, n: int, rng: np.random.Generator, split: Split) -> list[Task]:
        """n tasks of a split, a function of the generator's state alone."""
        if split not in SPLITS:
            raise TaskError(f"there is no split {split!r}; the splits are {', '.join(SPLITS)}")
        if split == "ood" and not self.has_ood:
            raise TaskError(f"{self.name} declares no ood range; evaluate it on validation or held-out")
        if self.kind == "finite" and split != "ood":
            every = self._every_task()
            if split == "train":
                return [every[int(which)] for which in rng.integers(len(every), size=n)]
            return every[:n]
        tasks = []
        for index in range(n):
            parameters = self._draw_for(rng, split)
            tasks.append(Task.of(self.name, parameters, index, self.draw_schedule(rng, split, parameters)))
        return tasks

    def _draw_for(self, rng: np.random.Generator, split: Split) -> dict[str, Value]:
        for _ in range(100_000):
            parameters = self.draw(rng, split)
            if self.kind != "region" or split == "ood" or self.in_held_out_region(parameters) == (split == "held-out"):
                return parameters
        raise TaskError(f"{self.name}: 100,000 draws gave no {split} task; is the held-out region empty or everything?")

    def _every_task(self) -> list[Task]:
        distributions = self.parameters.values()
        values = [distribution.values for distribution in distributions if isinstance(distribution, Choice)]
        if len(values) < len(distributions):
            raise TaskError(f"{self.name} is of kind finite, so every parameter must be a Choice")
        return [
            Task.of(self.name, dict(zip(self.parameters, chosen, strict=True)), index)
            for index, chosen in enumerate(product(*values))
        ]

    def task(self, **parameters: Any) -> Task:
        """A checked task with these parameters."""
        return self.check_task(Task.of(self.name, parameters))

    def check_task(self, task: Task) -> Task:
        """The task itself, or TaskError if it is of another family or outside the parameter space."""
        if task.family != self.name:
            raise TaskError(f"a task of {task.family} was given to {self.name}; use a task set of the same family")
        missing, unknown = set(self.parameters) - set(task.parameters), set(task.parameters) - set(self.parameters)
        if missing or unknown:
            raise TaskError(
                f"a task of {self.name} has the parameters {', '.join(self.parameters)}; "
                f"task {task.index} has {', '.join(task.parameters) or 'none'}"
            )
        if task.schedule and not self.can_switch:
            raise TaskError(f"task {task.index} has a schedule, but {self.name} cannot change within a trial")
        for _, part in task.segments:
            for name, distribution in self.parameters.items():
                if problem := distribution.validate(part[name]):
                    raise TaskError(f"task {task.index} of {self.name} is outside its space: {name} {problem}")
        return task

    def task_set(self, split: Split, count: int, seed: int) -> TaskSet:
        """The frozen set of a split, of a finite family each task once; override it where a published set exists."""
        rng = np.random.default_rng(np.random.SeedSequence([seed, SPLITS.index(split)]))
        drawn: Split = "held-out" if self.kind == "finite" and split == "train" else split
        return TaskSet(self.name, split, tuple(self.sample(count, rng, drawn)), seed)

    @cached_property
    def _spaces(self) -> tuple[gymnasium.Space, gymnasium.Space]:
        env = make_checked(self.make_env, self.sample(1, np.random.default_rng(0), "train")[0])
        spaces = env.observation_space, env.action_space
        env.close()
        return spaces

    @property
    def observation_space(self) -> gymnasium.Space:
        """Of a single environment, as it declares it; `envs.spaces` says how such observations are stored."""
        return self._spaces[0]

    @property
    def action_space(self) -> gymnasium.Space:
        """Of a single environment."""
        return self._spaces[1]
