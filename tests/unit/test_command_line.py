"""The command line itself: its own mistakes, faults, own code, and what is printed how."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tests.helpers import call
from trainers.cli import console as consoles
from trainers.cli.console import Verbosity, replace_what_cannot_be_printed
from trainers.cli.usage import with_lists
from trainers.errors import RecipeError
from trainers.recipes import registry


def flat(result) -> str:
    return " ".join(result.output.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["trian"], "there is no command trian; did you mean train?"),
        (["evaluate"], "needs RUN (a run folder"),
        (["train", "point_nav_maml", "--seed", "3"], "keys of a recipe are written without dashes, seed=VALUE"),
        (["evaluate", "x", "--rounds", "0"], "--rounds is 0, but must be a number, 1 or more"),
        (["evaluate", "x", "--roun", "2"], "has no option --roun; did you mean --rounds?"),
        (["train", "point_nav_maml", "--out"], "--out stands without a value"),
        (["families", "--quiet=3"], "--quiet takes no value"),
        (["check", "a", "b", "c"], "does not know what to do with b c"),
        (["render", "x", "--task", "abc"], "--task is abc, but must be a whole number, 0 or more"),
        (["embed", "x", "--tasks", "5000"], "--tasks is 5000, but must be a number from 1 to 2000"),
        (["-x"], "acclimate has no option -x"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_one_sentence(words, says):
    result = call(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith("acclimate: ")
    assert len(result.stderr.splitlines()) == 1
    assert says in result.stderr
    assert "Usage:" not in result.output


def test_an_option_of_many_values_takes_all_that_follow_it():
    assert with_lists(["benchmark", "s", "--runs", "a", "b", "--out", "c", "--baselines", "d", "e", "f", "-q"]) == [
        "benchmark", "s", "--runs", "a", "--runs", "b", "--out", "c", "--baselines", "d", "--baselines", "e",
        "--baselines", "f", "-q",
    ]  # fmt: skip
    assert with_lists(["--runs", "a", "--runs", "b"]) == ["--runs", "a", "--runs", "b"]
    assert with_lists(["--runs=a", "b"]) == ["--runs=a", "--runs", "b"]
    assert with_lists(["compare", "a", "b"]) == ["compare", "a", "b"]


def test_the_version_and_the_help():
    assert call("--version").output.startswith("acclimate")
    assert call("--version").exit_code == 0
    assert "train" in call().output


def test_a_fault_of_ours_is_one_sentence_and_its_details_are_kept(monkeypatch):
    def fails(name):
        raise KeyError("deep inside")

    monkeypatch.setattr(registry, "family", fails)
    monkeypatch.setattr("trainers.cli.app.own_frames", lambda error: [])  # this test's frames count as ours
    result = call("check", "point_nav-v1")
    assert result.exit_code == 70
    assert result.stderr.startswith("acclimate: this is a fault of Acclimate, not yours: KeyError: 'deep inside'")
    assert "Traceback" not in result.output
    place = Path(result.stderr.partition("the details are in ")[2].partition(",")[0])
    assert "KeyError: 'deep inside'" in place.read_text()
    place.unlink()
    assert "Traceback" in call("check", "point_nav-v1", "-v").stderr


def test_of_an_error_in_the_users_own_code_only_its_frames_are_shown(tmp_path, monkeypatch):
    (tmp_path / "own_failing.py").write_text("def load():\n    return 1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "family", lambda name: __import__("own_failing").load())
    result = call("check", "point_nav-v1")
    assert result.exit_code == 2
    first, *frames = result.stderr.splitlines()
    assert first == "acclimate: your own code failed: ZeroDivisionError: division by zero; mend what these lines show"
    assert "own_failing.py" in "".join(frames)
    assert frames[-1] == "ZeroDivisionError: division by zero"
    assert "trainers/cli" not in result.stderr


OWN_MODULES = [
    ("def broken(:\n", "for its module raises SyntaxError", "def broken(:"),
    ("import numpy\nSIZE = nmpy.pi\n", "for its module raises NameError: name 'nmpy' is not defined", "SIZE = nmpy.pi"),
    ("import sys\nsys.exit(0)\n", "for its module raises SystemExit", "sys.exit(0)"),
    ("import nowhere_at_all\n", "cannot be imported (No module named 'nowhere_at_all')", "import nowhere_at_all"),
    (
        "from tests.helpers import LineFamily\nclass Family(LineFamily):\n"
        "    def __init__(self):\n        self.table = {}['gone']\n",
        "raises KeyError: 'gone' when it is made",
        "self.table = {}['gone']",
    ),
]


@pytest.mark.parametrize(("text", "says", "frame"), OWN_MODULES, ids=lambda value: value[:30])
def test_an_own_module_that_fails_is_a_sentence_with_its_own_frames(tmp_path, monkeypatch, text, says, frame):
    name = f"own_module_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    result = call("train", f"family={name}:Family", "agent=maml", "--out", tmp_path / "run")
    assert result.exit_code == 2
    first, *lines = result.stderr.splitlines()
    assert first.startswith(f"acclimate: family: {name}:Family ")
    assert says in first
    assert "Traceback" not in result.output
    assert frame in "\n".join(lines)
    assert not [line for line in lines if "File" in line and name not in line], "a frame of ours, or of a library"
    assert not (tmp_path / "run").exists()
    with pytest.raises(RecipeError):
        registry.family(f"{name}:Family")


def test_text_of_the_user_is_neither_markup_nor_more_than_a_line():
    result = call("evaluate", "runs/[lr]first[/b]\nsecond")
    assert result.exit_code == 2
    assert "runs/[lr]first[/b]\\nsecond is not a run folder" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_stream_that_lacks_a_character_prints_one_like_it(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    replace_what_cannot_be_printed()
    print("-40.1 → -12.3, RL², ö")
    stream.flush()
    assert stream.buffer.getvalue() == b"-40.1 -> -12.3, RL2, ?\n"


@pytest.mark.parametrize(("verbosity", "lines"), [("-q", 0), (None, 1), ("-v", 2)])
def test_how_much_is_printed(verbosity, lines, capsys):
    assert call(*([verbosity] if verbosity else []), "--version").exit_code == 0
    wanted = {"-q": Verbosity.QUIET, None: Verbosity.NORMAL, "-v": Verbosity.VERBOSE}[verbosity]
    consoles.set_verbosity(wanted)
    try:
        consoles.note("one")
        consoles.detail("two")
    finally:
        consoles.set_verbosity(Verbosity.NORMAL)
    assert len(capsys.readouterr().out.splitlines()) == lines
