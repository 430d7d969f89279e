"""Arrows between the packages, and what prose says of the code."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

import agents.functional.advantages
import agents.functional.beliefs
import agents.functional.elbo
import agents.functional.inner_loop
import agents.functional.planning
import agents.functional.policy_losses
import agents.functional.sac
import agents.functional.trust_region
from agents.baselines import BASELINES
from agents.nets.memory_kinds import MemoryConfig
from agents.rl2 import RL2Config
from agents.varibad import VariBADConfig
from envs import FAMILIES
from envs.check import check_task_family
from trainers.cli.app import app
from trainers.recipes import loading, registry
from trainers.training import loop

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {"agents": {"envs", "trainers", "ray"}, "envs": {"agents", "trainers", "ray", "torch"}, "trainers": set()}
FUNCTIONAL = [
    agents.functional.advantages,
    agents.functional.beliefs,
    agents.functional.elbo,
    agents.functional.inner_loop,
    agents.functional.planning,
    agents.functional.policy_losses,
    agents.functional.sac,
    agents.functional.trust_region,
]


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_arrows_point_one_way(package):
    for path in (ROOT / package).rglob("*.py"):
        assert not imported(path) & FORBIDDEN[package], path


def test_trainers_name_no_algorithm_and_no_family():
    names = {"MAML", "maml", *FAMILIES, *(name.rpartition("-v")[0] for name in FAMILIES)}
    for path in (ROOT / "trainers").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Name, ast.Attribute)):
                assert getattr(node, "id", getattr(node, "attr", "")) not in names, path
            if isinstance(node, ast.ImportFrom):
                allowed = (None, "agents", "agents.contract", "agents.common.ablations")  # neither names an algorithm
                assert node.module in allowed or not node.module.startswith("agents."), path


@pytest.mark.parametrize("module", FUNCTIONAL, ids=lambda module: module.__name__)
def test_functional_docstrings_name_every_argument(module):
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ != module.__name__ or name in ("flatten", "unflatten"):
            continue
        text = inspect.getdoc(function) or ""
        assert "Args:" in text, name
        assert "Returns:" in text, name
        for argument in inspect.signature(function).parameters:
            assert re.search(rf"\b{argument}\b", text.partition("Args:")[2]), f"{name}: {argument}"


def readme_commands() -> list[list[str]]:
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("acclimate ")]


def test_the_tests_of_a_group_run_in_one_process(request):
    """What a file trains is trained once, and Ray is started by one process at a time."""
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
            overrides = [word for word in words[3:] if "=" in word and not word.startswith(("-", "seeds="))]
            loading.load(loading.find(words[2]), overrides)


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


def test_contributings_examples_work(tmp_path, monkeypatch):
    """The family and the agent of CONTRIBUTING.md, taken out of their diffs, conform and train."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for name in ("envs/pendulum_mass", "agents/fine_tune"):
        added = re.search(rf"\+\+\+ b/{name}\.py\n@@.*?\n(.*?)--- a/", text, re.S).group(1)
        code = "\n".join(line.removeprefix("+") for line in added.splitlines())
        (tmp_path / f"contributed_{Path(name).name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    family = "contributed_pendulum_mass:PendulumMass"
    assert not [finding for finding in check_task_family(registry.family(family)) if finding.problem]
    overrides = [
        f"family={family}",
        "agent={name: contributed_fine_tune:FINE_TUNE, meta_batch_size: 2, rollouts: 2}",
        "evaluation={validation_tasks: 2, held_out_tasks: 2, rollouts: 2}",
        "iterations=1",
        "workers=0",
        "learner_threads=1",
    ]
    outcome = loop.train(loading.load(loading.find("point_nav_maml"), overrides), tmp_path / "run")
    assert outcome.iteration == 1


def test_the_results_page_is_what_the_summaries_say(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    publish = importlib.import_module("publish")
    assert (publish.RESULTS / "README.md").read_text().startswith(publish.table())
