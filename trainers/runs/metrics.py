"""Metrics: one described table, and the sinks that write it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from agents.contract import MetricInfo
from trainers.errors import MetricError, RunFolderError
from trainers.files import read_text, replace

LOOP_METRICS = {
    "iteration": MetricInfo("meta-updates", "meta-updates done"),
    "environment_steps": MetricInfo("steps", "environment steps sampled for training since the run began"),
    "unstable_episodes": MetricInfo(
        "episodes", "training episodes of this iteration that an unstable simulation ended"
    ),
    "seconds_sampling": MetricInfo("s", "time that sampling took in this iteration", timing=True),
    "seconds_learning": MetricInfo("s", "time that the meta-update took", timing=True),
    "worker_idle_share": MetricInfo(
        "1", "share of the iteration in which a worker sampled nothing, mean over workers", timing=True
    ),
    "learner_idle_share": MetricInfo("1", "share of the iteration in which nothing was learned", timing=True),
    "steps_per_second": MetricInfo("steps/s", "environment steps of this iteration by its whole time", timing=True),
    "seconds_elapsed": MetricInfo("s", "wall time of training so far, all processes of the run together", timing=True),
}

MOST_STEPS = 20  # of an adaptation curve that are metrics of their own


def selected_steps(count: int) -> list[int]:
    """The steps of an adaptation curve that are reported: all of a short one; of a long one the ends and some."""
    if count <= MOST_STEPS:
        return list(range(count))
    numbers = [factor * 10**power for power in range(9) for factor in (1, 2, 5)]
    return sorted({0, *(number - 1 for number in numbers if number < count), count - 1})


def describe(
    learner_metrics: Mapping[str, MetricInfo],
    train_steps: int,
    test_steps: int,
    reward_terms: Sequence[str] = (),
    *,
    train_totals: bool = False,
    test_totals: bool = False,
    widens: bool = False,
) -> dict[str, MetricInfo]:
    """Every metric of a run, described once.

    Args:
        learner_metrics: the learner's own.
        train_steps: of the adaptation curve in training: its rounds, each episode of one by itself.
        test_steps: the same of a validation trial.
        reward_terms: of the family.
        train_totals: whether a training trial has a total return (its rounds have one rollout each).
        test_totals: the same of a validation trial.
        widens: whether training tasks follow a curriculum.
    """
    table = dict(LOOP_METRICS)
    for name in reward_terms:
        table[f"reward_term_{name}"] = MetricInfo(
            "reward", f"what {name} adds to the return of a last training round's rollout, mean over tasks and rollouts"
        )
    for one in selected_steps(train_steps):
        table[f"return_round_{one}"] = MetricInfo(
            "reward", f"return of training episodes after {one} adaptations, mean over tasks and rollouts"
        )
    for one in selected_steps(test_steps):
        table[f"validation_return_round_{one}"] = MetricInfo(
            "reward", f"return on the frozen validation tasks after {one} adaptations, stochastic policy"
        )
    if train_totals:
        table["trial_return"] = MetricInfo(
            "reward", "return of a whole training trial, all its episodes, mean over tasks"
        )
    if test_totals:
        table["validation_trial_return"] = MetricInfo(
            "reward", "return of a whole trial on the frozen validation tasks, stochastic policy"
        )
    if widens:
        table["curriculum_share"] = MetricInfo("1", "share of the way to the family's whole distribution of tasks")
    clash = set(table) & set(learner_metrics)
    if clash:
        raise MetricError(f"the learner describes metrics of the loop again: {', '.join(sorted(clash))}; rename them")
    return table | dict(learner_metrics)


class MetricLog:
    """metrics.jsonl: one line per iteration, flushed; metrics.schema.json: what each name means."""

    def __init__(self, folder: Path, table: Mapping[str, MetricInfo]) -> None:
        self.table = table
        schema = {
            name: {"unit": info.unit, "meaning": info.meaning, "timing": info.timing} for name, info in table.items()
        }
        (folder / "metrics.schema.json").write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
        self._file = (folder / "metrics.jsonl").open("a", encoding="utf-8")

    def write(self, values: Mapping[str, float]) -> None:
        """One iteration's metrics; each must be described and finite."""
        for name, value in values.items():
            if name not in self.table:
                raise MetricError(f"metric {name} is not described; add it to the learner's `metrics`")
            if not math.isfinite(value):
                raise MetricError(
                    f"metric {name} is {value} at iteration {values.get('iteration')}; the run stops here"
                )
        self._file.write(json.dumps(dict(values)) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Through to the disk: a checkpoint is never newer than its metrics."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics.jsonl; of the last one only if it is whole, for a crash may have cut it."""
    try:
        lines = read_text(path).splitlines(keepends=True)
        parsed = [json.loads(line) for line in lines if line.endswith("\n")]
        for line in parsed:
            if not all(isinstance(value, (int, float)) for value in line.values()):
                raise ValueError("a metric is not a number")
            line["iteration"] = int(line["iteration"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise RunFolderError(
            f"{path} cannot be read ({' '.join(str(error).split())[:120]}); take it from a copy"
        ) from error
    return parsed


def up_to(path: Path, iteration: int) -> list[dict[str, float]]:
    """The lines of iterations 1 ... `iteration`; RunFolderError unless they are all there."""
    lines = [line for line in read(path) if line["iteration"] <= iteration] if iteration else []
    if [line["iteration"] for line in lines] != list(range(1, iteration + 1)):
        raise RunFolderError(
            f"{path} lacks lines of iterations up to {iteration}, where the checkpoint is; take it from a copy"
        )
    return lines


def write(path: Path, lines: Sequence[Mapping[str, float]]) -> None:
    """A metrics.jsonl of these lines."""
    replace(path, "".join(json.dumps(dict(line)) + "\n" for line in lines).encode())


def thinned(lines: Sequence[Mapping[str, float]], most: int = 100) -> list[dict[str, float]]:
    """At most `most` evenly spaced lines, the validated ones and the last one, their values with seven digits."""
    every = -(-len(lines) // most)
    return [
        {name: value if isinstance(value, int) else float(f"{value:.7g}") for name, value in line.items()}
        for index, line in enumerate(lines, start=1)
        if index % every == 0 or index == len(lines) or any(name.startswith("validation_") for name in line)
    ]
