"""Tasks, laws over their parameters, task families and frozen task sets."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

Value = float | int | str | bool | tuple[float, ...]
Split = Literal["train", "validation", "held-out", "ood"]
_MOST_WRITTEN = 1000  # tasks of a set that a file lists one by one
SPLITS: tuple[Split, ...] = ("train", "validation", "held-out", "ood")
Kind = Literal["law", "region", "closed"]


class TaskError(ValueError):
    """A task, a family or a task set is not what it must be; the message is a sentence for the user."""


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
    return tuple(sorted((name, _plain(value)) for name, value in parameters.items()))


def _plain(value: Any) -> Value:
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(float(entry) for entry in value)
    if isinstance(value, (bool, int, float, str)):
        return value
    raise TaskError(f"a task parameter is a number, a word or a list of numbers, not {value!r}")


# -- laws over parameters


@dataclass(frozen=True)
class Uniform:
    """U(low, high) for each entry; out-of-distribution draws come from the `ood` intervals.

    Attributes:
        low, high: ends of the law, inclusive.
        shape: () for a number, (n,) for a list of n numbers.
        unit: of every entry; "" if it has none.
        ood: intervals beyond the law; together with it they are the parameter's valid space.
    """

    low: float
    high: float
    shape: tuple[int, ...] = ()
    unit: str = ""
    ood: tuple[tuple[float, float], ...] = ()

    def draw(self, rng: np.random.Generator, *, ood: bool) -> Value:
        """One value of the law, or of its ood intervals (each as likely as it is long)."""
        if not ood:
            return _plain(rng.uniform(self.low, self.high, self.shape))
        lengths = np.array([high - low for low, high in self.ood])
        which = rng.choice(len(lengths), size=self.shape, p=lengths / lengths.sum())
        ends = np.array(self.ood)[which]
        return _plain(rng.uniform(ends[..., 0], ends[..., 1]))

    def problem(self, value: Value) -> str | None:
        """What is wrong with this value, or None."""
        entries = np.asarray(value)
        if entries.shape != self.shape or entries.dtype.kind not in "fi":
            wanted = f"{self.shape[0]} numbers" if self.shape else "a number"
            return f"is {value!r} but must be {wanted}"
        intervals = [(self.low, self.high), *self.ood]
        for entry in entries.reshape(-1):
            if not any(low <= entry <= high for low, high in intervals):
                spans = " or ".join(f"[{low:g}, {high:g}]" for low, high in sorted(intervals))
                return f"has {float(entry):g} outside {spans}" + (f" {self.unit}" if self.unit else "")
        return None

    def describe(self) -> str:
        """The law in a few words."""
        size = f"^{self.shape[0]}" if self.shape else ""
        return f"U[{self.low:g}, {self.high:g}]{size}" + (f" {self.unit}" if self.unit else "")


@dataclass(frozen=True)
class LogUniform(Uniform):
    """log x ~ U(log low, log high); 0 < low."""

    def draw(self, rng: np.random.Generator, *, ood: bool) -> Value:
        logs = Uniform(
            np.log(self.low), np.log(self.high), self.shape, ood=tuple((np.log(a), np.log(b)) for a, b in self.ood)
        )
        return _plain(np.exp(logs.draw(rng, ood=ood)))

    def describe(self) -> str:
        return "log" + super().describe()


@dataclass(frozen=True)
class Choice:
    """One of finitely many values, all as likely; `ood` values never occur in training."""

    values: tuple[Value, ...]
    unit: str = ""
    ood: tuple[Value, ...] = ()

    def draw(self, rng: np.random.Generator, *, ood: bool) -> Value:
        """One of the values."""
        values = self.ood if ood else self.values
        return values[int(rng.integers(len(values)))]

    def problem(self, value: Value) -> str | None:
        """What is wrong with this value, or None."""
        if value in self.values or value in self.ood:
            return None
        return f"is {value!r} but must be one of {', '.join(map(repr, self.values + self.ood))}"

    def describe(self) -> str:
        """The law in a few words."""
        return "one of " + ", ".join(map(str, self.values)) + (f" {self.unit}" if self.unit else "")


@dataclass(frozen=True)
class Integer:
    """A whole number, all from `low` to `high` as likely: the number of a draw that is too large to be written out."""

    low: int
    high: int
    unit: str = ""
    ood: tuple[()] = ()

    def draw(self, rng: np.random.Generator, *, ood: bool) -> Value:
        """One of the numbers."""
        return int(rng.integers(self.low, self.high, endpoint=True))

    def problem(self, value: Value) -> str | None:
        """What is wrong with this value, or None."""
        if type(value) is int and self.low <= value <= self.high:
            return None
        return f"is {value!r} but must be a whole number in [{self.low}, {self.high}]"

    def describe(self) -> str:
        """The law in a few words."""
        return f"U[{self.low}, {self.high}], a whole number" + (f" {self.unit}" if self.unit else "")


Parameter = Uniform | LogUniform | Choice | Integer


# -- families


@dataclass(frozen=True)
class PlanView:
    """How to draw an episode from above.

    Attributes:
        entries: the observation entries that are the position (x, y).
        goal: the task's goal (x, y), or None.
        unit: of both.
    """

    entries: tuple[int, int]
    goal: tuple[float, float] | None
    unit: str = "m"


class TaskFamily(ABC):
    """A versioned law over tasks. Subclass it, name the parameters, and give `make_env`: the rest follows.

    Class attributes:
        name: versioned, such as "pendulum_mass-v1"; a changed law, reward or horizon is a new version.
        parameters: the law of each task parameter.
        episode_steps: the horizon; an episode is truncated there.
        kind: what held-out means. "law": fresh draws of the training law (exact repeats are leaks). "region": a
            region cut out of it, see `in_held_out_region`. "closed": a finite set, held-out = train.
        privileged_info: keys of the step info that hold knowledge of the task, meant for learners only.
        reset_depends_on_task: declares that the first observation may differ between tasks (another body, say).
        differs_at_once: declares that random actions at the start of a trial show which task it is; where they need not
            (a robot falls before it reaches what differs), the conformance check does not ask for it.
        reward_terms: names of the parts that the reward is the sum of, logged one by one; () where it is one formula.
            Their values come in the step info `reward_terms`, [rows, K].
        digest: of the files that the family was read from; None for one that is code.
        can_switch: whether its environments follow a task's schedule (`Task.schedule`).
    """

    name: ClassVar[str]
    parameters: ClassVar[Mapping[str, Parameter]]
    episode_steps: ClassVar[int]
    kind: ClassVar[Kind] = "law"
    privileged_info: ClassVar[tuple[str, ...]] = ()
    reset_depends_on_task: ClassVar[bool] = False
    differs_at_once: ClassVar[bool] = True
    can_switch: ClassVar[bool] = False
    reward_terms: ClassVar[tuple[str, ...]] = ()
    digest: ClassVar[str | None] = None

    @abstractmethod
    def make_env(self, task: Task) -> gymnasium.Env:
        """A single environment of this task; nothing in its observation or info may tell the task."""

    def make_vector_env(self, tasks: Sequence[Task], rows: int) -> VectorEnv:
        """One batched environment of `rows` rows for each task, task by task; see `envs.vector`."""
        from envs.vector import LoopVectorEnv

        envs = [self.make_env(task) for task in tasks for _ in range(rows)]
        return LoopVectorEnv(envs, self.episode_steps, can_switch=self.can_switch)

    def reference_returns(self, task: Task) -> dict[str, float]:
        """Known returns of an episode: `blind` (best without learning the task), `bayes`, `oracle`; {} if unknown."""
        return {}

    def task_vector(self, task: Task) -> np.ndarray:
        """The task as numbers, for those who are told it (`envs.oracle`): by default its parameters, by name."""
        values = [np.asarray(value, float).reshape(-1) for _, value in task.items]
        return np.concatenate(values)

    def plan_view(self, task: Task) -> PlanView | None:
        """How to draw its episodes from above; None where that shows nothing."""
        return None

    def in_held_out_region(self, parameters: Mapping[str, Value]) -> bool:
        """For kind "region": whether these parameters belong to the held-out region."""
        raise TaskError(f"{self.name} is of kind region and must define in_held_out_region")

    def draw(self, rng: np.random.Generator, split: Split) -> dict[str, Value]:
        """The parameters of one task; override it for a law that is not a product of independent ones."""
        moved = [name for name, law in self.parameters.items() if law.ood] if split == "ood" else []
        return {name: law.draw(rng, ood=name in moved) for name, law in self.parameters.items()}

    def draw_schedule(
        self, rng: np.random.Generator, split: Split, parameters: Mapping[str, Value]
    ) -> Sequence[Mapping[str, Any]]:
        """What changes within the trial of a task with these parameters, as `Task.of` takes it; nothing by default."""
        return ()

    @property
    def has_ood(self) -> bool:
        """Whether there are tasks beyond the training law: a parameter has an ood range."""
        return any(law.ood for law in self.parameters.values())

    # -- what every family inherits

    def sample(self, n: int, rng: np.random.Generator, split: Split) -> list[Task]:
        """n tasks of a split, a function of the generator's state alone."""
        if split not in SPLITS:
            raise TaskError(f"there is no split {split!r}; the splits are {', '.join(SPLITS)}")
        if split == "ood" and not self.has_ood:
            raise TaskError(f"{self.name} declares no ood range; evaluate it on validation or held-out")
        if self.kind == "closed" and split != "ood":
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
        laws = self.parameters.items()
        if not all(isinstance(law, Choice) for _, law in laws):
            raise TaskError(f"{self.name} is of kind closed, so every parameter must be a Choice")
        names = [name for name, _ in laws]
        values = [law.values for _, law in laws if isinstance(law, Choice)]
        return [
            Task.of(self.name, dict(zip(names, chosen, strict=True)), index)
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
            for name, law in self.parameters.items():
                if problem := law.problem(part[name]):
                    raise TaskError(f"task {task.index} of {self.name} is outside its space: {name} {problem}")
        return task

    def task_set(self, split: Split, count: int, seed: int) -> TaskSet:
        """The frozen set of a split, of a closed family each task once; override it where a published set exists."""
        rng = np.random.default_rng(np.random.SeedSequence([seed, SPLITS.index(split)]))
        drawn: Split = "held-out" if self.kind == "closed" and split == "train" else split
        return TaskSet(self.name, split, tuple(self.sample(count, rng, drawn)), seed)

    @cached_property
    def _spaces(self) -> tuple[gymnasium.Space, gymnasium.Space]:
        env = self.make_env(self.sample(1, np.random.default_rng(0), "train")[0])
        spaces = env.observation_space, env.action_space
        env.close()
        return spaces

    @property
    def observation_space(self) -> gymnasium.Space:
        """Of a single environment."""
        return self._spaces[0]

    @property
    def action_space(self) -> gymnasium.Space:
        """Of a single environment."""
        return self._spaces[1]


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
        """Plain data that `load` takes back; a large set that can be drawn again is its law, seed, count and hash."""
        told = {
            "family": self.family,
            "split": self.split,
            "seed": self.seed,
            "count": len(self.tasks),
            "hash": self.digest,
        }
        if self.seed is not None and len(self.tasks) > _MOST_WRITTEN:
            return told
        return told | {
            "tasks": [task.parameters | task.schedule_to_json() for task in self.tasks],
        }

    @classmethod
    def load(cls, path: Path, family: TaskFamily) -> TaskSet:
        """The task set in a JSON file, every task checked; the hash, if it holds one, must be that of its tasks."""
        try:
            if not path.is_file():
                raise OSError("it is no file")
            data = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise TaskError(f"{path} is not a task set: {error}") from error
        if isinstance(data, Mapping) and "tasks" not in data and "hash" in data:
            return cls._drawn_again(path, data, family)
        if not isinstance(data, Mapping) or not isinstance(data.get("tasks"), list) or not data["tasks"]:
            raise TaskError(f"{path} is not a task set: it needs a non-empty list under the key tasks")
        name = data.get("family", family.name)
        parsed = [_task_of_entry(name, entry, index) for index, entry in enumerate(data["tasks"])]
        for task in parsed:
            try:
                family.check_task(task)
            except TaskError as error:
                raise TaskError(f"{path}: {error}") from error
        result = cls(name, str(data.get("split", path.stem)), tuple(parsed), data.get("seed"))
        if data.get("hash", result.digest) != result.digest:
            raise TaskError(
                f"{path} was changed: its tasks hash to {result.digest}, not {data['hash']}; "
                "take the original file, or delete its hash to make it a set of its own"
            )
        return result

    @staticmethod
    def _drawn_again(path: Path, data: Mapping[str, Any], family: TaskFamily) -> TaskSet:
        """The set that a file names by split, count and seed; its hash must be that of the tasks drawn now."""
        split, count, seed = (data.get(name) for name in ("split", "count", "seed"))
        if split not in SPLITS or type(count) is not int or count < 1 or type(seed) is not int or seed < 0:
            raise TaskError(
                f"{path} is not a task set: without tasks it needs a split, a count and a seed to draw them"
            )
        if data.get("family", family.name) != family.name:
            raise TaskError(f"{path} is a task set of {data['family']}, not of {family.name}; take the family's own")
        result = family.task_set(split, count, seed)
        if data["hash"] != result.digest:
            raise TaskError(
                f"{path} names tasks that hash to {data['hash']}, but {family.name} draws others from its seed now "
                f"({result.digest}); use the version of Acclimate that wrote it"
            )
        return result


def _task_of_entry(family: str, entry: Any, index: int) -> Task:
    """A task as a task set lists it: its parameters, and its schedule beside them."""
    if not isinstance(entry, Mapping):
        raise TaskError(f"a task's parameters are an object of names and values, not {entry!r}")
    parameters = {name: value for name, value in entry.items() if name != "schedule"}
    schedule = {"schedule": entry["schedule"]} if "schedule" in entry else {}
    return Task.from_json({"family": family, "parameters": parameters, "index": index, **schedule})


def check_disjoint(kind: Kind, sets: Iterable[TaskSet]) -> None:
    """Raises TaskError if a task occurs in two of the sets; closed families are the same tasks by declaration."""
    if kind == "closed":
        return
    seen: dict[Task, str] = {}
    for one in sets:
        for task in one.tasks:
            if seen.setdefault(task, one.split) != one.split:
                raise TaskError(
                    f"task {task.parameters} of {one.family} is in both {seen[task]} and {one.split}, so results would "
                    'leak; declare a finite family as kind "closed", or change the seed'
                )
