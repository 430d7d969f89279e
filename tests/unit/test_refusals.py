"""A table of mistakes: each is refused in one sentence that says what, where and what to do, and writes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers import call

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "docs" / "results" / "point_nav_maml" / "seed-0"
SMALL = (
    "iterations=1", "workers=0", "device=cpu", "learner_threads=1", "agent.meta_batch_size=2", "agent.rollouts=2",
    "evaluation={validation_tasks: 2, held_out_tasks: 2, rollouts: 2}",
)  # fmt: skip
GOOD = "seed: 0\niterations: 1\nworkers: 0\ndevice: cpu\nfamily: point_nav-v1\nagent: {name: maml, rollouts: 2}\n"
RL2 = "agent={name: rl2, meta_batch_size: 2"
PEARL = "agent={name: pearl"
ROBOT = (ROOT / "examples" / "robots" / "arm.yaml").read_text()

# An override of a small recipe of MAML, and words of the sentence.
OVERRIDES = [
    ("iterations=two", "the override iterations=two: iterations is 'two', but must be a whole number, 1 or more"),
    ("iterations=0", "iterations is 0, but must be a whole number, 1 or more"),
    ("iterations=1.5", "iterations is 1.5, but must be a whole number"),
    ("iterations=", "iterations is null, but must be a whole number"),
    ("iterations=[1, 2]", "iterations is [1, 2], but must be a whole number"),
    ("iterations={a: 1}", "iterations is {a: 1}, but must be a whole number"),
    ("iterations=on", "iterations is true (YAML reads yes, no, on and off so), but must be a whole number"),
    ("iterations=99999999999999999999", "and below 2^63"),
    ("seed=yes", "seed is true (YAML reads yes, no, on and off so), but must be a whole number, 0 or more"),
    ("seed=-1", "seed is -1, but must be a whole number, 0 or more"),
    ("seed=18446744073709551616", "seed is 18446744073709551616, but must be a whole number, 0 or more and below 2^63"),
    ("seed=9223372036854775808", "below 2^63"),
    ("seed=1e30", "seed is 1e+30, but must be a whole number, 0 or more and below 2^63"),
    ("seed=010", "YAML reads 010 to the base of 8"),
    ("seed=1:30", "YAML reads 1:30 to the base of 60"),
    ("seed=2024-01-01", "seed is '2024-01-01', but must be a whole number"),
    ("seed.deep=1", "seed.deep cannot be set: seed is a value, not a section"),
    ("evaluation.task_seed=9223372036854775808", "evaluation.task_seed is 9223372036854775808"),
    ("evaluation.seed=no", "evaluation.seed is false"),
    ("workers=no", "workers is false (YAML reads yes, no, on and off so)"),
    ("workers=-2", "workers is -2, but must be"),
    ("workers=many", "workers is 'many', but must be"),
    ("device=tpu", "device is 'tpu', but must be text, such as auto, cpu, cuda or cuda:0"),
    ("device=cuda:99", "device cuda:99 is not available on this machine; use device=auto or device=cpu"),
    ("device=null", "device is null, but must be text, such as auto"),
    ("learner_threads=0", "learner_threads is 0, but must be a whole number or auto, 1 or more"),
    ("learner_threads=all", "learner_threads is 'all', but must be a whole number or auto"),
    ("wandb=yes", "wandb is true (YAML reads yes, no, on and off so), but must be off, offline or online"),
    ("wandb=later", "wandb is 'later', but must be off, offline or online"),
    ("wandb_project=3", "wandb_project is 3, but must be text"),
    ("tensorboard=maybe", "tensorboard is 'maybe', but must be true or false"),
    ("tensorboard=1", "tensorboard is 1, but must be true or false"),
    ("agent.first_order=0.0", "agent.first_order is 0.0, but must be true or false"),
    ("init=3", "init is 3, but must be text or null"),
    ("init=nowhere", "nowhere is not a run folder"),
    ("train_tasks=0", "train_tasks is 0, but must be a whole number or null, 1 or more"),
    ("train_tasks=1", "a meta-batch of 2 tasks needs train_tasks of at least as many"),
    ("sampling.tasks_per_shard=0", "sampling.tasks_per_shard is 0"),
    ("sampling=3", "sampling is 3, but must be a section"),
    ("evaluation=null", "evaluation is null, but must be a section"),
    ("evaluation=[1]", "evaluation is [1], but must be a section"),
    ("evaluation.every=-1", "evaluation.every is -1, but must be a whole number, 0 or more"),
    ("evaluation.rounds=0", "evaluation.rounds is 0, but must be a whole number, 1 or more"),
    ("evaluation.evry=1", "there is no key evaluation.evry; did you mean every?"),
    ("checkpoints.keep=0", "checkpoints.keep is 0"),
    ("checkpoints.ever=1", "there is no key checkpoints.ever; did you mean every?"),
    ("iteratons=3", "the override iteratons=3: there is no key iteratons; did you mean iterations?"),
    ("rollouts=5", "there is no key rollouts; did you mean agent.rollouts or evaluation.rollouts?"),
    ("meta_batch_size=5", "there is no key meta_batch_size; did you mean agent.meta_batch_size?"),
    ("agent.iterations=5", "there is no key agent.iterations; did you mean iterations?"),
    ("agent.seed=5", "there is no key agent.seed; did you mean seed"),
    ("agent_name=maml", "there is no key agent_name; did you mean agent.name?"),
    ("agent.inner_lr=0.1", "there is no key agent.inner_lr; did you mean inner_learning_rates?"),
    ("agent.clip_ratio=0.1", "there is no key agent.clip_ratio; did you mean agent.outer.clip_range?"),
    ("agent.learning_rate=0.1", "did you mean agent.outer.learning_rate?"),
    ("agent.lr=0.1", "there is no key agent.lr; did you mean agent.outer.learning_rate?"),
    ("agent.batch_size=3", "there is no key agent.batch_size"),
    ("agent.rolouts=3", "there is no key agent.rolouts; did you mean rollouts?"),
    ("agent.memory=gru", "there is no key agent.memory; rl2 has it, maml has not"),
    ("agent.ent_coef=0.1", "rl2 and varibad have it, maml has not"),
    ("agent.zzz=1", "there is no key agent.zzz; known are"),
    ("agent.outer.max_kl=1", "agent.outer.name is clip, and only trpo has it: set agent.outer.name too"),
    ("agent.outer.learning_rat=1", "there is no key agent.outer.learning_rat; did you mean learning_rate?"),
    ("agent.outer=3", "agent.outer is 3, but must be a section whose name is trpo or clip, such as {name: trpo}"),
    ("agent.outer=sgd", "agent.outer.name is 'sgd', but must be one of trpo, clip"),
    ("agent.outer={clip_rnge: 1}", "there is no key agent.outer.clip_rnge; did you mean clip_range?"),
    ("agent.outer.name=tpro", "did you mean trpo?"),
    ("agent.gamma=1.5", "the override agent.gamma=1.5: agent.gamma is 1.5, but must be a number, from 0 to 1"),
    ("agent.gamma=.nan", "agent.gamma is nan, but must be a number, from 0 to 1, and finite"),
    ("agent.gamma=yes", "agent.gamma is true"),
    ("agent.gamma=high", "agent.gamma is 'high', but must be a number"),
    ("agent.hidden_sizes=[64, x]", "agent.hidden_sizes[1] is 'x', but must be a whole number, 1 or more"),
    ("agent.hidden_sizes=[64, no]", "agent.hidden_sizes[1] is false"),
    ("agent.hidden_sizes=64,64", "must be a list of whole numbers, each 1 or more; write [64,64]"),
    ("agent.hidden_sizes=0", "agent.hidden_sizes[0] is 0, but must be a whole number, 1 or more"),
    ("agent.hidden_sizes={a: 1}", "agent.hidden_sizes is {a: 1}, but must be a list of whole numbers"),
    ("agent.inner_learning_rates=[]", "must be a list of numbers, at least 1 of them"),
    ("agent.inner_learning_rates=-1", "agent.inner_learning_rates[0] is -1, but must be a number, 0 or more"),
    ("agent.inner_learning_rates=[yes]", "agent.inner_learning_rates[0] is true"),
    ("agent.activation=sigmoid", "agent.activation is 'sigmoid', but must be tanh or relu"),
    ("agent.outer_weights=[1, 1]", "outer_weights weighs the policies after 2 inner steps, but inner_steps is 1"),
    ("agent.min_std=0", "agent.min_std is 0, but must be a number, above 0"),
    ("agent=nobody", "there is no 'nobody'"),
    ("agent=3", "agent must be the name of an agent"),
    ("agent={rollouts: 3}", "agent must be the name of an agent, or a section with a name"),
    ("agent.name=mmal", "there is no 'mmal'; did you mean maml?"),
    ("agent.name=numpy:pi", "numpy:pi is float, not an agents.contract.Algorithm"),
    (f"{RL2}, memory: tape}}", "agent.memory.name is 'tape', but must be one of gru, lstm"),
    (f"{RL2}, memory: {{name: gru, size: 0}}}}", "agent.memory.size is 0, but must be a whole number, 1 or more"),
    (f"{RL2}, memory: {{name: gru, layers: 2}}}}", "agent.memory.name is gru, and only transformer has it"),
    (f"{RL2}, memory: {{name: transformer, size: 6}}}}", "not divisible by 4 heads; change one of them"),
    (f"{RL2}, memory: transformer, bptt_steps: 5}}", "set bptt_steps to null"),
    (f"{RL2}, learning_rate_updates: 5}}", "there is no final_learning_rate; set both"),
    (f"{RL2}, discount: 0.9, gamma: 0.9}}", "discount is the earlier name of gamma, and both are given; keep gamma"),
    (f"{PEARL}, train_tasks: 3}}", "are drawn from train_tasks, but these are 3"),
    (f"{PEARL}, prior_rounds: 0}}", "contexts are learned from prior rounds, but prior_rounds is 0"),
    (f"{PEARL}, hidden_sizes: []}}", "agent.hidden_sizes is [], but must be a list of whole numbers, at least 1"),
    ("family=point_nav-v2", "there is no 'point_nav-v2'; did you mean point_nav-v1?"),
    ("family=3", "family is 3, but must be text"),
    ("family=nowhere:Family", "nowhere:Family cannot be imported"),
    ("family=envs.navigation.point_nav:PointNavi", "has no PointNavi; did you mean PointNav?"),
    ("family=envs.task:TaskFamily", "must define make_env"),
    ("family=numpy:pi", "not a subclass of envs.task.TaskFamily"),
    ("family=os:path", "os is a part of Python and defines none"),
    ("family=nowhere.yaml", "nowhere.yaml is not a YAML description: it is no file (looked for /"),
    ("family=[", "the value of family is not YAML"),
    ("nonsense", "'nonsense' is no override; write key=value"),
    ("=3", "'=3' is no override; write key=value"),
    ("agent..gamma=1", "'agent..gamma=1' is no override"),
    (".seed=1", "'.seed=1' is no override"),
    ("seeds=", "seeds= is no list of seeds; write seeds=0,1,2"),
    ("seeds=a,b", "seeds=a,b is no list of seeds; write seeds=0,1,2"),
    ("seeds=0.5", "is no list of seeds"),
    ("seeds=-1", "seed is -1, but must be a whole number, 0 or more"),
]  # fmt: skip

# The text of a recipe, and words of the sentence.
RECIPES = [
    ("", "is not a recipe: it is empty"),
    ("- 1\n", "is not a recipe: it must be a mapping of keys"),
    ("seed\n", "is not a recipe: it must be a mapping of keys"),
    ("seed: 0\n" + GOOD, "the key seed is given twice, in lines 1 and 2; keep one"),
    (GOOD + "evaluation:\n  every: 1\n  every: 2\n", "the key every is given twice, in lines 8 and 9"),
    (GOOD + "x: &a [*a]\n", "line 7: an anchor holds itself"),
    (GOOD + "x: *b\n", "undefined alias"),
    (GOOD + "\tevaluation: {}\n", "a tab begins the line; YAML indents by spaces"),
    (GOOD + "evaluation: {\n", "something is opened and never closed"),
    (GOOD + "---\nseed: 1\n", "a second document begins; a file holds one"),
    (GOOD + "3: 4\n", "the key 3 is not a word; put it in quotes"),
    (GOOD + "yes: 4\n", "the key yes is not a word"),
    (GOOD + "init: a: b\n", "line 7, column 8: a colon stands where none can"),
    (GOOD + "init: !!python/name:os.system\n", "is not read here; write plain values"),
    (GOOD + "x: \x00\n", "U+0000"),
    (GOOD + f"x: {'[' * 2000}{']' * 2000}\n", "it is nested too deeply"),
    (GOOD + f"x: &x [{'1, ' * 400}]\ny: [{'*x, ' * 300}]\n", "holds more than 100,000 values"),
    ("seed: 0\n", "the keys family and agent are missing"),
    ("seed: 0\nagent: {}\n", "agent must be the name of an agent, or a section with a name"),
    (GOOD.replace("agent", "agnet"), "there is no key agnet; did you mean agent?"),
    (GOOD.replace("family", "famly"), "there is no key famly; did you mean family?"),
    (GOOD.replace("seed: 0", "seed: no"), "seed is false"),
    (GOOD.replace("maml", "3"), "agent must be the name of an agent"),
    (GOOD.replace("point_nav-v1", ""), "family is null, but must be text"),
    (GOOD + "renamed: 1\n", "there is no key renamed"),
    (GOOD.replace("rollouts", "inner_steps: 1, inner_setps"), "there is no key agent.inner_setps; did you mean inner_"),
    (GOOD.replace("{name: maml, rollouts: 2}", "maml\n  rollouts: 2"), "a colon stands where none can"),
]

# A command line, and words of the sentence. RUN is a published run, FILE a file, FULL a folder that holds something.
COMMANDS = [
    ("train", "the keys family and agent are missing"),
    ("train point_nav_mmal", "there is no recipe point_nav_mmal; did you mean point_nav_maml?"),
    ("train quite_another", "acclimate recipes lists them"),
    ("train FULL", "is a folder, not a recipe"),
    ("train point_nav_maml --iterations 3", "keys of a recipe are written without dashes, iterations=VALUE"),
    ("train point_nav_maml --out FULL", "already exists and is not empty; name another folder with --out"),
    ("train point_nav_maml --out FILE", "already exists and is not empty"),
    ("train point_nav_maml --out FILE/run", "Not a directory"),
    ("train point_nav_maml --out .", "already exists and is not empty"),
    ("train point_nav_maml --out=", "already exists and is not empty"),
    ("train point_nav_maml --out", "--out stands without a value"),
    ("train point_nav_maml agent.name=rl2", "with its own defaults: acclimate train family=point_nav-v1 agent=rl2"),
    ("train point_nav_maml agent.name=pearl", "acclimate new FILE family=point_nav-v1 agent=pearl"),
    ("train family=point_nav-v1", "the key agent is missing; name an agent, such as agent: maml"),
    ("train agent=maml", "the key family is missing"),
    ("resume nowhere", "nowhere is not a run folder"),
    ("resume FILE", "is not a run folder"),
    ("resume RUN agent.gamma=0.5", "agent.gamma cannot change in a run that is resumed"),
    ("resume RUN seed=3", "seed cannot change in a run that is resumed"),
    ("resume RUN iterations=1", "so iterations=1 is less than it has; name as many or more"),
    ("resume RUN iterations=many", "iterations is 'many', but must be a whole number"),
    ("evaluate", "acclimate evaluate needs RUN"),
    ("evaluate nowhere", "nowhere is not a run folder"),
    ("evaluate RUN --split trian", "--split trian is neither a split"),
    ("evaluate RUN --split FILE", "is not a task set"),
    ("evaluate RUN --rounds 0", "--rounds is 0, but must be a number, 1 or more"),
    ("evaluate RUN --rounds x", "--rounds is x, but must be a whole number, 1 or more"),
    ("evaluate RUN --workers -1", "--workers is -1, but must be a number, 0 or more"),
    ("evaluate RUN --checkpoint 77", "holds no checkpoint 77"),
    ("evaluate RUN --checkpoint newest", "holds no checkpoint newest"),
    ("evaluate RUN --context sideways", "sideways"),
    ("evaluate RUN --agent nobody", "--agent: there is no 'nobody'"),
    ("evaluate RUN --agent random --untrained", "--agent measures a baseline, which has no weights"),
    ("evaluate RUN --agent numpy:pi", "not the class of a baseline"),
    ("evaluate RUN --json nowhere/deep/x.json", "nowhere/deep"),
    ("evaluate RUN --determinstic", "did you mean --deterministic?"),
    ("render nowhere", "nowhere is not a run folder"),
    ("render RUN --task 4000", "4000"),
    ("render RUN --task -1", "--task is -1, but must be a number, 0 or more"),
    ("render RUN --out x.doc", "x.doc"),
    ("embed RUN --tasks 0", "--tasks is 0, but must be a number from 1 to 2000"),
    ("embed nowhere", "nowhere is not a run folder"),
    ("check", "acclimate check needs FAMILY"),
    ("check nowhere:Family", "cannot be imported"),
    ("check point_nav-v3", "did you mean point_nav-v1?"),
    ("check FILE.yaml", "it must be a mapping of keys such as name and mjcf"),
    ("families point_nav-v3", "did you mean point_nav-v1?"),
    ("families --preview", "--preview stands without a value"),
    ("describe", "acclimate describe needs NAME"),
    ("describe maml2", "there is nothing called maml2 to describe; did you mean maml?"),
    ("describe zzzzzz", "acclimate agents, baselines, families and recipes list all"),
    ("describe numpy:pi", "numpy:pi"),
    ("new", "acclimate new needs FILE"),
    ("new mine.yaml", "a recipe needs a family and an agent; add family=... and agent=..."),
    ("new mine.yaml family=point_nav-v1", "add agent=..."),
    ("new mine.yaml family=point_nav-v1 agent=nobody", "there is no 'nobody'"),
    ("new FILE family=point_nav-v1 agent=maml", "exists already and stays as it is"),
    ("new family=point_nav-v1 agent=maml", "needs the FILE to write before its keys"),
    ("recipes all", "acclimate recipes does not know what to do with all"),
    ("trian", "there is no command trian; did you mean train?"),
    ("check odd.py:FWalk", "name it odd:FWalk and run from its folder"),
    ("check ./odd:FWalk", "name it odd:FWalk and run from its folder"),
    ("--versoin", "did you mean --version?"),
]

# A change of the text of examples/robots/arm.yaml, and words of the sentence.
ROBOTS = [
    (lambda text: text + "name: other-v1\n", "the key name is given twice, in lines"),
    (lambda text: re.sub(r"(?m)^(name|episode_steps|control_dt_s):.*\n", "", text), "the keys name, control_dt_s and"),
    (lambda text: text.replace("episode_steps", "episode_step"), "there is no key episode_step; did you mean"),
    (lambda text: re.sub(r"episode_steps: .*", "episode_steps: many", text), "episode_steps is 'many', but must be a"),
    (lambda text: re.sub(r"episode_steps: .*", "episode_steps: yes", text), "episode_steps is true"),
    (lambda text: re.sub(r"mjcf: .*", "mjcf: nowhere.xml", text), "there is no file"),
    (lambda text: re.sub(r"name: .*", "name: Arm", text), "name is 'Arm', but must be text, such as"),
    (lambda text: "- 1\n", "it must be a mapping of keys"),
    (lambda text: text + "x: &a [*a]\n", "an anchor holds itself"),
]  # fmt: skip


def refused(words: list[str], says: str, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    result = call(*words)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert "acclimate:" not in result.stdout
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("acclimate: ")
    assert says in lines[0], lines[0]
    for jargon in ("Input should", "pydantic", "NoneType", "constrained", "literal[", "<class", "__init__"):
        assert jargon not in lines[0]
    assert sorted(folder.rglob("*")) == before, "something was written"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thing.txt").write_text("mine")
    (tmp_path / "file.yaml").write_text("- 1\n")
    return tmp_path


def test_the_table_is_as_long_as_it_should_be():
    assert len(OVERRIDES) + len(RECIPES) + len(COMMANDS) + len(ROBOTS) >= 150


@pytest.mark.parametrize(("override", "says"), OVERRIDES, ids=lambda value: value[:40])
def test_an_override_is_refused(here, override, says):
    refused(["train", "point_nav_maml", "--out", str(here / "run"), *SMALL, override], says, here)


@pytest.mark.parametrize(("text", "says"), RECIPES, ids=lambda value: value[-40:])
def test_a_recipe_is_refused(here, text, says):
    (here / "recipe.yaml").write_text(text)
    refused(["train", "recipe.yaml", "--out", "run"], says, here)


@pytest.mark.parametrize("name", ["recipe.yaml", "robot.yaml"])
def test_a_file_in_another_encoding_is_refused(here, name):
    (here / name).write_bytes(b"family: point_nav-v1\n" + "# größer\n".encode("latin-1"))
    words = ["train", name] if name == "recipe.yaml" else ["check", name]
    refused(words, "line 2 is not text in UTF-8; save the file in that encoding", here)


@pytest.mark.parametrize(("line", "says"), COMMANDS, ids=lambda value: value[:50])
def test_a_command_line_is_refused(here, line, says):
    places = {"RUN": str(RUN), "FILE.yaml": "file.yaml", "FILE": "file.yaml", "FULL": "full"}
    words = [re.sub("|".join(places), lambda found: places[found[0]], word) for word in line.split()]
    refused(words, says, here)


@pytest.mark.parametrize(("change", "says"), ROBOTS, ids=lambda value: value[:40] if isinstance(value, str) else "arm")
def test_a_robots_description_is_refused(here, change, says):
    (here / "arm.xml").symlink_to(ROOT / "examples" / "robots" / "arm.xml")
    (here / "arm.yaml").write_text(change(ROBOT))
    refused(["check", "arm.yaml"], says, here)
