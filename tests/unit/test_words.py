"""The words of the code are the field's own: searched terms are found, private ones are gone."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    path
    for package in ("acclimate", "agents", "benchmarks", "envs", "examples", "tests", "trainers")
    for path in sorted((ROOT / package).rglob("*.py"))
]
PROSE = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if not path.is_relative_to(ROOT / "docs" / "adr")),
]
# A private dialect, and in brackets what is said instead.
NAMES = {
    "told": "summary, info, features",
    "TellsTask": "OracleWrapper",
    "tells_task": "task_in_observation",
    "in_row": "in_context",
    "InRowAgent": "InContextAgent",
    "go_on": "run",
    "take_up": "restore",
    "reopen": "open_for_resume",
    "cut_back": "truncate_to",
    "born": "created_with",
    "conclude": "write_summary_and_report",
    "Inside": "AgentWrapper",
    "Watched": "RecordingAgent",
    "Look": "Inspection",
    "Seen": "TrialTrace",
    "Paid": "RewardTerm",
    "judge": "evaluate_actions",
    "judge_weights": "outer_loss_weights",
    "sampling_beside": "pipelined_sampling",
    "ahead": "prefetched",
    "weights_before": "behaviour_weights",
    "overlaps": "pipelined",
    "worth": "q_values",
    "given_context": "ablate_context",
    "law": "distribution",
    "laws": "distributions",
    "yardstick": "baseline",
    "yardsticks": "reference_returns",
    "pictures": "plots",
    "movies": "videos",
    "inside_pictures": "embeddings",
}
# Earlier names that are still read: only these places may hold them.
READS_EARLIER = re.compile(r"renamed|earlier|weights_before|yardsticks|\"law\"|\"laws\"|tells_task")
SPOKEN = re.compile(
    r"\b(yardsticks?|laws?|thin products?|the other way round|pulls left|its context forgotten)\b", re.I
)
# Each term, and the file that defines it; the glossary defines them all.
DEFINED_IN = {
    "advantage estimation": "agents/functional/advantages.py",
    "adaptation curve": "trainers/evaluation/curves.py",
    "behaviour policy": "agents/functional/policy_losses.py",
    "checkpoint": "agents/contract.py",
    "conformance": "envs/check.py",
    "context encoder": "agents/pearl.py",
    "ensemble critic": "agents/functional/ensembles.py",
    "explained variance": "agents/common/ppo.py",
    "hidden state": "agents/nets/memories.py",
    "inner loop": "agents/functional/inner_loop.py",
    "interquartile mean": "trainers/evaluation/statistics.py",
    "meta-objective": "agents/common/meta_objective.py",
    "meta-batch": "agents/contract.py",
    "meta-gradient": "agents/common/meta_objective.py",
    "oracle": "agents/baselines/oracle.py",
    "out-of-distribution": "envs/distributions.py",
    "replay buffer": "agents/common/replay.py",
    "task distribution": "envs/task.py",
    "truncated BPTT": "agents/rl2.py",
    "vector environment": "envs/vector.py",
}


def docstrings(tree: ast.Module) -> list[tuple[ast.AST, str]]:
    nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))]
    return [(node, text) for node in nodes if (text := ast.get_docstring(node))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_and_sentences_are_the_fields_own(path):
    text = path.read_text()
    for node, docstring in docstrings(ast.parse(text)):
        assert not docstring.startswith("What "), f"line {getattr(node, 'lineno', 1)}: {docstring[:60]}"
    if path == Path(__file__):
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if READS_EARLIER.search(token.line):
            continue
        if token.type == tokenize.NAME:
            assert token.string not in NAMES, f"line {token.start[0]}: {token.string} is {NAMES[token.string]}"
        elif token.type in (tokenize.COMMENT, tokenize.STRING) or token.type > tokenize.NL:
            assert not (found := SPOKEN.search(token.string)), f"line {token.start[0]}: {found and found[0]}"


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_use_the_same_words(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not READS_EARLIER.search(line):
            assert not (found := SPOKEN.search(line)), f"line {number}: {found and found[0]}"


@pytest.mark.parametrize("term", DEFINED_IN)
def test_a_term_is_found_where_it_is_defined(term):
    """`git grep -i TERM -- '*.py' docs/glossary.md` shows the definition among the first three files."""
    found = subprocess.run(
        ["git", "grep", "-il", "--untracked", term, "--", "*.py", "docs/glossary.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert DEFINED_IN[term] in found, f"{DEFINED_IN[term]} does not say {term}"
    assert "docs/glossary.md" in found
    assert {DEFINED_IN[term], "docs/glossary.md"} & set(found[:3]), found[:5]
