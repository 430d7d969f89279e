"""What every benchmark shares: medians, and a record with the machine and the commit beside the figure."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainers.run_folder import provenance

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "benchmarks"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def record(name: str, figures: dict[str, Any]) -> None:
    """Prints the figures and writes them to docs/results/benchmarks/<name>.json."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {"figures": figures, **provenance()}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
