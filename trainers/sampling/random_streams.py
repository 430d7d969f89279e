"""Named random streams: what a trial draws depends on its place in a run, never on a process or its neighbours."""

from __future__ import annotations

import numpy as np

from envs.task import Task

# What a random stream is for; the number is part of every seed, so never renumber.
PURPOSES = {"tasks": 0, "training": 1, "validation": 2, "evaluation": 3}
Key = tuple[int, ...]


def random_key(seed: int, purpose: str, *position: int) -> Key:
    """The name of a random stream: (run seed, purpose, place in the run)."""
    return (seed, PURPOSES[purpose], *position)


def evaluation_key(seed: int, split: str, task: Task, repeat: int) -> Key:
    """The random stream of an evaluation trial: of the evaluation seed, the task and the repeat.

    Validation trials have streams of their own: in a finite family its tasks are the held-out ones, and checkpoints
    that are selected by validation must not be selected by the noise that they are tested with. Plots, videos and
    embeddings use it too, so that they show the evaluator's own trials.
    """
    purpose = "validation" if split == "validation" else "evaluation"
    return random_key(seed, purpose, int(task.digest[:15], 16), repeat)


def generator(key: Key, *more: int) -> np.random.Generator:
    """The generator of a named stream."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence((*key, *more))))


def reset_seeds(stream: np.random.Generator, rollouts: int) -> np.ndarray:
    """[rollouts] seeds of a round's first resets: the first draw from the round's stream."""
    return stream.integers(2**31, size=rollouts)
