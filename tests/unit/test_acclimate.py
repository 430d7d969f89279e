"""`import acclimate`: what it offers, lazily."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import acclimate
import envs.distributions
import trainers.online
from tests.helpers import TINY
from trainers.reporting import PLOTS

OFFERED = {
    "Recipe", "Run", "Task", "TaskFamily", "distributions", "evaluate", "load", "make_vec_env", "plot", "train",
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
