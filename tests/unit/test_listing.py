"""Everything is listed, and described from the schema."""

from __future__ import annotations

import pytest

from agents import ALGORITHMS
from agents.baselines import BASELINES
from envs import FAMILIES
from tests.helpers import call
from trainers.recipes import loading, registry
from trainers.recipes.describing import keys, recipe_keys
from trainers.recipes.neighbours import nearest_keys
from trainers.recipes.schema import Recipe


@pytest.mark.parametrize(
    ("command", "names"),
    [("recipes", loading.shipped()), ("agents", ALGORITHMS), ("baselines", BASELINES), ("families", FAMILIES)],
)
def test_a_list_has_every_name_with_a_line_about_it(command, names):
    result = call(command)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    for name in names:
        at = next(index for index, line in enumerate(lines) if line.split(" ")[0] == name)
        assert lines[at].removeprefix(name).strip() or lines[at + 1].strip()


def test_a_recipe_is_listed_with_its_agent_family_minutes_and_number():
    output = call("recipes").output
    assert "point_nav_maml\n  maml on point_nav-v1, about 1 minute on 2 cores, no GPU\n  expect at least -13" in output


@pytest.mark.parametrize("agent", ALGORITHMS)
def test_describe_prints_every_key_with_type_and_default(agent):
    lines = call("describe", agent).output.splitlines()
    for key in keys(registry.algorithm(agent).config, "agent."):
        name = key.name + (f" ({key.kind})" if key.kind else "")
        at = lines.index(name)
        assert key.type in lines[at + 1]
        assert key.range in lines[at + 1]
        assert key.default in lines[at + 1]


def test_describe_knows_every_kind_of_name():
    assert "iterations\n    whole number, 1 or more; " in call("describe", "recipe").output
    assert "evaluation.rounds" in call("describe", "evaluation").output
    assert "Samples every action uniformly" in call("describe", "random").output
    assert "task parameter goal_m ~ U[-0.5, 0.5]^2 m" in call("describe", "point_nav-v1").output
    assert "inner_learning_rates: [0.5, 0.25, 0.1]" in call("describe", "point_nav_maml").output
    assert "agent.gamma" in call("describe", "agents.maml:MAML").output
    assert "task parameter target_m" in call("describe", "tests.helpers:LineFamily").output


@pytest.mark.parametrize(
    ("unknown", "meant"),
    [
        ("agent.inner_lr", "agent.inner_learning_rates"),
        ("agent.clip_ratio", "agent.outer.clip_range"),
        ("agent.lr", "agent.outer.learning_rate"),
        ("agent.learning_rate", "agent.outer.learning_rate"),
        ("agent.discount_factor", "agent.gamma"),
        ("agent.num_rollouts", "agent.rollouts"),
        ("agent.hidden_layers", "agent.hidden_sizes"),
        ("agent.max_kl", "agent.outer.max_kl"),
        ("agent.n_inner_steps", "agent.inner_steps"),
        ("meta_batch_size", "agent.meta_batch_size"),
        ("iters", "iterations"),
        ("n_workers", "workers"),
        ("gpu", "device"),
        ("evaluation.test_tasks", "evaluation.held_out_tasks"),
        ("evaluation.val_tasks", "evaluation.validation_tasks"),
        ("zzz", None),
    ],
)
def test_the_key_that_was_meant(unknown, meant):
    known = recipe_keys(Recipe, registry.algorithm("maml").config)
    found = nearest_keys(unknown, known)
    assert (found[:1] or [None])[0] == meant, found
