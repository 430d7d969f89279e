"""How well robots follow their commands: tracking error and falls of trained runs, beside standing still.

    python benchmarks/command_following.py docs/results/servo_dog_rl2 docs/results/servo_dog_memoryless

On each run's held-out tasks, trial by trial as `acclimate evaluate` plays them: the mean distance between the commanded
and the base's own velocity, m/s, and between the yaw rates, rad/s, over all steps of an episode, and the share of
episodes that end by a fall. Standing still holds the start pose in the same tasks, pushed as the robot is; an episode
that a fall ends counts for the steps that it had. Intervals: seeds as random, tasks as random.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from measure import record

from envs.mujoco.described import DescribedFamily
from envs.task import Task
from trainers.evaluation.statistics import interval
from trainers.runs.run_folder import Run, find_runs
from trainers.sampling.random_streams import evaluation_key, generator, reset_seeds
from trainers.sampling.shards import Shard
from trainers.sampling.trial_loop import run_trials

COMMANDS = ("velocity", "lateral_velocity")


def columns(family: DescribedFamily) -> dict[str, slice]:
    """Where the terms of the observation begin and end."""
    begin, found = 0, {}
    for one, width in zip(family.description.observe, family.widths, strict=True):
        found[one.term] = slice(begin, begin + width)
        begin += width
    return found


def errors(family: DescribedFamily, observation: np.ndarray, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """(m/s, rad/s) of observations [..., O]."""
    at = columns(family)
    named = {one.command: name for name, one in (family.description.tasks or {}).items() if one.command}
    wanted = np.array([task[named[one]] for one in COMMANDS])
    linear = np.linalg.norm(observation[..., at["linear_velocity"]][..., :2] - wanted, axis=-1)
    return linear, np.abs(observation[..., at["angular_velocity"]][..., 2] - task[named["yaw_rate"]])


def of_run(run: Run) -> list[dict[str, Any]]:
    """A row for each task and episode."""
    family = run.family()
    agent, weights, _ = run.load(family)
    task_set, settings = run.task_set(family, "held-out"), run.recipe.evaluation
    plan = tuple(agent.trial_rounds(settings.rounds, settings.rollouts))
    rows = []
    for task in task_set.tasks:
        key = evaluation_key(settings.seed, task_set.split, task, 0)
        episode = 0
        for one, batch in zip(plan, run_trials(agent, family, weights, Shard((task,), plan, (key,))), strict=True):
            for number in range(one.episodes):
                chosen = batch.valid[0, 0] & (batch.episode[0, 0] == number)
                linear, turning = errors(family, batch.next_observation[0, 0][chosen], task)
                fell = (batch.terminated[0, 0] & chosen).any()
                rows.append({"task": task.index, "episode": episode + number, "linear": float(linear.mean()),
                             "turning": float(turning.mean()), "fell": bool(fell)})  # fmt: skip
            episode += one.episodes
    return rows


def standing(run: Run) -> list[dict[str, Any]]:
    """The same for a robot that holds its start pose."""
    family = run.family()
    task_set, settings = run.task_set(family, "held-out"), run.recipe.evaluation
    rows = []
    for task in task_set.tasks:
        seed = int(reset_seeds(generator(evaluation_key(settings.seed, task_set.split, task, 0), 0), 1)[0])
        env = family.make_vector_env([task], 1)
        env.reset(seed=[seed])  # type: ignore[arg-type]
        seen, fell = [], False
        for _ in range(family.episode_steps):
            observation, _, terminated, truncated, _ = env.step(np.zeros((1, *family.action_space.shape)))
            seen.append(observation[0])
            fell |= bool(terminated[0])
            if terminated[0] or truncated[0]:
                break
        linear, turning = errors(family, np.array(seen), task)
        rows.append({"task": task.index, "episode": 0, "linear": float(linear.mean()),
                     "turning": float(turning.mean()), "fell": fell})  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    figures: dict[str, Any] = {}
    for folder in parser.parse_args().runs:
        runs = find_runs(folder)
        measured = [of_run(run) for run in runs]
        still = standing(runs[0])
        for name, rows in (("standing still", [still]), (folder.name, measured)):
            for episode in sorted({row["episode"] for row in rows[0]}):
                of_episode = [[row for row in of_seed if row["episode"] == episode] for of_seed in rows]
                for what, unit in (("linear", "m/s"), ("turning", "rad/s"), ("fell", "share")):
                    values = np.array([[row[what] for row in of_seed] for of_seed in of_episode], float)
                    figures[f"{name}, episode {episode + 1}: {what} ({unit})"] = shown(values)
    record("command_following", figures)


def shown(values: np.ndarray) -> dict[str, Any]:
    """Mean and interval of [seeds, tasks]."""
    return {"mean": round(float(values.mean()), 4), "interval": interval(values).round(4).tolist(),
            "seeds": [round(float(one), 4) for one in values.mean(1)]}  # fmt: skip


if __name__ == "__main__":
    main()
