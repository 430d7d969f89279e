"""The shape of the house: arrows, circles, sizes, registries; and what prose says of the code."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError
from setuptools import find_namespace_packages
from typer.testing import CliRunner

import agents.functional
from agents import ALGORITHMS
from agents.baselines import BASELINES
from agents.contract import Config
from agents.nets.memory_kinds import MemoryConfig
from agents.rl2 import RL2Config
from agents.varibad import VariBADConfig
from benchmarks import defaults
from envs import FAMILIES
from envs.validation import Strict
from trainers.cli import COMMANDS
from trainers.cli.app import app
from trainers.recipes.schema import Recipe

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("acclimate", "agents", "envs", "trainers")
FORBIDDEN = {
    "agents": {"acclimate", "envs", "trainers", "ray"},
    "envs": {"acclimate", "agents", "trainers", "ray", "torch"},
    "trainers": {"acclimate"},
    "acclimate": {"ray", "torch"},
}
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
FUNCTIONAL = [
    importlib.import_module(f"agents.functional.{module.name}")
    for module in pkgutil.iter_modules(agents.functional.__path__)
]
LONGEST_FILE, LONGEST_ALGORITHM, LONGEST_FUNCTION, MOST_ARGUMENTS = 350, 400, 60, 7
# Named with the reason: nobody else may be longer.
LONG_FUNCTIONS: dict[str, str] = {}
MANY_ARGUMENTS: dict[str, str] = {}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere: inside functions and for type checkers too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_imports(path: Path) -> set[str]:
    """Our own modules that a file imports; a package only where a name of its __init__ is taken."""
    found = set()
    for name in imports(path):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        if name:
            found.add(name)
    return found - {module_of(path)}


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_point_one_way(package):
    for path in (ROOT / package).rglob("*.py"):
        assert not {name.partition(".")[0] for name in imports(path)} & FORBIDDEN[package], path


def test_text_is_written_in_utf_8_whatever_the_locale():
    """Under LC_ALL=C the default is ASCII, and the report holds more."""
    for path in FILES:
        for call in [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]:
            if not isinstance(call.func, ast.Attribute):
                continue
            words = [one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            opened = call.func.attr == "open" and any(word in ("w", "a", "x", "r", "r+") for word in words)
            if call.func.attr == "write_text" or opened:
                named = {keyword.arg for keyword in call.keywords}
                assert "encoding" in named, f"{path.relative_to(ROOT)}, line {call.lineno} names no encoding"


def test_functional_maths_imports_nothing_of_ours():
    for path in (ROOT / "agents" / "functional").rglob("*.py"):
        assert all(name.startswith("agents.functional") for name in own_imports(path)), path


def test_no_circle_between_files():
    circle(
        {
            module: {other for other in own_imports(path) if not lists(MODULES[other])}
            for module, path in MODULES.items()
            if not lists(path)
        }
    )


def test_no_circle_between_rooms():
    """A room is a folder; what stands in a package's own folder (the contract, one file an algorithm) is one each."""

    def room(module: str) -> str:
        parts = MODULES[module].relative_to(ROOT).parent.parts
        return ".".join(parts) if len(parts) > 1 else module

    graph: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        if not lists(path):
            others = {room(other) for other in own_imports(path) if not lists(MODULES[other])}
            graph.setdefault(room(module), set()).update(others - {room(module)})
    circle(graph)


def lists(path: Path) -> bool:
    """Whether a file is a package's own: it lists what is in the room, by words that are imported when asked for."""
    return path.name == "__init__.py"


def circle(graph: dict[str, set[str]]) -> None:
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_trainers_name_no_agent_and_no_family():
    registered = {**ALGORITHMS, **BASELINES, **FAMILIES}
    symbols = {place.rpartition(":")[2] for place in registered.values()}
    words = {*ALGORITHMS, *FAMILIES, *(name.rpartition("-v")[0] for name in FAMILIES)}
    spoken = re.compile(rf"(?<![\w/])(?:{'|'.join(map(re.escape, sorted(words, key=len, reverse=True)))})(?![\w-])")
    parts = {f"agents.common.{name}" for name in ("ablations", "mean_actions", "savepoints")}
    allowed = {"agents", "agents.baselines", "agents.contract", *parts}
    for path in (ROOT / "trainers").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, (ast.Name, ast.Attribute)):
                assert getattr(node, "id", getattr(node, "attr", "")) not in symbols, f"{path}:{node.lineno}"
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("agents"):
                assert node.module in allowed, f"{path}:{node.lineno}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not spoken.search(node.value), f"{path}:{node.lineno}: {node.value[:80]!r}"


def test_each_registry_lists_what_stands_in_its_room():
    for room, listed in (("agents", ALGORITHMS), ("agents.baselines", BASELINES)):
        assert all(place.startswith(f"{room}.") for place in listed.values())
    rooms = {place.rpartition(".")[0] for place in FAMILIES.values()}
    assert all(
        place.startswith(f"{room}.") for room in rooms for place in importlib.import_module(room).FAMILIES.values()
    )
    assert sum(len(importlib.import_module(room).FAMILIES) for room in rooms) == len(FAMILIES)


def test_every_package_is_found_and_none_is_listed_by_hand():
    found = set(find_namespace_packages(str(ROOT), include=[f"{name}*" for name in PACKAGES]))
    assert {module_of(path.parent / "__init__.py") for path in FILES} <= found
    assert "packages.find" in (ROOT / "pyproject.toml").read_text()
    assert all((path.parent / "__init__.py").exists() for path in FILES)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_container_holds_every_package(package):
    assert f"COPY {package} /src/{package}" in (ROOT / "docker" / "Dockerfile").read_text()
    assert f"!{package}" in (ROOT / ".dockerignore").read_text().split()
    (copied,) = re.findall(r"cp -r (.*) \"\$copy\"", (ROOT / "docker" / "install.sh").read_text())
    assert package in copied.split()


# -- sizes


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_functions_and_signatures_are_short(path):
    algorithms = {place.partition(":")[0] for place in ALGORITHMS.values()}
    lines = path.read_text().count("\n")
    assert lines <= (LONGEST_ALGORITHM if module_of(path) in algorithms else LONGEST_FILE), f"{lines} lines"
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        name = f"{module_of(path)}.{node.name}"
        length = (node.end_lineno or 0) - node.lineno + 1
        assert length <= LONGEST_FUNCTION or name in LONG_FUNCTIONS, f"{name}: {length} lines"
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = len([one for one in arguments if one.arg not in ("self", "cls")])
        is_command = name in {place.replace(":", ".") for place in COMMANDS.values()}
        assert count <= MOST_ARGUMENTS or is_command or name in MANY_ARGUMENTS, f"{name}: {count} arguments"


# -- docstrings


@pytest.mark.parametrize("module", FUNCTIONAL, ids=lambda module: module.__name__)
def test_functional_docstrings_name_every_argument(module):
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ != module.__name__ or name.startswith("_") or name in ("flatten", "unflatten"):
            continue
        text = inspect.getdoc(function) or ""
        assert "Args:" in text, name
        assert "Returns:" in text, name
        for argument in inspect.signature(function).parameters:
            assert re.search(rf"\b{argument}\b", text.partition("Args:")[2]), f"{name}: {argument}"


# -- prose


def readme_commands() -> list[list[str]]:
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("acclimate ")]


def test_the_tests_of_a_group_run_in_one_process(request):
    """A file trains its runs once, and Ray is started by one process at a time."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("all tests run in this one process")
    grouped = [item for item in request.session.items if item.get_closest_marker("xdist_group")]
    assert all("@" in item.nodeid for item in grouped)  # where xdist reads the group


def test_the_readmes_commands_parse():
    commands = readme_commands()
    assert len(commands) >= 5
    runner = CliRunner()
    for words in commands:
        result = runner.invoke(app, [words[1], "--help"])
        assert result.exit_code == 0, words
        for word in words[2:]:
            if word.startswith("--"):
                assert word in result.output, f"{word} of {' '.join(words)}"
        if words[1] == "train":
            overrides = [word for word in words[2:] if "=" in word and not word.startswith(("-", "seeds="))]
            Recipe.load(None if "=" in words[2] else words[2], overrides)


def test_the_readme_lists_every_family_and_yardstick():
    text = (ROOT / "README.md").read_text()
    assert all(f"`{name}`" in text for name in (*FAMILIES, *BASELINES))


def page(name: str) -> str:
    return (ROOT / "docs" / "algorithms" / f"{name}.md").read_text()


def test_the_pages_of_rl2_and_varibad_name_every_key():
    assert not [key for key in RL2Config.model_fields if f"`{key}`" not in page("rl2")]
    own = VariBADConfig.model_fields.keys() - RL2Config.model_fields.keys()
    assert not [key for key in own if f"`{key}`" not in page("varibad")]


def test_the_page_of_rl2_has_every_memory_with_its_defaults():
    kinds = get_args(get_args(MemoryConfig)[0])
    for kind in kinds:
        defaults = {key: field.default for key, field in kind.model_fields.items() if key != "name"}
        cells = ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in defaults.items())
        assert f"| `{kind.model_fields['name'].default}` | {cells} |" in page("rl2")


ADDITIONS = """
from acclimate import evaluate, train
from trainers.cli.app import app
from typer.testing import CliRunner
from envs import make_family
from envs.check import check_task_family

assert not [finding for finding in check_task_family(make_family("pendulum_mass-v1")) if finding.problem]
evaluation = "evaluation={validation_tasks: 2, held_out_tasks: 2, rollouts: 1}"
few = ["iterations=1", "workers=0", "learner_threads=1", "family=pendulum_mass-v1", evaluation]
run = train("point_nav_maml", "run", overrides=[*few, "agent={name: fine_tune, meta_batch_size: 2, rollouts: 2}"]).run
assert run.recipe.agent_name == "fine_tune"
assert evaluate("run", baseline="zero")["agent"] == "zero"
from trainers.reporting.summary import write_summary_and_report
summary, files = write_summary_and_report(run)
assert "gains.png" in {file.name for file in files if file.exists()}
assert "held-out" in CliRunner().invoke(app, ["splits"]).output.split()
"""


def test_contributings_additions_are_one_file_and_one_line_each(tmp_path):
    """Every diff of CONTRIBUTING.md, applied to a copy of the packages: all of it is found, trains, is drawn, runs."""
    for package in (*PACKAGES, "configs"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    diffs = re.findall(r"```diff\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    assert len(diffs) == 5
    for diff in diffs:
        new, *edits = re.split(r"^--- .*\n", diff, flags=re.M)[1:]
        file, _, added = new.partition("\n@@")
        lines = [line.removeprefix("+") for line in added.splitlines()[1:]]
        (tmp_path / file.removeprefix("+++ b/")).write_text("\n".join(lines) + "\n")
        for edit in edits:
            header, _, *context, line = edit.splitlines()
            if "b/tests/" in header:
                continue
            path, (before,) = tmp_path / header.removeprefix("+++ b/"), context
            text = path.read_text()
            assert text.count(before.removeprefix(" ")) == 1, f"{header}: {before} is not where the diff says"
            path.write_text(text.replace(before[1:], f"{before[1:]}\n{line.removeprefix('+')}"))
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ADDITIONS], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_table_of_defaults_is_what_was_measured():
    text = defaults.PAGE.read_text()
    rows = json.loads(defaults.RESULT.read_text())["rows"]
    assert text.partition(defaults.BEGIN)[2].partition(defaults.END)[0].strip() == defaults.table(rows)


def test_the_results_page_is_what_the_summaries_say(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tables = importlib.import_module("tables")
    assert (tables.RESULTS / "README.md").read_text().startswith(tables.results_page())


@pytest.mark.parametrize("base", [Config, Strict], ids=lambda base: f"{base.__module__}.{base.__name__}")
def test_the_two_strict_bases_are_one(base):
    """Neither package may import the other, so the base stands twice (ADR 7): the same settings, the same behaviour."""

    class Section(base):
        renamed = {"discount": "gamma"}
        gamma: float = 0.9
        sizes: tuple[int, ...] = ()

    assert base.model_config == {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    assert Section.model_validate({"discount": 0.5}).gamma == Section.model_validate({"gamma": 0.5}).gamma == 0.5
    assert Section.model_validate({"sizes": 64}).sizes == Section.model_validate({"sizes": "64"}).sizes == (64,)
    for wrong, says in (
        ({"discount": 0.5, "gamma": 0.5}, "discount is the earlier name of gamma, and both are given; keep gamma"),
        ({"gama": 0.5}, "Extra inputs"),
        ({"gamma": float("nan")}, "finite"),
        ({"gamma": True}, "valid number"),
        ({"sizes": [1, True]}, "valid integer"),
        ({"sizes": [2**63]}, "valid integer"),
    ):
        with pytest.raises(ValidationError, match=says):
            Section.model_validate(wrong)
