"""Pictures of what an agent has learned of its tasks: embeddings, beliefs that narrow, attention.

They are drawn from what `inside.follow` saw. Axis letters: B trials, T actions of a trial, D entries of a vector.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from envs.task import Distribution, Integer, LogUniform, Task, TaskFamily, Uniform
from trainers.errors import RunError
from trainers.files import replace
from trainers.process import keep_freed_memory
from trainers.reporting.inspection import Look, Seen, follow
from trainers.reporting.plots import FAINT, INK, short
from trainers.runs.run_folder import Run

_NARROWEST = 6.4  # inches: the title must fit
_MOST_PANELS = 6  # of task parameters
_MOST_LATENTS = 12
_MOST_HEADS = 4
_LEAST_FOR_TSNE = 10
_MOST_ENTRIES = 50  # of a vector that t-SNE is given; of longer ones their principal components
_ROUNDING = 1e-6  # of vectors, relative; smaller differences are none
_MOST_EPISODES = 20  # whose beginnings are marked


# -- embeddings


def principal(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two principal components [B, 2] of vectors [B, D], and their shares [2] of the variance.

    Of vectors with one entry the second component is zero.
    """
    fitted = PCA(min(2, *vectors.shape), svd_solver="full").fit(vectors)
    lacking = 2 - fitted.n_components_
    points = np.pad(fitted.transform(vectors), ((0, 0), (0, lacking)))
    return points, np.pad(fitted.explained_variance_ratio_, (0, lacking))


def neighbours(vectors: np.ndarray) -> np.ndarray:
    """t-SNE [B, 2] of vectors [B, D]. Van der Maaten and Hinton 2008, begun at the principal components.

    That beginning (Kobak and Berens 2019, doi:10.1038/s41467-019-13056-x) keeps what is far apart apart. The same
    vectors give the same plane.
    """
    points, _ = principal(vectors)
    if vectors.shape[1] > _MOST_ENTRIES:
        vectors = PCA(min(_MOST_ENTRIES, len(vectors)), svd_solver="full").fit_transform(vectors)
    # Without a little noise, vectors on a line would stay on it, where points cannot pass each other.
    noise = np.random.default_rng(0).normal(size=points.shape)
    begin = 1e-4 * (points / points[:, 0].std() + 0.01 * noise)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    return TSNE(perplexity=perplexity, init=begin.astype(np.float32), random_state=0).fit_transform(vectors)


@dataclass(frozen=True)
class Colouring:
    """How points are coloured by one entry of their task: numbers [B], and ticks where there are only a few values."""

    name: str
    values: np.ndarray
    norm: Normalize
    colours: str | matplotlib.colors.Colormap
    ticks: tuple[np.ndarray, list[str]] | None = None


def told_apart(family: TaskFamily, tasks: Sequence[Task]) -> list[Colouring]:
    """A colouring for each entry of the task parameters in which these tasks differ.

    Where a parameter only numbers a draw, the entries are those that an agent would be told (`task_vector`).
    """
    laws: Mapping[str, Distribution | None] = family.parameters
    parameters = [task.parameters for task in tasks]
    if any(isinstance(law, Integer) for law in laws.values()):
        laws, parameters = {"task vector": None}, [{"task vector": tuple(family.task_vector(task))} for task in tasks]
    colourings = []
    for name, law in laws.items():
        columns = np.array([one[name] for one in parameters])
        entries = columns.reshape(len(tasks), -1).T
        names = [f"{name}[{index}]" for index in range(len(entries))] if columns.ndim > 1 else [name]
        colourings += [
            _colouring(name, values, law)
            for name, values in zip(names, entries, strict=True)
            if len(np.unique(values)) > 1
        ]
    return colourings


def _colouring(name: str, values: np.ndarray, law: Distribution | None) -> Colouring:
    distinct, codes = np.unique(values, return_inverse=True)
    if values.dtype.kind not in "if" or len(distinct) <= 6:
        few = len(distinct)
        colours = matplotlib.colormaps["viridis"].resampled(few)
        words = [f"{one:g}" if values.dtype.kind in "if" else str(one) for one in distinct]
        return Colouring(name, codes, Normalize(-0.5, few - 0.5), colours, (np.arange(few), words))
    if isinstance(law, LogUniform):
        return Colouring(name, values, LogNorm(values.min(), values.max()), "viridis")
    turn = {"rad": 2 * math.pi, "deg": 360.0}.get(law.unit) if isinstance(law, Uniform) else None
    if isinstance(law, Uniform) and turn is not None and math.isclose(law.high - law.low, turn, rel_tol=1e-3):
        return Colouring(name, values, Normalize(law.low, law.high), "twilight")  # its ends are the same colour
    return Colouring(name, values, Normalize(values.min(), values.max()), "viridis")


def most_told(points: np.ndarray, colourings: Sequence[Colouring]) -> list[Colouring]:
    """The colourings that a linear function of the points [B, 2] tells the most of, at most six, in their order."""
    given = np.column_stack([points, np.ones(len(points))])

    def unexplained(one: Colouring) -> float:
        values = (one.values - one.values.mean()) / one.values.std()
        return float(np.square(values - given @ np.linalg.lstsq(given, values, rcond=None)[0]).mean())

    chosen = sorted(range(len(colourings)), key=lambda index: unexplained(colourings[index]))[:_MOST_PANELS]
    return [colourings[index] for index in sorted(chosen)]


# -- pictures


def draw(run: Run, split: str, checkpoint: str, out: Path, most_tasks: int) -> tuple[list[Path], list[str]]:
    """Draws everything that a run's agent shows into a folder: (the files made, what could not be drawn and why)."""
    keep_freed_memory()
    look = follow(run, split, checkpoint, most_tasks)
    first = look.seen[0]
    if not (first.vectors or first.beliefs or first.attention):
        raise RunError(
            f"{run.recipe.agent_name} shows nothing of what it has learned, so there is nothing to draw: its `inspect` "
            "gives no arrays; give it some (agents/contract.py says which names are understood)"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"the folder {out} cannot be made ({error.strerror}); name another one with --out") from error
    made: list[Path] = []
    notes: list[str] = []

    def save(figure: Figure, name: str) -> None:
        content = io.BytesIO()
        figure.savefig(content, dpi=150)
        made.append(out / f"{Path(split).stem}_{name.replace('/', '_')}.png")
        replace(made[-1], content.getvalue())

    for name in first.vectors:
        vectors = np.array([one.vectors[name] for one in look.seen], np.float64)
        if not np.isfinite(vectors).all():
            notes.append(f"{name} is not finite, so it has no embedding")
        elif np.ptp(vectors, 0).max() <= _ROUNDING * np.abs(vectors).max():
            notes.append(
                f"{name} is the same at the end of each of {len(vectors)} trials, so it has no embedding: take more "
                "tasks, or train longer"
            )
        else:
            if len(vectors) < _LEAST_FOR_TSNE:
                notes.append(
                    f"t-SNE of {name} needs at least {_LEAST_FOR_TSNE} trials and there are {len(vectors)}: take more "
                    "tasks; its principal components are drawn"
                )
            save(embedding(look, name, vectors), f"embedding_{name}")
    for name in first.beliefs:
        save(narrowing(look, name), f"narrowing_{name}")
        save(along_the_trial(look, name), f"along_the_trial_{name}")
    for name in first.attention:
        save(attention_maps(look, name), f"attention_{name}")
    return made, notes


def embedding(look: Look, name: str, vectors: np.ndarray) -> Figure:
    """Vectors [B, D] on a plane by PCA and, if there are enough, t-SNE: a column for each task parameter."""
    points, shares = principal(vectors)
    ways = {"PCA": points}
    if len(vectors) >= _LEAST_FOR_TSNE:
        ways["t-SNE"] = neighbours(vectors)
    every = told_apart(look.family, look.tasks)
    chosen = most_told(points, every)
    columns = max(1, len(chosen))
    shape = (len(ways), columns) if columns > 1 else (1, len(ways))
    figure = Figure(figsize=(max(_NARROWEST, 0.6 + 3.1 * shape[1]), 1.2 + 3.0 * shape[0]), layout="constrained")
    grid = figure.subplots(*shape, squeeze=False).reshape(len(ways), columns)
    for column in range(columns):
        colouring = chosen[column] if chosen else None
        for axes, (way, places) in zip(grid[:, column], ways.items(), strict=True):
            drawn = _scatter(axes, places, colouring)
            if way == "PCA":
                axes.set_xlabel(f"first component, {shares[0]:.1%} of the variance", fontsize=8)
                axes.set_ylabel(f"second component, {shares[1]:.1%}", fontsize=8)
            else:
                axes.set(xticks=[], yticks=[])
                axes.set_xlabel("t-SNE: near is alike, far means little", fontsize=8)
        if colouring is not None:
            bar = figure.colorbar(drawn, ax=list(grid[:, column]), location="bottom", shrink=0.9, aspect=30)
            bar.set_label(colouring.name, fontsize=9)
            bar.ax.tick_params(labelsize=7)
            bar.locator = MaxNLocator(5, integer=colouring.values.dtype.kind == "i")
            bar.formatter = StrMethodFormatter("{x:.3g}")
            bar.minorticks_off()
            if colouring.ticks is not None:
                bar.set_ticks(colouring.ticks[0].tolist(), labels=colouring.ticks[1])
    beyond = f"; the {len(chosen)} of {len(every)} entries that PCA tells most of" if len(every) > len(chosen) else ""
    figure.suptitle(f"{name} at the end of {len(vectors)} trials{beyond}\n{look.title}", fontsize=10)
    return figure


def _scatter(axes: Axes, points: np.ndarray, colouring: Colouring | None) -> Any:
    _plain(axes)
    style: dict[str, Any] = {"s": 22, "edgecolors": "#444444", "linewidths": 0.3}
    if colouring is None:
        return axes.scatter(points[:, 0], points[:, 1], color=INK, **style)
    return axes.scatter(
        points[:, 0], points[:, 1], c=colouring.values, norm=colouring.norm, cmap=colouring.colours, **style
    )


def narrowing(look: Look, name: str) -> Figure:
    """Deviation of a belief, mean over its entries, against experience: the mean over trials, each one behind it."""
    figure = Figure(figsize=(_NARROWEST, 4.2), layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    steps = np.unique(np.concatenate([one.env_steps for one in look.seen]))
    total = np.zeros(len(steps))
    for one in look.seen:
        deviation = one.beliefs[name][1].mean(-1)
        # A belief stays as it was until the next action, and after the trial.
        axes.plot(one.env_steps, deviation, color=FAINT, linewidth=0.6, alpha=0.6, drawstyle="steps-post")
        total += deviation[np.searchsorted(one.env_steps, steps, "right") - 1]
    mean = total / len(look.seen)
    axes.plot(steps, mean, color=INK, linewidth=2, drawstyle="steps-post", label="mean over trials")
    axes.plot([], [], color=FAINT, linewidth=1, label=f"each of {len(look.seen)} trials")
    if mean.max() > 10 * mean.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    _mark_episodes(axes, look)
    axes.set_xlabel("environment steps spent on the task")
    axes.set_ylabel(f"deviation, mean over {look.seen[0].beliefs[name][1].shape[1]} entries")
    axes.set_title(f"How sure the {name} is\n{look.title}", fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    return figure


def along_the_trial(look: Look, name: str) -> Figure:
    """Mean ± deviation of a belief's entries along a few trials: a panel for each entry, a colour for each trial."""
    beliefs = [look.seen[trial].beliefs[name] for trial in look.shown]
    ends = np.array([one.beliefs[name][0][-1] for one in look.seen])
    doubt = np.array([one.beliefs[name][1][-1] for one in look.seen])
    # Of many entries those are drawn that tell the tasks apart the most, measured in their own doubt.
    telling = np.argsort(-ends.std(0) / np.maximum(doubt.mean(0), _ROUNDING), kind="stable")[:_MOST_LATENTS]
    entries = np.sort(telling)
    columns = min(3 if len(entries) <= 6 else 4, len(entries))
    rows = -(-len(entries) // columns)
    figure = Figure(figsize=(max(_NARROWEST, 2.8 * columns), 1.6 + 2.1 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False).reshape(-1)
    colours = _task_colours(len(look.shown))
    for axes, entry in zip(grid, entries, strict=False):
        _plain(axes)
        for trial, (mean, deviation), colour in zip(look.shown, beliefs, colours, strict=True):
            steps, middle, width = look.seen[trial].env_steps, mean[:, entry], deviation[:, entry]
            axes.fill_between(steps, middle - width, middle + width, color=colour, alpha=0.1, linewidth=0, step="post")
            for edge in (middle - width, middle + width):
                axes.plot(steps, edge, color=colour, linewidth=0.5, alpha=0.6, drawstyle="steps-post")
            axes.plot(steps, middle, color=colour, linewidth=1.6, drawstyle="steps-post")
        _mark_episodes(axes, look)
        axes.set_title(f"entry {entry}", fontsize=9)
    for axes in grid[len(entries) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(entries) - columns) : len(entries)]:
        axes.tick_params(labelbottom=True)
    for axes in grid[(rows - 1) * columns : len(entries)]:
        axes.set_xlabel("environment steps spent on the task", fontsize=8)
    handles = [
        matplotlib.lines.Line2D([], [], color=colour, label=_words(look.tasks[trial]))
        for trial, colour in zip(look.shown, colours, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    beyond = f", the {len(entries)} of {ends.shape[1]} entries that tell the tasks apart most"
    figure.suptitle(
        f"The {name}, mean ± deviation{beyond if len(entries) < ends.shape[1] else ''}\n{look.title}", fontsize=10
    )
    return figure


def attention_maps(look: Look, name: str) -> Figure:
    """Step of the trial × what it looked at: a column for each trial, a row for each head."""
    seen = [look.seen[trial] for trial in look.shown]
    maps = [_times_even(one.attention[name][1]) for one in seen]  # [actions, heads, entries] each
    heads = min(_MOST_HEADS, maps[0].shape[1])
    entries = max(one.shape[2] for one in maps)
    slots = all(one.shape[1] == entries for of in seen for one in of.attention[name][1])
    every = min((int(actions[1]) for one in seen if len(actions := one.attention[name][0]) > 1), default=1)
    figure = Figure(figsize=(max(_NARROWEST, 1.2 + 2.6 * len(maps)), 1.3 + 2.5 * heads), layout="constrained")
    grid = figure.subplots(heads, len(maps), squeeze=False, sharex=True, sharey=True)
    most = max(2.0, *(float(np.nanquantile(one, 0.998)) for one in maps))
    norm = LogNorm(1 / most, most, clip=True)
    for column, (one, weights, trial) in enumerate(zip(seen, maps, look.shown, strict=True)):
        extent = (-0.5, weights.shape[2] - 0.5, one.attention[name][0][-1] + every - 0.5, -0.5)
        for head, axes in enumerate(grid[:, column]):
            _plain(axes)
            drawn = axes.imshow(weights[:, head], norm=norm, cmap="magma_r", extent=extent, aspect="auto")
            for action in _later_episodes(one):
                axes.axhline(action - 0.5, color="#2a9d8f", linewidth=0.7)
                if not slots:
                    axes.axvline(action - 0.5, color="#2a9d8f", linewidth=0.7)
            axes.set(xlim=(-0.5, entries - 0.5), ylim=(max(len(one.begins) for one in seen) - 0.5, -0.5))
            if head == 0:
                axes.set_title(_words(look.tasks[trial]), fontsize=8)
            if column == 0:
                axes.set_ylabel(f"head {head}: step of the trial", fontsize=8)
            axes.tick_params(labelsize=7)
    lines = "; lines: an episode begins" if any(len(_later_episodes(one)) for one in seen) else ""
    figure.supxlabel("slot that it read" if slots else "step that it looked at", fontsize=9)
    bar = figure.colorbar(drawn, ax=grid, shrink=0.7, extend="both", label="attention, in shares of an even look")
    ticks = (1 / most, most**-0.5, 1.0, most**0.5, most)
    bar.set_ticks(list(ticks), labels=[f"{one:.2g}" for one in ticks])
    bar.ax.minorticks_off()
    beyond = f", {heads} of {maps[0].shape[1]} heads" if heads < maps[0].shape[1] else ""
    beyond += f", every {every} steps" if every > 1 else ""
    figure.suptitle(f"Attention, {name}{beyond}{lines}\n{look.title}", fontsize=10)
    return figure


def _times_even(weights: Sequence[np.ndarray]) -> np.ndarray:
    """Weights [heads, entries] after each action, each times its entries: 1 wherever all are looked at alike.

    As one array [actions, heads, most entries]; those that were not there yet are not a number.
    """
    filled = np.full((len(weights), weights[0].shape[0], max(one.shape[1] for one in weights)), np.nan, np.float32)
    for action, one in enumerate(weights):
        filled[action, :, : one.shape[1]] = one * one.shape[1]
    return filled


def _mark_episodes(axes: Axes, look: Look) -> None:
    """A line where a later episode begins, if all trials begin theirs at the same steps."""
    begins = {tuple(one.env_steps[_later_episodes(one)]) for one in look.seen}
    if len(begins) == 1:
        for step in begins.pop():
            axes.axvline(step, color="#dddddd", linewidth=0.8, zorder=0)


def _later_episodes(one: Seen) -> np.ndarray:
    """The actions that an episode but the first begins with; none of them if they are too many to mark."""
    begins = np.flatnonzero(one.begins)[1:]
    return begins if len(begins) <= min(_MOST_EPISODES, len(one.begins) // 2) else begins[:0]


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)


def _words(task: Task) -> str:
    return short(json.dumps(task.parameters))


def _task_colours(count: int) -> list[Any]:
    return [matplotlib.colormaps["Dark2"](index) for index in range(count)]
