"""The report: a comparison as one self-contained page, drawn in the browser by D3 and Observable Plot, without network.

`web/` holds the page: its template, style and script, and the two libraries that are inlined.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup

from trainers.errors import DrawingError
from trainers.evaluation import comparison_metrics as metrics
from trainers.evaluation import statistics
from trainers.evaluation.comparison import Comparison, Contender
from trainers.evaluation.comparison_tables import answer, missing
from trainers.evaluation.task_curves import TaskCurves
from trainers.files import replace
from trainers.recipes.schema import Recipe
from trainers.runs.provenance import provenance

_WEB = Path(__file__).parent / "web"
_LIBRARIES = ("d3.min.js", "plot.umd.min.js")
_MOST_POINTS = 40  # of a curve
_MOST_NUMBERS = 60_000  # of the task explorer's curves: about half a megabyte
_MOST_IMAGE_BYTES = 1_000_000  # of all plots, and of all embeddings: base64 makes a third more of them
_MOST_VIDEO_BYTES = 300_000  # of all videos together


def write_page(
    comparisons: Sequence[Comparison], out: Path, images: Sequence[Path] = (), recipe: Recipe | None = None
) -> Path:
    """Write the page; returns its path.

    Args:
        comparisons: one for each family.
        images: plots that are shown too, by the names of their files.
        recipe: of the one run that the page is about, printed in full.

    Raises:
        DrawingError: it cannot be written.
    """
    data = [comparison_data(one) for one in comparisons]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string((_WEB / "page.html").read_text(encoding="utf-8")).render(
        title=comparisons[0].title if len(comparisons) == 1 else "Comparison",
        style=_raw("page.css"),
        libraries=[_raw(name) for name in _LIBRARIES],
        script=_raw("page.js"),
        data=Markup(embedded(data)),
        comparisons=data,
        images=[_image(path) for path in _fitting(images, _MOST_IMAGE_BYTES * 3 // 4)],
        recipe=None if recipe is None else recipe.to_yaml(),
        command=" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        provenance=json.dumps(provenance(), indent=2),
        steps_cell=metrics.steps_cell,
        times=lambda ratio: f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}",
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace(out, page.encode())
    except OSError as error:
        raise DrawingError(f"{out} cannot be written ({error.strerror}); name another file with -o") from error
    return out


def embedded(data: Any) -> str:
    """JSON that can stand within a script element, whatever texts it holds."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _raw(name: str) -> Markup:
    return Markup((_WEB / name).read_text(encoding="utf-8"))


def _fitting(paths: Sequence[Path], room: int) -> list[Path]:
    """The first files that a page has room for."""
    fitting = []
    for path in paths:
        room -= path.stat().st_size
        if room < 0:
            break
        fitting.append(path)
    return fitting


def _image(path: Path) -> dict[str, str]:
    kind = path.suffix.removeprefix(".")
    content = base64.b64encode(path.read_bytes()).decode()
    return {"name": path.stem.replace("_", " ").capitalize(), "source": f"data:image/{kind};base64,{content}"}


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """Everything that the page draws of a comparison, as plain data."""
    shared = comparison.shared_tasks()
    everything = all(len(curve.tasks) == len(shared) for one in comparison.contenders if (curve := one.curve()))
    against = metrics.references(comparison)
    return {
        "family": comparison.family,
        "title": comparison.title,
        "answer": answer(comparison),
        "kind": comparison.kind,
        "episode_steps": comparison.episode_steps,
        "references": None if against is None else list(against.names),
        "contestants": [_contestant(comparison, one, shared, everything) for one in comparison.contenders],
        "table": metrics.table(comparison),
        "shared_table": None if everything or not shared else metrics.table(comparison, shared),
        "shared_tasks": len(shared),
        "explorer": _explorer(comparison),
        "pairs": metrics.pairs(comparison),
        "prices": metrics.prices(comparison),
        "profiles": metrics.profiles(comparison),
        "generalisation": metrics.generalisation(comparison),
        "missing": missing(comparison),
        "settings": _settings(comparison),
        "embeddings": _embeddings(comparison),
    }


def _contestant(comparison: Comparison, one: Contender, shared: Sequence[int], everything: bool) -> dict[str, Any]:
    curves = {}
    for charge in ("online", "probe"):
        curve = one.curve("held-out", charge)
        if curve is None:
            continue
        curves[charge] = {"all": _curve(curve, comparison)}
        if shared and not everything:
            curves[charge]["shared"] = _curve(curve.on(shared), comparison)
    return {
        "label": one.label, "kind": one.kind, "agent": one.agent, "base": one.label.partition(",")[0],
        "seeds": list(one.seeds), "curves": curves, "about": _about(one),
    }  # fmt: skip


def _curve(curve: TaskCurves, comparison: Comparison) -> dict[str, Any]:
    """A curve with its interval, and each seed's mean over tasks."""
    chosen = _thinned(len(curve.points))
    estimate = statistics.mean(curve.returns_STP[..., chosen], comparison.tasks)
    return {
        "x": _numbers(curve.env_steps[chosen]), "y": _numbers(estimate.value),
        "low": _numbers(estimate.low), "high": _numbers(estimate.high),
        "seeds": [_numbers(of_seed) for of_seed in curve.returns_STP[..., chosen].mean(1)],
    }  # fmt: skip


def _thinned(points: int) -> np.ndarray:
    """The points of a curve that are drawn: of more than 40 those that are evenly spread on a logarithmic scale."""
    if points <= _MOST_POINTS:
        return np.arange(points)
    return np.unique(np.round(np.geomspace(1, points, _MOST_POINTS)).astype(int)) - 1


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values.tolist()]


def _explorer(comparison: Comparison) -> dict[str, Any]:
    """Tasks with their parameters, and the curve of each contestant on each, mean over seeds."""
    curves = [(one, curve) for one in comparison.contenders if (curve := one.curve()) is not None]
    points = sum(len(_thinned(len(curve.points))) for _, curve in curves)
    most = max(1, _MOST_NUMBERS // max(points, 1))
    tasks = sorted(comparison.parameters)[:most]
    names, rows = _flat_parameters([comparison.parameters[task] for task in tasks])
    return {
        "parameters": names,
        "tasks": [{"task": task, "values": row} for task, row in zip(tasks, rows, strict=True)],
        "left_out": len(comparison.parameters) - len(tasks),
        "videos": _videos(comparison),
        "curves": {
            one.label: {
                "x": _numbers(curve.env_steps[_thinned(len(curve.points))]),
                "y": {
                    str(task): _numbers(returns[_thinned(len(curve.points))])
                    for task, returns in zip(curve.tasks.tolist(), curve.returns_STP.mean(0), strict=True)
                    if task in set(tasks)
                },
            }
            for one, curve in curves
        },
    }  # fmt: skip


def _videos(comparison: Comparison) -> dict[str, list[dict[str, str]]]:
    """Videos that `acclimate render` left in the folders of the runs, by task, as many as the page has room for."""
    found: dict[str, list[dict[str, str]]] = {}
    room = _MOST_VIDEO_BYTES
    for one in comparison.contenders:
        run = one.about.get("run")
        if not run or one.kind == "control" or one.about.get("held_out_hash") != comparison.task_set_hash:
            continue
        for path in sorted(Path(run).glob("held-out-task-*.mp4")):
            task = path.stem.rpartition("-")[2]
            if path.stat().st_size <= room and task.isdecimal():
                room -= path.stat().st_size
                content = base64.b64encode(path.read_bytes()).decode()
                shown = {"name": f"{one.label} on task {task}", "source": f"data:video/mp4;base64,{content}"}
                found.setdefault(task, []).append(shown)
    return found


def _flat_parameters(tasks: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Parameters by name, those that are vectors entry by entry, and their values on each task; a schedule as text."""
    names: dict[str, None] = {}
    rows = []
    for parameters in tasks:
        flat: dict[str, Any] = {}
        for name, value in parameters.items():
            if isinstance(value, list) and all(isinstance(one, (int, float)) for one in value):
                flat |= {f"{name}[{place}]": float(f"{one:.6g}") for place, one in enumerate(value)}
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                flat[name] = float(f"{value:.6g}")
            else:
                flat[name] = json.dumps(value)
        names |= dict.fromkeys(flat)
        rows.append(flat)
    return list(names), [[row.get(name) for name in names] for row in rows]


def _about(one: Contender) -> dict[str, Any]:
    """Where a contestant comes from: what a reader may ask first, and all of it as text."""
    about, made = one.about, one.about.get("provenance", {})
    machine, versions = made.get("machine", {}), made.get("versions", {})
    return {
        "run": about.get("run"), "meta-updates": about.get("iteration"), "commit": made.get("commit"),
        "processor": machine.get("processor"), "instructions": machine.get("instruction_set"),
        "torch": versions.get("torch"), "mujoco": versions.get("mujoco"),
        "environment steps of training": about.get("training_steps"),
        "minutes of training": about.get("training_minutes"),
        "made by": made.get("command"),
    }  # fmt: skip


def _settings(comparison: Comparison) -> str | None:
    suite = comparison.record.get("suite")
    return None if suite is None else json.dumps(suite, indent=2)


def _embeddings(comparison: Comparison) -> list[dict[str, str]]:
    """Pictures that `acclimate embed` left in the folders of the runs."""
    named = {
        path: one.label
        for one in comparison.contenders
        if one.kind == "run" and one.about.get("run")
        for path in sorted(Path(one.about["run"], "embeddings").glob("*.png"))[:2]
    }
    images = [(named[path], _image(path)) for path in _fitting(list(named), _MOST_IMAGE_BYTES // 4)]
    return [{"name": f"{label}: {image['name'].lower()}", "source": image["source"]} for label, image in images]
