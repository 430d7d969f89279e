"""MAML's sinusoid regression, three seeds, beside its pretrained control. What differs: examples/sinusoid.py.

    python benchmarks/sinusoid.py [--scale 1]

Finn et al. 2017 (arXiv:1703.03400), table 2: 5-shot mean squared error 0.67, 0.38, 0.35 after 1, 5, 10 inner steps.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from measure import record

from trainers.process import keep_freed_memory

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import sinusoid

SEEDS = (0, 1, 2)
PAPER = {"MAML": {"1": 0.67, "5": 0.38, "10": 0.35}, "pretrained": {"1": 2.41, "5": 2.23, "10": 2.19}}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--scale", type=float, default=1.0)
    scale = arguments.parse_args().scale
    keep_freed_memory()
    torch.set_num_threads(1)
    figures: dict[str, object] = {
        "meta-updates": [round(scale * one.updates) for one in sinusoid.PHASES],
        "test sinusoids of each seed": 10_000,
        "paper": PAPER,
    }
    for name, adapting in (("MAML", True), ("pretrained", False)):
        began = time.perf_counter()
        parameters = sinusoid.meta_train(SEEDS, scale, adapting=adapting)
        minutes = (time.perf_counter() - began) / 60
        errors = torch.stack(
            [sinusoid.errors_on_new(sinusoid.of_seed(parameters, index)) for index in range(len(SEEDS))]
        )
        figures[name] = {
            "minutes, all seeds": round(minutes, 1),
            "mean": {str(step): round(float(errors[:, step].mean()), 3) for step in (0, 1, 5, 10)},
            "of each seed": {str(step): [round(float(one), 3) for one in errors[:, step]] for step in (0, 1, 5, 10)},
        }
    record("sinusoid", figures)


if __name__ == "__main__":
    main()
