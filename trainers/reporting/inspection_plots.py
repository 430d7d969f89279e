"""Every plot of a run's inspection, drawn into a folder."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from trainers.errors import DrawingError
from trainers.files import replace
from trainers.process import keep_freed_memory
from trainers.reporting.attention_plots import attention_maps
from trainers.reporting.belief_plots import along_the_trial, narrowing
from trainers.reporting.embeddings import LEAST_FOR_TSNE, embedding
from trainers.reporting.inspection import inspect_run
from trainers.runs.run_folder import Run

_ROUNDING = 1e-6  # of vectors, relative; smaller differences are none


def draw(run: Run, split: str, checkpoint: str, out: Path, most_tasks: int) -> tuple[list[Path], list[str]]:
    """Draw everything that a run's agent shows into a folder: (the files made, what could not be drawn and why).

    Raises:
        DrawingError: the agent shows nothing, or the folder cannot be made.
    """
    keep_freed_memory()
    inspection = inspect_run(run, split, checkpoint, most_tasks)
    first = inspection.traces[0]
    if not (first.vectors or first.beliefs or first.attention):
        raise DrawingError(
            f"{run.recipe.agent_name} shows nothing of what it has learned, so there is nothing to draw: its `inspect` "
            "gives no arrays; give it some (agents/contract.py says which names are understood)"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DrawingError(
            f"the folder {out} cannot be made ({error.strerror}); name another one with --out"
        ) from error
    figures: dict[str, Figure] = {}
    notes: list[str] = []
    for name in first.vectors:
        vectors = np.array([trace.vectors[name] for trace in inspection.traces], np.float64)
        note = _without_embedding(name, vectors)
        if note is None:
            figures[f"embedding_{name}"] = embedding(inspection, name, vectors)
            note = _without_neighbours(name, vectors)
        notes += [] if note is None else [note]
    for name in first.beliefs:
        figures[f"narrowing_{name}"] = narrowing(inspection, name)
        figures[f"along_the_trial_{name}"] = along_the_trial(inspection, name)
    for name in first.attention:
        figures[f"attention_{name}"] = attention_maps(inspection, name)
    made = []
    for name, figure in figures.items():
        content = io.BytesIO()
        figure.savefig(content, dpi=150)
        made.append(out / f"{Path(split).stem}_{name.replace('/', '_')}.png")
        replace(made[-1], content.getvalue())
    return made, notes


def _without_embedding(name: str, vectors: np.ndarray) -> str | None:
    """Why these vectors [B, D] have no embedding; None if they have."""
    if not np.isfinite(vectors).all():
        return f"{name} is not finite, so it has no embedding"
    if np.ptp(vectors, 0).max() <= _ROUNDING * np.abs(vectors).max():
        return (
            f"{name} is the same at the end of each of {len(vectors)} trials, so it has no embedding: take more "
            "tasks, or train longer"
        )
    return None


def _without_neighbours(name: str, vectors: np.ndarray) -> str | None:
    """Why t-SNE of these vectors is not drawn; None if it is."""
    if len(vectors) >= LEAST_FOR_TSNE:
        return None
    return (
        f"t-SNE of {name} needs at least {LEAST_FOR_TSNE} trials and there are {len(vectors)}: take more "
        "tasks; its principal components are drawn"
    )
