"""Step signals: the values that a step of an environment may give beyond observation, reward and ends of the episode.

They come in the step info, one value a row. One table says for each its type, its meaning and who may read it, so that
the batched environments, the trial loop and the conformance check all go by the same. Any other key of a step info
stays in the environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Reader = Literal["rows", "learners", "agents"]


@dataclass(frozen=True)
class StepSignal:
    """A value of every row at every step.

    Attributes:
        dtype: in trial batches.
        axes: of one row's value, () for a scalar; K is the number of the family's `reward_terms`.
        meaning: with its unit.
        readers: who may read it. "rows": adaptation rows, metrics and what is derived from them; "learners":
            meta-updates while training; "agents": policies while they act and adapt, in training and evaluation.
        declared_by: the class attribute by which a family declares that it gives the signal; "" for one that any step
            may give, and whose absence means zero.
    """

    dtype: type[np.generic]
    axes: tuple[str, ...]
    meaning: str
    readers: frozenset[Reader]
    declared_by: str = ""


STEP_SIGNALS: Mapping[str, StepSignal] = {
    "success": StepSignal(
        np.bool_,
        (),
        "whether the goal of the task is reached at this step; an episode succeeds if any of its steps does",
        frozenset({"rows", "learners"}),
        "has_success",
    ),
    "unstable": StepSignal(
        np.bool_,
        (),
        "whether the simulation could not compute the step, which ends the episode",
        frozenset({"rows", "learners", "agents"}),
    ),
    "reward_terms": StepSignal(
        np.float32,
        ("K",),
        "the named parts that the reward is the sum of",
        frozenset({"rows", "learners"}),
        "reward_terms",
    ),
    "dense_reward": StepSignal(
        np.float32,
        (),
        "a privileged reward that is not sparse",
        frozenset({"learners"}),
        "privileged_info",
    ),
}


def readable_by(reader: Reader) -> tuple[str, ...]:
    """Return the names of the signals that `reader` may read."""
    return tuple(name for name, signal in STEP_SIGNALS.items() if reader in signal.readers)


def declared_by(family: Any) -> tuple[str, ...]:
    """Return the names of the signals that a task family declares, those that any step may give left out."""
    return tuple(
        name
        for name, signal in STEP_SIGNALS.items()
        if signal.declared_by
        and (name in family.privileged_info if name == "dense_reward" else getattr(family, signal.declared_by))
    )


def stack_signals(infos: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Stack the signals in the step infos of single environments, [rows, *axes] each; a row that lacks one has zero."""
    stacked = {}
    for name, signal in STEP_SIGNALS.items():
        given = next((info[name] for info in infos if name in info), None)
        if given is not None:
            absent = np.zeros(np.shape(given))
            stacked[name] = np.array([info.get(name, absent) for info in infos], signal.dtype)
    return stacked
