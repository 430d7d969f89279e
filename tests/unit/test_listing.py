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


@pytest.mark.parametrize("agent", ALGORITHMS)
def test_every_key_has_a_meaning(agent):
    """All of them, of every kind of section: a phrase, not a word."""
    described = recipe_keys(Recipe, registry.algorithm(agent).config)
    assert len(described) > 40
    assert not [key.name for key in described if len(key.meaning.split()) < 2]


@pytest.mark.parametrize("agent", ALGORITHMS)
def test_new_writes_a_recipe_that_loads_with_every_key(agent, tmp_path):
    """As it is, and with every # taken away: the same recipe."""
    file = tmp_path / "deep" / "mine.yaml"
    words = ("family=tests.helpers:LineFamily", f"agent={agent}", "iterations=7")
    assert call("new", file, *words).exit_code == 0
    text = file.read_text()
    recipe = Recipe.load(str(file))
    assert recipe == Recipe.load(None, words)
    assert "\niterations: 7  " in text
    commented = [line.partition("# ") for line in text.splitlines()[3:]]
    bare = "".join(f"{before}{after}\n" if not before.strip() else "".join((before, sign, after)) + "\n"
                   for before, sign, after in commented)  # fmt: skip
    file.write_text(bare)
    assert Recipe.load(str(file)) == recipe
    given = set(loading.dotted(loading.read(file)))
    assert {
        key.name for key in recipe_keys(Recipe, recipe.algorithm.config) if not key.kind and not key.is_section
    } <= given


def test_new_keeps_what_it_is_given_in_sections(tmp_path):
    file = tmp_path / "mine.yaml"
    words = ("family=tests.helpers:LineFamily", "agent=rl2", "agent.memory.size=32", "evaluation.every=5")
    assert call("new", file, *words).exit_code == 0
    recipe = Recipe.load(str(file))
    assert (recipe.agent.memory.size, recipe.evaluation.every) == (32, 5)
    assert "  # gamma: 0.9" in file.read_text()
    assert call("new", file, *words).exit_code == 2
