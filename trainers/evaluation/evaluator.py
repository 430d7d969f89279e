"""The evaluator: a frozen task set and an agent give rows; everything else is derived from the rows.

One row per task, repeat, round, rollout and episode: the environment steps spent on the task before and after (all
rollouts counted), return, length, success. `online` rows are charged to the budget; `probe` rows are test rollouts
that the agent forgets, and no figure mixes the two.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import stats

from agents.contract import Agent, Round, RoundBatch, TrialBatch, Weights, concatenate
from envs.task import Task, TaskFamily, TaskSet
from trainers.errors import RunError
from trainers.recipes.schema import Evaluation
from trainers.sampling.samplers import Sampler
from trainers.sampling.trial_loop import make_shards, random_key

ROWS = pa.schema(
    [
        ("iteration", pa.int64()),
        ("training_seed", pa.int64()),
        ("family", pa.dictionary(pa.int32(), pa.string())),
        ("split", pa.dictionary(pa.int32(), pa.string())),
        ("task_set_hash", pa.dictionary(pa.int32(), pa.string())),
        ("task", pa.int64()),
        ("parameters", pa.dictionary(pa.int32(), pa.string())),
        ("repeat", pa.int64()),
        ("point", pa.int64()),  # of the adaptation curve: adaptations made before
        ("rollout", pa.int64()),
        ("policy", pa.dictionary(pa.int32(), pa.string())),
        ("charge", pa.dictionary(pa.int32(), pa.string())),
        ("env_steps_before", pa.int64()),
        ("env_steps_after", pa.int64()),
        ("return", pa.float64()),
        ("length", pa.int64()),
        ("success", pa.bool_()),
        ("segments", pa.dictionary(pa.int32(), pa.string())),  # of the task's schedule: "0", or "0-1" if it switched
    ]
)

_MOST_WEIGHTS = 20_000_000  # of the bootstrap that are held at once
_MOST_LISTED = 20_000  # returns in a summary


def evaluate(
    agent: Agent,
    family: TaskFamily,
    weights: Weights,
    task_set: TaskSet,
    sampler: Sampler,
    settings: Evaluation,
    *,
    tasks_per_shard: int,
    iteration: int,
    training_seed: int,
    deterministic: bool = False,
) -> pa.Table:
    """Rows of `settings.repeats` trials on every task of the set.

    What happens in a trial depends on (evaluation seed, task, repeat) alone: not on the other tasks, nor on the run.
    With `deterministic`, each point is measured by a probe round without action noise, beside the stochastic rounds
    that the agent adapts on.
    """
    rounds = trial_rounds(agent, settings.rounds, settings.rollouts, deterministic)
    keys = [
        random_key(settings.seed, "evaluation", int(task.digest[:15], 16), repeat)
        for task in task_set.tasks
        for repeat in range(settings.repeats)
    ]
    batch = concatenate(sampler.run(weights, make_shards(task_set.tasks, rounds, keys, tasks_per_shard)))
    return rows_of(batch, rounds, task_set, iteration=iteration, training_seed=training_seed)


def trial_rounds(agent: Agent, adaptations: int, rollouts: int, deterministic: bool) -> tuple[Round, ...]:
    """The agent's own rounds, with a noiseless probe before each where the deterministic policy is asked for."""
    online = agent.trial_rounds(adaptations, rollouts)
    if not deterministic:
        return online
    probed: list[Round] = []
    for one in online:
        probed += [Round("probe", one.rollouts, one.episodes, deterministic=True, probe=True), one]
    return tuple(probed)


def rows_of(
    batch: TrialBatch, rounds: Sequence[Round], task_set: TaskSet, *, iteration: int, training_seed: int
) -> pa.Table:
    """One row per episode of a trial batch."""
    columns: dict[str, list[np.ndarray]] = {}
    tasks, repeats = batch[0].valid.shape[:2]
    spent = np.zeros((tasks, repeats), np.int64)
    point = 0
    for one, of_round in zip(rounds, batch, strict=True):
        lengths, returns = _episodes(of_round, one.episodes)
        # Episodes of a row follow one another, its rollouts run side by side and share what comes of them.
        charged = np.zeros_like(lengths) if one.probe else lengths
        per_episode = charged.sum(2)  # [N, M, E]
        before = spent[..., None] + np.cumsum(per_episode, -1) - per_episode
        shape = lengths.shape  # [N, M, R, E]
        index = np.indices(shape)
        kept = lengths > 0
        values = {
            "task": index[0],
            "repeat": index[1],
            "rollout": index[2],
            "point": point + index[3],
            "probe": np.full(shape, one.probe),
            "deterministic": np.full(shape, one.deterministic),
            "env_steps_before": np.broadcast_to(before[:, :, None], shape),
            "env_steps_after": np.broadcast_to((before + per_episode)[:, :, None], shape),
            "return": returns,
            "length": lengths,
        }
        for name, value in values.items():
            columns.setdefault(name, []).append(value[kept])
        if not one.probe:
            spent += per_episode.sum(-1)
            point += one.episodes
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    segments = np.full(len(joined["task"]), "0", object)
    scheduled = [index for index, task in enumerate(task_set.tasks) if task.schedule]
    for row in np.flatnonzero(np.isin(joined["task"], scheduled)):
        task = task_set.tasks[joined["task"][row]]
        segments[row] = _segments(task, int(joined["point"][row]), int(joined["length"][row]))
    texts = np.array([json.dumps(task.parameters | task.schedule_to_json()) for task in task_set.tasks])
    count = len(joined["task"])
    data = {
        "iteration": np.full(count, iteration),
        "training_seed": np.full(count, training_seed),
        "family": np.full(count, task_set.family),
        "split": np.full(count, task_set.split),
        "task_set_hash": np.full(count, task_set.digest),
        "parameters": texts[joined["task"]],
        "policy": np.where(joined.pop("deterministic"), "deterministic", "stochastic"),
        "charge": np.where(joined.pop("probe"), "probe", "online"),
        "success": [None] * count,
        "segments": segments,
        **joined,
    }
    return pa.table({name: pa.array(data[name]).cast(ROWS.field(name).type) for name in ROWS.names}, schema=ROWS)


def _segments(task: Task, episode: int, length: int) -> str:
    """The segments of the task's schedule that held during an episode of the trial."""
    first, last = task.segment_at(episode, 0), task.segment_at(episode, length - 1)
    return f"{first}" if first == last else f"{first}-{last}"


def _episodes(batch: RoundBatch, episodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Length and return of each episode, [N, M, R, E]; an episode that was not played has length 0."""
    belongs = [batch.valid & (batch.episode == one) for one in range(episodes)]
    lengths = np.stack([mine.sum(-1) for mine in belongs], -1)
    returns = np.stack([np.where(mine, batch.reward, 0.0).sum(-1, dtype=np.float64) for mine in belongs], -1)
    return lengths, returns


# -- summaries


@dataclass(frozen=True)
class Curve:
    """An adaptation curve: returns against experience on the task."""

    policy: str
    env_steps: np.ndarray  # [points], spent on the task before each point, mean over tasks
    returns: np.ndarray  # [seeds, tasks, points], mean over repeats and rollouts
    parameters: list[dict[str, Any]]  # of each task
    rollouts: int = 1  # at each point

    @property
    def mean(self) -> np.ndarray:
        """[points], over seeds and tasks."""
        return self.returns.mean((0, 1))

    @property
    def iqm(self) -> np.ndarray:
        """[points], the mean of the middle half of all (seed, task) returns."""
        return stats.trim_mean(self.returns.reshape(-1, self.returns.shape[-1]), 0.25)

    @property
    def totals(self) -> np.ndarray | None:
        """[seeds, tasks], the return of whole trials; None where the rollouts of a point share one trial."""
        return self.returns.sum(-1) if self.rollouts == 1 else None

    @property
    def gains(self) -> np.ndarray:
        """[seeds, tasks], the last point minus the first: what adapting gained on each task."""
        return self.returns[..., -1] - self.returns[..., 0]

    def interval(self) -> np.ndarray:
        """[points, 2], 95 % interval of the mean at each point, see `interval`."""
        return interval(self.returns)


def interval(values: np.ndarray, draws: int = 4000) -> np.ndarray:
    """[..., 2], 95 % interval of the mean of values [seeds, tasks, ...]: crossed bootstrap of whole seeds, then tasks.

    With one seed it says how sure the mean over tasks is, and nothing of other seeds.
    """
    rng = np.random.default_rng(0)
    seeds, tasks = values.shape[:2]
    seed_weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    flat = values.reshape(seeds, tasks, -1)
    means = []
    for some in np.array_split(seed_weights, -(-draws * tasks // _MOST_WEIGHTS)):
        task_weights = rng.multinomial(tasks, np.full(tasks, 1 / tasks), size=len(some)) / tasks
        means.append(np.einsum("ds,dt,stp->dp", some, task_weights, flat, optimize=True))
    ends = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0).T
    return ends.reshape(*values.shape[2:], 2)


def curve(tables: Sequence[pa.Table], policy: str) -> Curve:
    """The curve of one table of rows per training seed, all on the same task set."""
    charge = "online" if policy == "stochastic" else "probe"
    returns, steps = [], []
    digests, parameters, rollouts = set(), [], 0
    for table in tables:
        frame = table.to_pandas()
        frame = frame[(frame["charge"] == charge) & (frame["policy"] == policy)]
        digests |= set(frame["task_set_hash"])
        grouped = frame.groupby(["task", "point"], observed=True)
        returns.append(grouped["return"].mean().unstack().to_numpy())
        steps.append(grouped["env_steps_before"].mean().unstack().to_numpy())
        rollouts = int(frame["rollout"].max()) + 1
        parameters = [json.loads(text) for text in frame.groupby("task", observed=True)["parameters"].first()]
    if len(digests) != 1:
        raise RunError(f"these evaluations are of different task sets ({', '.join(sorted(digests))}); compare one set")
    return Curve(policy, np.mean(steps, axis=(0, 1)), np.stack(returns), parameters, rollouts)


@dataclass(frozen=True)
class Layers:
    """Per-task adaptation curves of a split, one layer for each evaluation so far.

    Attributes:
        split: of the tasks.
        frame: columns iteration, task, parameters, adaptations, env_steps (spent on the task before), return (mean
            over repeats and rollouts of the stochastic policy).
    """

    split: str
    frame: pd.DataFrame


def layers_of(split: str, rows: pa.Table) -> Layers:
    """The layers in adaptation rows."""
    frame = rows.to_pandas()
    frame = frame[(frame["charge"] == "online") & (frame["split"] == split)]
    keys = ["iteration", "task", "parameters", "point"]
    means = frame.groupby(keys, observed=True)[["env_steps_before", "return"]].mean().reset_index()
    return Layers(split, means.rename(columns={"point": "adaptations", "env_steps_before": "env_steps"}))


def summary(result: Curve, task_set: TaskSet) -> dict[str, Any]:
    """What `acclimate evaluate --json` writes; of very many returns it lists those of the first tasks."""
    told: dict[str, Any] = {}
    if len(result.mean) > 1:
        told["gain"] = {"mean": float(result.gains.mean()), "ci95": interval(result.gains).tolist()}
        if result.totals is not None:
            told["trial_total"] = {"mean": float(result.totals.mean()), "ci95": interval(result.totals).tolist()}
    listed = max(1, _MOST_LISTED // len(result.mean))
    return told | {
        "family": task_set.family,
        "split": task_set.split,
        "task_set_hash": task_set.digest,
        "policy": result.policy,
        "training_seeds": len(result.returns),
        "rounds": list(range(len(result.mean))),
        "env_steps": result.env_steps.tolist(),
        "mean": result.mean.tolist(),
        "iqm": result.iqm.tolist(),
        "ci95": result.interval().tolist(),
        "share_above_zero": (result.returns > 0).mean((0, 1)).tolist(),
        "task_count": len(result.parameters),
        "tasks": [
            {"params": parameters, "returns": returns.tolist()}
            for parameters, returns in zip(result.parameters[:listed], result.returns.mean(0)[:listed], strict=True)
        ],
    }
