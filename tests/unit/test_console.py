"""The display of a training run in terminals and pipes of every kind."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from trainers.cli.console import TrainingDisplay

METRICS = {"iteration": 1234, "return_round_0": -41.25, "return_round_1": -12.5, "steps_per_second": 123456.0}


def shown(width, *, terminal, lines=(METRICS,), iterations=2000):
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, markup=False)
    with TrainingDisplay(console, "rl2 on grid_navi-v1, seed 0", iterations) as display:
        for metrics in lines:
            display.report(metrics)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_every_terminal_shows_count_and_eta_on_one_line(width):
    last = shown(width, terminal=True).split("\x1b[2K")[-1]
    assert "1234/2000" in last
    assert "ETA" in last
    assert "…" not in last.partition("ETA")[0]
    assert ("rl2 on grid_navi-v1" in last) == (width >= 200)
    assert "return -4" in last
    assert len(re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", last).strip("\r\n")) <= width


def test_a_pipe_gets_every_validation_and_no_line_is_cut():
    lines = [METRICS | {"iteration": one, "validation_return_round_0": -float(one)} for one in range(1, 41)]
    text = shown(30, terminal=False, lines=lines)
    assert text.splitlines() == [f"  meta-update {one:>5}: validation return -{one}.0" for one in range(1, 41)]


@pytest.mark.parametrize("runs", [True, False])
def test_a_reader_that_leaves_ends_nothing(runs):
    """As `| head -1` does: the command goes on, a run says so once, and it ends as if nobody had left."""
    program = (
        f"from trainers.cli.console import console, problem\nconsole.runs = {runs}\n"
        "import sys\n"
        "console.print('first'); sys.stdin.read()\n"
        "for number in range(3): console.print('more')\n"
        "problem('done')"
    )
    root = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root}, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "first\n"
    process.stdout.close()
    process.stdin.close()
    said = process.stderr.read().splitlines()
    assert process.wait() == 0
    assert said.pop() == "acclimate: done"
    assert len(said) == runs
    assert all(one.startswith("acclimate: nobody reads the output any more; the command goes on") for one in said)
