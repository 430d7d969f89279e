"""The key that was meant by one that there is not: near in letters or in words, by any of its names, in any section."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from trainers.recipes.describing import Key

_CLOSE = 0.65  # of 1: below it nothing is suggested
_SAME_SECTION = 0.04
# What people write, and the words of our keys.
_WORDS = {
    "lr": "learning rate", "bs": "batch size", "batchsize": "batch size", "ent": "entropy", "vf": "value",
    "coeff": "coefficient", "coef": "coefficient", "num": "", "n": "", "obs": "observation",
    "observations": "observation", "norm": "normalise", "normalize": "normalise", "normalization": "normalise",
    "eps": "episode", "iters": "iteration", "epochs": "epoch", "max": "max", "grad": "gradient", "std": "deviation",
    "lam": "lambda", "layers": "size", "units": "size", "width": "size", "hidden": "hidden", "rew": "reward",
    "envs": "env", "temp": "temperature", "alpha": "temperature", "val": "validation", "test": "held out",
    "n_tasks": "tasks", "discounting": "gamma", "minibatch": "minibatches", "dim": "size", "cuda": "device",
    "gpu": "device", "log": "tensorboard", "steps": "step", "updates": "iteration",
}  # fmt: skip


def nearest_keys(unknown: str, known: Sequence[Key]) -> list[str]:
    """Dotted names of the keys that were most likely meant by `unknown`, which is dotted too; [] if none is near."""
    section, _, last = unknown.rpartition(".")
    scores: dict[str, float] = {}
    for key in known:
        bonus = _SAME_SECTION if key.section == section else 0.0
        near = max(_likeness(last, name) for name in (key.last, *key.earlier))
        scores[key.name] = max(scores.get(key.name, 0.0), near + bonus)
    best = max(scores.values(), default=0.0)
    if best < _CLOSE:
        return []
    return [name for name, score in scores.items() if score == best][:3]


def in_words(unknown: str, suggestions: Iterable[str]) -> str:
    """'did you mean ...?': a key of the same section by its last part, another one by its whole name."""
    section = unknown.rpartition(".")[0]
    names = [name.rpartition(".")[2] if name.rpartition(".")[0] == section else name for name in suggestions]
    return f"did you mean {' or '.join(names)}?"


def _likeness(word: str, name: str) -> float:
    """1 for the same name; else the larger of the likeness in letters and in words."""
    if word == name:
        return 1.0
    letters = SequenceMatcher(None, word.lower(), name.lower()).ratio()
    mine, theirs = _tokens(word), _tokens(name)
    shared = len(mine & theirs)
    # Words of the shorter name that the longer one has too count more than words that it has besides.
    words = (0.75 * shared / len(mine) + 0.25 * shared / len(theirs)) if mine and theirs else 0.0
    return 0.99 * max(letters, words)


def _tokens(name: str) -> frozenset[str]:
    parts = [part for part in re.split(r"[^a-z]+", name.lower()) if part]
    words = " ".join(_WORDS.get(part, part) for part in parts).split()
    return frozenset(word.rstrip("s") for word in words)
