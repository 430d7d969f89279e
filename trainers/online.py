"""A trained agent in anyone's loop: a Gymnasium environment, a robot.

    agent = load("runs/first")
    agent.begin_trial()
    action = agent.act(observation)
    agent.observe(next_observation, reward, terminated, truncated)

It adapts by itself as it did in training: after each round of so many episodes, or at every step, as its kind does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from agents.contract import Agent, Round, RoundBatch, Weights
from envs.errors import TaskError
from envs.spaces import ObservationReader
from envs.task import TaskFamily
from trainers.errors import UsageError
from trainers.process import torch_threads
from trainers.recipes.registry import AnyFamily, interface_of
from trainers.runs.run_folder import Run


def load(
    run: Run | str | Path,
    *,
    family: AnyFamily | None = None,
    checkpoint: str | int = "last",
    rollouts: int | None = None,
    deterministic: bool = False,
    seed: int = 0,
) -> OnlineAgent:
    """The agent of a run, ready to adapt.

    Args:
        run: a run, or its folder.
        family: in the place of the one that the run names, where that was defined in a script or a notebook.
        checkpoint: last, best (on the validation tasks) or an iteration.
        rollouts: episodes between two adaptations; None takes those of the run's evaluation. Agents that adapt at
            every episode or step take 1.
        deterministic: act without noise. Agents that explore by their noise then find less to adapt on.
        seed: of the action noise.

    Raises:
        RunFolderError, RecipeError: the folder or its checkpoint cannot be used.
        UsageError: there is no round of so many rollouts.
    """
    opened = Run.of(run, family=family)
    of_run = opened.family()
    agent, weights, _ = opened.load(of_run, str(checkpoint))
    return OnlineAgent(
        agent,
        weights,
        of_run,
        rollouts=opened.recipe.evaluation.rollouts if rollouts is None else rollouts,
        deterministic=deterministic,
        seed=seed,
    )


class OnlineAgent:
    """One trial at a time, one observation at a time.

    Attributes:
        family: the task family of the run, to make its tasks and environments.
        adaptations: how often the agent has adapted in this trial.
        episodes: episodes of this trial that have ended.
        env_steps: environment steps of this trial.
    """

    def __init__(
        self,
        agent: Agent,
        weights: Weights,
        family: TaskFamily,
        *,
        rollouts: int,
        deterministic: bool = False,
        seed: int = 0,
    ) -> None:
        if rollouts < 1:
            raise UsageError(f"rollouts is {rollouts}, but a round has at least 1 episode")
        self.family = family
        self.interface = interface_of(family)
        self._reader = ObservationReader(self.interface.observation_space)
        self._agent, self._weights = agent, weights
        self._round: Round = agent.trial_rounds(1, rollouts)[0]
        self._deterministic = deterministic
        self._rng = np.random.default_rng(seed)
        self._state: Any = None
        self._began = False

    # -- the loop of a user

    def begin_trial(self) -> None:
        """Forget everything about the task: the next step is the first one on another."""
        self._start = self._state = self._agent.begin_trial(self._weights, 1)
        self.adaptations = self.episodes = self.env_steps = 0
        self._rows: list[list[dict[str, np.ndarray]]] = [[]]
        self._episode_of_row = 0
        self._waiting: dict[str, np.ndarray] | None = None
        self._began = True

    def act(self, observation: Any) -> Any:
        """The action for an observation, within the bounds of the action space.

        Args:
            observation: as the environment gives it, a Dict's or a Tuple's too; of the family's observation space.

        Returns:
            action, of the action space's shape and type; a Python int where that is discrete.
        """
        self._need_a_trial("act")
        checked = self._checked(observation)
        noise = None if self._deterministic else self._agent.draw_noise(self._rng, (1, 1))
        with torch_threads(1):
            action, log_prob, self._state = self._agent.act(self._weights, self._state, checked, noise)
        self._waiting = {"observation": checked, "action": action, "log_prob": log_prob}
        space = self.interface.action_space
        taken = action[0, 0]
        if isinstance(space, gymnasium.spaces.Box):
            return np.clip(taken, space.low, space.high).astype(space.dtype)
        return int(taken) if isinstance(space, gymnasium.spaces.Discrete) else taken.astype(space.dtype)

    def observe(self, observation: Any, reward: float, terminated: bool, truncated: bool) -> None:
        """Take in the outcome of the action: the next observation, its reward, and whether the episode ended.

        After the last episode of a round the agent adapts.
        """
        self._need_a_trial("observe")
        if self._waiting is None:
            raise UsageError("observe was called without an action to observe the outcome of; call act first")
        if not np.isfinite(reward):
            raise UsageError(f"the reward is {reward}; the agent can only learn from finite ones, nothing was recorded")
        following = self._checked(observation)
        step = {
            **self._waiting,
            "next_observation": following,
            "reward": np.full((1, 1), reward, np.float32),
            "valid": np.ones((1, 1), bool),
            "episode": np.full((1, 1), self._episode_of_row, np.int32),
            "terminated": np.full((1, 1), bool(terminated)),
            "truncated": np.full((1, 1), bool(truncated)),
            "unstable": np.zeros((1, 1), bool),
            "reward_terms": np.zeros((1, 1, 0), np.float32),
        }
        self._waiting = None
        self._rows[-1].append(step)
        self.env_steps += 1
        with torch_threads(1):
            self._state = self._agent.observe(self._weights, self._state, step)
        if terminated or truncated:
            self._end_episode()

    def adapt(self) -> None:
        """Adapt now, on the episodes of this round so far, instead of waiting for all of them."""
        self._need_a_trial("adapt")
        rows = [row for row in self._rows if row]
        if not rows:
            raise UsageError("there is no episode to adapt on yet; go on with act and observe until one ends")
        if not (rows[-1][-1]["terminated"] | rows[-1][-1]["truncated"]).all():
            raise UsageError("an episode is under way, and agents adapt between episodes; go on until it ends")
        with torch_threads(1):
            self._start = self._state = self._agent.adapt(self._weights, self._state, self._batch(rows))
        self.adaptations += 1
        self._rows, self._episode_of_row, self._waiting = [[]], 0, None

    def inspect(self) -> Mapping[str, np.ndarray]:
        """The agent's knowledge of its task: named arrays without a trial axis, as its kind gives them."""
        self._need_a_trial("inspect")
        return {name: value[0] for name, value in self._agent.inspect(self._weights, self._state).items()}

    # -- how rounds fill

    def _end_episode(self) -> None:
        self.episodes += 1
        self._episode_of_row += 1
        if self._episode_of_row < self._round.episodes:
            return
        if len(self._rows) < self._round.rollouts:
            # The rollouts of a round start from one state: only the batch tells them apart.
            self._rows.append([])
            self._episode_of_row, self._state = 0, self._start
        else:
            self.adapt()

    def _need_a_trial(self, what: str) -> None:
        if not self._began:
            raise UsageError(f"{what} was called before begin_trial; call begin_trial at the start of each new task")

    def _checked(self, observation: Any) -> np.ndarray:
        """The observation as it is stored, with the axes [1, 1, ...] of one trial and one row."""
        space = self.interface.observation_space
        try:
            stored = np.asarray(self._reader.read(observation))
        except TaskError as error:
            raise UsageError(
                f"{error} of {self.family.name}; give the agent what its family observes, an element of {space}"
            ) from error
        if not np.isfinite(stored).all():
            raise UsageError(
                f"the observation of {self.family.name} must be finite, not {observation}; nothing was recorded"
            )
        return stored[None, None]

    def _batch(self, rows: list[list[dict[str, np.ndarray]]]) -> RoundBatch:
        """Rows of steps as a round of one trial, [1, R, L, ...], padded at the end with an element of the space."""
        longest = max(map(len, rows))
        observations, actions = self._reader.space, self.interface.action_space
        spaces = {"observation": observations, "next_observation": observations, "action": actions}

        def column(name: str) -> np.ndarray:
            first = rows[0][0][name]
            padding = np.asarray(getattr(spaces.get(name), "start", 0))
            array = np.full((1, len(rows), longest, *first.shape[2:]), padding, first.dtype)
            for number, row in enumerate(rows):
                array[0, number, : len(row)] = np.stack([step[name][0, 0] for step in row])
            return array

        arrays = {name: column(name) for name in rows[0][0]}
        return RoundBatch(label=self._round.label, task_id=np.zeros(1, np.int64), **arrays)
