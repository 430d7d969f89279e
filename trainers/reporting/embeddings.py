"""Embeddings: the vectors of an inspection on a plane, coloured by the task parameters.

Axis letters: B trials, D entries of a vector.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from trainers.reporting.figures import NARROWEST, plain
from trainers.reporting.inspection import Inspection
from trainers.reporting.plots import INK

LEAST_FOR_TSNE = 10
_MOST_PANELS = 6  # of task parameters
_MOST_ENTRIES = 50  # of a vector that t-SNE is given; of longer ones their principal components


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


def colourings_of(family: TaskFamily, tasks: Sequence[Task]) -> list[Colouring]:
    """A colouring for each entry of the task parameters in which these tasks differ.

    Where a parameter only numbers a draw, the entries are those of the task vector that an oracle is given.
    """
    distributions: Mapping[str, Distribution | None] = family.parameters
    parameters = [task.parameters for task in tasks]
    if any(isinstance(distribution, Integer) for distribution in distributions.values()):
        distributions = {"task vector": None}
        parameters = [{"task vector": tuple(family.task_vector(task))} for task in tasks]
    colourings = []
    for name, distribution in distributions.items():
        columns = np.array([values[name] for values in parameters])
        entries = columns.reshape(len(tasks), -1).T
        names = [f"{name}[{index}]" for index in range(len(entries))] if columns.ndim > 1 else [name]
        colourings += [
            _colouring(name, values, distribution)
            for name, values in zip(names, entries, strict=True)
            if len(np.unique(values)) > 1
        ]
    return colourings


def _colouring(name: str, values: np.ndarray, distribution: Distribution | None) -> Colouring:
    distinct, codes = np.unique(values, return_inverse=True)
    if values.dtype.kind not in "if" or len(distinct) <= 6:
        few = len(distinct)
        colours = matplotlib.colormaps["viridis"].resampled(few)
        labels = [f"{value:g}" if values.dtype.kind in "if" else str(value) for value in distinct]
        return Colouring(name, codes, Normalize(-0.5, few - 0.5), colours, (np.arange(few), labels))
    if isinstance(distribution, LogUniform):
        return Colouring(name, values, LogNorm(values.min(), values.max()), "viridis")
    if isinstance(distribution, Uniform):
        low, high = distribution.low, distribution.high
        turn = {"rad": 2 * math.pi, "deg": 360.0}.get(distribution.unit)
        if turn is not None and math.isclose(high - low, turn, rel_tol=1e-3):
            return Colouring(name, values, Normalize(low, high), "twilight")  # its ends are the same colour
    return Colouring(name, values, Normalize(values.min(), values.max()), "viridis")


def most_explained(points: np.ndarray, colourings: Sequence[Colouring]) -> list[Colouring]:
    """The colourings that a linear function of the points [B, 2] explains best, at most six, in their order."""
    inputs = np.column_stack([points, np.ones(len(points))])

    def unexplained(colouring: Colouring) -> float:
        values = (colouring.values - colouring.values.mean()) / colouring.values.std()
        return float(np.square(values - inputs @ np.linalg.lstsq(inputs, values, rcond=None)[0]).mean())

    chosen = sorted(range(len(colourings)), key=lambda index: unexplained(colourings[index]))[:_MOST_PANELS]
    return [colourings[index] for index in sorted(chosen)]


def embedding(inspection: Inspection, name: str, vectors: np.ndarray) -> Figure:
    """Vectors [B, D] on a plane by PCA and, if there are enough, t-SNE: a column for each task parameter."""
    points, shares = principal(vectors)
    planes = {"PCA": points}
    if len(vectors) >= LEAST_FOR_TSNE:
        planes["t-SNE"] = neighbours(vectors)
    every = colourings_of(inspection.family, inspection.tasks)
    chosen = most_explained(points, every)
    columns = max(1, len(chosen))
    shape = (len(planes), columns) if columns > 1 else (1, len(planes))
    figure = Figure(figsize=(max(NARROWEST, 0.6 + 3.1 * shape[1]), 1.2 + 3.0 * shape[0]), layout="constrained")
    grid = figure.subplots(*shape, squeeze=False).reshape(len(planes), columns)
    for column in range(columns):
        colouring = chosen[column] if chosen else None
        for axes, (plane, places) in zip(grid[:, column], planes.items(), strict=True):
            drawn = _scatter(axes, places, colouring)
            if plane == "PCA":
                axes.set_xlabel(f"first component, {shares[0]:.1%} of the variance", fontsize=8)
                axes.set_ylabel(f"second component, {shares[1]:.1%}", fontsize=8)
            else:
                axes.set(xticks=[], yticks=[])
                axes.set_xlabel("t-SNE: near is alike, far means little", fontsize=8)
        if colouring is not None:
            _colour_bar(figure, list(grid[:, column]), drawn, colouring)
    beyond = f"; the {len(chosen)} of {len(every)} entries that PCA explains best" if len(every) > len(chosen) else ""
    figure.suptitle(f"{name} at the end of {len(vectors)} trials{beyond}\n{inspection.title}", fontsize=10)
    return figure


def _colour_bar(figure: Figure, columns: list[Axes], drawn: Any, colouring: Colouring) -> None:
    bar = figure.colorbar(drawn, ax=columns, location="bottom", shrink=0.9, aspect=30)
    bar.set_label(colouring.name, fontsize=9)
    bar.ax.tick_params(labelsize=7)
    bar.locator = MaxNLocator(5, integer=colouring.values.dtype.kind == "i")
    bar.formatter = StrMethodFormatter("{x:.3g}")
    bar.minorticks_off()
    if colouring.ticks is not None:
        bar.set_ticks(colouring.ticks[0].tolist(), labels=colouring.ticks[1])


def _scatter(axes: Axes, points: np.ndarray, colouring: Colouring | None) -> Any:
    plain(axes)
    style: dict[str, Any] = {"s": 22, "edgecolors": "#444444", "linewidths": 0.3}
    if colouring is None:
        return axes.scatter(points[:, 0], points[:, 1], color=INK, **style)
    return axes.scatter(
        points[:, 0], points[:, 1], c=colouring.values, norm=colouring.norm, cmap=colouring.colours, **style
    )
