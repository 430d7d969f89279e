"""`import acclimate`: what it offers, lazily."""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import matplotlib.figure
import numpy as np
import pyarrow as pa
import pytest

import acclimate
import envs.distributions
import trainers.online
from envs.errors import TaskError
from tests.helpers import TINY, LineFamily, call
from trainers.errors import DrawingError, RecipeError, RunFolderError, UsageError
from trainers.evaluation.run_evaluation import EvaluationRequest
from trainers.recipes import registry
from trainers.reporting import PLOTS
from trainers.runs import frames
from trainers.runs.rows import ROWS

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "docs" / "results"

OFFERED = {
    "Choice", "Integer", "LogUniform", "Recipe", "Run", "Task", "TaskFamily", "Uniform", "distributions", "evaluate",
    "load", "make_vec_env", "plot", "resume", "train",
}  # fmt: skip


def test_it_offers_these_names_and_each_is_the_rooms_own():
    assert set(acclimate.__all__) == set(dir(acclimate)) == OFFERED
    assert acclimate.load is trainers.online.load
    assert acclimate.distributions is envs.distributions
    assert all(getattr(acclimate, name) is not None for name in OFFERED)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(acclimate.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    names = {alias.asname for node in block.body for alias in node.names}
    assert names == OFFERED
    for node in block.body:  # and they are the same things
        for alias in node.names:
            module, _, symbol = acclimate._PLACES[alias.asname].partition(":")
            assert f"{module}.{symbol}".rstrip(".") == f"{node.module}.{alias.name}"
    assert (Path(acclimate.__file__).parent / "py.typed").exists()


def test_importing_it_imports_nothing_heavy():
    heavy = (
        "import sys, acclimate; print([name for name in ('torch', 'ray', 'mujoco', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match=r"has no trian; it offers .*train"):
        acclimate.trian  # noqa: B018


def test_a_run_from_python(tmp_path):
    """Train, evaluate, plot, adapt online: the session of someone in a notebook."""
    run = acclimate.train("point_nav_maml", str(tmp_path / "run"), overrides=TINY).run
    assert isinstance(run, acclimate.Run)
    assert isinstance(run.recipe, acclimate.Recipe)
    assert acclimate.evaluate(run.path)["training_seeds"] == 1
    plots = acclimate.plot(str(run.path))
    assert [path.stem for path in plots] == list(PLOTS)
    assert all(path.exists() for path in plots)
    agent = acclimate.load(tmp_path / "run")
    env = acclimate.make_vec_env("point_nav-v1", tasks=3, rows=2, seed=0)
    observation, _ = env.reset(seed=0)
    agent.begin_trial()
    assert env.single_action_space.contains(agent.act(observation[0]))


# -- other people's folders of the same names


def python(code: str, folder: Path, *path: Path) -> subprocess.CompletedProcess:
    """A Python in a folder, which comes first on its path, then `path`; not an editable installation's finder."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("file", "hidden"),
    [("envs/__init__.py", "envs"), ("agents.py", "agents"), ("trainers/__init__.py", "trainers")],
)
def test_a_hidden_package_is_named_at_import_with_the_cure(tmp_path, file, hidden):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    done = python("import acclimate", tmp_path, ROOT)
    sentence = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert sentence.startswith(f"ImportError: Acclimate's own {hidden} is hidden by {tmp_path / file.split('/')[0]}")
    assert "rename that one or uninstall it, or start Python in another folder" in sentence
    command = python("import sys; sys.argv = ['/x/bin/acclimate', 'check']; import acclimate", tmp_path, ROOT)
    assert command.returncode == 2
    assert command.stderr == f"acclimate: {sentence.removeprefix('ImportError: ')}\n"


def test_the_console_script_is_the_command(monkeypatch, capsys):
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"acclimate": "acclimate:command"}
    monkeypatch.setattr(sys, "argv", ["acclimate", "--version"])
    with pytest.raises(SystemExit) as ended:
        acclimate.command()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("acclimate")


AFTER_ALL_PATHS = f"""
import importlib.util, sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "ditable" not in repr(finder)]
from envs.mine import Mine
spec = importlib.util.spec_from_file_location("acclimate", {str(ROOT / "acclimate" / "__init__.py")!r})
sys.modules["acclimate"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["acclimate"])
"""


def test_a_folder_without_init_does_no_harm(tmp_path):
    """Its modules are found beside ours, whether ours come first or, as an editable installation's, last."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "mine.py").write_text("class Mine: pass")
    (tmp_path / "agents").mkdir()
    uses = "import acclimate, agents, envs; from envs.mine import Mine; print(acclimate.TaskFamily, envs.__path__)"
    for code, path in ((uses, [ROOT]), (AFTER_ALL_PATHS + uses, [])):
        done = python(code, tmp_path, *path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("<class 'envs.task.TaskFamily'>")
        assert str(tmp_path) in done.stdout
    (tmp_path / "envs" / "task.py").write_text("class Mine: pass")
    clash = python(AFTER_ALL_PATHS.replace("envs.mine", "envs.task"), tmp_path)
    assert f"Acclimate's own envs.task is hidden by {tmp_path / 'envs' / 'task.py'}" in clash.stderr


# -- families by value


class Stretched(LineFamily):
    """A family that is made with an argument."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor


HELD = Stretched(2.0)


def test_a_family_is_given_as_it_is_and_found_by_its_name():
    class Local(LineFamily):
        name = "local-v1"

    local, made, another = registry.give(Local), registry.give(Stretched(3.0)), registry.give(Stretched(4.0))
    assert local.endswith(":test_a_family_is_given_as_it_is_and_found_by_its_name.<locals>.Local")
    assert isinstance(registry.family(local), Local)
    assert (registry.family(made).factor, registry.family(another).factor) == (3.0, 4.0)
    assert registry.give(Stretched) == f"{__name__}:Stretched"
    assert registry.family(registry.give(HELD)) is HELD
    assert registry.give(HELD) == f"{__name__}:HELD"
    assert registry.give("point_nav-v1") == "point_nav-v1"

    class Local(LineFamily):  # defined anew, as a notebook's cell is
        name = "local-v2"

    assert registry.give(Local) == local
    assert registry.family(local).name == "local-v2"


@pytest.mark.parametrize("name", ["__main__:Mine", "module:make.<locals>.Mine", "module:Mine(...)"])
def test_a_name_from_another_process_says_how_to_pass_the_family_on(name):
    with pytest.raises(RecipeError, match=r"was defined in a script, a notebook or.*Run\.open\(run, family="):
        registry.family(name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    acclimate.train("point_nav_maml", out, overrides=[*TINY, "family=tests.helpers:LineFamily"])
    return out


def test_a_run_is_opened_with_its_family(finished):
    config = finished / "config.yaml"
    named = config.read_text()
    try:
        config.write_text(named.replace("tests.helpers:LineFamily", "__main__:LineFamily"))
        with pytest.raises(RecipeError, match="was defined in a script"):
            acclimate.evaluate(finished)
        measured = acclimate.evaluate(str(finished), family=LineFamily)
        assert acclimate.evaluate(acclimate.Run.open(str(finished), family=LineFamily)) == measured
        assert acclimate.load(finished, family=LineFamily()).family.name == "line-v1"
        result = call("evaluate", finished, "--family", "tests.helpers:LineFamily", "--json", "-")
        assert json.loads(result.stdout) == measured
        assert "line-v1, 2 held-out tasks" in result.stderr
        assert "__main__:LineFamily" in config.read_text(), "reading a run never writes it"
        resumed = call("resume", finished, "iterations=3", "--family", "tests.helpers:LineFamily")
        assert resumed.exit_code == 0, resumed.output
        assert config.read_text() == named.replace("iterations: 2", "iterations: 3")
    finally:
        config.write_text(named)


# -- data frames


def test_adaptation_as_a_data_frame(finished):
    run = acclimate.Run.open(str(finished))
    frame = run.adaptation()
    assert list(frame.columns) == [name if name != "parameters" else "target_m" for name in ROWS.names]
    assert len(frame) == 2 * 2 * 2  # tasks, rounds, rollouts
    assert frame.groupby("task")["target_m"].nunique().eq(1).all()
    assert frame["target_m"].between(-3, 3).all()
    curve = frame.groupby("adaptation_step")["return"].mean()
    assert curve.tolist() == pytest.approx(acclimate.evaluate(run)["mean"])
    validations = run.adaptation("validation", iteration="all")
    assert set(validations["iteration"]) >= {1, 2}
    assert set(run.adaptation("validation", iteration=1)["iteration"]) == {1}
    metrics = run.metrics()
    assert metrics["iteration"].tolist() == list(range(1, len(metrics) + 1))
    assert metrics["environment_steps"].is_monotonic_increasing
    with pytest.raises(RunFolderError, match="has no rows of ood tasks yet"):
        run.adaptation("ood")
    with pytest.raises(RunFolderError, match=r"no evaluation on validation tasks after 7 meta-updates; .* after 1"):
        run.adaptation("validation", iteration=7)


def test_columns_of_task_parameters():
    """Lists have a column for each entry, names of other columns are said in full, schedules stay text."""
    tasks = [
        {"goal_m": [0.5, -1.0], "length": 2.0, "arm": "left"},
        {"goal_m": [0.0, 3.0], "length": 1.0, "arm": "right"},
    ]
    tasks[1]["schedule"] = [{"episode": 1, "step": 0, "parameters": {"length": 4.0}}]
    row = dict.fromkeys(ROWS.names) | {"split": "held-out", "iteration": 3}
    table = pa.Table.from_pylist([row | {"parameters": json.dumps(task)} for task in tasks], ROWS)
    frame = frames.adaptation(table, "held-out")
    assert frame[["goal_m_0", "goal_m_1", "parameter_length", "arm"]].to_numpy().tolist() == [
        [0.5, -1.0, 2.0, "left"],
        [0.0, 3.0, 1.0, "right"],
    ]
    assert frame["length"].isna().all()
    assert frame["schedule"].isna().tolist() == [True, False]
    assert json.loads(frame["schedule"][1])[0]["episode"] == 1


# -- evaluate, plot, environments


def test_evaluates_arguments_are_those_of_a_request_and_shown():
    shown = inspect.signature(acclimate.evaluate).parameters
    assert list(shown) == ["run", *list(EvaluationRequest.__dataclass_fields__)[1:]]
    assert all(f"{name}:" in acclimate.evaluate.__doc__ for name in shown)
    with pytest.raises(UsageError, match=r"evaluate has no argument round; did you mean rounds\?"):
        acclimate.evaluate(PUBLISHED / "point_nav_maml", round=3)
    for wrong in ({"rounds": 0}, {"rounds": "two"}, {"workers": -1}):
        with pytest.raises(UsageError, match=r"but must be a whole number, [01] or more"):
            acclimate.evaluate(PUBLISHED / "point_nav_maml", **wrong)


@pytest.mark.parametrize(
    ("words", "control"),
    [([], None), (["--untrained"], "untrained"), (["--untrained", "--context", "none"], "untrained, context none")],
)
def test_the_summary_and_its_title_name_the_control(finished, tmp_path, words, control):
    target = tmp_path / "result.json"
    result = call("evaluate", finished, *words, "--json", target)
    assert json.loads(target.read_text())["control"] == control
    assert (f"control: {control}" in " ".join(result.output.split())) == (control is not None)


def test_without_its_context_an_agent_that_adapts_between_rounds_stays_unadapted(finished):
    own, none = acclimate.evaluate(finished, rounds=2), acclimate.evaluate(finished, rounds=2, context="none")
    unadapted = acclimate.load(finished)._weights
    assert unadapted
    assert none["mean"][0] == own["mean"][0]
    assert none["mean"][1:] != own["mean"][1:]


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(finished, tmp_path, monkeypatch):
    kept = tmp_path / "kept.json"
    kept.write_text("{}")
    assert call("evaluate", finished, "--json", kept, "--split", "nowhere").exit_code == 2
    assert kept.read_text() == "{}", "what is there is replaced by a result alone"
    monkeypatch.setattr("trainers.evaluation.run_evaluation.evaluate_runs", lambda request: pytest.fail("measured"))
    for target in (tmp_path / "nowhere" / "result.json", tmp_path):
        result = call("evaluate", finished, "--json", target)
        assert result.exit_code == 2
        assert f"acclimate: --json {target} cannot be written" in " ".join(result.output.split())


def test_plots_are_files_or_figures(finished):
    figure = acclimate.plot(str(finished), "adaptation_curve")
    assert isinstance(figure, matplotlib.figure.Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")
    compared = acclimate.plot([PUBLISHED / "point_nav_maml", PUBLISHED / "point_nav_reptile" / "seed-0"])
    labels = [text.get_text() for text in compared.axes[0].get_legend().get_texts()]
    assert labels == ["point_nav_maml: maml", "seed-0: reptile"]
    with pytest.raises(UsageError, match=r"there is no plot curve; known are adaptation_curve"):
        acclimate.plot(finished, "curve")
    with pytest.raises(DrawingError, match="trajectories shows nothing of this run"):
        acclimate.plot(finished, "trajectories")
    again = acclimate.plot([PUBLISHED / "point_nav_maml" / f"seed-{seed}" for seed in (0, 1)] * 2)
    labels = [text.get_text() for text in again.axes[0].get_legend().get_texts()]
    assert labels[2:] == [f"point_nav_maml/seed-{seed}: maml" for seed in (0, 1)]
    with pytest.raises(UsageError, match=r"runs of one family, not of line-v1, point_nav-v1"):
        acclimate.plot([finished, PUBLISHED / "point_nav_maml"])
    with pytest.raises(UsageError, match="leave kind out to compare"):
        acclimate.plot([finished], "learning_curve")


def test_vector_environments_of_ones_own_family():
    for family in (LineFamily, LineFamily(), "tests.helpers:LineFamily"):
        observation, _ = acclimate.make_vec_env(family, tasks=2, rows=3).reset(seed=0)
        assert np.asarray(observation).shape == (6, 1)
    wrong = {"nowhere:Family": "cannot be imported", "tests.helpers:LineWalk": "not a subclass", "7": "no family 7"}
    for family, says in wrong.items():
        with pytest.raises(TaskError, match=says):
            acclimate.make_vec_env(family)


def test_init_of_another_agents_run_names_both(finished, tmp_path):
    words = ["train", "point_nav_maml", f"init={finished}", "--out", tmp_path / "run", *TINY]
    rl2 = ["agent={name: rl2, meta_batch_size: 2}", "evaluation={validation_tasks: 2, held_out_tasks: 2, rollouts: 1}"]
    result = call(*words, "family=tests.helpers:LineFamily", *rl2)
    assert result.exit_code == 2
    assert f"init: {finished} is a run of maml, and this recipe trains rl2: its weights do not fit" in " ".join(
        result.output.split()
    )
