"""How well every agent learns families of strangers with its defaults: `acclimate train family=... agent=...`, no more.

    python benchmarks/defaults.py train OUT [--only TEXT] [--seeds 0,1,2]   a run folder each; those that are there stay
    python benchmarks/defaults.py time OUT [--only TEXT]                    seed 0 again, as users run it, alone
    python benchmarks/defaults.py report OUT                                defaults.json among the results, the table

Runs train in this process on one core each, which gives the numbers that workers give. `control` is the same weights
without their context (memory wiped, latent of the prior, no inner step), `untrained` a fresh initialisation.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULT, PAGE = ROOT / "docs/results/benchmarks/defaults.json", ROOT / "docs/defaults.md"
BEGIN, END = "<!-- made by benchmarks/defaults.py -->", "<!-- end -->"
ALL, DISCRETE = ("rl2", "varibad", "maml", "pearl", "reptile"), ("rl2", "varibad", "maml", "reptile")
# What to train on what, and why it stands here.
FAMILIES = {
    "examples.strangers:PendulumMass": ("asked for", ALL),
    "examples.strangers:CartPoleSign": ("asked for", DISCRETE),
    "benchmarks.families_of_strangers:HiddenPlace": ("Dict observation", ("rl2",)),
    "benchmarks.families_of_strangers:HiddenCode": ("MultiDiscrete action", ("rl2",)),
    "benchmarks.families_of_strangers:ColouredFloor": ("image of 7 x 7 x 3", ("rl2",)),
    "examples.strangers:AcrobotSign": ("chosen after the defaults", DISCRETE),
    "examples.strangers:MountainCarPower": ("chosen after the defaults", ("rl2", "pearl")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "time", "report"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="", help="runs whose name holds this")
    parser.add_argument("--seeds", default="0,1,2")
    options = parser.parse_args()
    names = [name for name in cases() if options.only in name]
    if options.what == "report":
        report(options.out)
    for name in names if options.what != "report" else []:
        for seed in [int(seed) for seed in options.seeds.split(",")] if options.what == "train" else [0]:
            train(name, seed, options.out, timed=options.what == "time")


def cases() -> dict[str, tuple[str, str]]:
    """(family, agent) of each line of the table, by the name of its folder."""
    return {
        f"{family.rpartition(':')[2]}-{agent}": (family, agent)
        for family, (_, agents) in FAMILIES.items()
        for agent in agents
    }


def train(name: str, seed: int, out: Path, timed: bool) -> None:
    """One run by the command line, as a user trains it; its seconds stand beside it."""
    family, agent = cases()[name]
    folder = out / ("timed" if timed else name) / (name if timed else f"seed-{seed}")
    took = folder.with_name(f"{folder.name}.json")
    if took.exists():
        return
    alone = [] if timed else ["workers=0", "learner_threads=1", "device=cpu"]
    command = [sys.executable, "-m", "trainers.cli.app", "train", f"family={family}", f"agent={agent}", f"seed={seed}"]
    environment = (
        os.environ
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        | ({} if timed else {"OMP_NUM_THREADS": "1"})
    )
    began, before = time.perf_counter(), os.times()
    done = subprocess.run(
        [*command, *alone, "--out", str(folder)],
        check=True,
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds, after = time.perf_counter() - began, os.times()
    said = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    cpu_seconds = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"{folder}: {seconds:.0f} s, {cpu_seconds:.0f} of a processor", *said, sep="\n  ", flush=True)
    took.write_text(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "said": said}) + "\n")


def measure(name: str, out: Path) -> dict[str, object]:
    """The last adaptation step on held-out tasks, all seeds pooled, beside its controls."""
    import acclimate

    family, agent = cases()[name]
    path = out / name
    measured = {
        "trained": acclimate.evaluate(path, "held-out"),
        "control": acclimate.evaluate(path, "held-out", context="none"),
        "untrained": acclimate.evaluate(path, "held-out", untrained=True),
    }
    row: dict[str, object] = {"family": family, "why": FAMILIES[family][0], "agent": agent}
    for kind, summary in measured.items():
        row[kind] = {"return": summary["mean"][-1], "ci95": summary["ci95"][-1]}
    row["first"] = measured["trained"]["mean"][0]
    row["seeds"] = measured["trained"]["training_seeds"]
    blind = [returns["blind"] for returns in _references(path) if "blind" in returns]
    row["blind"] = sum(blind) / len(blind) if blind else None
    timed = out / "timed" / f"{name}.json"
    took = [json.loads(file.read_text()) for file in sorted(path.glob("seed-*.json"))]
    row["said"] = sorted({sentence for one in took for sentence in one.get("said", [])})
    row["minutes"] = json.loads(timed.read_text())["seconds"] / 60 if timed.exists() else None
    lines = (next(iter(sorted(path.glob("seed-*")))) / "metrics.jsonl").read_text().splitlines()
    row["iterations"], row["environment_steps"] = len(lines), json.loads(lines[-1])["environment_steps"]
    return row


def _references(path: Path) -> list[dict[str, float]]:
    from trainers.runs.run_folder import find_runs

    run = find_runs(path)[0]
    family = run.family()
    return [family.reference_returns(task) for task in run.task_set(family, "held-out").tasks]


def report(out: Path) -> None:
    """Measure what was trained; write the figures and the table."""
    from trainers.runs.provenance import provenance

    rows = [measure(name, out) for name in cases() if list((out / name).glob("seed-*/report.html"))]
    RESULT.write_text(json.dumps({"provenance": provenance(), "rows": rows}, indent=1) + "\n")
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{rest.partition(END)[2]}")


def table(rows: list[dict[str, object]]) -> str:
    """The rows as Markdown, and what their runs said of themselves."""
    lines = [
        "| family | agent | first episodes | after adapting | control | untrained | blind | seeds | steps | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [str(row["family"]).rpartition(":")[2], row["agent"], _number(row["first"])]
        cells += [_interval(row[kind]) for kind in ("trained", "control", "untrained")]
        minutes = "" if row["minutes"] is None else f"{row['minutes']:.1f}"
        cells += [_number(row["blind"]), row["seeds"], f"{row['environment_steps']:,}", minutes]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    by_kind: dict[str, list[str]] = {}
    for row in rows:
        for kind in kinds_said(row):
            by_kind.setdefault(kind, []).append(f"{str(row['family']).rpartition(':')[2]} by {row['agent']}")
    said = [f"* {kind}: {', '.join(runs)}" for kind, runs in by_kind.items()]
    return "\n".join([*lines, *(["", "Said while they ran, by some or all seeds:", ""] if said else []), *said])


def kinds_said(row: dict[str, object]) -> list[str]:
    """The signs that the row's runs said, each once, without the figures that differ from run to run and the advice."""
    said = row["said"]
    assert isinstance(said, list)
    signs = (one.removeprefix("warning: ").partition(";")[0] for one in said)
    return sorted({re.sub(r" (is|returned|are) [-+.e\d]+( nats)?", r" \1 ...", sign) for sign in signs})


def _number(value: object) -> str:
    return "" if value is None else f"{value:.4g}"


def _interval(point: object) -> str:
    assert isinstance(point, dict)
    low, high = point["ci95"]
    return f"{_number(point['return'])} ({_number(low)} … {_number(high)})"


if __name__ == "__main__":
    main()
