"""The evaluator: a frozen task set and an agent give rows; everything else is derived from the rows.

One row per task, repeat, round, rollout and episode: the environment steps spent on the task before and after (all
rollouts counted), return, length, success. `online` rows are charged to the budget; `probe` rows are test rollouts
that the agent forgets, and no figure mixes the two.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from agents.common.mean_actions import act_by_means
from agents.contract import Agent, Round, RoundBatch, TrialBatch, Weights, concatenate
from envs.task import Task, TaskFamily, TaskSet
from trainers.recipes.registry import interface_of
from trainers.recipes.schema import Evaluation
from trainers.runs.rows import ROWS
from trainers.sampling.random_streams import evaluation_key
from trainers.sampling.samplers import Sampler
from trainers.sampling.shards import Shard, make_shards


@dataclass(frozen=True)
class Origin:
    """Whose rows they are: the columns of these names.

    Attributes:
        run_id: as in the run's provenance; None where no run is measured.
        agent: name of the algorithm or of the baseline.
        training_seed: of the run.
        iteration: meta-updates done.
    """

    run_id: str | None
    agent: str
    training_seed: int
    iteration: int


@dataclass(frozen=True)
class EvaluationJob:
    """Everything that one evaluation depends on.

    Attributes:
        agent, family, weights: who is measured, and where.
        task_set: the frozen tasks.
        settings: adaptations and rollouts of a trial, trials of a task, the evaluation seed.
        tasks_per_shard: of the sampling; another size may change last bits.
        origin: whose rows they are.
        deterministic: measure each adaptation step by a probe round without action noise, beside the stochastic rounds
            that the agent adapts on.
        mean_actions: act by the means of the action distributions in the rounds that the agent adapts on
            (`agents.common.mean_actions`).
    """

    agent: Agent
    family: TaskFamily
    weights: Weights
    task_set: TaskSet
    settings: Evaluation
    tasks_per_shard: int
    origin: Origin
    deterministic: bool = False
    mean_actions: bool = False

    @property
    def acting(self) -> Agent:
        """The agent as it acts here."""
        return act_by_means(self.agent, interface_of(self.family)) if self.mean_actions else self.agent

    def rounds(self) -> tuple[Round, ...]:
        """The rounds of each trial."""
        return trial_rounds(self.acting, self.settings.rounds, self.settings.rollouts, self.deterministic)

    def shards(self) -> list[Shard]:
        """All trials on all tasks, in the order of the tasks."""
        settings, split, tasks = self.settings, self.task_set.split, self.task_set.tasks
        keys = [
            evaluation_key(settings.seed, split, task, repeat) for task in tasks for repeat in range(settings.repeats)
        ]
        return make_shards(tasks, self.rounds(), keys, self.tasks_per_shard)

    def rows(self, batch: TrialBatch, first: int = 0) -> pa.Table:
        """The rows of trials on consecutive tasks of the set, from the task `first` on."""
        table = rows_of(batch, self.rounds(), self.task_set, self.origin, first)
        if not self.mean_actions:
            return table
        column = pa.array(["mean-action"] * len(table)).cast(ROWS.field("policy").type)
        return table.set_column(ROWS.get_field_index("policy"), "policy", column)


def evaluate(job: EvaluationJob, sampler: Sampler) -> pa.Table:
    """Adaptation rows (`trainers.runs.rows.ROWS`) of `job.settings.repeats` trials on every task of the set.

    What happens in a trial depends on (evaluation seed, validation or not, task, repeat) alone: not on the other tasks,
    nor on the run.
    """
    return job.rows(concatenate(sampler.run(job.acting, job.family, job.weights, job.shards())))


def trial_rounds(agent: Agent, adaptations: int, rollouts: int, deterministic: bool) -> tuple[Round, ...]:
    """The agent's own rounds, with a noiseless probe before each where the deterministic policy is asked for."""
    online = agent.trial_rounds(adaptations, rollouts)
    if not deterministic:
        return online
    probed: list[Round] = []
    for one in online:
        probed += [Round("probe", one.rollouts, one.episodes, deterministic=True, probe=True), one]
    return tuple(probed)


def rows_of(batch: TrialBatch, rounds: Sequence[Round], task_set: TaskSet, origin: Origin, first: int = 0) -> pa.Table:
    """One row per episode of a trial batch, whose tasks are consecutive ones of the set from `first` on."""
    columns = _episode_columns(batch, rounds)
    columns["task"] += first
    count = len(columns["task"])
    texts = np.array([json.dumps(task.parameters | task.schedule_to_json()) for task in task_set.tasks])
    data = {
        "run_id": [origin.run_id] * count,
        "agent": [origin.agent] * count,
        "iteration": np.full(count, origin.iteration),
        "training_seed": np.full(count, origin.training_seed),
        "family": np.full(count, task_set.family),
        "split": np.full(count, task_set.split),
        "task_set_hash": np.full(count, task_set.digest),
        "parameters": texts[columns["task"]],
        "policy": np.where(columns.pop("deterministic"), "deterministic", "stochastic"),
        "charge": np.where(columns.pop("probe"), "probe", "online"),
        "segments": _segments(columns, task_set.tasks),
        **columns,
    }
    return pa.table({name: pa.array(data[name]).cast(ROWS.field(name).type) for name in ROWS.names}, schema=ROWS)


def _episode_columns(batch: TrialBatch, rounds: Sequence[Round]) -> dict[str, np.ndarray]:
    """The columns that differ from episode to episode, one entry for each that was played."""
    columns: dict[str, list[np.ndarray]] = {}
    tasks, repeats = batch[0].valid.shape[:2]
    spent = np.zeros((tasks, repeats), np.int64)
    adaptation_step = 0
    for one, of_round in zip(rounds, batch, strict=True):
        lengths, returns, success = _episodes(of_round, one.episodes)
        # Episodes of a row follow one another, its rollouts run side by side and share what comes of them.
        charged = np.zeros_like(lengths) if one.probe else lengths
        per_episode = charged.sum(2)  # [N, M, E]
        before = spent[..., None] + np.cumsum(per_episode, -1) - per_episode
        shape = lengths.shape  # [N, M, R, E]
        index = np.indices(shape)
        played = lengths > 0
        values = {
            "task": index[0],
            "repeat": index[1],
            "rollout": index[2],
            "adaptation_step": adaptation_step + index[3],
            "probe": np.full(shape, one.probe),
            "deterministic": np.full(shape, one.deterministic),
            "env_steps_before": np.broadcast_to(before[:, :, None], shape),
            "env_steps_after": np.broadcast_to((before + per_episode)[:, :, None], shape),
            "return": returns,
            "length": lengths,
            "success": np.full(shape, None) if success is None else success.astype(object),
        }
        for name, value in values.items():
            columns.setdefault(name, []).append(value[played])
        if not one.probe:
            spent += per_episode.sum(-1)
            adaptation_step += one.episodes
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def _segments(columns: dict[str, np.ndarray], tasks: Sequence[Task]) -> np.ndarray:
    """The segments of its task's schedule that held during each episode: '0', or '0-1' if it switched."""
    segments = np.full(len(columns["task"]), "0", object)
    scheduled = [index for index, task in enumerate(tasks) if task.schedule]
    for row in np.flatnonzero(np.isin(columns["task"], scheduled)):
        task, episode = tasks[columns["task"][row]], int(columns["adaptation_step"][row])
        first, last = task.segment_at(episode, 0), task.segment_at(episode, int(columns["length"][row]) - 1)
        segments[row] = f"{first}" if first == last else f"{first}-{last}"
    return segments


def _episodes(batch: RoundBatch, episodes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Length, return and success of each episode, [N, M, R, E]; an episode that was not played has length 0.

    An episode succeeds if any of its steps does; None where the family does not say.
    """
    masks = [batch.valid & (batch.episode == number) for number in range(episodes)]
    lengths = np.stack([mask.sum(-1) for mask in masks], -1)
    returns = np.stack([np.where(mask, batch.reward, 0.0).sum(-1, dtype=np.float64) for mask in masks], -1)
    success = batch.success
    if success is None:
        return lengths, returns, None
    return lengths, returns, np.stack([(mask & success).any(-1) for mask in masks], -1)
