"""Inspection: what an agent has learned of its tasks, recorded from `Agent.inspect` during the evaluator's own trials.

Axis letters: B trials, T actions of a trial, D entries of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.common.ablations import AgentWrapper
from agents.contract import Agent, RoundBatch, Weights
from envs.task import Task, TaskFamily
from trainers.process import torch_threads
from trainers.runs.run_folder import Run
from trainers.sampling.random_streams import evaluation_key
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials

ATTENTION = "attention/"  # what such arrays are named by; [B, heads, steps or slots]
_MOST_TRIALS = 200
_MOST_DRAWN = 4  # trials that are drawn one by one
_MOST_ROWS = 400  # of an attention map

Arrays = dict[str, np.ndarray]
Beliefs = dict[str, tuple[np.ndarray, np.ndarray]]  # (mean, deviation)


@dataclass(frozen=True)
class TrialTrace:
    """The arrays of `Agent.inspect` in one trial, after each of the T actions that the agent took.

    Attributes:
        env_steps: [T], spent on the task before the action.
        begins: [T] bool, whether an episode begins with it.
        vectors: [D] by name, after the last action.
        beliefs: (mean, deviation), each [T, D], by name.
        attention: (actions [A], the weights after each of them) by name; empty for trials whose attention is not kept.
    """

    env_steps: np.ndarray
    begins: np.ndarray
    vectors: Mapping[str, np.ndarray]
    beliefs: Beliefs
    attention: Mapping[str, tuple[np.ndarray, list[np.ndarray]]]


class RecordingAgent(AgentWrapper):
    """Acts as the wrapped agent does, to the same bits, and records its `inspect` after each action.

    It serves one shard without probe rounds, in this process. Of rollouts that share an adaptation it records the
    episodes of the first.

    Args:
        agent: the wrapped one.
        attending: trials of the shard whose attention is kept, and
        every: after how many actions again.
    """

    def __init__(self, agent: Agent, attending: Sequence[int] = (), every: int = 1) -> None:
        super().__init__(agent)
        self._attending, self._every = list(attending), every
        self._inspected: Any = None
        self._groups: tuple[Beliefs, Arrays, Arrays] = {}, {}, {}
        self._last: dict[str, np.ndarray] = {}
        self._steps: list[dict[str, Any]] = []

    def begin_trial(self, weights: Weights, trials: int) -> Any:
        self._begins = np.ones(trials, bool)
        return self._agent.begin_trial(weights, trials)

    def act(
        self, weights: Weights, state: Any, observation: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, Any]:
        action, log_prob, after = self._agent.act(weights, state, observation, noise)
        if after is not self._inspected:  # states never change in place
            self._inspected, self._groups = after, group_by_kind(self._agent.inspect(weights, after))
        return action, log_prob, after

    def observe(self, weights: Weights, state: Any, transition: Mapping[str, np.ndarray]) -> Any:
        spent = transition["valid"].sum(1)
        running = spent[:, None] > 0  # nothing is recorded of a trial that is over
        beliefs, vectors, attention = self._groups
        kept = attention if self._attending and len(self._steps) % self._every == 0 else {}
        self._steps.append(
            {
                "spent": spent,
                "begins": self._begins & transition["valid"][:, 0],
                "beliefs": beliefs,
                "attention": {name: array[self._attending] for name, array in kept.items()},
            }
        )
        for name, array in vectors.items():
            self._last[name] = array if running.all() else np.where(running, array, self._last[name])
        self._begins = (transition["terminated"] | transition["truncated"])[:, 0]
        return self._agent.observe(weights, state, transition)

    def adapt(self, weights: Weights, state: Any, batch: RoundBatch) -> Any:
        self._begins = np.ones_like(self._begins)
        return self._agent.adapt(weights, state, batch)

    def traces(self) -> list[TrialTrace]:
        """The trace of each trial, of the actions that were taken in it alone."""
        spent = np.array([step["spent"] for step in self._steps])
        return [self._trace(trial, spent[:, trial]) for trial in range(spent.shape[1])]

    def _trace(self, trial: int, spent: np.ndarray) -> TrialTrace:
        taken = np.flatnonzero(spent)
        steps = [self._steps[step] for step in taken]
        attention: dict[str, tuple[np.ndarray, list[np.ndarray]]] = {}
        if trial in self._attending:
            place = self._attending.index(trial)
            kept = [action for action, one in enumerate(steps) if one["attention"]]
            for name in steps[0]["attention"]:
                attention[name] = np.array(kept), [steps[action]["attention"][name][place] for action in kept]
        return TrialTrace(
            env_steps=(np.cumsum(spent) - spent)[taken],
            begins=np.array([one["begins"][trial] for one in steps]),
            vectors={name: array[trial] for name, array in self._last.items()},
            beliefs={
                name: (
                    np.array([one["beliefs"][name][0][trial] for one in steps]),
                    np.array([one["beliefs"][name][1][trial] for one in steps]),
                )
                for name in steps[0]["beliefs"]
            },
            attention=attention,
        )


def group_by_kind(arrays: Mapping[str, np.ndarray]) -> tuple[Beliefs, Arrays, Arrays]:
    """The arrays of `Agent.inspect`, grouped by the names that its docstring gives a meaning.

    Returns:
        beliefs (mean, deviation), each [B, D]; vectors [B, D], the means among them; attention weights.
    """
    beliefs: Beliefs = {}
    for name in arrays:
        belief = name.removesuffix("_mean")
        if belief != name and f"{belief}_deviation" in arrays:
            beliefs[belief] = arrays[name], arrays[f"{belief}_deviation"]
        elif belief != name and f"{belief}_variance" in arrays:
            beliefs[belief] = arrays[name], np.sqrt(arrays[f"{belief}_variance"])
    attention = {name.removeprefix(ATTENTION): array for name, array in arrays.items() if name.startswith(ATTENTION)}
    spread = {f"{belief}_{kind}" for belief in beliefs for kind in ("deviation", "variance")}
    vectors = {
        name: array.reshape(len(array), -1)
        for name, array in arrays.items()
        if name not in spread and not name.startswith(ATTENTION)
    }
    return beliefs, vectors, attention


@dataclass(frozen=True)
class Inspection:
    """The traces of an agent on tasks of a split.

    Attributes:
        title: of its plots.
        family: of the tasks.
        tasks: of each trial; a task may have several.
        traces: of each trial.
        drawn: the trials that are drawn one by one, of different tasks.
    """

    title: str
    family: TaskFamily
    tasks: Sequence[Task]
    traces: Sequence[TrialTrace]
    drawn: Sequence[int]


def inspect_run(run: Run, split: str, checkpoint: str, most_tasks: int) -> Inspection:
    """Record a run's agent in the evaluator's own trials of the first tasks of a split."""
    family = run.family()
    task_set = run.task_set(family, split)
    tasks = task_set.tasks[:most_tasks]
    agent, weights, iteration = run.load(family, checkpoint)
    settings, size = run.recipe.evaluation, run.recipe.sampling.tasks_per_shard
    repeats = min(settings.repeats, max(1, _MOST_TRIALS // len(tasks)))
    drawn = np.unique(np.linspace(0, len(tasks) - 1, _MOST_DRAWN).round().astype(int)) * repeats
    rounds = agent.trial_rounds(settings.rounds, settings.rollouts)
    every = -(-sum(one.episodes for one in rounds) * family.episode_steps // _MOST_ROWS)
    keys = [evaluation_key(settings.seed, task_set.split, task, repeat) for task in tasks for repeat in range(repeats)]
    traces: list[TrialTrace] = []
    with torch_threads(1):
        for shard in make_shards(tasks, rounds, keys, size):
            places = (drawn - len(traces)).tolist()
            recording = RecordingAgent(agent, [place for place in places if 0 <= place < len(shard.keys)], every)
            run_trials(recording, family, weights, shard)
            traces += recording.traces()
    title = f"{run.recipe.learner} on {len(tasks)} {Path(split).stem} tasks of {family.name}, meta-update {iteration}"
    return Inspection(title, family, [task for task in tasks for _ in range(repeats)], traces, drawn.tolist())
