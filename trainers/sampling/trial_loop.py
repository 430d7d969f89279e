"""The trial loop: a shard of trials as a pure function.

    Shard = (tasks, rounds, one random key per trial)   run_trials(agent, family, weights, shard) -> TrialBatch

A shard's result depends on its arguments alone: not on the process, the number of workers or what ran before.
So a run gives the same numbers in process and on any number of workers, and a lost shard can be run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from agents.contract import Agent, Round, RoundBatch, TrialBatch, Weights
from envs.checked import CheckedRows
from envs.errors import TaskError
from envs.signals import STEP_SIGNALS, declared_by, readable_by
from envs.spaces import is_plain
from envs.task import Task, TaskFamily
from envs.vector import BatchedEnv
from trainers.errors import SamplingError
from trainers.sampling.random_streams import generator, reset_seeds
from trainers.sampling.shards import Shard, Work

_FOR_AGENTS = frozenset(readable_by("agents"))


def run_shard(agent: Agent, family: TaskFamily, weights: Weights, shard: Shard | Work) -> Any:
    """The trial batch of a shard, or what comes of other work."""
    if isinstance(shard, Work):
        return shard.run(family)
    return run_trials(agent, family, weights, shard)


def run_trials(agent: Agent, family: TaskFamily, weights: Weights, shard: Shard) -> TrialBatch:
    """Run all trials of a shard, round by round: the one trial loop of training, evaluation and rendering.

    Returns:
        one RoundBatch per round, arrays with leading axes [N, M].

    Raises:
        SamplingError: a reward or an observation is not finite.
    """
    player = _Player(agent, family, weights, shard)
    state = agent.begin_trial(weights, len(player.tasks))
    batches, episodes = [], 0
    for position, one in enumerate(shard.rounds):
        batch, after = player.play(position, state, episodes)
        episodes += 0 if one.probe else one.episodes
        if not one.probe:
            state = after
            if position + 1 < len(shard.rounds):
                state = agent.adapt(weights, state, _for_agents(batch))
        batches.append(batch)
    player.close()
    shape = (len(shard.tasks), shard.trials_per_task)
    return tuple(batch.map(lambda array: array.reshape(*shape, *array.shape[1:])) for batch in batches)


class _Player:
    """One agent on the environments of a shard's trials.

    Attributes:
        tasks: [B], of each trial.
    """

    def __init__(self, agent: Agent, family: TaskFamily, weights: Weights, shard: Shard) -> None:
        self.tasks = [task for task in shard.tasks for _ in range(shard.trials_per_task)]
        self._agent, self._family, self._weights, self._shard = agent, family, weights, shard
        self._task_id = np.array([task.index for task in self.tasks])
        self._signals = tuple(dict.fromkeys(("unstable", "reward_terms", *declared_by(family))))
        self._environments: dict[int, VectorEnv] = {}  # by rollouts

    def play(self, position: int, state: Any, first_episode: int) -> tuple[RoundBatch, Any]:
        """One round, in which `first_episode` episodes of the trial are over: (its batch [B, R, L, ...], the state)."""
        agent, weights, one = self._agent, self._weights, self._shard.rounds[position]
        env = self._environment(one.rollouts)
        streams = [generator(key, position) for key in self._shard.keys]
        steps = one.episodes * self._family.episode_steps
        rows = (len(streams), one.rollouts)
        # One block of noise per trial: what a trial draws never depends on its neighbours.
        seeds = np.concatenate([reset_seeds(stream, one.rollouts) for stream in streams])
        noise = self._noise(one, streams, steps)
        observations, actions = env.single_observation_space, env.single_action_space
        spaces = {"observation": observations, "next_observation": observations, "action": actions}
        recorder = _Recorder(rows, steps, spaces)
        observation = _reset(env, rows, seed=seeds.tolist(), options={"episode": first_episode})
        episode, running = np.zeros(rows, np.int32), np.ones(rows, bool)
        for step in range(steps):
            action, log_prob, state = agent.act(weights, state, observation, None if noise is None else noise[step])
            result, info = _step(env, rows, action)
            signals = {name: self._signal(name, info, rows) for name in self._signals}
            transition = {
                "observation": observation,
                "action": action,
                "log_prob": log_prob,
                "valid": running,
                "episode": episode,
                **result,
                **{name: value for name, value in signals.items() if name in _FOR_AGENTS},
            }
            recorder.write(step, transition | signals)
            state = agent.observe(weights, state, transition)
            observation = result["next_observation"]
            ended = running & (result["terminated"] | result["truncated"])
            if ended.any():
                episode = episode + ended
                running = running & (episode < one.episodes)
                if not running.any():
                    break
                again = ended & running
                if again.any():
                    observation = _reset(env, rows, options={"reset_mask": again.reshape(-1)})
        batch = recorder.batch(one.label, self._task_id)
        check_finite(batch, self.tasks)
        return batch, state

    def close(self) -> None:
        for env in self._environments.values():
            env.close()

    def _environment(self, rollouts: int) -> VectorEnv:
        if rollouts not in self._environments:
            env = self._family.make_vector_env(self.tasks, rollouts)
            if not is_plain(env.single_observation_space):
                raise TaskError(
                    f"{self._family.name}: the rows of its own make_vector_env observe {env.single_observation_space}, "
                    "which is not one array; leave make_vector_env out, or store them as envs.spaces does"
                )
            ours = isinstance(env.unwrapped, BatchedEnv)
            self._environments[rollouts] = env if ours else CheckedRows(env, self._family.name)
        return self._environments[rollouts]

    def _signal(self, name: str, info: Mapping[str, np.ndarray], rows: tuple[int, int]) -> np.ndarray:
        """A signal of the step [B, R, ...]; zero where the environment does not give it."""
        signal = STEP_SIGNALS[name]
        shape = (*rows, *(len(self._family.reward_terms) for _ in signal.axes))
        return info[name].reshape(shape) if name in info else np.zeros(shape, signal.dtype)

    def _noise(self, one: Round, streams: Sequence[np.random.Generator], steps: int) -> np.ndarray | None:
        """[steps, B, R, k] action noise of a round; None for the deterministic policy."""
        if one.deterministic:
            return None
        return np.stack([self._agent.draw_noise(stream, (steps, one.rollouts)) for stream in streams], 1)


def _reset(env: VectorEnv, rows: tuple[int, int], **how: Any) -> np.ndarray:
    """First observations [B, R, ...] of the rows that are reset, and the others' last ones."""
    observation, _ = env.reset(**how)
    return observation.reshape(*rows, *observation.shape[1:])


def _step(
    env: VectorEnv, rows: tuple[int, int], action: np.ndarray
) -> tuple[dict[str, np.ndarray], Mapping[str, np.ndarray]]:
    """Act in every row: (arrays [B, R, ...] of what came of it by name, the step info)."""
    sent = action.reshape(rows[0] * rows[1], *action.shape[2:])
    space = env.single_action_space
    if isinstance(space, gymnasium.spaces.Box):  # the environment gets it clipped, the learner as it was drawn
        sent = np.minimum(np.maximum(sent, space.low), space.high)  # half the price of np.clip
    elif isinstance(space, (gymnasium.spaces.MultiDiscrete, gymnasium.spaces.MultiBinary)):
        sent = sent.astype(space.dtype, copy=False)
    *outcome, info = env.step(sent)
    names = ("next_observation", "reward", "terminated", "truncated")
    return {name: array.reshape(*rows, *array.shape[1:]) for name, array in zip(names, outcome, strict=True)}, info


def _for_agents(batch: RoundBatch) -> RoundBatch:
    """The batch without the signals that agents may not read."""
    return replace(batch, dense_reward=None, success=None, reward_terms=batch.reward_terms[..., :0])


class _Recorder:
    """Arrays of a round, time first while it runs: each step is one contiguous write.

    Padding is 0, or the first element of a Discrete or MultiDiscrete space that starts elsewhere; `spaces` are those of
    fields by name. Steps that no row lived to see are never touched: where all fall early, most of an array is padding.
    """

    def __init__(self, rows: tuple[int, int], steps: int, spaces: Mapping[str, gymnasium.Space]) -> None:
        self._shape = (steps, *rows)
        self._padding = {name: np.asarray(getattr(space, "start", 0)) for name, space in spaces.items()}
        self._arrays: dict[str, np.ndarray] = {}
        self._written = 0  # steps

    def _padded(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        padding = self._padding.get(name, np.asarray(0))
        return np.full(shape, padding, dtype) if padding.any() else np.zeros(shape, dtype)

    def write(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        if not self._arrays:
            self._arrays = {
                name: self._padded(
                    name,
                    (*self._shape, *value.shape[2:]),
                    np.dtype(np.float32) if value.dtype.kind == "f" else value.dtype,
                )
                for name, value in values.items()
            }
        self._written = step + 1
        for name, value in values.items():
            self._arrays[name][step] = value

    def batch(self, label: str, task_id: np.ndarray) -> RoundBatch:
        arrays = {}
        for name, array in self._arrays.items():
            steps, *rows = array.shape[:3]
            arrays[name] = self._padded(name, (*rows, steps, *array.shape[3:]), array.dtype)
            arrays[name][:, :, : self._written] = np.moveaxis(array[: self._written], 0, 2)
        valid = arrays["valid"]
        for name in arrays.keys() & {"reward", "log_prob", "terminated", "truncated", "dense_reward", "success"}:
            arrays[name] *= valid  # padding reads as nothing
        return RoundBatch(label=label, task_id=task_id, **arrays)


def check_finite(batch: RoundBatch, tasks: Sequence[Task]) -> None:
    """Raises SamplingError, naming the task and the step, if a reward or an observation is not finite."""
    length = int(batch.valid.any((0, 1)).sum())  # beyond it there is padding alone
    for name in ("reward", "next_observation"):
        values = getattr(batch, name)[:, :, :length]
        finite = np.isfinite(values)
        if finite.all():
            continue
        trial, rollout, step = np.argwhere(~finite)[0][:3]
        raise SamplingError(
            f"{tasks[trial].family}: {name.replace('_', ' ')} {values[~finite][0]} at step {step} of rollout {rollout} "
            f"in the {batch.label} round of task {tasks[trial].parameters}; mend the family's step function"
        )
