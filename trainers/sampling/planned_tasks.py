"""The tasks that a learner's plan stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents.contract import Plan
from envs.task import Task, TaskFamily, TaskSet
from trainers.errors import RecipeError
from trainers.recipes.schema import Recipe
from trainers.sampling.curriculum import narrowed, share_of
from trainers.sampling.random_streams import generator, random_key


def drawn_tasks(
    plan: Plan,
    recipe: Recipe,
    family: TaskFamily,
    fixed: TaskSet | None,
    iteration: int,
    lines: Sequence[Mapping[str, float]],
) -> Sequence[Task]:
    """The tasks of one iteration of a run, `lines` being its metrics so far."""
    tasks = planned_tasks(plan, family, fixed, recipe.seed, iteration)
    if not recipe.curriculum.start:
        return tasks
    return narrowed(tasks, family, recipe.curriculum, share_of(recipe.curriculum, lines, iteration))


def curriculum_metrics(recipe: Recipe, lines: Sequence[Mapping[str, float]], iteration: int) -> dict[str, float]:
    """How far the curriculum of a run has widened; {} where it has none."""
    return {} if not recipe.curriculum.start else {"curriculum_share": share_of(recipe.curriculum, lines, iteration)}


def planned_tasks(plan: Plan, family: TaskFamily, fixed: TaskSet | None, seed: int, iteration: int) -> Sequence[Task]:
    """The tasks of one iteration: fresh ones, or the fixed training tasks that the plan names or draws from."""
    rng = generator(random_key(seed, "tasks", iteration))
    if isinstance(plan.tasks, tuple):
        if fixed is None:
            raise RecipeError("this agent trains on fixed tasks; set train_tasks to how many")
        if max(plan.tasks) >= len(fixed.tasks):
            raise RecipeError(
                f"this agent trains on {max(plan.tasks) + 1} fixed tasks, but train_tasks is {len(fixed.tasks)}; make "
                "them the same"
            )
        return [fixed.tasks[index] for index in plan.tasks]
    if fixed is None:
        return family.sample(plan.tasks, rng, "train")
    if plan.tasks > len(fixed.tasks):
        raise RecipeError(
            f"a meta-batch of {plan.tasks} tasks needs train_tasks of at least as many, not {len(fixed.tasks)}"
        )
    return [fixed.tasks[int(index)] for index in rng.choice(len(fixed.tasks), plan.tasks, replace=False)]
