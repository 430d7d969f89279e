"""Plots of attention: step of the trial against the step, or the slot, that a memory attended to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from trainers.reporting.figures import NARROWEST, later_episodes, plain, words_of
from trainers.reporting.inspection import Inspection

_MOST_HEADS = 4
_EPISODE = "#2a9d8f"  # lines where an episode begins


def attention_maps(inspection: Inspection, name: str) -> Figure:
    """Step of the trial × what was attended to: a column for each trial, a row for each head."""
    traces = [inspection.traces[trial] for trial in inspection.drawn]
    maps = [_times_even(trace.attention[name][1]) for trace in traces]  # [actions, heads, entries] each
    heads = min(_MOST_HEADS, maps[0].shape[1])
    entries = max(weights.shape[2] for weights in maps)
    slots = all(array.shape[1] == entries for trace in traces for array in trace.attention[name][1])
    every = min((int(actions[1]) for trace in traces if len(actions := trace.attention[name][0]) > 1), default=1)
    figure = Figure(figsize=(max(NARROWEST, 1.2 + 2.6 * len(maps)), 1.3 + 2.5 * heads), layout="constrained")
    grid = figure.subplots(heads, len(maps), squeeze=False, sharex=True, sharey=True)
    most = max(2.0, *(float(np.nanquantile(weights, 0.998)) for weights in maps))
    norm = LogNorm(1 / most, most, clip=True)
    for column, (trace, weights, trial) in enumerate(zip(traces, maps, inspection.drawn, strict=True)):
        extent = (-0.5, weights.shape[2] - 0.5, trace.attention[name][0][-1] + every - 0.5, -0.5)
        for head, axes in enumerate(grid[:, column]):
            plain(axes)
            drawn = axes.imshow(weights[:, head], norm=norm, cmap="magma_r", extent=extent, aspect="auto")
            for action in later_episodes(trace):
                axes.axhline(action - 0.5, color=_EPISODE, linewidth=0.7)
                if not slots:
                    axes.axvline(action - 0.5, color=_EPISODE, linewidth=0.7)
            axes.set(xlim=(-0.5, entries - 0.5), ylim=(max(len(other.begins) for other in traces) - 0.5, -0.5))
            axes.tick_params(labelsize=7)
        grid[0, column].set_title(words_of(inspection.tasks[trial]), fontsize=8)
    for head in range(heads):
        grid[head, 0].set_ylabel(f"head {head}: step of the trial", fontsize=8)
    figure.supxlabel("slot that was read" if slots else "step that was attended to", fontsize=9)
    bar = figure.colorbar(drawn, ax=grid, shrink=0.7, extend="both", label="attention, times that of even attention")
    ticks = (1 / most, most**-0.5, 1.0, most**0.5, most)
    bar.set_ticks(list(ticks), labels=[f"{tick:.2g}" for tick in ticks])
    bar.ax.minorticks_off()
    title = f"Attention, {name}"
    title += f", {heads} of {maps[0].shape[1]} heads" if heads < maps[0].shape[1] else ""
    title += f", every {every} steps" if every > 1 else ""
    title += "; lines: an episode begins" if any(len(later_episodes(trace)) for trace in traces) else ""
    figure.suptitle(f"{title}\n{inspection.title}", fontsize=10)
    return figure


def _times_even(weights: Sequence[np.ndarray]) -> np.ndarray:
    """Weights [heads, entries] after each action, each times its entries: 1 wherever all are attended to alike.

    As one array [actions, heads, most entries]; those that were not there yet are not a number.
    """
    most = max(array.shape[1] for array in weights)
    filled = np.full((len(weights), weights[0].shape[0], most), np.nan, np.float32)
    for action, array in enumerate(weights):
        filled[action, :, : array.shape[1]] = array * array.shape[1]
    return filled
