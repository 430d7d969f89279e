"""The plots of a finished run: what a plot is given, and drawing all that are listed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from agents.contract import Agent, Weights
from envs.task import TaskFamily, TaskSet
from trainers.evaluation.curves import Curve, curve
from trainers.reporting import PLOTS
from trainers.runs.rows import of_evaluation
from trainers.runs.run_folder import Run


@dataclass(frozen=True)
class FinishedRun:
    """Everything that a plot may draw.

    Attributes:
        run: the folder, with its metrics and rows.
        family, task_set: of the held-out tasks.
        agent, weights, iteration: of the last checkpoint.
        curve: adaptation on the held-out tasks.
    """

    run: Run
    family: TaskFamily
    task_set: TaskSet
    agent: Agent
    weights: Weights
    iteration: int
    curve: Curve

    @classmethod
    def read(cls, run: Run) -> FinishedRun:
        """The run's last checkpoint and its held-out rows.

        Raises:
            RunFolderError: the folder lacks one of them.
        """
        family = run.family()
        agent, weights, iteration = run.load(family)
        rows = of_evaluation(run.rows(), "held-out", iteration)
        return cls(
            run, family, run.task_set(family, "held-out"), agent, weights, iteration, curve([rows], "stochastic")
        )


def plot(run: Run | str | Path) -> list[Path]:
    """Draw every listed plot of a finished run into its folder; return the files made.

    Args:
        run: a run, or its folder.

    Raises:
        RunFolderError: it is no run folder, or lacks a checkpoint or held-out rows.
    """
    finished = FinishedRun.read(run if isinstance(run, Run) else Run.open(Path(run)))
    made = []
    for place in PLOTS.values():
        module, _, name = place.partition(":")
        made.append(getattr(import_module(module), name)(finished))
    return [path for path in made if path is not None]
