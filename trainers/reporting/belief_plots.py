"""Plots of beliefs along a trial: how they narrow, and where they go.

Axis letters: T actions of a trial, D entries of a belief.
"""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainers.reporting.figures import NARROWEST, mark_episodes, plain, task_colours, words_of
from trainers.reporting.inspection import Inspection, TrialTrace
from trainers.reporting.plots import FAINT, INK

_MOST_LATENTS = 12
_LEAST_DEVIATION = 1e-6


def narrowing(inspection: Inspection, name: str) -> Figure:
    """Deviation of a belief, mean over its entries, against experience: the mean over trials, each one behind it."""
    figure = Figure(figsize=(NARROWEST, 4.2), layout="constrained")
    axes = figure.subplots()
    plain(axes)
    traces = inspection.traces
    steps = np.unique(np.concatenate([trace.env_steps for trace in traces]))
    total = np.zeros(len(steps))
    for trace in traces:
        deviation = trace.beliefs[name][1].mean(-1)
        # A belief stays as it was until the next action, and after the trial.
        axes.plot(trace.env_steps, deviation, color=FAINT, linewidth=0.6, alpha=0.6, drawstyle="steps-post")
        total += deviation[np.searchsorted(trace.env_steps, steps, "right") - 1]
    mean = total / len(traces)
    axes.plot(steps, mean, color=INK, linewidth=2, drawstyle="steps-post", label="mean over trials")
    axes.plot([], [], color=FAINT, linewidth=1, label=f"each of {len(traces)} trials")
    if mean.max() > 10 * mean.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    mark_episodes(axes, inspection)
    axes.set_xlabel("environment steps spent on the task")
    axes.set_ylabel(f"deviation, mean over {traces[0].beliefs[name][1].shape[1]} entries")
    axes.set_title(f"How sure the {name} is\n{inspection.title}", fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    return figure


def along_the_trial(inspection: Inspection, name: str) -> Figure:
    """Mean ± deviation of a belief's entries along a few trials: a panel for each entry, a colour for each trial."""
    entries, count = _telling_entries(inspection, name)
    columns = min(3 if len(entries) <= 6 else 4, len(entries))
    rows = -(-len(entries) // columns)
    figure = Figure(figsize=(max(NARROWEST, 2.8 * columns), 1.6 + 2.1 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False).reshape(-1)
    colours = task_colours(len(inspection.drawn))
    for axes, entry in zip(grid, entries, strict=False):
        plain(axes)
        for trial, colour in zip(inspection.drawn, colours, strict=True):
            _draw_entry(axes, inspection.traces[trial], name, int(entry), colour)
        mark_episodes(axes, inspection)
        axes.set_title(f"entry {entry}", fontsize=9)
    for axes in grid[len(entries) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(entries) - columns) : len(entries)]:
        axes.tick_params(labelbottom=True)
    for axes in grid[(rows - 1) * columns : len(entries)]:
        axes.set_xlabel("environment steps spent on the task", fontsize=8)
    handles = [
        matplotlib.lines.Line2D([], [], color=colour, label=words_of(inspection.tasks[trial]))
        for trial, colour in zip(inspection.drawn, colours, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    beyond = f", the {len(entries)} of {count} entries that tell the tasks apart most" if len(entries) < count else ""
    figure.suptitle(f"The {name}, mean ± deviation{beyond}\n{inspection.title}", fontsize=10)
    return figure


def _telling_entries(inspection: Inspection, name: str) -> tuple[np.ndarray, int]:
    """(the entries of a belief that tell the tasks apart most, measured in their own deviation; how many it has)."""
    ends = np.array([trace.beliefs[name][0][-1] for trace in inspection.traces])
    deviations = np.array([trace.beliefs[name][1][-1] for trace in inspection.traces])
    spread = ends.std(0) / np.maximum(deviations.mean(0), _LEAST_DEVIATION)
    return np.sort(np.argsort(-spread, kind="stable")[:_MOST_LATENTS]), ends.shape[1]


def _draw_entry(axes: Axes, trace: TrialTrace, name: str, entry: int, colour: str) -> None:
    """Mean ± deviation of one entry of a belief along one trial."""
    mean, deviation = trace.beliefs[name]
    steps, middle, width = trace.env_steps, mean[:, entry], deviation[:, entry]
    axes.fill_between(steps, middle - width, middle + width, color=colour, alpha=0.1, linewidth=0, step="post")
    for edge in (middle - width, middle + width):
        axes.plot(steps, edge, color=colour, linewidth=0.5, alpha=0.6, drawstyle="steps-post")
    axes.plot(steps, middle, color=colour, linewidth=1.6, drawstyle="steps-post")
