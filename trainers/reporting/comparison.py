"""Adaptation curves of several runs in one plot."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
from matplotlib.figure import Figure

from trainers.evaluation.curves import Curve
from trainers.reporting.plots import shown_axes


def adaptation_curves(curves: Mapping[str, Curve]) -> Figure:
    """Return against experience on the held-out tasks, by label: the mean over tasks with its 95 % interval."""
    figure, axes = shown_axes(6.4, 4.2)
    colours = matplotlib.colormaps["Dark2"]
    for index, (label, curve) in enumerate(curves.items()):
        low, high = curve.interval().T
        colour = colours(index % colours.N)
        axes.fill_between(curve.env_steps, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(curve.env_steps, curve.mean, "o-", color=colour, markersize=4, label=label)
    axes.set_xlabel("environment steps spent on the task")
    axes.set_ylabel("return of an episode")
    axes.set_title("Adaptation on held-out tasks, mean and 95 % interval", fontsize=11)
    axes.legend(framealpha=0.8, edgecolor="none", fontsize=9, loc="best")
    return figure
