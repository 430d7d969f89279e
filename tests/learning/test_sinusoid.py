"""The inner loop is right outside reinforcement learning: MAML's sinusoids, and the control that must fail.

Here a twenty-fifth of its meta-updates, the three seeds together; the whole experiment is benchmarks/sinusoid.py.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from trainers.process import keep_freed_memory, torch_threads

pytestmark = pytest.mark.learning
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SEEDS = (0, 1, 2)


def test_maml_fits_a_sinusoid_from_five_points_and_pretraining_does_not(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    sinusoid = importlib.import_module("sinusoid")
    keep_freed_memory()
    with torch_threads(1):
        for adapting in (True, False):
            parameters = sinusoid.meta_train(SEEDS, 0.04, adapting=adapting)
            for index in range(len(SEEDS)):
                one, five = sinusoid.errors_on_new(sinusoid.of_seed(parameters, index), steps=5, tasks=1000)[[1, 5]]
                if adapting:
                    assert one < 1.9
                    assert five < 1.6
                else:  # predicting zero would score 4.25, the mean sinusoid about 3
                    assert one > 2
                    assert five > 2
