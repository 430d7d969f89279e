import json

import pytest
import torch
import yaml

from agents import ALGORITHMS
from agents.contract import renamed_keys
from tests.helpers import TINY, call
from trainers.errors import RecipeError, RunError
from trainers.recipes import loading, registry
from trainers.recipes.registry import interface_of
from trainers.recipes.schema import Recipe
from trainers.training.memory import memory_named

SHIPPED = sorted(loading.SHIPPED.glob("*.yaml"))
FIRST = loading.SHIPPED / "point_nav_maml.yaml"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_recipe_loads_strictly_and_says_where_it_comes_from(path):
    recipe = Recipe.load(path)
    assert registry.family(recipe.family).name == recipe.family
    header = "".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    for word in ("Source:", "Expected:", "Minutes:", "Machine:"):
        assert word in header, f"{path.name} lacks {word} in its header"
    family = recipe.family.rpartition("-v")[0]
    assert path.stem.startswith(f"{family}_"), "recipes are called <family>_<agent>[_variant].yaml"
    data = yaml.safe_load(path.read_text())
    assert {"seed", "iterations", "workers", "device"} <= set(data)
    agent = {key: value for key, value in data["agent"].items() if key != "name"}
    assert not renamed_keys(registry.algorithm(data["agent"]["name"]).config, agent), "recipes use today's names"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_there_is_work_for_many_workers_where_a_shard_costs_much(path):
    """At least 8 shards an iteration where one costs over 50 ms, or one for each task, which is never cut."""
    record = json.loads((loading.SHIPPED.parent / "docs" / "results" / "benchmarks" / "shards.json").read_text())
    measured = record["figures"][path.stem]
    recipe = Recipe.load(path)
    size, tasks = recipe.sampling.tasks_per_shard, measured["tasks an iteration"]
    algorithm, family = recipe.algorithm, registry.family(recipe.family, task_in_observation=recipe.task_in_observation)
    agent = algorithm.make_agent(recipe.agent, interface_of(family))
    plan = algorithm.make_learner(agent, recipe.agent, recipe.seed, torch.device("cpu")).plan(1)
    assert (plan.tasks if isinstance(plan.tasks, int) else len(plan.tasks), size) == (tasks, measured["tasks a shard"])
    assert measured["shards an iteration"] == -(-tasks // size)
    if measured["seconds of a shard"]["median"] > 0.05:
        assert measured["shards an iteration"] >= min(8, tasks)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_resolved_recipe_is_itself_again(path, tmp_path):
    recipe = Recipe.load(path)
    again = tmp_path / "config.yaml"
    again.write_text(recipe.to_yaml())
    assert Recipe.load(again) == recipe


def test_overrides_reach_into_sections():
    recipe = Recipe.load(FIRST, ["iterations=3", "agent.outer={name: trpo, max_kl: 1e-2}", "evaluation.rounds=2"])
    assert (recipe.iterations, recipe.agent.outer.max_kl, recipe.evaluation.rounds) == (3, 0.01, 2)
    assert Recipe.load(FIRST, ["agent.outer.learning_rate=1e-3"]).agent.outer.learning_rate == 0.001


@pytest.mark.parametrize("command", ["train", "resume"])
def test_a_recipe_is_read_once_and_its_algorithm_resolved_once_a_run(tmp_path, monkeypatch, command):
    assert call("train", "point_nav_maml", *TINY, "--out", tmp_path / "run").exit_code == 0
    calls = []

    def counted(module, name):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given: calls.append(name) or original(*given))

    counted(loading, "read")
    counted(registry, "algorithm")
    words = {
        "train": ("point_nav_maml", *TINY, "--out", tmp_path / "again"),
        "resume": (tmp_path / "run", "iterations=3"),
    }
    assert call(command, *words[command]).exit_code == 0
    assert sorted(calls) == ["algorithm", "read"]


def test_earlier_names_work_and_one_sentence_says_todays(tmp_path, capsys):
    data = yaml.safe_load(FIRST.read_text())
    data["tells_task"] = data.pop("task_in_observation", False)
    data["agent"]["discount"] = data["agent"].pop("gamma", 0.97)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(data))
    recipe = Recipe.load(path, ["agent.outer={name: clip, clip_ratio: 0.3}"])
    assert (recipe.agent.gamma, recipe.agent.outer.clip_range) == (data["agent"]["discount"], 0.3)
    said = capsys.readouterr().err
    assert said == (
        "acclimate: tells_task is called task_in_observation now, agent.discount is called agent.gamma now, "
        "agent.outer.clip_ratio is called agent.outer.clip_range now; both are read\n"
    )
    Recipe.load(path, quiet=True)  # as a stored run's
    Recipe.load(FIRST, ["iterations=3"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("written", ["gamma", "discount"])
@pytest.mark.parametrize("overridden", ["gamma", "discount"])
def test_an_override_wins_by_either_name(tmp_path, written, overridden):
    data = yaml.safe_load(FIRST.read_text())
    data["agent"].pop("gamma", None)
    data["agent"][written] = 0.5
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(data))
    assert Recipe.load(path).agent.gamma == 0.5
    assert Recipe.load(path, [f"agent.{overridden}=0.9"]).agent.gamma == 0.9
    assert Recipe.load(path, ["agent.gamma=0.8", f"agent.{overridden}=0.9"]).agent.gamma == 0.9
    data["agent"] |= {"gamma": 0.5, "discount": 0.5}
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(RecipeError, match="discount is the earlier name of gamma, and both are given; keep gamma"):
        Recipe.load(path)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("iteratons=3", "there is no key iteratons; did you mean iterations?"),
        ("agent.rolouts=3", "there is no key agent.rolouts; did you mean rollouts?"),
        ("agent.outer.learning_rat=1", "there is no key agent.outer.learning_rat; did you mean learning_rate?"),
        ("agent.outer.max_kl=1", "there is no key agent.outer.max_kl; agent.outer.name is clip, and only trpo has it"),
        ("evaluation.evry=1", "there is no key evaluation.evry; did you mean every?"),
        ("agent_name=maml", "agent_name"),
        ("iterations=-3", "iterations is -3, but must be a whole number, 1 or more"),
        ("iterations=many", "iterations is 'many', but must be a whole number"),
        ("agent.gamma=1.5", "agent.gamma is 1.5, but must be a number, from 0 to 1"),
        ("agent.inner_learning_rates=[]", "agent.inner_learning_rates"),
        ("agent.inner_learning_rates=[.nan]", "agent.inner_learning_rates"),
        ("agent.activation=sigmoid", "tanh or relu"),
        ("agent.outer.name=sgd", "agent.outer.name is 'sgd', but must be one of trpo, clip"),
        ("device=gpu", "device is 'gpu'"),
        ("workers=-1", "workers is -1"),
        ("seed=null", "seed is null"),
        ("nonsense", "is no override; write key=value"),
        ("seed.deep=1", "seed is a value, not a section"),
        ("agent.name=mmal", "there is no 'mmal'; did you mean maml"),
        ("agent=3", "agent must be the name of an agent, or a section with a name"),
        (
            "agent.outer_weights=[1, 1]",
            "agent.outer_weights weighs the policies after 2 inner steps, but inner_steps is 1",
        ),
        ("family=[", "the value of family is not YAML"),
    ],
)
def test_a_wrong_key_or_value_is_one_sentence(override, says):
    with pytest.raises(RecipeError) as caught:
        Recipe.load(FIRST, [override])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_keys_are_named(tmp_path):
    data = yaml.safe_load(FIRST.read_text())
    path = tmp_path / "recipe.yaml"
    del data["family"]
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(RecipeError, match="the key family is missing"):
        Recipe.load(path)
    del data["agent"]
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(RecipeError, match="the keys family and agent are missing"):
        Recipe.load(path)


@pytest.mark.parametrize("text", ["seed: [", "- 1", "", "\x00", "!!python/object/apply:os.system ['true']"])
def test_what_is_no_recipe_is_refused(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        Recipe.load(path)


def test_a_key_that_is_set_by_two_of_its_names_is_said(capsys):
    Recipe.load(FIRST, ["agent.gamma=0.8", "agent.discount=0.9"])
    assert "agent.gamma=0.8 and agent.discount=0.9 set the same key; the last one counts" in capsys.readouterr().err
    Recipe.load(FIRST, ["iterations=3", "iterations=4"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("override", "section", "value"),
    [
        ("agent.inner_learning_rates=0.1", "inner_learning_rates", (0.1,)),
        ("agent.inner_learning_rates=1e-3", "inner_learning_rates", (0.001,)),
        ("agent.hidden_sizes=64", "hidden_sizes", (64,)),
        ("agent.hidden_sizes=[]", "hidden_sizes", ()),
        ("agent.outer_weights=1", "outer_weights", (1.0,)),
    ],
)
def test_a_number_where_a_list_is_meant_is_a_list_of_one(override, section, value):
    assert getattr(Recipe.load(FIRST, [override]).agent, section) == value


def test_a_section_of_a_kind_may_be_its_name_or_keys_of_the_default_kind():
    assert Recipe.load(FIRST, ["agent.outer=trpo"]).agent.outer.name == "trpo"
    words = ["family=point_nav-v1", "agent=rl2"]
    assert Recipe.load(None, [*words, "agent.memory=lstm"]).agent.memory.name == "lstm"
    assert Recipe.load(None, [*words, "agent.memory.size=32"]).agent.memory.size == 32


def test_the_training_tasks_are_said_once():
    words = ["family=point_nav-v1", "agent=pearl"]
    for said in ("train_tasks=23", "agent.train_tasks=23"):
        recipe = Recipe.load(None, [*words, said])
        assert recipe.train_tasks == recipe.agent.train_tasks == 23
        recipe = Recipe.load("sparse_point_robot_pearl", [said])  # whose file says another number, twice
        assert recipe.train_tasks == recipe.agent.train_tasks == 23
    assert Recipe.load(None, words).train_tasks == Recipe.load(None, words).agent.train_tasks


def test_too_little_memory_names_the_largest_counts():
    recipe = Recipe.load(FIRST, ["agent.rollouts=100000000"])
    with (
        pytest.raises(RunError, match=r"^there is not enough memory for this run \(no room\); lower agent.rollouts \("),
        memory_named(recipe),
    ):
        raise MemoryError("No room")
    with pytest.raises(RunError, match=r"lower agent.rollouts \(100000000\), evaluation"), memory_named(recipe):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
    with pytest.raises(RuntimeError, match="something else"), memory_named(recipe):
        raise RuntimeError("something else")


def test_recipes_are_found_by_name_and_by_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert loading.find("point_nav_maml") == loading.find("configs/point_nav_maml.yaml") == FIRST
    with pytest.raises(RecipeError, match="did you mean point_nav_maml"):
        loading.find("point_nav_mmal")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("point_nav-v2", "did you mean point_nav-v1"),
        ("nowhere:Family", "cannot be imported"),
        ("envs.navigation.point_nav:PointNavi", "has no PointNavi; did you mean PointNav"),
        ("envs.task:TaskFamily", "must define make_env"),
        ("envs.task:Task", "not a subclass of envs.task.TaskFamily"),
        ("numpy:pi", "not a subclass"),
    ],
)
def test_a_family_that_is_none_is_refused(name, says):
    with pytest.raises(RecipeError, match=says):
        registry.family(name)


def test_algorithms_resolve():
    for name in ALGORITHMS:
        assert registry.algorithm(name).config().model_dump()
    with pytest.raises(RecipeError, match=r"not an agents\.contract\.Algorithm"):
        registry.algorithm("numpy:pi")
