"""Signs that a run cannot learn, said while it runs: one sentence each, once, with the key to change."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import gymnasium
import numpy as np
import pyarrow as pa

from agents.contract import Config, Learner, MetricInfo
from envs.task import TaskFamily
from trainers.recipes.schema import Recipe
from trainers.runs.facts import BatchFacts

PATIENCE = 10  # iterations on end, before anything is said of them
MOST_STEPS = 50_000  # environment steps for each gradient step
FEW_TRIALS = 20  # of a validation: with more, a gain within its interval is a finding and no noise
IDLE = 0.15  # root mean square of continuous actions, in half ranges of the space
NEGLIGIBLE_STD = 0.01  # of continuous actions, in half ranges of the space


class Diagnosis:
    """Watches a run's metrics for signs that it cannot learn.

    Args:
        config: of the agent.
        described: the learner's metrics; those with `least` are watched, and `remedy` ends the sentence.
        action_space: of the family.
        say: is given the sentences.
    """

    def __init__(
        self,
        config: Config,
        described: Mapping[str, MetricInfo],
        action_space: gymnasium.Space,
        say: Callable[[str], None],
    ) -> None:
        self._config, self._described, self._say = config, described, say
        self._least = {name: info.least for name, info in described.items() if info.least is not None}
        if "policy_entropy" in described:
            self._least["policy_entropy"] = least_entropy(action_space)
        self._action_space = action_space
        self._below = dict.fromkeys([*self._least, "returns", "actions"], 0)  # iterations on end
        self._said: set[str] = set()

    def facts(self, facts: BatchFacts) -> None:
        """Look at an iteration's trials: their number for a gradient step, their returns and their actions."""
        updates = self._config.gradient_steps_per_update()
        if updates is not None and facts.steps > MOST_STEPS * updates:
            keys = " or ".join(f"agent.{key}" for key in self._config.gradient_step_keys)
            self._once(
                "steps",
                f"there is one gradient step for every {facts.steps // updates:,} environment steps; raise {keys}",
            )
        self._count("returns", facts.equal_return is not None)
        if self._below["returns"] >= PATIENCE:
            self._once(
                "returns",
                f"every row of the last {PATIENCE} iterations returned {facts.equal_return:g}; equal returns teach "
                f"nothing: {self._explore()}",
            )
        self._count("actions", facts.action_size < IDLE)
        if self._below["actions"] >= PATIENCE:
            self._once(
                "actions",
                f"actions are {facts.action_size:.2g} of half their range, and were hardly more in the last {PATIENCE} "
                f"iterations; the policy does almost nothing: {self._explore()}",
            )

    def shards(self, shards: int, workers: int) -> None:
        """Look at whether every worker gets a shard of an iteration."""
        if shards < workers:
            idle = workers - shards
            self._once(
                "shards",
                f"an iteration has {shards} shard{'s' if shards > 1 else ''} for {workers} workers, so {idle} of them "
                f"{'do' if idle > 1 else 'does'} nothing; lower workers, or train a new run with a smaller "
                "sampling.tasks_per_shard, which moves last bits",
            )

    def metrics(self, metrics: Mapping[str, float]) -> None:
        """Look at an iteration's metrics."""
        for name, least in self._least.items():
            self._count(name, metrics[name] < least)
            if self._below[name] >= PATIENCE:
                info = self._described[name]
                shown = f"{metrics[name]:.2g}{f' {info.unit}' if info.unit else ''}"
                self._once(
                    name, f"{name} is {shown}, and was hardly more in the last {PATIENCE} iterations; {info.remedy}"
                )

    def validation(self, rows: pa.Table) -> None:
        """Look at what a validation can tell: the gain of adapting, of few trials, beside its interval."""
        gains = gains_of_trials(rows)
        if 1 < len(gains) < FEW_TRIALS:
            half_width = 1.96 * gains.std(ddof=1) / math.sqrt(len(gains))
            if half_width > 2 * abs(gains.mean()):
                self._once(
                    "noise",
                    f"the gain of adapting is {gains.mean():.3g} ± {half_width:.3g} on {len(gains)} validation trials, "
                    "which is all noise; raise evaluation.validation_tasks or evaluation.repeats",
                )

    def _explore(self) -> str:
        info = self._described.get("policy_entropy")
        remedy = f": {info.remedy}" if info is not None and info.remedy else ""
        return f"unless that is the best there is, make the reward less sparse or explore more{remedy}"

    def _count(self, name: str, below: bool) -> None:
        self._below[name] = self._below[name] + 1 if below else 0

    def _once(self, kind: str, sentence: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self._say(f"warning: {sentence}")


def diagnosis_of(family: TaskFamily, recipe: Recipe, learner: Learner, say: Callable[[str], None]) -> Diagnosis:
    """The diagnosis of a run."""
    return Diagnosis(recipe.agent, learner.metrics, family.action_space, say)


def least_entropy(space: gymnasium.Space) -> float:
    """Entropy, nats, below which a policy hardly explores: of 2 % of an even choice, or of a negligible deviation."""
    spaces = gymnasium.spaces
    if isinstance(space, spaces.Box):
        half = (space.high.astype(np.float64) - space.low.astype(np.float64)) / 2
        half = np.where(np.isfinite(half) & (half > 0), half, 1.0)
        return float(np.log(NEGLIGIBLE_STD * half * math.sqrt(2 * math.pi * math.e)).sum())
    choices: Sequence[int] = [2]
    if isinstance(space, spaces.Discrete):
        choices = [int(space.n)]
    elif isinstance(space, spaces.MultiDiscrete):
        choices = space.nvec.reshape(-1).tolist()
    elif isinstance(space, spaces.MultiBinary):
        choices = [2] * int(np.prod(space.shape))
    return 0.02 * sum(math.log(one) for one in choices)


def gains_of_trials(rows: pa.Table) -> np.ndarray:
    """The return after the last adaptation less that before the first, of each trial of adaptation rows."""
    frame = {name: rows.column(name).to_numpy() for name in ("task", "repeat", "adaptation_step", "return")}
    last = frame["adaptation_step"].max()
    trials = np.stack([frame["task"], frame["repeat"]], -1)
    gains = []
    for trial in np.unique(trials, axis=0):
        of_trial = (trials == trial).all(-1)
        ends = [frame["return"][of_trial & (frame["adaptation_step"] == step)] for step in (0, last)]
        if all(len(end) for end in ends):
            gains.append(ends[1].mean() - ends[0].mean())
    return np.array(gains)
