"""Setting up a run: its folder, frozen task sets, device, first weights, and the description of its metrics."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from agents.contract import AgentError, Learner, MetricInfo, shared_parts
from envs.check import check_no_leak
from envs.mujoco.model_files import copies_of
from envs.task import TaskFamily, TaskSet
from envs.task_sets import check_disjoint
from trainers.cluster.addresses import named
from trainers.cluster.learner_group import refuse_parts
from trainers.cluster.parcels import packed
from trainers.errors import DeviceError, RecipeError
from trainers.process import auto_threads, prepare_gpu
from trainers.recipes import registry
from trainers.recipes.assembling import build
from trainers.recipes.registry import AnyFamily
from trainers.recipes.schema import Recipe
from trainers.runs import checkpoints
from trainers.runs.making import refuse_used
from trainers.runs.metrics import describe
from trainers.runs.run_folder import FAMILY_FOLDER, Run
from trainers.sampling.curriculum import refuse_unfit
from trainers.sampling.planned_tasks import planned_tasks
from trainers.training.memory import memory_named

_LARGEST_COPY = 20_000_000  # bytes of a family's files that a run folder keeps


def create_run(recipe: Recipe, out: Path) -> Run:
    """Make the run folder, with the checkpoint of iteration 0; everything that can be refused is refused before."""
    refuse_used(out)
    with memory_named(recipe):
        return _create_run(recipe, out)


def _create_run(recipe: Recipe, out: Path) -> Run:
    family = registry.family(recipe.family, task_in_observation=recipe.task_in_observation)
    agent, learner = build(recipe, family, learner_device(recipe))  # refuses spaces that it cannot serve
    check_no_leak(registry.family(recipe.family))
    agent.trial_rounds(recipe.evaluation.rounds, recipe.evaluation.rollouts)
    sets = frozen_task_sets(recipe, family)
    if recipe.curriculum.start:
        refuse_unfit(recipe.curriculum, family, recipe.train_tasks)
    planned_tasks(learner.plan(0), family, sets.get("train"), recipe.seed, 0)
    described_metrics(learner, recipe, family)
    refuse_parts(shared_parts(learner), recipe.learners, recipe.agent.finer)
    if recipe.workers or recipe.learners:
        packed(agent, family, elsewhere=named(recipe.cluster) is not None)
    created_with: dict[str, Any] = (
        {} if recipe.init is None else {"init": warm_start(learner, recipe.agent_name, Path(recipe.init))}
    )
    copies: dict[str, Path] = {}
    if family.digest is not None:
        created_with["family_sha256"] = family.digest
        created_with["family_file"] = str(Path(recipe.family).resolve())
        copies = copies_of(family.files, _LARGEST_COPY)
        if copies:
            created_with["family_copy"] = f"{FAMILY_FOLDER}/{next(iter(copies))}"
    return Run.create(out, recipe, sets.values(), learner, created_with, copies)


def create_runs(
    recipe: str | Path | None, out: Path, overrides: Sequence[str] = (), seeds: Sequence[int] = ()
) -> list[Run]:
    """Make the run folders of a recipe by name or path: `out`, or with seeds `out/seed-<seed>` for each.

    Without a recipe the overrides are all of it.

    All folders are there before the first update, so that `acclimate resume` knows what is left after any death.
    """
    if not seeds:
        return [create_run(Recipe.load(recipe, overrides), out)]
    recipes = [Recipe.load(recipe, [*overrides, f"seed={seed}"], quiet=seed != seeds[0]) for seed in seeds]
    folders = [out / f"seed-{of_seed.seed}" for of_seed in recipes]
    for folder in folders:
        refuse_used(folder)
    return [create_run(of_seed, folder) for of_seed, folder in zip(recipes, folders, strict=True)]


def open_for_resume(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    checkpoint: int | None = None,
    family: AnyFamily | None = None,
) -> Run:
    """A run to resume; `overrides` may extend it (iterations=...) and change what does not decide its numbers.

    `checkpoint` is the iteration to go back to, by default the newest. `family` is as in `Run.open`; the resumed run
    names it from then on.
    """
    run = Run.open(path, family=family)
    if checkpoint is not None:
        run.checkpoint(str(checkpoint))
        run = replace(run, resume_from=checkpoint)
    if not overrides:
        return run
    recipe = run.recipe.with_overrides(overrides, str(path / "config.yaml"))
    done = max(checkpoints.iterations(run.checkpoints), default=0) if checkpoint is None else checkpoint
    if done > recipe.iterations:
        raise RecipeError(
            f"{path} has done {done} meta-updates already, so iterations={recipe.iterations} is less than it has; "
            "name as many or more"
        )
    return replace(run, recipe=recipe, config_differs=run.config_differs or recipe != run.recipe)


def warm_start(learner: Learner, agent_name: str, path: Path) -> dict[str, Any]:
    """Give a fresh learner the weights of another run's last checkpoint; returns what provenance should say of it."""
    run = Run.open(path)
    _, weights, iteration = run.load(run.family())
    try:
        learner.load_weights(weights)
    except AgentError as error:
        other = run.recipe.agent_name
        whose = f"of {other}, and this recipe trains {agent_name}" if other != agent_name else f"of another {other}"
        raise RecipeError(
            f"init: {path} is a run {whose}: its weights do not fit ({error}); name a run of {agent_name} with the "
            "same networks and spaces, or leave init out"
        ) from error
    where = run.checkpoint("last")
    return {
        "run": str(path.resolve()),
        "iteration": iteration,
        "state_sha256": hashlib.sha256((where / "state.json").read_bytes()).hexdigest(),
    }


def described_metrics(learner: Learner, recipe: Recipe, family: TaskFamily) -> dict[str, MetricInfo]:
    """Every metric of the run, described."""
    rounds = max((learner.plan(iteration).rounds for iteration in (0, 1)), key=len)  # the first may be shorter
    return describe(
        learner.metrics,
        sum(one.episodes for one in rounds),
        recipe.evaluation.rounds + 1,
        family.reward_terms,
        train_totals=all(one.rollouts == 1 for one in rounds),
        test_totals=recipe.evaluation.rollouts == 1,
        widens=bool(recipe.curriculum.start),
    )


def frozen_task_sets(recipe: Recipe, family: TaskFamily) -> dict[str, TaskSet]:
    """The run's task sets, drawn once, disjoint where the family's kind says so."""
    settings = recipe.evaluation
    sets = {
        "validation": family.task_set("validation", settings.validation_tasks, settings.task_seed),
        "held-out": family.task_set("held-out", settings.held_out_tasks, settings.task_seed),
    }
    if recipe.train_tasks is not None:
        sets["train"] = family.task_set("train", recipe.train_tasks, settings.task_seed)
    check_disjoint(family.kind, sets.values())
    for task_set in sets.values():
        for task in task_set.tasks:
            family.check_task(task)
    return sets


def learner_device(recipe: Recipe) -> torch.device:
    """Where the learner of this process computes: the recipe's device, or the CPU where a learner group learns."""
    device = torch.device("cpu") if recipe.learners else choose_device(recipe.device)
    prepare_gpu(device, deterministic=recipe.deterministic)
    return device


def learner_threads(recipe: Recipe) -> int:
    """Threads of a learner on the CPU: of a learner group one each, unless the recipe says."""
    if recipe.learner_threads != "auto":
        return recipe.learner_threads
    return 1 if recipe.learners else auto_threads()


def choose_device(name: str) -> torch.device:
    """auto: the GPU where there is one, else the CPU; a device that is not there is refused."""
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (not available or (device.index or 0) >= torch.cuda.device_count()):
        raise DeviceError(f"device {name} is not available on this machine; use device=auto or device=cpu")
    return device
