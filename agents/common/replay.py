"""Replay buffers: the newest transitions of each training task, and the newest whole trials; and batches from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.contract import AgentError
from agents.functional.latent_sac import LatentBatch

CPU = torch.device("cpu")
BLOCK = 100  # gradient steps whose draws travel to the learner's device together


class TaskReplay:
    """The newest `capacity` transitions of each task, as rows of W numbers, on the learner's device.

    Attributes:
        added: [tasks] int64, transitions added to each task so far.
    """

    def __init__(self, tasks: int, width: int, capacity: int, device: torch.device = CPU) -> None:
        self.capacity = capacity
        self.added = np.zeros(tasks, np.int64)
        self._rows = torch.zeros(tasks, 0, width, device=device)  # grows to `capacity` as it fills
        # (task, places, what lay there) of what was added since the savepoint; None without one
        self._journal: list[tuple[int, Tensor, Tensor]] | None = None

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self._rows.device

    @property
    def counts(self) -> np.ndarray:
        """[tasks] int64, transitions stored of each task."""
        return np.minimum(self.added, self.capacity)

    def add(self, task: int, rows: Tensor) -> None:
        """Store rows [n, W] of a task, in place of its oldest ones where the buffer is full."""
        rows = rows[-self.capacity :]
        self._grow(int(self.counts[task]) + len(rows))
        device = self._rows.device
        indices = torch.from_numpy((int(self.added[task]) + np.arange(len(rows))) % self.capacity).to(device)
        if self._journal is not None:
            self._journal.append((task, indices, self._rows[task, indices]))
        self._rows[task, indices] = rows.to(device)
        self.added[task] += len(rows)

    def savepoint(self) -> Callable[[], None]:
        """A function that takes back what is added from now on, until the next savepoint is made."""
        journal: list[tuple[int, Tensor, Tensor]] = []
        self._journal, added = journal, self.added.copy()

        def revert() -> None:
            for task, indices, rows in reversed(journal):
                self._rows[task, indices] = rows
            journal.clear()
            self.added = added

        return revert

    def draw(self, tasks: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Places [len(tasks), count] of rows of these tasks, drawn with replacement, for `rows_at`."""
        counts = self.counts[tasks]
        if not counts.all():
            raise AgentError(
                f"training task {tasks[int(counts.argmin())]} has no transitions to learn from; a learner's first "
                "update needs trials of every training task"
            )
        return rng.integers(counts[:, None], size=(len(tasks), count)) + self._rows.shape[1] * tasks[:, None]

    def rows_at(self, places: Tensor) -> Tensor:
        """The rows [*places, W] at places that `draw` gave."""
        rows = self._rows.view(-1, self.width).index_select(0, places.reshape(-1))
        return rows.view(*places.shape, self.width)

    def _grow(self, needed: int) -> None:
        """Make room for this many rows a task, up to the capacity."""
        tasks, allocated, width = self._rows.shape
        if min(needed, self.capacity) > allocated:
            larger = self._rows.new_zeros(tasks, min(self.capacity, max(needed, 2 * allocated)), width)
            larger[:, :allocated] = self._rows
            self._rows = larger

    def state_dict(self) -> dict[str, Any]:
        """The filled rows, task by task, and the counters."""
        filled = [rows[:count] for rows, count in zip(self._rows, self.counts, strict=True)]
        return {"rows": torch.cat(filled).to(CPU), "added": torch.from_numpy(self.added.copy())}

    def check(self, state: Mapping[str, Any]) -> None:
        """Raise AgentError unless the state is of as many tasks, with rows of this width and at most this many."""
        added, rows = state["added"], state["rows"]
        fits = added.shape == self.added.shape and added.dtype == torch.int64 and rows.dtype == torch.float32
        if not fits or bool((added < 0).any()) or rows.shape != (int(added.clamp(max=self.capacity).sum()), self.width):
            raise AgentError("this checkpoint's replay is of other tasks, spaces or capacity; use its own recipe")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.check(state)
        self._journal = None
        self.added = state["added"].numpy().copy()
        counts = self.counts
        self._rows = self._rows.new_zeros(len(counts), int(counts.max()), self.width)
        for task, rows in enumerate(state["rows"].split(counts.tolist())):
            self._rows[task, : len(rows)] = rows

    @property
    def width(self) -> int:
        """W, numbers of a row."""
        return self._rows.shape[-1]


@dataclass(frozen=True)
class LatentBatches:
    """Batches of PEARL's gradient steps: some tasks, their contexts and transitions, noise.

    Attributes:
        replay, contexts: transitions that actor and critics learn from, and those that the encoder reads.
        tasks: of a step.
        batch_size, context_size: transitions of each of them, from `replay` and from `contexts`.
        latents, actions: entries of the noise of each task's latent, and of an action's.
    """

    replay: TaskReplay
    contexts: TaskReplay
    tasks: int
    batch_size: int
    context_size: int
    latents: int
    actions: int

    def draw(self, rng: np.random.Generator, steps: int) -> Iterator[LatentBatch]:
        """The batches of so many steps.

        A GPU would stand still for every draw and every copy, so many steps are drawn at once; their rows are gathered
        on the device.
        """
        for first in range(0, steps, BLOCK):
            drawn = [self._draw(rng) for _ in range(min(BLOCK, steps - first))]
            arrays = (self._moved(np.stack(of_steps)) for of_steps in zip(*drawn, strict=True))
            for context, rows, latent_noise, noise in zip(*arrays, strict=True):
                transitions = self.replay.rows_at(rows).flatten(0, 1)
                yield LatentBatch(self.contexts.rows_at(context), transitions, latent_noise, noise)

    def _draw(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        tasks = rng.choice(len(self.replay.added), self.tasks, replace=False)
        context = self.contexts.draw(tasks, self.context_size, rng)
        rows = self.replay.draw(tasks, self.batch_size, rng)
        latent_noise = rng.standard_normal((self.tasks, self.latents), dtype=np.float32)
        return context, rows, latent_noise, rng.standard_normal((2 * rows.size, self.actions), dtype=np.float32)

    def _moved(self, array: np.ndarray) -> Tensor:
        """The array on the replay's device; to a GPU from pinned memory, while the host goes on."""
        tensor, device = torch.from_numpy(array), self.replay.device
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class TrialReplay:
    """The newest `capacity` trials, named arrays [trials, ...], in a ring on the CPU."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._count, self._next = 0, 0  # trials stored; where the next one goes
        self._arrays: dict[str, Tensor] = {}  # grow to `capacity` as they fill
        # (places, what lay there, count, next) of what was added since the savepoint; None without one
        self._journal: list[tuple[Tensor, dict[str, Tensor], int, int]] | None = None

    def __len__(self) -> int:
        return self._count

    def add(self, trials: Mapping[str, Tensor]) -> None:
        """Store trials [n, ...], in place of the oldest ones where the ring is full."""
        newest = {name: values[-self.capacity :] for name, values in trials.items()}
        added = len(next(iter(newest.values())))
        self._grow(newest, min(self.capacity, self._count + added))
        positions = (self._next + torch.arange(added)) % self.capacity
        if self._journal is not None:
            before = {name: self._arrays[name][positions] for name in newest}
            self._journal.append((positions, before, self._count, self._next))
        for name, values in newest.items():
            self._arrays[name][positions] = values
        self._count = min(self.capacity, self._count + added)
        self._next = (self._next + added) % self.capacity

    def savepoint(self) -> Callable[[], None]:
        """A function that takes back what is added from now on, until the next savepoint is made."""
        journal: list[tuple[Tensor, dict[str, Tensor], int, int]] = []
        self._journal = journal

        def revert() -> None:
            for positions, before, count, following in reversed(journal):
                for name, values in before.items():
                    self._arrays[name][positions] = values
                self._count, self._next = count, following
            journal.clear()
            if not self._count:
                self._arrays = {}

        return revert

    def select(self, indices: Tensor) -> dict[str, Tensor]:
        """Copies of the trials at these indices, counted from the oldest one."""
        oldest = self._next if self._count == self.capacity else 0
        positions = (oldest + indices) % self.capacity
        return {name: values[positions] for name, values in self._arrays.items()}

    def _grow(self, like: Mapping[str, Tensor], needed: int) -> None:
        """Make room for this many trials."""
        for name, values in like.items():
            stored = self._arrays.get(name, values[:0])
            if needed > len(stored):
                larger = stored.new_zeros(min(self.capacity, max(needed, 2 * len(stored))), *values.shape[1:])
                larger[: len(stored)] = stored
                self._arrays[name] = larger

    def state_dict(self) -> dict[str, Tensor]:
        """The stored trials, oldest first."""
        return self.select(torch.arange(self._count))

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state_dict`."""
        self._count, self._next, self._arrays, self._journal = 0, 0, {}, None
        if state:
            self.add(state)
