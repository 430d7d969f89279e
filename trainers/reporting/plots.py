"""Plots of a run: adaptation curve, learning curve, trajectories from above."""

from __future__ import annotations

import io
import json
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from agents.contract import RoundBatch, TrialBatch
from envs.task import PlanView
from trainers.evaluation.curves import Curve, Layers, layers_of
from trainers.evaluation.reference_returns import mean_reference_returns
from trainers.process import torch_threads
from trainers.reporting.run_plots import FinishedRun
from trainers.runs.metrics import read
from trainers.sampling.random_streams import evaluation_key
from trainers.sampling.shards import Shard
from trainers.sampling.trial_loop import run_trials

_MOST_LINES = 100  # tasks that are drawn one by one
_MOST_CURVES = 5  # of a learning curve
_MOST_LABELS = 10  # steps of a curve that are labelled one by one
_MOST_LAYERS_IN_LEGEND = 12
_MOST_PATHS = 4  # of a round on a task
INK, FAINT, BAND = "#1f3b57", "#9db4c8", "#1f3b5733"


class ShownFigure(Figure):
    """A figure that a notebook shows as it is, without pyplot."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=110)
        return content.getvalue()


def adaptation_curve(finished: FinishedRun) -> Figure:
    """Return against experience on the task: mean with its interval, the tasks faintly behind it if they are few."""
    run, result, split = finished.run, finished.curve, finished.task_set.split
    reference_returns = mean_reference_returns(finished.family, finished.task_set)
    figure, axes = shown_axes(6.4, 4.2)
    returns_TP = result.returns_STP.mean(0)
    tasks = len(returns_TP)
    if few := tasks <= _MOST_LINES:
        axes.plot(result.env_steps, returns_TP.T, color=FAINT, linewidth=0.6, alpha=0.6, zorder=1)
    low, high = result.interval().T
    axes.fill_between(result.env_steps, low, high, color=BAND, linewidth=0, zorder=2)
    of_tasks = "" if few else f" of {tasks:,} {split} tasks"
    line = "o-" if len(result.mean) <= _MOST_LABELS else "-"
    axes.plot(
        result.env_steps, result.mean, line, color=INK, linewidth=2, zorder=3, label=f"mean{of_tasks}, 95 % interval"
    )
    if few:
        axes.plot([], [], color=FAINT, linewidth=1, label=f"each of the {tasks} {split} tasks")
    _label_steps(axes, result)
    for (name, value), style in zip(reference_returns.items(), ("--", ":", "-."), strict=False):
        axes.axhline(value, color="#b5651d", linestyle=style, linewidth=1, label=f"{name} {value:.4g}")
    axes.set_xlabel("environment steps spent on the task (small figures: adaptations)")
    axes.set_ylabel("return of an episode")
    learner = f"{run.recipe.learner}, {result.policy} policy"
    axes.set_title(f"Adaptation on {split} tasks of {run.recipe.family}\n{learner}", fontsize=11)
    axes.legend(framealpha=0.8, edgecolor="none", fontsize=9, loc="best")
    return figure


def _label_steps(axes: Axes, result: Curve) -> None:
    """The mean return and the number of adaptations at each step of a curve, of a long one at its ends."""
    count = len(result.mean)
    for step in range(count) if count <= _MOST_LABELS else (0, count - 1):
        place, mean = result.env_steps[step], result.mean[step]
        axes.annotate(
            f"{mean:.1f}" if abs(mean) >= 10 else f"{mean:.2f}",
            (place, mean),
            textcoords="offset points",
            xytext=(0, 9),
            ha="center",
            color=INK,
            fontweight="bold",
            bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8},
        )
        axes.axvline(place, color="#eeeeee", zorder=0)
        axes.text(
            place, 0.01, f"{step}", transform=axes.get_xaxis_transform(), ha="center", color="#888888", fontsize=8
        )


def learning_curve(finished: FinishedRun) -> Figure:
    """Return on the training and validation tasks, before and after each adaptation, against environment steps."""
    run = finished.run
    lines = read(run.path / "metrics.jsonl")
    figure, axes = shown_axes(6.4, 4.2)
    names = set().union(*lines)  # an off-policy agent's first iteration has fewer rounds
    rounds = sorted(int(name.rpartition("_")[2]) for name in names if name.startswith("return_round_"))
    rounds = rounds if len(rounds) <= _MOST_CURVES else [rounds[0], rounds[len(rounds) // 2], rounds[-1]]
    colours = _round_colours(max(len(rounds), 2))
    for index, one in enumerate(rounds):
        name, label = f"return_round_{one}", _adapted(one)
        trained = [line for line in lines if name in line]
        axes.plot(
            [line["environment_steps"] for line in trained], [line[name] for line in trained],
            color=colours[index], linewidth=1.4, label=f"{label}, training tasks",
        )  # fmt: skip
        measured = [line for line in lines if f"validation_{name}" in line]
        if not measured:  # training trials may have more rounds than test trials
            continue
        axes.plot(
            [line["environment_steps"] for line in measured], [line[f"validation_{name}"] for line in measured],
            "o", color=colours[index], markersize=5, markeredgecolor="white", label=f"{label}, validation",
        )  # fmt: skip
    axes.set_xlabel(f"environment steps of training ({lines[-1]['iteration']} meta-updates)")
    axes.set_ylabel("return of an episode")
    axes.set_title(f"Meta-training of {run.recipe.title}", fontsize=11)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.legend(framealpha=0.8, edgecolor="none", fontsize=8, loc="best")
    return figure


def adaptation_during_training(finished: FinishedRun) -> Figure | None:
    """The validation tasks' adaptation curves at every evaluation; None if there were fewer than two."""
    layers = layers_of("validation", finished.run.rows())
    return adaptation_layers(layers) if layers.frame["iteration"].nunique() >= 2 else None


def adaptation_layers(layers: Layers, panels: int = 8) -> Figure:
    """Adaptation curves of a split at every evaluation so far: the mean over its tasks, and some tasks alone.

    Each evaluation adds a layer, darker the later it is.
    """
    frame = layers.frame
    iterations = sorted(frame["iteration"].unique())
    colours = dict(zip(iterations, _round_colours(max(len(iterations), 2))[-len(iterations) :], strict=True))
    tasks = sorted(frame["task"].unique())[:panels]
    figure = ShownFigure(figsize=(10.5, 4.4), layout="constrained")
    panes: Any = figure.subfigures(1, 2, width_ratios=(1.0, 1.5))
    left, right = panes
    mean = left.subplots()
    grid = right.subplots(2, -(-len(tasks) // 2), sharex=True, sharey=True, squeeze=False).reshape(-1)
    for iteration, of_one in frame.groupby("iteration"):
        means = of_one.groupby("adaptations")[["env_steps", "return"]].mean()
        line = "o-" if len(means) <= _MOST_LABELS else "-"
        mean.plot(means["env_steps"], means["return"], line, color=colours[iteration], markersize=3, label=iteration)
        for axes, task in zip(grid, tasks, strict=False):
            alone = of_one[of_one["task"] == task]
            axes.plot(alone["env_steps"], alone["return"], line, color=colours[iteration], markersize=2, linewidth=1)
    for axes, task in zip(grid, tasks, strict=False):
        axes.set_title(short(frame[frame["task"] == task]["parameters"].iloc[0]), fontsize=7)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(tasks) :]:
        axes.set_visible(False)
    mean.spines[["top", "right"]].set_visible(False)
    mean.set_xlabel("environment steps spent on the task")
    mean.set_ylabel("return of an episode")
    mean.set_title(f"mean over {frame['task'].nunique()} {layers.split} tasks", fontsize=10)
    places = np.linspace(0, len(iterations) - 1, min(len(iterations), _MOST_LAYERS_IN_LEGEND))
    handles = [
        matplotlib.lines.Line2D([], [], color=colours[one], marker="o", markersize=3, label=one)
        for one in (iterations[round(place)] for place in places)
    ]
    mean.legend(handles=handles, title="meta-updates", frameon=False, fontsize=8, title_fontsize=8, loc="best")
    right.suptitle(f"the first {len(tasks)} tasks", fontsize=10)
    return figure


def pixels(figure: Figure) -> np.ndarray:
    """The figure as an image, [height, width, 3] uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def short(parameters: str, most: int = 34) -> str:
    """A task's parameters (JSON) as a title: rounded, cut."""
    rounded = json.loads(parameters, parse_float=lambda text: round(float(text), 2))
    text = ", ".join(f"{name} {value}" for name, value in rounded.items())
    return text if len(text) <= most else text[: most - 1] + "…"


def trajectories(finished: FinishedRun, panels: int = 6) -> Figure | None:
    """Episodes from above on a few tasks, one colour for each adaptation; None if the family has no plan view."""
    run, agent, family, task_set = finished.run, finished.agent, finished.family, finished.task_set
    tasks = task_set.tasks[:panels]
    views = [family.plan_view(task) for task in tasks]
    settings = run.recipe.evaluation
    rounds = agent.trial_rounds(settings.rounds, settings.rollouts)
    keys = tuple(evaluation_key(settings.seed, task_set.split, task, 0) for task in tasks)
    if views[0] is None:
        return None
    with torch_threads(1):
        batch = run_trials(agent, family, finished.weights, Shard(tasks, rounds, keys))
    columns = min(3, len(tasks))
    figure = ShownFigure(figsize=(3.1 * columns, 3.2 * -(-len(tasks) // columns) + 0.5), layout="constrained")
    grid = figure.subplots(-(-len(tasks) // columns), columns, squeeze=False).reshape(-1)
    colours = _round_colours(len(batch))
    named = np.unique(np.linspace(0, len(batch) - 1, 4).round().astype(int))  # what titles and legend have room for
    for index, (axes, view) in enumerate(zip(grid, views, strict=False)):
        assert view is not None
        _draw_paths(axes, batch, index, view, colours)
        returns = " → ".join(f"{batch[number].row_returns()[index].mean():.1f}" for number in named)
        axes.set_title(returns, fontsize=9)
    for axes in grid[len(tasks) :]:
        axes.set_visible(False)
    handles = [matplotlib.lines.Line2D([], [], color=colours[number], label=_adapted(number)) for number in named]
    handles.append(
        matplotlib.lines.Line2D([], [], marker="*", color="#d62728", linestyle="", markersize=10, label="goal")
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    figure.suptitle(
        f"{task_set.split} tasks of {run.recipe.family}; titles: mean returns in the legend's order", fontsize=11
    )
    return figure


def _draw_paths(axes: Axes, batch: TrialBatch, task: int, view: PlanView, colours: list[str]) -> None:
    """The first rollouts of each round on a task, from above, with the goal and where they start."""
    for colour, of_round in zip(colours, batch, strict=True):
        for path in _paths(of_round, task, view.entries, _MOST_PATHS):
            axes.plot(*path.T, color=colour, linewidth=0.9, alpha=0.75)
    if view.goal is not None:
        axes.plot(*view.goal, "*", color="#d62728", markersize=14, markeredgecolor="white", zorder=5)
    axes.plot(*_paths(batch[0], task, view.entries, 1)[0][0], "o", color="black", markersize=4, zorder=5)
    axes.set_aspect("equal", "datalim")
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"x ({view.unit})", fontsize=8)
    axes.set_ylabel(f"y ({view.unit})", fontsize=8)


def _paths(batch: RoundBatch, task: int, entries: tuple[int, int], most: int) -> list[np.ndarray]:
    """Positions [L + 1, 2] of the first rollouts of a task's first trial."""
    paths = []
    for rollout in range(min(most, batch.valid.shape[2])):
        place = (task, 0, rollout)
        steps = int((batch.valid[place] & (batch.episode[place] == 0)).sum())
        before, after = batch.observation[place][:1], batch.next_observation[place][:steps]
        paths.append(np.concatenate([before, after])[:, list(entries)])
    return paths


def _adapted(count: int) -> str:
    return f"after {count} adaptation{'s' if count > 1 else ''}" if count else "before adapting"


def _round_colours(count: int) -> list[str]:
    shades = matplotlib.colormaps["viridis_r"](np.linspace(0.12, 0.95, count))
    return [matplotlib.colors.to_hex(shade) for shade in shades]


def shown_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure, in inches, with one pair of axes."""
    figure = ShownFigure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
