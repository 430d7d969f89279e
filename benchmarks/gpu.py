"""Learning on a GPU: every algorithm learns there, what it learns is what the CPU learns, and how long it takes.

    make gpu-check                                  the small cases and the same bits, into gpu-check.json
    python benchmarks/gpu.py OUT.json [--quick]     with recipes at full size, unless quick

- cases: the golden record's small cases with `device: cpu` and `device: cuda`. Compared are the metrics of the first
  meta-update, for which both had the same weights and the same trials: they may differ by rounding alone. And how often
  a meta-update makes the CPU wait for the GPU, with the lines that do so most.
- bits: four meta-updates on the GPU; again, and two that are resumed after the second; two Ray workers and a learner
  group of one learner on the GPU (NCCL), in processes that have learned nothing before, where Ray is installed. The
  weights, metrics and rows must be the same bits.
- full: meta-updates of shipped recipes at full size (median `seconds_learning`, the first one left out) on the CPU, on
  the GPU and there without `deterministic`. Sampling is in this process.

Without a GPU it says so and is done: what can be checked then is tests/property/test_placement.py.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml
from golden import cases, command, record_of

from trainers.runs.provenance import provenance

# Left out: Ray, warm starts from other cases, and what adds no learning of its own.
SKIPPED = ("ray", "warm_start", "resumed", "family_", "described_", "own_region")
SAME_BITS = (
    "maml_trpo", "maml_clip_two_steps", "reptile", "pearl", "rl2_gru", "rl2_lstm", "rl2_transformer", "rl2_snail",
    "varibad", "varibad_into_encoder",
)  # fmt: skip
IN_A_GROUP = ("maml_trpo", "maml_clip_two_steps", "pearl", "rl2_gru", "varibad")
FULL_SIZE = (
    "sparse_point_robot_pearl", "point_nav_maml_trpo", "half_cheetah_vel_u03_rl2", "half_cheetah_vel_u03_varibad",
    "point_nav_maml", "grid_navi_rl2", "grid_navi_varibad", "tabular_mdp_10_episodes_rl2", "point_nav_reptile",
    "bandit_5_arms_100_pulls_rl2",
)  # fmt: skip
WAYS = {"cpu": ["device=cpu"], "cuda": ["device=cuda"], "cuda, any order": ["device=cuda", "deterministic=false"]}
ROUNDING = 2e-2  # relative to 1 + |value|: metrics are means over minibatches that rounding may reorder
BUDGET_S = 420.0


def train(recipe: dict[str, Any] | str, out: Path, *overrides: str) -> None:
    """Train this recipe, or the one of this name, into the folder `out`."""
    name = recipe
    if isinstance(recipe, dict):
        name = str(out.parent / f"{out.name}.yaml")
        Path(name).write_text(yaml.safe_dump(recipe))
    command("train", str(name), "--out", str(out), *overrides)


def lines_of(recipe: dict[str, Any] | str, *overrides: str) -> list[dict[str, float]]:
    """The metrics of a run of this recipe, with these overrides; those that are timings in capitals."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train(recipe, run, *overrides)
        schema = json.loads((run / "metrics.schema.json").read_text())
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [{name.upper() if schema[name]["timing"] else name: line[name] for name in line} for line in lines]


def largest_difference(one: dict[str, float], other: dict[str, float]) -> tuple[float, str]:
    """Between two metrics lines, timings left out."""
    return max((abs(one[name] - other[name]) / (1 + abs(one[name])), name) for name in one if not name.isupper())


@contextmanager
def waits_noted() -> Iterator[Counter[str]]:
    """Count, by line of code, the operations inside that make the CPU wait for the GPU."""
    found: Counter[str] = Counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")
            for one in said:
                if "synchroniz" in str(one.message):
                    found[f"{Path(one.filename).name}:{one.lineno}"] += 1


def compared(case: dict[str, Any]) -> dict[str, Any]:
    """A small case on the GPU beside the CPU, and how often a meta-update waits."""
    case = case | {"workers": 0, "iterations": 3}
    case["evaluation"] = case["evaluation"] | {"every": 0}
    cpu, cuda = (lines_of(case, f"device={device}") for device in ("cpu", "cuda"))
    difference, metric = largest_difference(cpu[0], cuda[0])
    with waits_noted() as three:
        lines_of(case, "device=cuda")
    with waits_noted() as one:
        lines_of(case, "device=cuda", "iterations=1")
    waits = {line: (count - one[line]) // 2 for line, count in three.most_common(12)}
    return {
        "verdict": "equal" if difference <= ROUNDING else "DIFFERS",
        "difference": difference,
        "metric": metric,
        "steps/s": {device: lines[-1]["STEPS_PER_SECOND"] for device, lines in (("cpu", cpu), ("cuda", cuda))},
        "waits of a meta-update": (three.total() - one.total()) / 2,
        "waits by line": {line: count for line, count in waits.items() if count},
    }


def same_bits(name: str, case: dict[str, Any]) -> dict[str, Any]:
    """Whether resuming, and where Ray is here workers and a learner group, leave a GPU's bits alone."""
    case = case | {"workers": 0, "iterations": 4, "device": "cuda", "checkpoints": {"every": 2, "keep": 5}}
    ways = {"again": [], "2 workers, 1 learner by NCCL": ["workers=2", "learners=1"]}
    if name not in IN_A_GROUP or not find_spec("ray"):
        ways.pop("2 workers, 1 learner by NCCL")
    with tempfile.TemporaryDirectory() as folder:
        run, found = Path(folder) / "run", {}
        train(case, run)
        expected = without_settings(record_of(run))
        for number, (way, overrides) in enumerate(ways.items()):
            out = Path(folder) / f"{number}"
            train(case, out, *overrides)
            found[way] = differing(expected, out)
        shutil.rmtree(max((run / "checkpoints").glob("iteration-*")))  # as if it had been killed before it
        command("resume", str(run))
        found["resumed"] = differing(expected, run)
    return {"verdict": "equal" if set(map(str, found.values())) == {"same bits"} else "DIFFERS", **found}


def differing(expected: dict[str, Any], run: Path) -> list[str] | str:
    """The parts of a run's results that are not as expected."""
    record = without_settings(record_of(run))
    return [part for part in expected if expected[part] != record[part]] or "same bits"


def without_settings(record: dict[str, Any]) -> dict[str, Any]:
    """A record's results."""
    return {part: value for part, value in record.items() if part != "config"}


def timed(name: str) -> dict[str, float]:
    """Seconds of a meta-update of a shipped recipe at full size."""
    settings = [
        "iterations=4",
        "workers=0",
        "evaluation={every: 0, validation_tasks: 2, held_out_tasks: 2, rollouts: 1}",
        "learner_threads=auto",
    ]
    runs = {way: lines_of(name, *settings, *overrides) for way, overrides in WAYS.items()}
    return {way: statistics.median(line["SECONDS_LEARNING"] for line in lines[1:]) for way, lines in runs.items()}


def main() -> None:
    if not torch.cuda.is_available():
        print(
            f"no GPU that torch {torch.__version__} can use is here, so there is nothing to check on one; that no "
            "operation mixes devices is tested without (tests/property/test_placement.py)"
        )
        return
    began = time.monotonic()
    out, quick = Path(sys.argv[1]).resolve(), "--quick" in sys.argv  # now: the command line is played by sys.argv
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(), "cases": {}, "bits": {}, "full": {}}

    def note(part: str, name: str, measure: Callable[[], dict[str, Any]]) -> None:
        try:
            found[part][name] = measure()
        except Exception as error:  # whatever goes wrong on the GPU is the finding
            found[part][name] = {"verdict": "FAILS", "error": f"{type(error).__name__}: {error}"[-600:]}
        print(part, name, json.dumps(found[part][name]), flush=True)
        out.write_text(json.dumps(found | provenance(), indent=1) + "\n")

    small = {name: case for name, case in cases().items() if not any(word in name for word in SKIPPED)}
    for case in small.values():
        case.pop("then", None)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for name in SAME_BITS:
            note("bits", name, lambda name=name: same_bits(name, small[name]))  # type: ignore[misc]
    found["no deterministic kernel"] = sorted({str(one.message) for one in said if "determinis" in str(one.message)})
    print(found["no deterministic kernel"])
    for name, case in small.items():
        note("cases", name, lambda case=case: compared(case))  # type: ignore[misc]
    for name in () if quick else FULL_SIZE:
        if time.monotonic() - began < BUDGET_S:
            note("full", name, lambda name=name: timed(name))  # type: ignore[misc]
    out.write_text(json.dumps(found | provenance(), indent=1) + "\n")
    verdicts = [one.get("verdict", "equal") for part in ("cases", "bits", "full") for one in found[part].values()]
    sys.exit(set(verdicts) != {"equal"})


if __name__ == "__main__":
    main()
