"""The trial loop, and shards of trials as pure functions.

    Shard = (tasks, rounds, one random key per trial)   run_trials(agent, family, weights, shard) -> TrialBatch

A shard's result depends on its arguments alone: not on the process, the number of workers or what ran before.
So a run gives the same numbers in process and on any number of workers, and a lost shard can be run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from agents.contract import Agent, Round, RoundBatch, TrialBatch, Weights
from envs.task import Task, TaskFamily

# What a random stream is for; the number is part of every seed, so never renumber.
PURPOSES = {"tasks": 0, "training": 1, "validation": 2, "evaluation": 3}
Key = tuple[int, ...]


class SamplingError(RuntimeError):
    """A trial could not be sampled; the message is a sentence that names the task."""


def random_key(seed: int, purpose: str, *position: int) -> Key:
    """The name of a random stream: (run seed, purpose, place in the run)."""
    return (seed, PURPOSES[purpose], *position)


def generator(key: Key, *more: int) -> np.random.Generator:
    """The generator of a named stream."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence((*key, *more))))


def reset_seeds(stream: np.random.Generator, rollouts: int) -> np.ndarray:
    """[rollouts] seeds of a round's first resets: the first that is drawn from the round's stream."""
    return stream.integers(2**31, size=rollouts)


@dataclass(frozen=True)
class Shard:
    """Trials that run together: M trials of each task, task by task, with one random key per trial."""

    tasks: tuple[Task, ...]
    rounds: tuple[Round, ...]
    keys: tuple[Key, ...]  # [N * M]

    @property
    def trials_per_task(self) -> int:
        """M."""
        return len(self.keys) // len(self.tasks)


def make_shards(
    tasks: Sequence[Task], rounds: Sequence[Round], keys: Sequence[Key], tasks_per_shard: int
) -> list[Shard]:
    """Cuts a meta-batch into shards of a fixed number of tasks, whatever the number of workers."""
    trials = len(keys) // len(tasks)
    return [
        Shard(
            tuple(tasks[start : start + tasks_per_shard]),
            tuple(rounds),
            tuple(keys[start * trials : (start + tasks_per_shard) * trials]),
        )
        for start in range(0, len(tasks), tasks_per_shard)
    ]


def run_trials(agent: Agent, family: TaskFamily, weights: Weights, shard: Shard) -> TrialBatch:
    """Runs all trials of a shard, round by round: the one trial loop of training, evaluation and rendering.

    Returns:
        one RoundBatch per round, arrays with leading axes [N, M].
    """
    trial_tasks = [task for task in shard.tasks for _ in range(shard.trials_per_task)]
    task_id = np.array([task.index for task in trial_tasks])
    environments: dict[int, VectorEnv] = {}
    state = agent.begin_trial(weights, len(trial_tasks))
    batches, episodes = [], 0
    for position, one in enumerate(shard.rounds):
        if one.rollouts not in environments:
            environments[one.rollouts] = family.make_vector_env(trial_tasks, one.rollouts)
        env = environments[one.rollouts]
        streams = [generator(key, position) for key in shard.keys]
        recorder = _run_round(agent, env, weights, state, one, streams, family.episode_steps, episodes)
        episodes += 0 if one.probe else one.episodes
        batch = recorder.batch(one.label, task_id)
        check_finite(batch, trial_tasks)
        if not one.probe:
            state = recorder.state
            if position + 1 < len(shard.rounds):
                state = agent.adapt(weights, state, replace(batch, dense_reward=None))
        batches.append(batch)
    for env in environments.values():
        env.close()
    shape = (len(shard.tasks), shard.trials_per_task)
    return tuple(batch.map(lambda array: array.reshape(*shape, *array.shape[1:])) for batch in batches)


class _Recorder:
    """Arrays of a round, time first while it runs: each step is one contiguous write."""

    def __init__(self, trials: int, rollouts: int, steps: int) -> None:
        self.shape = (steps, trials, rollouts)
        self.fields: dict[str, np.ndarray] = {}
        self.state: Any = None

    def write(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        if not self.fields:
            self.fields = {
                name: np.zeros((*self.shape, *value.shape[2:]), np.float32 if value.dtype.kind == "f" else value.dtype)
                for name, value in values.items()
            }
        for name, value in values.items():
            self.fields[name][step] = value

    def batch(self, label: str, task_id: np.ndarray) -> RoundBatch:
        arrays = {name: np.ascontiguousarray(np.moveaxis(array, 0, 2)) for name, array in self.fields.items()}
        valid = arrays["valid"]
        for name in arrays.keys() & {"reward", "log_prob", "terminated", "truncated", "dense_reward"}:
            arrays[name] *= valid  # padding reads as nothing
        return RoundBatch(label=label, task_id=task_id, **arrays)


def _run_round(
    agent: Agent,
    env: VectorEnv,
    weights: Weights,
    state: Any,
    one: Round,
    streams: Sequence[np.random.Generator],
    episode_steps: int,
    first_episode: int,
) -> _Recorder:
    trials, rollouts, steps = len(streams), one.rollouts, one.episodes * episode_steps
    rows = (trials, rollouts)
    # One block of noise per trial: what a trial draws never depends on its neighbours.
    seeds = np.concatenate([reset_seeds(stream, rollouts) for stream in streams])
    noise = None
    if not one.deterministic:
        noise = np.stack([agent.draw_noise(stream, (steps, rollouts)) for stream in streams], 1)
    low, high = _bounds(env.single_action_space)
    recorder = _Recorder(trials, rollouts, steps)
    stable, no_terms = np.zeros(rows, bool), np.zeros((*rows, 0), np.float32)
    flat_observation, _ = env.reset(seed=seeds.tolist(), options={"episode": first_episode})
    observation = flat_observation.reshape(*rows, *flat_observation.shape[1:])
    episode, running = np.zeros(rows, np.int32), np.ones(rows, bool)
    for step in range(steps):
        action, log_prob, state = agent.act(weights, state, observation, None if noise is None else noise[step])
        sent = action.reshape(trials * rollouts, *action.shape[2:])
        if low is not None and high is not None:
            sent = np.minimum(np.maximum(sent, low), high)  # half the price of np.clip
        outcome = env.step(sent)
        following, reward, terminated, truncated = (array.reshape(*rows, *array.shape[1:]) for array in outcome[:4])
        transition = {
            "observation": observation,
            "next_observation": following,
            "action": action,
            "reward": reward,
            "log_prob": log_prob,
            "valid": running,
            "episode": episode,
            "terminated": terminated,
            "truncated": truncated,
            "unstable": outcome[4]["unstable"].reshape(rows) if "unstable" in outcome[4] else stable,
            "reward_terms": outcome[4]["reward_terms"].reshape(*rows, -1) if "reward_terms" in outcome[4] else no_terms,
        }
        # The agent is never told the privileged reward.
        privileged = {"dense_reward": outcome[4]["dense_reward"].reshape(rows)} if "dense_reward" in outcome[4] else {}
        recorder.write(step, transition | privileged)
        state = agent.observe(weights, state, transition)
        observation = following
        ended = running & (terminated | truncated)
        if ended.any():
            episode = episode + ended
            running = running & (episode < one.episodes)
            if not running.any():
                break
            again = (ended & running).reshape(-1)
            if again.any():
                flat_observation, _ = env.reset(options={"reset_mask": again})
                observation = flat_observation.reshape(observation.shape)
    recorder.state = state
    return recorder


def _bounds(space: gymnasium.Space) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Ends of a continuous action space: what the environment is sent is clipped, what is learned from is not."""
    return (space.low, space.high) if isinstance(space, gymnasium.spaces.Box) else (None, None)


def check_finite(batch: RoundBatch, tasks: Sequence[Task]) -> None:
    """Raises SamplingError, naming the task and the step, if a reward or an observation is not finite."""
    for name in ("reward", "next_observation"):
        values = getattr(batch, name)
        finite = np.isfinite(values)
        if finite.all():
            continue
        trial, rollout, step = np.argwhere(~finite)[0][:3]
        raise SamplingError(
            f"{tasks[trial].family}: {name.replace('_', ' ')} {values[~finite][0]} at step {step} of rollout {rollout} "
            f"in the {batch.label} round of task {tasks[trial].parameters}; mend the family's step function"
        )
