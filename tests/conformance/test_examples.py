"""Every example runs as its first lines say, from its own folder, and does what it claims."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import acclimate
from trainers.errors import RecipeError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
# What a test runs of each example; a new example is added here.
TINY = ["iterations=1", "workers=0", "agent.meta_batch_size=2"]
RUNS = {
    "adaptation_curve": [
        sys.executable, str(EXAMPLES / "adaptation_curve.py"), *TINY,
        "evaluation={validation_tasks: 2, held_out_tasks: 2, rounds: 1, rollouts: 1}",
    ],
    "adapt_online": [sys.executable, "adapt_online.py"],
    "sinusoid": [sys.executable, "sinusoid.py", "--scale", "0.005", "--tasks", "500"],
    "own_family": [sys.executable, "-m", "trainers.cli.app", "check", "own_family:CartPoleLength"],
    "strangers": [sys.executable, "-m", "trainers.cli.app", "check", "strangers:CartPoleSign"],
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
        cwd=tmp_path if name == "adaptation_curve" else EXAMPLES,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_run_here():
    assert set(RUNS) == {path.stem for path in EXAMPLES.glob("*.py")}


def test_a_strangers_script_ends_in_an_adaptation_curve(tmp_path):
    """Its family stands in the script itself; the run that it leaves is opened with the class."""
    text = (EXAMPLES / "adaptation_curve.py").read_text()
    assert len([line for line in text.splitlines() if line.strip() and not line.startswith('"""')]) <= 15
    family = text[text.index("class ") : text.index("run = ")]
    assert all(family in (ROOT / page).read_text() for page in ("README.md", "docs/python.md"))
    printed = run("adaptation_curve", tmp_path)
    assert "rl2 on __main__:PendulumMass, seed 0" in printed
    assert (tmp_path / "adaptation_curve.png").read_bytes().startswith(b"\x89PNG")
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("pendulum_mass-v1_rl2-")
    with pytest.raises(RecipeError, match="was defined in a script"):
        acclimate.evaluate(folder)
    rows = acclimate.Run.open(folder).adaptation()
    assert rows["mass_kg"].between(0.5, 2.0).all()


def test_adapting_online_walks_to_an_unknown_goal(tmp_path):
    before, after = map(float, re.findall(r"mean return (-?[\d.]+)", run("adapt_online", tmp_path)))
    assert before < -30
    assert after > before / 2


def test_an_own_family_in_under_twenty_lines_passes_every_check(tmp_path):
    assert len((EXAMPLES / "own_family.py").read_text().splitlines()) < 20
    assert re.search(r"(\d+) of \1 checks passed", run("own_family", tmp_path))


def test_families_as_strangers_write_them_pass_every_check(tmp_path):
    assert re.search(r"(\d+) of \1 checks passed", run("strangers", tmp_path))


def test_an_own_agent_adapts(tmp_path):
    printed = run("own_agent", tmp_path)
    returns = [float(text) for text in re.findall(r"^\d\s+[\d,]+\s+(-[\d.]+)", printed, re.M)]
    assert len(returns) == 5
    assert returns[-1] > 0.5 * returns[0], returns


def test_the_sinusoid_example_runs(tmp_path):
    assert "MAML: 5-shot mean squared error" in run("sinusoid", tmp_path)


@pytest.mark.parametrize("name", ["adaptation_curve", "adapt_online", "sinusoid"])
def test_the_first_lines_say_how_to_run_it(name):
    assert f"python examples/{name}.py" in (EXAMPLES / f"{name}.py").read_text().partition('"""\n')[0]
