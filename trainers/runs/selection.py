"""Which checkpoint of a run is the best one, by its validation tasks alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents.contract import Algorithm


def best_iteration(lines: Sequence[Mapping[str, float]], algorithm: Algorithm) -> int | None:
    """The iteration that is best on the validation tasks, the first one among equals; None without a validation.

    By the return after all adaptations, or by that of whole trials where the algorithm is selected by it and its
    episodes are all charged alike.
    """
    best: tuple[float, int] | None = None
    for line in lines:
        names = [name for name in line if name.startswith("validation_return_round_")]
        if names:
            value = line[max(names, key=lambda name: int(name.rpartition("_")[2]))]
            if algorithm.selected_by == "trial_return":
                value = line.get("validation_trial_return", value)
            if best is None or value > best[0]:
                best = (value, int(line["iteration"]))
    return best[1] if best else None
