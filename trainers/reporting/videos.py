"""Videos of one task before adaptation and after each round, side by side; contact sheets of sampled tasks."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from PIL import Image, ImageDraw, ImageFont

from agents.contract import Round, RoundBatch
from envs.mujoco.camera import Camera, NoCamera, extent_of
from envs.mujoco.locomotion import Locomotion
from envs.mujoco.locomotion_env import LocomotionEnv
from envs.task import PlanView, Task, TaskFamily
from trainers.errors import DrawingError, UsageError
from trainers.process import keep_freed_memory, torch_threads
from trainers.runs.run_folder import Run
from trainers.sampling.random_streams import evaluation_key, generator, reset_seeds
from trainers.sampling.shards import Shard
from trainers.sampling.trial_loop import run_trials

PANEL = (400, 300)  # pixels
_HEADER = 44
_PAPER, _INK, _FAINT = (250, 250, 247), (30, 30, 35), (120, 120, 125)
_FRAMES_A_SECOND = 20
Draw = Callable[[VectorEnv, Sequence[np.ndarray]], np.ndarray]  # (environment of one row, its observations so far)


def make_video(run: Run, task_index: int, split: str, rounds: int | None, checkpoint: str, out: Path) -> dict[str, Any]:
    """Write the video of one task's trial: a panel for each step of its adaptation curve.

    The trial is the evaluator's own: the same noise, support rollouts and adaptation. Each panel plays an episode of
    the first row of its round again.

    Returns:
        the task, the iteration, and for each panel the return drawn and the mean over the round's rollouts.
    """
    keep_freed_memory()
    family, played = run.family(task_in_observation=False), run.family()  # drawn as it is; an oracle reads more
    task_set = run.task_set(family, split)
    tasks = task_set.tasks
    if not 0 <= task_index < len(tasks):
        raise UsageError(
            f"--task is {task_index}, but the {split} set has tasks 0 to {len(tasks) - 1}; choose one of them"
        )
    task = tasks[task_index]
    agent, weights, iteration = run.load(played, checkpoint)
    settings = run.recipe.evaluation
    plan = agent.trial_rounds(settings.rounds if rounds is None else rounds, settings.rollouts)
    key = evaluation_key(settings.seed, task_set.split, task, 0)
    with torch_threads(1):
        batches = run_trials(agent, played, weights, Shard((task,), tuple(plan), (key,)))
    camera = camera_of(family, task)
    panels, returns_drawn = [], []
    episode = 0
    for position, (one, batch) in enumerate(zip(plan, batches, strict=True)):
        seed = int(reset_seeds(generator(key, position), one.rollouts)[0])
        titles = _titles(plan, position, episode)
        panels += _panels(family, task, camera, batch, seed, episode, titles)
        for number, title in enumerate(titles):
            counted = batch.valid[0, 0] & (batch.episode[0, 0] == number)
            returns = np.where(counted, batch.reward[0, 0], 0.0).sum(-1, dtype=np.float64)
            returns_drawn.append({"panel": title, "return": float(returns[0]), "mean_return": float(returns.mean())})
        episode += 0 if one.probe else one.episodes
    header = f"{family.name}   {split} task {task_index}   {_parameters(task)}   meta-update {iteration}"
    _write_video(out, _side_by_side(panels, header))
    return {"task": task.parameters, "iteration": iteration, "panels": returns_drawn}


def _titles(plan: Sequence[Round], position: int, first_episode: int) -> list[str]:
    """Of each episode that a row plays in a round: by rounds, or by episodes where a memory adapts within them."""
    if all(one.episodes == 1 for one in plan):
        return ["before adaptation" if position == 0 else f"after {_count(position, 'round')}"]
    numbers = range(first_episode + 1, first_episode + 1 + plan[position].episodes)
    return [f"episode {number} of the trial" for number in numbers]


def _panels(
    family: TaskFamily,
    task: Task,
    camera: Draw,
    batch: RoundBatch,
    seed: int,
    first_episode: int,
    titles: Sequence[str],
) -> list[list[Image.Image]]:
    """The frames of each episode of a round's first row, played again: with its seed and actions it moves as it did."""
    env = family.make_vector_env([task], 1)
    valid, episodes = batch.valid[0, 0, 0], batch.episode[0, 0, 0]
    observation, _ = env.reset(seed=[seed], options={"episode": first_episode})  # type: ignore[arg-type]
    panels, before = [], 0
    for number, title in enumerate(titles):
        if number:
            observation, _ = env.reset(options={"reset_mask": np.ones(1, bool)})
        chosen = valid & (episodes == number)
        actions, rewards = (
            _as_sent(batch.action[0, 0, 0][chosen], env.single_action_space),
            batch.reward[0, 0, 0][chosen],
        )
        path, frames, total = [observation[0].reshape(-1)], [], 0.0
        for step, (action, reward) in enumerate(zip(actions, rewards, strict=True)):
            frames.append(_labelled(camera(env, path), title, f"step {step}   return {total:.1f}"))
            observation, again, *_ = env.step(action[None])
            if not np.isclose(float(again[0]), float(reward), rtol=1e-3, atol=1e-4):
                raise DrawingError(
                    f"step {before + step} of {family.name} gave {again[0]:.5g} when it was played again, and "
                    f"{reward:.5g} before: the family's episodes do not follow from seed and actions; run "
                    "`acclimate check`"
                )
            path.append(observation[0].reshape(-1))
            total += float(reward)
        frames.append(_labelled(camera(env, path), title, f"step {len(actions)}   return {total:.1f}"))
        before += len(actions)
        panels.append(frames)
    env.close()
    return panels


def _as_sent(actions: np.ndarray, space: gymnasium.Space) -> np.ndarray:
    """Stored actions as the environment was given them."""
    if isinstance(space, gymnasium.spaces.Box):
        return np.clip(actions, space.low, space.high)
    if isinstance(space, (gymnasium.spaces.MultiDiscrete, gymnasium.spaces.MultiBinary)):
        return actions.astype(space.dtype)
    return actions


def camera_of(family: TaskFamily, task: Task) -> Draw:
    """How an episode of this task is drawn: by MuJoCo, or from above.

    Raises:
        DrawingError: it cannot be drawn.
    """
    if isinstance(family, Locomotion):
        robot = family
        level, model = robot.terrain is None, robot.drawn_model(task)
        try:
            camera = Camera(
                model, *PANEL, distance=float(np.clip(2.4 * extent_of(model), 0.3, 6.0)),
                azimuth_deg=90.0 if level else 70.0, elevation_deg=-12.0 if level else -16.0, name=robot.camera,
            )  # fmt: skip
        except NoCamera as error:
            raise DrawingError(str(error)) from error

        def from_the_side(env: VectorEnv, path: Sequence[np.ndarray]) -> np.ndarray:
            assert isinstance(env, LocomotionEnv)
            return camera.picture(env.simulations.qpos[0], robot.shown_goal(env, 0, task), robot.arrows(env, 0))

        return from_the_side
    view = family.plan_view(task)
    if view is None:
        raise DrawingError(f"{family.name} says nothing of how it is drawn; give it a `plan_view`, or a MuJoCo model")
    return lambda env, path: _from_above(view, path)


def _from_above(view: PlanView, path: Sequence[np.ndarray]) -> np.ndarray:
    places = np.array([[point[entry] for entry in view.entries] for point in path])
    goal = np.array([view.goal]) if view.goal is not None else np.zeros((0, 2))
    reach = max(1e-6, float(np.abs(np.concatenate([places, goal])).max())) * 1.25
    width, height = PANEL
    scale = min(width, height) / 2 / reach
    image = Image.new("RGB", PANEL, _PAPER)
    pen = ImageDraw.Draw(image)

    def at(place: np.ndarray) -> tuple[float, float]:
        return width / 2 + scale * float(place[0]), height / 2 - scale * float(place[1])

    for x, y in map(at, goal):
        pen.line([(x - 6, y), (x + 6, y)], fill=(200, 60, 50), width=2)
        pen.line([(x, y - 6), (x, y + 6)], fill=(200, 60, 50), width=2)
    if len(places) > 1:
        pen.line([at(place) for place in places], fill=(60, 110, 180), width=2)
    x, y = at(places[-1])
    pen.ellipse([x - 4, y - 4, x + 4, y + 4], fill=_INK)
    return np.asarray(image)


def _labelled(pixels: np.ndarray, title: str, state: str) -> Image.Image:
    """An image with its title above."""
    image = Image.new("RGB", (PANEL[0], PANEL[1] + 26), _PAPER)
    image.paste(Image.fromarray(pixels), (0, 26))
    pen = ImageDraw.Draw(image)
    pen.text((8, 6), title, fill=_INK, font=_font(13))
    pen.text((PANEL[0] - 8, 6), state, fill=_INK, font=_font(13), anchor="ra")
    return image


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _side_by_side(panels: Sequence[Sequence[Image.Image]], header: str) -> list[np.ndarray]:
    """Frames of all panels together; one that has ended stands still."""
    width = sum(panel[0].width for panel in panels) + 4 * (len(panels) - 1)
    lines = textwrap.wrap(header, max(30, width // 7))[:4]
    top = 10 + 17 * len(lines)
    height = panels[0][0].height + top
    frames = []
    for step in range(max(map(len, panels))):
        frame = Image.new("RGB", (width + width % 2, height + height % 2), _PAPER)
        pen = ImageDraw.Draw(frame)
        for number, line in enumerate(lines):
            pen.text((8, 6 + 17 * number), line, fill=_FAINT, font=_font(13))
        x = 0
        for panel in panels:
            frame.paste(panel[min(step, len(panel) - 1)], (x, top))
            x += panel[0].width + 4
        frames.append(np.asarray(frame))
    return frames


def _write_video(out: Path, frames: Sequence[np.ndarray]) -> None:
    import imageio.v2 as imageio

    if out.suffix not in (".mp4", ".gif"):
        raise UsageError(f"--out is {out}; a video's name ends in .mp4 or .gif")
    making = out.with_name(f".{out.stem}.making{out.suffix}")
    try:
        if out.suffix == ".mp4":
            imageio.mimwrite(making, list(frames), fps=_FRAMES_A_SECOND, macro_block_size=2, codec="libx264")
        else:
            imageio.mimwrite(making, list(frames), duration=1000 / _FRAMES_A_SECOND, loop=0)
        making.replace(out)
    except OSError as error:
        raise DrawingError(f"{out} cannot be written ({error.strerror or error}); name another file") from error
    finally:
        making.unlink(missing_ok=True)


def preview(family: TaskFamily, out: Path, count: int = 8) -> None:
    """A contact sheet of sampled tasks: how each one begins, with its parameters."""
    tasks = family.sample(count if family.kind != "finite" else 4 * count, np.random.default_rng(0), "train")
    tasks = list(dict.fromkeys(tasks))[:count]
    cells = []
    for task in tasks:
        env = family.make_vector_env([task], 1)
        observation, _ = env.reset(seed=[0])  # type: ignore[arg-type]
        pixels = camera_of(family, task)(env, [observation[0].reshape(-1)])
        env.close()
        cells.append(_captioned(pixels, _parameters(task)))
    columns = min(4, len(cells))
    rows = -(-len(cells) // columns)
    width, height = cells[0].size
    sheet = Image.new("RGB", (columns * (width + 6) - 6, rows * (height + 6) - 6 + _HEADER), _PAPER)
    ImageDraw.Draw(sheet).text((8, 12), f"{family.name}: {len(cells)} training tasks", fill=_INK, font=_font(18))
    for number, cell in enumerate(cells):
        sheet.paste(cell, ((number % columns) * (width + 6), _HEADER + (number // columns) * (height + 6)))
    try:
        sheet.save(out)
    except OSError as error:
        raise DrawingError(f"{out} cannot be written ({error.strerror or error}); name another folder") from error


def _captioned(pixels: np.ndarray, caption: str) -> Image.Image:
    lines = textwrap.wrap(caption, 58)[:4]
    image = Image.new("RGB", (PANEL[0], PANEL[1] + 70), _PAPER)
    image.paste(Image.fromarray(pixels), (0, 0))
    pen = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        pen.text((6, PANEL[1] + 3 + 16 * number), line, fill=_INK, font=_font(12))
    return image


def _parameters(task: Task) -> str:
    def word(value: Any) -> str:
        if isinstance(value, tuple):
            return "(" + ", ".join(f"{entry:.2g}" for entry in value) + ")"
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    def words(items: Iterable[tuple[str, Any]]) -> str:
        return "   ".join(f"{name} {word(value)}" for name, value in items)

    then = [f"from step {step} of episode {episode}: {words(changed)}" for episode, step, changed in task.schedule]
    return "   ".join([words(task.items), *then])


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number > 1 else "")
