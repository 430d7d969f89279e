"""Which checkpoint of a run is the best one, by its validation tasks alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def best_iteration(lines: Sequence[Mapping[str, float]]) -> int | None:
    """The iteration that is best on the validation tasks, the first one among equals; None without a validation.

    By the return of whole trials where an agent's episodes are all charged alike, else by that after all adaptations.
    """
    best: tuple[float, int] | None = None
    for line in lines:
        names = [name for name in line if name.startswith("validation_return_round_")]
        if names:
            last = line[max(names, key=lambda name: int(name.rpartition("_")[2]))]
            value = line.get("validation_trial_return", last)
            if best is None or value > best[0]:
                best = (value, int(line["iteration"]))
    return best[1] if best else None
