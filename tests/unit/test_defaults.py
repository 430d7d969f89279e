"""Recipes of a family and an agent alone, and what a run that cannot learn says."""

from __future__ import annotations

import gymnasium
import numpy as np
import pyarrow as pa
import pytest
import yaml

from agents import ALGORITHMS
from agents.contract import MetricInfo, Round
from agents.maml import MAMLConfig
from agents.rl2 import RL2Config
from envs import make_family
from tests.helpers import LineFamily, sample, small_maml, some_tasks
from trainers.recipes import registry
from trainers.recipes.assembling import build
from trainers.recipes.loading import SHIPPED
from trainers.recipes.registry import interface_of
from trainers.recipes.schema import Recipe
from trainers.runs.facts import facts_of, size_of_actions
from trainers.runs.rows import ROWS
from trainers.sampling.planned_tasks import planned_tasks
from trainers.training.diagnosis import PATIENCE, Diagnosis, gains_of_trials, least_entropy
from trainers.training.setup import choose_device

FAMILIES = ("point_nav-v1", "half_cheetah_vel-v1")


def alone(agent, family="point_nav-v1", *overrides):
    return Recipe.load(None, [f"family={family}", f"agent={agent}", *overrides])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("agent", ALGORITHMS)
def test_a_family_and_an_agent_are_a_recipe_whose_evaluation_and_tasks_fit(agent, family):
    recipe = alone(agent, family)
    made = registry.family(family)
    built, learner = build(recipe, made, choose_device("cpu"))
    rounds = built.trial_rounds(recipe.evaluation.rounds, recipe.evaluation.rollouts)
    assert sum(one.episodes for one in rounds) == recipe.evaluation.rounds + 1
    tasks = made.task_set("train", recipe.train_tasks, 0) if recipe.train_tasks else None
    assert planned_tasks(learner.plan(0), made, tasks, recipe.seed, 0)


@pytest.mark.parametrize("agent", ALGORITHMS)
def test_all_of_it_is_written_out_and_read_again(agent, tmp_path):
    recipe = alone(agent)
    (tmp_path / "config.yaml").write_text(recipe.to_yaml())
    assert Recipe.stored(tmp_path / "config.yaml") == recipe


@pytest.mark.parametrize("agent", ALGORITHMS)
def test_the_keys_that_follow_the_family_are_those_that_are_said_to(agent):
    config = registry.algorithm(agent).config
    given = config.fit(interface_of(make_family("point_nav-v1")), {})
    assert set(given) == set(config.fitted) <= set(config.model_fields)
    assert set(config.values_before()) <= set(config.model_fields)


def test_costs_follow_the_family_and_what_is_given_stays():
    short, long = alone("rl2", "bandit_5_arms-v1"), alone("rl2", "half_cheetah_vel_u03-v1")
    steps = [
        one.agent.meta_batch_size * one.agent.episodes_per_trial * make_family(one.family).episode_steps
        for one in (short, long)
    ]
    assert short.agent.meta_batch_size > long.agent.meta_batch_size
    assert max(steps) <= 20_000
    assert alone("rl2", "point_nav-v1", "agent.meta_batch_size=7").agent.meta_batch_size == 7
    assert alone("rl2", "point_nav-v1", "iterations=3", "evaluation.rounds=4").evaluation.rounds == 4
    assert alone("rl2", "point_nav-v1", "agent.memory={name: transformer}").agent.bptt_steps is None


def test_what_decays_is_over_when_the_run_is_unless_its_length_is_given():
    assert alone("varibad", "point_nav-v1", "iterations=7").agent.decay_updates == 7
    assert alone("varibad", "point_nav-v1", "iterations=7", "agent.decay_updates=5").agent.decay_updates == 5
    whole = alone("varibad", "point_nav-v1")
    assert whole.agent.decay_updates == whole.iterations


def test_fixed_training_tasks_are_said_once():
    assert alone("pearl", "point_nav-v1", "train_tasks=30").agent.train_tasks == 30
    assert alone("pearl", "point_nav-v1", "agent.train_tasks=30").train_tasks == 30


def test_runs_from_before_a_key_are_read_as_they_were(tmp_path):
    data = yaml.safe_load(alone("rl2").to_yaml())
    for key in ("normalise_rewards", "scale_actions"):
        assert data["agent"].pop(key) is True
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data))
    old = Recipe.stored(tmp_path / "config.yaml").agent
    assert (old.normalise_rewards, old.scale_actions) == (False, False)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_lean_on_no_default_that_follows_the_family(path):
    data = yaml.safe_load(path.read_text())
    config = registry.algorithm(data["agent"]["name"]).config
    assert {*config.fitted, *config.values_before()} <= set(data["agent"])


def test_actions_of_a_bounded_space_are_scaled_for_the_policy():
    low, high = np.array([-2.0, 0.0, -1.0], np.float32), np.array([2.0, 10.0, 1.0], np.float32)

    class Newtons(LineFamily):
        action_space = gymnasium.spaces.Box(low, high)

    _, learner = small_maml(family=Newtons(), scale_actions=True, initial_std=0.5)
    mean, log_std = learner.policy.of_outputs(learner.parameters, learner.parameters["log_std"].detach() * 0)
    assert mean[0].tolist() == pytest.approx([0.0, 5.0, 0.0])
    assert log_std[0].exp().tolist() == pytest.approx([1.0, 2.5, 0.5])
    assert learner.policy.to_unit(mean)[0].tolist() == pytest.approx([0.0, 0.0, 0.0])


# -- signs that a run cannot learn

METRICS = {
    "policy_kl": MetricInfo("nats", "", least=1e-5, remedy="raise agent.learning_rate"),
    "policy_entropy": MetricInfo("nats", "", remedy="raise agent.ent_coef"),
}
HEALTHY = {"policy_kl": 0.01, "policy_entropy": 0.5}


def watched(config=None, space=None):
    said: list[str] = []
    return Diagnosis(config or RL2Config(), METRICS, space or gymnasium.spaces.Discrete(2), said.append), said


@pytest.mark.parametrize(
    ("sick", "says"),
    [
        (
            {"policy_kl": 0.0},
            "policy_kl is 0 nats, and was hardly more in the last 10 iterations; raise agent",
        ),
        ({"policy_entropy": 0.001}, "policy_entropy is 0.001 nats, and was hardly more"),
    ],
)
def test_a_policy_that_stands_still_or_does_not_explore_is_said_once(sick, says):
    diagnosis, said = watched()
    for _ in range(PATIENCE - 1):
        diagnosis.metrics(HEALTHY | sick)
    diagnosis.metrics(HEALTHY)
    for _ in range(PATIENCE - 1):
        diagnosis.metrics(HEALTHY | sick)
    assert not said
    for _ in range(3):
        diagnosis.metrics(HEALTHY | sick)
    (sentence,) = said
    assert sentence.startswith(f"warning: {says}")


def facts(batch, space=None):
    rounds = [Round(one.label, one.reward.shape[2]) for one in batch]
    return facts_of(batch, rounds, (), space or gymnasium.spaces.Discrete(2))


def test_few_gradient_steps_and_equal_returns_are_said():
    agent, learner = small_maml()
    batch = sample(agent, learner, some_tasks(4))
    diagnosis, said = watched(MAMLConfig())
    for _ in range(PATIENCE):
        diagnosis.facts(facts(batch))
    assert not said
    equal = tuple(one.map(lambda array: array * 0 if array.dtype == np.float32 else array) for one in batch)
    for _ in range(PATIENCE):
        diagnosis.facts(facts(equal))
    assert said == [
        f"warning: every row of the last {PATIENCE} iterations returned 0; equal returns teach nothing: unless "
        "that is the best there is, make the reward less sparse or explore more: raise agent.ent_coef"
    ]
    long = tuple(one.map(lambda array: np.repeat(array, 200, 2) if array.ndim > 2 else array) for one in batch)
    diagnosis, said = watched(MAMLConfig(outer={"name": "clip", "update_epochs": 1}))
    diagnosis.facts(facts(long))
    assert len(said) == 1
    assert said[0].startswith("warning: there is one gradient step for every ")
    assert said[0].endswith("outer.update_epochs")


@pytest.mark.parametrize(("factor", "times"), [(0.05, 1), (1.0, 0)])
def test_a_policy_that_does_almost_nothing_is_said_once(factor, times):
    agent, learner = small_maml()
    batch = sample(agent, learner, some_tasks(4))
    space = gymnasium.spaces.Box(1.0, 5.0, (2,))
    moved = tuple(one.map(lambda array: array) for one in batch)
    for one in moved:
        one.action[...] = 3.0 + 2.0 * factor * np.sign(one.action)
    diagnosis, said = watched(space=space)
    for _ in range(PATIENCE + 2):
        diagnosis.facts(facts(moved, space))
    assert len(said) == times
    assert all(sentence.startswith("warning: actions are 0.05 of half their range") for sentence in said)
    assert size_of_actions(gymnasium.spaces.Box(-np.inf, np.inf, (2,)), moved) == np.inf


def test_workers_without_a_shard_are_said_once():
    diagnosis, said = watched()
    diagnosis.shards(4, 4)
    assert not said
    for _ in range(3):
        diagnosis.shards(1, 3)
    (sentence,) = said
    assert sentence.startswith(
        "warning: an iteration has 1 shard for 3 workers, so 2 of them do nothing; lower workers"
    )


def test_the_gradient_steps_of_an_update_are_the_product_of_their_keys():
    assert RL2Config(update_epochs=3, num_minibatches=4).gradient_steps_per_update() == 12
    assert MAMLConfig(outer={"name": "clip", "update_epochs": 5}).gradient_steps_per_update() == 5
    assert MAMLConfig(outer={"name": "trpo"}).gradient_steps_per_update() is None


@pytest.mark.parametrize("trials", [4, 40])
def test_a_gain_of_few_trials_that_is_all_noise_is_said(trials):
    gains = np.resize([30.0, -30.0, 1.0, 0.0], trials)
    columns = {
        "task": np.repeat(np.arange(trials), 2),
        "repeat": np.zeros(2 * trials, int),
        "adaptation_step": np.tile([0, 1], trials),
        "return": np.stack([np.zeros(trials), gains], -1).reshape(-1),
    }
    rows = pa.table({name: pa.array(value).cast(ROWS.field(name).type) for name, value in columns.items()})
    assert gains_of_trials(rows).tolist() == gains.tolist()
    diagnosis, said = watched()
    diagnosis.validation(rows)
    assert len(said) == (trials == 4)
    assert all("raise evaluation.validation_tasks" in sentence for sentence in said)


def test_the_least_entropy_is_two_per_cent_of_an_even_choice_or_a_hundredth_of_the_range():
    spaces = gymnasium.spaces
    assert least_entropy(spaces.Discrete(4)) == pytest.approx(0.02 * np.log(4))
    assert least_entropy(spaces.MultiDiscrete([3, 5])) == pytest.approx(0.02 * np.log(15))
    assert least_entropy(spaces.MultiBinary(3)) == pytest.approx(0.02 * np.log(8))
    box = spaces.Box(-2.0, 2.0, (2,))
    assert least_entropy(box) == pytest.approx(2 * np.log(0.02 * np.sqrt(2 * np.pi * np.e)))
