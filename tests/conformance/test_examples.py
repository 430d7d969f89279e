"""Every example runs as its first lines say, from its own folder, and does what it claims."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
# What a test runs of each example; a new example is added here.
RUNS = {
    "adapt_online": [sys.executable, "adapt_online.py"],
    "sinusoid": [sys.executable, "sinusoid.py", "--scale", "0.005", "--tasks", "500"],
    "own_family": [sys.executable, "-m", "trainers.cli.app", "check", "own_family:CartPoleLength"],
    "own_agent": [
        sys.executable, "-m", "trainers.cli.app", "train", "point_nav_maml", "agent={name: own_agent:CROSS_ENTROPY}",
        "iterations=1", "workers=0",
        "evaluation={rounds: 4, validation_tasks: 2, held_out_tasks: 4, rollouts: 30}",
    ],
}  # fmt: skip


def run(name, tmp_path):
    words = RUNS[name]
    if "train" in words:
        words = [*words, "--out", str(tmp_path / "run")]
    done = subprocess.run(
        words,
        cwd=EXAMPLES,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_run_here():
    assert set(RUNS) == {path.stem for path in EXAMPLES.glob("*.py")}


def test_adapting_online_walks_to_an_unknown_goal(tmp_path):
    before, after = map(float, re.findall(r"mean return (-?[\d.]+)", run("adapt_online", tmp_path)))
    assert before < -30
    assert after > before / 2


def test_an_own_family_in_under_twenty_lines_passes_every_check(tmp_path):
    assert len((EXAMPLES / "own_family.py").read_text().splitlines()) < 20
    assert re.search(r"(\d+) of \1 checks passed", run("own_family", tmp_path))


def test_an_own_agent_adapts(tmp_path):
    printed = run("own_agent", tmp_path)
    returns = [float(text) for text in re.findall(r"^\d\s+[\d,]+\s+(-[\d.]+)", printed, re.M)]
    assert len(returns) == 5
    assert returns[-1] > 0.5 * returns[0], returns


def test_the_sinusoid_example_runs(tmp_path):
    assert "MAML: 5-shot mean squared error" in run("sinusoid", tmp_path)


@pytest.mark.parametrize("name", ["adapt_online", "sinusoid"])
def test_the_first_lines_say_how_to_run_it(name):
    assert f"python examples/{name}.py" in (EXAMPLES / f"{name}.py").read_text().partition('"""\n')[0]
