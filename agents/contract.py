"""Contracts between algorithms and the platform: agents, learners, plans and trial batches.

An *agent* acts and adapts, a *learner* owns the meta-parameters. Neither sees an environment, a
process or a file; `trainers` runs them. Axis letters: B trials of a shard, N tasks, M independent
trials of a task, R rollouts that share one adaptation, L steps of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch

from agents.configuration import Config as Config
from agents.configuration import Fraction as Fraction
from agents.configuration import count_in as count_in
from agents.configuration import renamed_keys as renamed_keys
from agents.configuration import with_todays_names as with_todays_names
from agents.interface import Interface as Interface
from agents.team import Team
from agents.team import blocks as blocks

Weights = Mapping[str, torch.Tensor]


class AgentError(ValueError):
    """An agent or learner was asked for something it cannot do; the message is a sentence for the user."""


@dataclass(frozen=True)
class Round:
    """Episodes between two points of an adaptation curve.

    Attributes:
        label: its purpose, such as support, query, prior or posterior.
        rollouts: R, rows that share one adaptation.
        episodes: episodes that each row plays one after the other.
        deterministic: act without noise.
        probe: measured only: not charged to the budget, and the agent's state is restored after it.
    """

    label: str
    rollouts: int
    episodes: int = 1
    deterministic: bool = False
    probe: bool = False


@dataclass(frozen=True)
class Plan:
    """The meta-batch that a learner wants sampled for one iteration.

    Attributes:
        tasks: how many fresh tasks, or the indices of the fixed training tasks to use.
        rounds: the rounds of each trial, in order.
        trials_per_task: M, independent trials of each task.
    """

    tasks: int | tuple[int, ...]
    rounds: tuple[Round, ...]
    trials_per_task: int = 1


@dataclass(frozen=True)
class RoundBatch:
    """All steps of one round. Leading axes are [B] while a shard runs and [N, M] for the learner.

    Attributes:
        label: the round's label.
        observation, next_observation: [..., R, L, *shape], stored observations: as the space has them where it is a Box
            or Discrete, else flat (docs/adr/0010-spaces.md); next is the true one, also at an episode's end.
        action: [..., R, L, *action shape].
        reward: [..., R, L] float32, in the family's own units.
        log_prob: [..., R, L] float32, of the action when it was taken.
        valid: [..., R, L] bool, false for the padding at the end of a row.
        episode: [..., R, L] int32, counted from 0 in each row.
        terminated, truncated: [..., R, L] bool, true at the step that ended an episode.
        unstable: [..., R, L] bool, true where the simulation could not compute the step, which ended the episode.
        reward_terms: [..., R, L, K] float32, the named parts that the reward is the sum of; K = 0 where it has none.
        task_id: [...] int64, the task's index in its set; never its parameters.
        dense_reward: [..., R, L] float32, a privileged reward for learners alone; None where the family gives none.
        success: [..., R, L] bool, whether the task's goal is reached at the step, for rows and learners; None where the
            family does not say.

    Agents are given no dense reward, no success and no reward terms.
    """

    label: str
    observation: np.ndarray
    next_observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    log_prob: np.ndarray
    valid: np.ndarray
    episode: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    unstable: np.ndarray
    reward_terms: np.ndarray
    task_id: np.ndarray
    dense_reward: np.ndarray | None = None
    success: np.ndarray | None = None

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> RoundBatch:
        """The same round with `function` applied to every array."""
        changed = {name: function(array) for name, array in self.arrays().items()}
        return replace(self, **changed)  # type: ignore[arg-type]

    def by_trial(self) -> RoundBatch:
        """The same round with the axes of tasks and their trials, [N, M], joined to one, [B]."""
        return self.map(lambda array: array.reshape(array.shape[0] * array.shape[1], *array.shape[2:]))

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array by name, without those that are None."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "label"}
        return {name: array for name, array in named.items() if array is not None}

    def row_returns(self) -> np.ndarray:
        """[..., R] float64, the summed reward of each row."""
        return np.where(self.valid, self.reward, 0.0).sum(-1, dtype=np.float64)

    @property
    def steps(self) -> int:
        """Environment steps taken in this round."""
        return int(self.valid.sum())


TrialBatch = tuple[RoundBatch, ...]


def concatenate(batches: Sequence[TrialBatch]) -> TrialBatch:
    """Concatenate the trial batches of consecutive shards along their first axis."""

    def join(rounds: tuple[RoundBatch, ...]) -> RoundBatch:
        arrays = {name: np.concatenate([getattr(shard, name) for shard in rounds]) for name in rounds[0].arrays()}
        return RoundBatch(label=rounds[0].label, **arrays)

    return tuple(join(rounds) for rounds in zip(*batches, strict=True))


class Agent(Protocol):
    """Acts and adapts. Picklable; holds no optimiser, environment or random state.

    `state` is the agent's own: adapted parameters, a hidden state, a belief. It is never changed in place, so that the
    caller may keep an earlier one and restore it after a probe round.
    """

    def trial_rounds(self, adaptations: int, rollouts: int) -> tuple[Round, ...]:
        """The rounds of a trial that adapts this often, so `adaptations + 1` points of the curve."""

    def begin_trial(self, weights: Weights, trials: int) -> Any:
        """The state of `trials` fresh trials, before any step."""

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Noise for `shape` actions of one trial, [*shape, k] float32; of Box actions the entries are the first."""

    def act(
        self, weights: Weights, state: Any, observation: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, Any]:
        """Actions for observations [B, R, *shape]; `noise` None means the deterministic action.

        Returns:
            action [B, R, *shape], log-probability [B, R], the new state. A pure function.
        """

    def observe(self, weights: Weights, state: Any, transition: Mapping[str, np.ndarray]) -> Any:
        """The state after one step; `transition` has the fields of `RoundBatch` that agents are given, [B, R, ...]."""

    def adapt(self, weights: Weights, state: Any, batch: RoundBatch) -> Any:
        """The state after a round, given all its steps [B, R, L, ...]."""

    def inspect(self, weights: Weights, state: Any) -> dict[str, np.ndarray]:
        """Named arrays [B, ...] of the agent's state, such as beliefs and hidden states.

        `<x>_mean` with `<x>_deviation` or `<x>_variance`, [B, D], is a belief; `attention/<x>` [B, heads, steps or
        slots] is the attention of its last step; any other array characterises its trial. `acclimate embed` draws
        them. The names are the same all trial long.
        """


class Learner(Protocol):
    """Owns meta-parameters, optimisers and replay; never sees an environment."""

    metrics: Mapping[str, MetricInfo]

    def plan(self, iteration: int) -> Plan:
        """The meta-batch to sample for this iteration."""

    def weights(self) -> dict[str, torch.Tensor]:
        """Tensors that an agent needs to act, on the CPU."""

    def load_weights(self, weights: Weights) -> None:
        """Start from the weights of another run; all else stays fresh. Raises AgentError if they do not fit."""

    def update(self, batch: TrialBatch) -> dict[str, float]:
        """One meta-update; returns the metrics that `metrics` describes."""

    def state_dict(self) -> dict[str, Any]:
        """The learner's part of a checkpoint: everything that a later `load_state_dict` needs to continue to the same
        bits, in nested dictionaries and lists of tensors, numbers, strings and None. `trainers.runs.checkpoints` puts
        it on disk."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`; raises AgentError if the state does not fit."""


@runtime_checkable
class ExploringLearner(Protocol):
    """A learner whose `weights` make the agent explore in a way of its own before the first update."""

    def policy_weights(self) -> dict[str, torch.Tensor]:
        """`weights` without that exploration: those of the policy alone."""


@runtime_checkable
class TeamLearner(Protocol):
    """A learner that can share its meta-updates with copies of itself.

    Attributes:
        team: those that it shares them with; a team of one at first.
    """

    team: Team

    def join(self, team: Team) -> None:
        """Share every update from now on."""

    def parts(self) -> int:
        """Into how many parts an update is cut: more learners would have nothing to do."""


def shared_parts(learner: Learner) -> int:
    """Into how many parts copies of this learner would share an update; 0 where they cannot."""
    return learner.parts() if isinstance(learner, TeamLearner) else 0


def policy_weights(learner: Learner) -> dict[str, torch.Tensor]:
    """The weights that an evaluation of the learner's policy acts with; only an `ExploringLearner` has others."""
    return learner.policy_weights() if isinstance(learner, ExploringLearner) else learner.weights()


@dataclass(frozen=True)
class MetricInfo:
    """Unit and meaning of a metric. Only `timing` ones may differ between machines or runs.

    Attributes:
        least: below this for many updates on end, nothing is learned.
        remedy: then, what to change: the end of a sentence.
    """

    unit: str
    meaning: str
    timing: bool = False
    least: float | None = None
    remedy: str = ""


@dataclass(frozen=True)
class Algorithm:
    """One algorithm as the registry and the recipes know it.

    Attributes:
        config: its configuration class.
        make_agent: (config, interface) -> Agent.
        make_learner: (agent, config, seed, device) -> Learner.
        pipelined: whether the next iteration is sampled while this one is learned, with the weights from before; then
            `plan` depends on the iteration alone.
        selected_by: the validation return by which its best checkpoint is chosen: that of whole trials (where their
            rounds have one rollout; else that after all adaptations), or that after all adaptations always.
    """

    config: type[Config]
    make_agent: Callable[[Any, Interface], Agent]
    make_learner: Callable[[Any, Any, int, torch.device], Learner]
    pipelined: bool = False
    selected_by: Literal["trial_return", "last_return"] = "trial_return"
