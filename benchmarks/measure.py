"""Shared by every benchmark: medians, and a record with the machine and the commit beside the figure."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainers.runs.provenance import provenance

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "benchmarks"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def record(name: str, figures: dict[str, Any], *, keep: bool = False) -> None:
    """Prints the figures and writes them to docs/results/benchmarks/<name>.json; `keep` leaves the others in it."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    others = json.loads(path.read_text())["figures"] if keep and path.exists() else {}
    path.write_text(json.dumps({"figures": others | figures, **provenance()}, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
