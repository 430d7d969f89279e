"""Parts that the plots of inspections share."""

from __future__ import annotations

import json
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from envs.task import Task
from trainers.reporting.inspection import Inspection, TrialTrace
from trainers.reporting.plots import short

NARROWEST = 6.4  # inches: the title must fit
_MOST_EPISODES = 20  # whose beginnings are marked


def mark_episodes(axes: Axes, inspection: Inspection) -> None:
    """A line where a later episode begins, if all trials begin theirs at the same steps."""
    begins = {tuple(trace.env_steps[later_episodes(trace)]) for trace in inspection.traces}
    if len(begins) == 1:
        for step in begins.pop():
            axes.axvline(step, color="#dddddd", linewidth=0.8, zorder=0)


def later_episodes(trace: TrialTrace) -> np.ndarray:
    """The actions that an episode but the first begins with; none of them if they are too many to mark."""
    begins = np.flatnonzero(trace.begins)[1:]
    return begins if len(begins) <= min(_MOST_EPISODES, len(trace.begins) // 2) else begins[:0]


def plain(axes: Axes) -> None:
    """No frame, small ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)


def words_of(task: Task) -> str:
    """A task's parameters as a short title."""
    return short(json.dumps(task.parameters))


def task_colours(count: int) -> list[Any]:
    """Colours that tell a few tasks apart."""
    return [matplotlib.colormaps["Dark2"](index) for index in range(count)]
