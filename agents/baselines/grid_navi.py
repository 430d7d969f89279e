"""GridNavi: the best way to look for the goal, and then straight to it.

A 5 x 5 grid, cell x + 5 y, from the corner 0; stay, up, right, down, left; 15 steps; 1 on the goal, -0.1 elsewhere; the
goal is any of the 21 cells outside the 2 x 2 corner of the start (Zintgraf et al. 2020, VariBAD). Since the goal is the
same in all episodes and each visited cell either is it or not, a trial is planned once, beforehand: where to walk in
each episode as long as the goal has not been found. What follows its finding needs no search: stay, and in later
episodes go the shortest way.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import ClassVar, NamedTuple

import numpy as np

from agents.baselines.base import Baseline, require_discrete
from agents.contract import AgentError, Interface, Weights

SIZE, STEPS = 5, 15
MOVES = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))  # stay, up, right, down, left
GOALS = tuple(x + SIZE * y for y in range(SIZE) for x in range(SIZE) if not (x < 2 and y < 2))
SIZES = (SIZE * SIZE, len(MOVES), STEPS)  # of an interface: observations, actions, steps; more an agent cannot know
STAY, UP, RIGHT, DOWN, LEFT = range(5)


def towards(cell: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The first action of a shortest way, along x first; cells and goals [...] int."""
    right, up = goal % SIZE - cell % SIZE, goal // SIZE - cell // SIZE
    along = np.where(right > 0, RIGHT, LEFT)
    across = np.where(up > 0, UP, np.where(up < 0, DOWN, STAY))
    return np.where(right != 0, along, across)


def _distance(cell: int, goal: int) -> int:
    return abs(goal % SIZE - cell % SIZE) + abs(goal // SIZE - cell // SIZE)


def episode_return(steps: float) -> float:
    """Return of an episode that reaches the goal at this step, counted from 1, and stays; STEPS + 1 means never.

    (STEPS - steps + 1) * 1.0 - 0.1 * (steps - 1), which is linear, so a mean of steps gives the mean of returns.
    """
    return STEPS + 1.1 - 1.1 * steps


class _Walk(NamedTuple):
    """A walk so far: its present episode, step and cell, and the goals that it has not visited."""

    episode: int
    step: int
    cell: int
    hidden: frozenset[int]


@lru_cache(maxsize=4)
def search_plan(episodes: int) -> tuple[np.ndarray, tuple[float, ...]]:
    """The walk that maximises the expected return of a trial, goals being equally likely: best-first search, exact.

    The return of an episode falls by 1.1 for each step that the goal is reached later, and never reaching it is as
    good as reaching it one step after the end. So a walk costs, summed over goals and episodes, the step at which each
    goal is reached: the walk's own step in the episode of the first visit, STEPS + 1 in those before, and the distance
    from the start in those after. Walks at the same time and cell with the same goals unvisited have the same future,
    so only the cheaper one is kept. They are extended in the order of cost so far plus a lower bound on the rest (A*),
    hence the first complete walk is optimal; nothing is pruned.

    Args:
        episodes: of a trial, at least 1.

    Returns:
        actions [episodes, STEPS] int64, read-only; the expected return of each episode.
    """
    start = _Walk(0, 0, 0, frozenset(GOALS))
    cost_so_far, predecessor = {start: 0}, dict[_Walk, tuple[_Walk, int]]()
    order = count()
    queue = [(_bound(start, episodes), 0, next(order), start)]
    while True:
        _, _, _, walk = heapq.heappop(queue)
        if not walk.hidden or walk.episode == episodes:
            break
        for action in range(len(MOVES)):
            following, step_cost = _move(walk, action, episodes)
            cost = cost_so_far[walk] + step_cost
            if following not in cost_so_far or cost < cost_so_far[following]:
                cost_so_far[following], predecessor[following] = cost, (walk, action)
                depth = following.episode * STEPS + following.step
                queued = (cost + _bound(following, episodes), -depth, next(order), following)
                heapq.heappush(queue, queued)
    actions = np.full((episodes, STEPS), STAY)
    first_visits = dict.fromkeys(walk.hidden, (episodes, 0))
    while walk != start:
        before, action = predecessor[walk]
        actions[before.episode, before.step] = action
        first_visits |= dict.fromkeys(before.hidden - walk.hidden, (before.episode, before.step + 1))
        walk = before
    actions.setflags(write=False)
    return actions, tuple(_expected_return(first_visits, episode) for episode in range(episodes))


def _move(walk: _Walk, action: int, episodes: int) -> tuple[_Walk, int]:
    """The walk after one more action, and the cost of this step."""
    right, up = MOVES[action]
    x, y = (min(max(at, 0), SIZE - 1) for at in (walk.cell % SIZE + right, walk.cell // SIZE + up))
    cell, step, hidden, cost = x + SIZE * y, walk.step + 1, walk.hidden, 0
    if cell in hidden:
        hidden = hidden - {cell}
        cost = step + _distance(0, cell) * (episodes - 1 - walk.episode)
    if step < STEPS:
        return _Walk(walk.episode, step, cell, hidden), cost
    return _Walk(walk.episode + 1, 0, 0, hidden), cost + (STEPS + 1) * len(hidden)


def _bound(walk: _Walk, episodes: int) -> int:
    """Lower bound on the remaining cost: shortest ways, and no two goals reached in the same step."""
    if walk.episode == episodes:
        return 0
    total, last = 0, walk.step
    for earliest in sorted(walk.step + _distance(walk.cell, goal) for goal in walk.hidden):
        last = min(max(earliest, last + 1), STEPS + 1)
        total += last
    return total + sum(_distance(0, goal) for goal in walk.hidden) * (episodes - 1 - walk.episode)


def _expected_return(first_visits: Mapping[int, tuple[int, int]], episode: int) -> float:
    """Expected return of one episode, given the (episode, step) at which the walk first visits each goal."""
    steps = [
        step if at == episode else _distance(0, goal) if at < episode else STEPS + 1
        for goal, (at, step) in first_visits.items()
    ]
    return episode_return(sum(steps) / len(steps))


@dataclass(frozen=True)
class SearchState:
    """Of B trials: the goal, or -1 while it is unknown; the episode and its step under way; each [B] int."""

    goal: np.ndarray
    episode: np.ndarray
    step: np.ndarray


class Belief(Baseline):
    """Bayes-optimal search: walks until the goal is reached, then stays; goes straight to it in later episodes.

    Attributes:
        walk: [episodes, STEPS] int, the actions while the goal has not been reached.
        expected_returns: of each episode, exact.
    """

    name: ClassVar[str] = "belief"

    def __init__(self, interface: Interface, episodes: int) -> None:
        super().__init__(interface, episodes)
        cells = require_discrete(self.name, interface.observation_space, "observations")
        actions = require_discrete(self.name, interface.action_space, "actions")
        if (cells.n, actions.n, interface.episode_steps) != SIZES:
            raise AgentError(
                f"the belief agent plays GridNavi ({SIZE * SIZE} cells, {len(MOVES)} moves, {STEPS} steps), not "
                f"{cells.n} observations, {actions.n} actions and {interface.episode_steps} steps; measure another "
                "baseline"
            )
        self.walk, self.expected_returns = search_plan(episodes)

    def begin_trial(self, weights: Weights, trials: int) -> SearchState:
        nothing = np.zeros(trials, np.int64)
        return SearchState(nothing - 1, nothing, nothing)

    def choose(
        self, state: SearchState, observation: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, SearchState]:
        searching = self.walk[state.episode, state.step]
        action = np.where(state.goal < 0, searching, towards(observation[:, 0], state.goal))
        return action[:, None], state

    def observe(self, weights: Weights, state: SearchState, transition: Mapping[str, np.ndarray]) -> SearchState:
        cell, reward, ended = (transition[name][:, 0] for name in ("next_observation", "reward", "truncated"))
        reached = (reward > 0) & transition["valid"][:, 0]
        return SearchState(
            np.where(reached, cell, state.goal), state.episode + ended, np.where(ended, 0, state.step + 1)
        )

    def inspect(self, weights: Weights, state: SearchState) -> dict[str, np.ndarray]:
        return {"goal": state.goal}
