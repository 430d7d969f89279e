"""Makes a result public: small run folders under docs/results/<recipe>/, their summaries, and the tables.

    python benchmarks/publish.py RUNS [RUNS ...]     RUNS: a folder of seed-* run folders, called like its recipe
    python benchmarks/publish.py                     only writes docs/results/README.md again from the summaries

Each published seed is a run folder that `acclimate evaluate` takes as it is: configuration, task sets, metrics, the
final weights and the held-out rows. `summary.json` beside the seeds is what `acclimate evaluate --json` writes for
them pooled, made of their rows; the negative controls are the same with `--untrained` (`untrained.json`) and, of agents
that infer their task and are not told it, with `--context none` and of PEARL `--context another`. PEARL's
`deterministic.json` is with `--deterministic`, as the paper tests.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

from envs.task import TaskSet
from trainers.evaluation.evaluator import curve, summary
from trainers.evaluation.run_evaluation import (
    evaluate_runs,
    find_runs,
    mean_reference_returns,
    write_summary_and_report,
)
from trainers.runs.metrics import read

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
PICTURES = ("adaptation_curve.png", "adaptation_during_training.png", "learning_curve.png", "trajectories.png")
# Controls of agents that infer their task: what they do with another context than their own.
CONTEXTS = {"rl2": ("none",), "varibad": ("none",), "pearl": ("none", "another")}
LABELS = {
    "summary": "",
    "untrained": ", untrained",
    "none": ", its context forgotten",
    "another": ", another task's context",
    "deterministic": ", without noise",
}
# Finn et al. 2017: the result files behind the paper's tables, means over the same 40 goals, horizon 100.
PAPER = {
    "MAML (paper)": [-40.41, -11.68, -3.33, -3.23],
    "pretrained on all tasks (paper)": [-40.81, -19.73, -11.72, -8.47],
    "random initialisation (paper)": [-82.66, -57.96, -53.84, -46.81],
}


def publish(runs: Path) -> None:
    """Copies what a reader needs of each seed, and measures the seeds pooled and untrained."""
    target = RESULTS / runs.name
    if target.exists():
        shutil.rmtree(target)
    for run in find_runs(runs):
        seed = target / f"seed-{run.recipe.seed}"
        run.copy_without_learner(seed)
        if run.recipe.seed == 0:
            write_summary_and_report(run)
            for name in PICTURES:
                if (run.path / name).exists():  # nothing to see from above for a robot
                    shutil.copy(run.path / name, target / name)
        size = sum(path.stat().st_size for path in seed.rglob("*") if path.is_file())
        print(f"{seed.relative_to(ROOT)}: {size / 1e3:.0f} kB")
    (target / "summary.json").write_text("{}\n")  # from its rows, with all others
    write(target / "untrained.json", evaluate_runs(target, "held-out", untrained=True))
    for context in () if run.recipe.task_in_observation else CONTEXTS.get(run.recipe.agent_name, ()):
        write(target / f"{context}.json", evaluate_runs(target, "held-out", context=context))
    if run.recipe.agent_name == "pearl":  # the published test has no noise
        write(target / "deterministic.json", evaluate_runs(target, "held-out", deterministic=True))


def write(path: Path, told: dict[str, Any]) -> None:
    """A summary with the returns of at most 100 tasks one by one; the rows have all."""
    path.write_text(json.dumps(told | {"tasks": told["tasks"][:100]}) + "\n")


def table() -> str:
    """docs/results/README.md, from the summaries and the benchmarks' records."""
    lines = [
        "# Results",
        "",
        "Written by `benchmarks/publish.py` from the summaries and records beside it; a test compares the two. Mean",
        "return of the stochastic policy on held-out tasks after 0, 1, 2, 3 adaptations, with 95 % intervals of the",
        "crossed bootstrap (whole seeds, then tasks). Check a row with `acclimate evaluate docs/results/<recipe>`, its",
        "control with `--untrained`. Minutes are wall time of one seed's training on the machine in its",
        "`provenance.json`.",
        "",
        "## point_nav-v1: the 40 held-out goals of Finn et al. 2017, 40 rollouts a step",
        "",
        "| what | seeds | 0 | 1 | 2 | 3 | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for folder in sorted(RESULTS.glob("point_nav_*")):
        lines += rows(folder, 4)
    for label, values in PAPER.items():
        lines.append(f"| {label} | - | {' | '.join(f'{value:.2f}' for value in values)} | - |")
    lines += ["", "Exact yardsticks there: staying at the origin -40.08, the best deterministic policy -0.54.", ""]
    return "\n".join(
        lines + locomotion() + inference() + optimum() + speed() + variants() + sinusoid() + learners() + endurance()
    )


def rows(folder: Path, points: int, *, gains: bool = False) -> list[str]:
    """The table rows of a published recipe and its untrained control."""
    lines = []
    for name in ("summary", "untrained"):
        told = json.loads((folder / f"{name}.json").read_text())
        cells = each(told)
        cells += ["-"] * (points - len(cells))
        if gains:
            cells.append(within(told["gain"]["mean"], told["gain"]["ci95"]))
        lines.append(row(folder, name, told, cells))
    return lines


def each(told: dict[str, Any]) -> list[str]:
    """Every point of a curve with its interval."""
    return [within(mean, bounds) for mean, bounds in zip(told["mean"], told["ci95"], strict=True)]


def within(mean: float, bounds: list[float]) -> str:
    """A mean with its interval."""
    return f"{mean:.2f} [{bounds[0]:.2f}, {bounds[1]:.2f}]"


def row(folder: Path, name: str, told: dict[str, Any], cells: list[str]) -> str:
    """A table row; training was paid once, so the minutes stand in the first of a recipe."""
    spent = f"{minutes(folder):.1f}" if name == "summary" else "-"
    return f"| {folder.name}{LABELS[name]} | {told['training_seeds']} | {' | '.join(cells)} | {spent} |"


def minutes(folder: Path) -> float:
    """Wall time of one seed's training, the median of the seeds."""
    seeds = sorted(folder.glob("seed-*/"))
    return statistics.median(read(seed / "metrics.jsonl")[-1]["seconds_elapsed"] / 60 for seed in seeds)


def locomotion() -> list[str]:
    """Robots: one table of all recipes on MuJoCo."""
    folders = [one for one in published() if not one.name.startswith("point") and agent_of(one) not in CONTEXTS]
    return [
        "## Locomotion: held-out tasks of each family",
        "",
        "The column 0 is the trained policy with adaptation off; *pretrained* is one policy for all tasks, trained",
        "without adapting, then the same inner step. Gained: the difference on each task, with its interval. With one",
        "seed an interval is over tasks alone. Minutes are of one seed on one core beside other work (see notes).",
        "",
        "| what | seeds | 0 | 1 | gained | minutes |",
        "|---|---|---|---|---|---|",
        *[row for folder in folders for row in rows(folder, 2, gains=True)],
        "",
    ]


def published() -> list[Path]:
    """The folders of all published recipes."""
    return sorted(path.parent for path in RESULTS.glob("*/summary.json"))


def agent_of(folder: Path) -> str:
    """The name of the agent that a recipe trains."""
    return find_runs(folder)[0].recipe.agent_name


def inference() -> list[str]:
    """Agents that infer their task, with their controls."""
    lines = [
        "## Adapting by inference: held-out tasks of each family",
        "",
        "Return of an episode: the first of a trial, the second, the last. Gained: the last less the first, by task.",
        "A bandit's episode is one pull. The controls have the same weights: *its context forgotten* after every step",
        "(RL², VariBAD) or episode (PEARL), *another task's context* in place of its own.",
        "",
        "| what | seeds | first episode | second | last | gained | whole trial | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for folder in (one for one in published() if agent_of(one) in CONTEXTS):
        for name in ("summary", "deterministic", "untrained", *CONTEXTS[agent_of(folder)]):
            if not (folder / f"{name}.json").exists():
                continue
            told = json.loads((folder / f"{name}.json").read_text())
            points = each(told)
            cells = [points[0], points[1], points[-1]]
            cells += [within(told[key]["mean"], told[key]["ci95"]) for key in ("gain", "trial_total")]
            lines.append(row(folder, name, told, cells))
    found = {
        LABELS[name] or "as trained": json.loads(path.read_text())["share_above_zero"][-1]
        for name in LABELS
        if (path := RESULTS / "sparse_point_robot_pearl" / f"{name}.json").exists()
    }
    told = "; ".join(f"{label.removeprefix(', ')} {share:.0%}" for label, share in found.items())
    lines += ["", f"sparse_point_robot_pearl, held-out goals whose last episode is rewarded: {told}."]
    return [*lines, "", blind(), ""]


def blind() -> str:
    """What nobody earns on HalfCheetahVelU03 who is neither told the velocity nor learns it."""
    run = find_runs(RESULTS / "half_cheetah_vel_u03_pearl")[0]
    family = run.family()
    tasks = run.task_set(family, "held-out")
    law = TaskSet(family.name, "train", tuple(family.sample(10_000, np.random.default_rng(0), "train")))
    known, lawful = (mean_reference_returns(family, one)["blind"] for one in (tasks, law))
    return (
        f"{family.name}, the same {len(tasks.tasks)} held-out tasks for every recipe: running at the middle of the "
        f"velocities from the first step on, at no cost, would earn {known:.1f} an episode; who neither is told the "
        f"velocity nor learns it cannot earn more on average over the law ({lawful:.0f})."
    )


def optimum() -> list[str]:
    """Where the optimum is known, from benchmarks/known_optimum.json."""
    lines = [
        "## Where the optimum is known or bounded",
        "",
        "`python benchmarks/known_optimum.py --run RECIPE docs/results/RECIPE ...`: total reward of a trial, mean and",
        "standard error over the same held-out tasks for all; of what is trained also each seed's mean. The difference",
        "to the best agent that is not told the task is taken task by task, in standard errors of it.",
        "",
    ]
    for setting, told in figures("known_optimum").items():
        against = next(name for name, one in told["agents"].items() if "difference" not in one)
        what = f"{setting}; {told['trials']:,} trials"
        lines += [
            f"| {what} | total reward | of each seed | minus {against} | in standard errors |",
            "|---|---|---|---|---|",
        ]
        for name, one in told["agents"].items():
            seeds = ", ".join(f"{mean:.2f}" for mean in one.get("of_each_seed", ())) or "-"
            cells = [f"{one['mean']:.3f} ± {one['standard_error']:.3f}", seeds, "-", "-"]
            if "difference" in one:
                share = one["difference_in_standard_errors"]
                cells[2:] = [f"{one['difference']:+.3f}", "-" if share is None else f"{share:+.1f}"]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    return lines + memories()


def memories() -> list[str]:
    """RL²'s kinds of memory, from benchmarks/memories.json."""
    told = figures("memories")
    blind, bayes = told["gap"]
    lines = [
        f"`python benchmarks/memories.py`: RL² on two arms, 10 pulls, {told['tasks']:,} held-out bandits; the share of",
        f"the gap between blind ({blind}) and Bayes-optimal ({bayes}) that each of three seeds closes, and with its",
        "memory wiped.",
        "",
        "| memory | closed | wiped | seconds of training |",
        "|---|---|---|---|",
    ]
    for kind, one in told["kinds"].items():
        cells = [", ".join(f"{value:.2f}" for value in one[key]) for key in ("closed", "wiped")]
        seconds = statistics.median(one["seconds of training"])
        lines.append(f"| {kind} | {' | '.join(cells)} | {seconds:.0f} |")
    return [*lines, ""]


def speed() -> list[str]:
    """Control steps a second on MuJoCo, from benchmarks/locomotion.json."""
    told = figures("locomotion")
    lines = [
        "## Speed on MuJoCo",
        "",
        "`python benchmarks/locomotion.py`, one thread, 200 rows: the trial loop with policy, rewards and storage,",
        "against a replay of the same states and controls in C, and against other ways to step, with the same policy",
        "in the loop. Medians; the ratio to raw physics is of runs side by side.",
        "",
        "| family | steps/s | raw physics | ratio | SyncVectorEnv | AsyncVectorEnv (16) | EnvPool |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in told["robots"].items():
        rate = one["control steps a second"]
        ratio = f"{one['closed against raw, random policy']:.2f}"
        if "closed against raw, trained policy" in one:
            ratio += f" (trained {one['closed against raw, trained policy']:.2f})"
        peers = [
            f"{rate[key]:,} ({rate['closed'] / rate[key]:.1f}x)" if key in rate else "-"
            for key in ("sync", "async (16)", "envpool")
        ]
        lines.append(f"| {name} | {rate['closed']:,} | {rate['raw']:,} | {ratio} | {' | '.join(peers)} |")
    lines += [
        "",
        "| family whose model varies | steps/s | raw physics | ratio, building included | 1,000 tasks prepared (s) |",
        "|---|---|---|---|---|",
    ]
    for name, one in told["families whose model varies"].items():
        rate = one["control steps a second"]
        lines.append(
            f"| {name} | {rate['closed']:,} | {rate['raw']:,} | {one['closed against raw, building included']:.2f} | "
            f"{one['seconds to prepare 1,000 tasks']} |"
        )
    workers = told["workers"]
    return [
        *lines,
        "",
        f"Two Ray workers reach {workers['two workers against one']} times one, two processes of nothing but physics "
        f"{workers['two raw processes against one']} times one: {workers['the one against the other']:.2f} of that. "
        f"Sampling with adaptation is {workers['adapting against bare, 2 workers']:.2f} of the bare closed loop, both "
        "on two workers.",
        "",
    ]


def variants() -> list[str]:
    """MAML's relatives, from what benchmarks/maml_variants.py wrote."""
    return [
        "## MAML's relatives on point_nav-v1",
        "",
        "`python benchmarks/maml_variants.py RUNS`: as many environment steps for each, three seeds, one core.",
        "Held-out: mean and 95 % interval at the end. Then the validation return after one inner step when so many",
        "environment steps or seconds of sampling and learning were spent (mean and range of the seeds, between the",
        "validations around it). Seconds are meta-updates times each variant's median, measured in turn.",
        "",
        "![Return after one inner step, by environment steps and by time](maml_variants.png)",
        "",
        *(RESULTS / "maml_variants.md").read_text().splitlines(),
        "",
    ]


def sinusoid() -> list[str]:
    """The regression experiment, from benchmarks/sinusoid.json."""
    told = figures("sinusoid")
    lines = [
        "## Sinusoid regression, 5 points (Finn et al. 2017, table 2)",
        "",
        f"`python benchmarks/sinusoid.py`: {sum(told['meta-updates']):,} meta-updates, mean squared error over "
        f"{told['test sinusoids of each seed']:,} new",
        "sinusoids, mean and each of three seeds.",
        "",
        "| inner steps | MAML | MAML (paper) | pretrained, the control | pretrained (paper) |",
        "|---|---|---|---|---|",
    ]
    for steps in ("1", "5", "10"):
        cells = []
        for name in ("MAML", "pretrained"):
            each = ", ".join(f"{one:.2f}" for one in told[name]["of each seed"][steps])
            cells += [f"{told[name]['mean'][steps]:.2f} ({each})", f"{told['paper'][name][steps]:.2f}"]
        lines.append(f"| {steps} | {' | '.join(cells)} |")
    return [*lines, ""]


def learners() -> list[str]:
    """What learning by inference costs, and a whole run's memory, from their records."""
    rl2, pearl, memory = figures("rl2_update"), figures("pearl_step"), figures("memory")
    lines = [
        "## What learning costs",
        "",
        "One thread. `python benchmarks/rl2_update.py`: an update of RL² against `nn.GRU` forward and backward and the",
        "heads' bare matrix products at the same shapes. `python benchmarks/pearl_step.py`: a gradient step of PEARL",
        "against its bare matrix products. Medians; this machine's own speed changes by half from minute to minute.",
        "",
        "| what | ms | bare (ms) | ratio |",
        "|---|---|---|---|",
    ]
    for name, one in rl2.items():
        whole, bare = (1e3 * one[key]["median"] for key in ("update (s)", "bare products (s)"))
        lines.append(f"| RL², {name} | {whole:.0f} | {bare:.0f} | {one['ratio']:.2f} |")
    for name, one in pearl.items():
        whole, bare = (one[key]["median"] for key in ("step (ms)", "bare products (ms)"))
        lines.append(f"| PEARL, {name} | {whole:.1f} | {bare:.1f} | {one['ratio']['median']:.2f} |")
    small = pearl["2 x 128, 16 x 32"]["steps a second"]
    early, late = (memory[f"median peak of the {third} third, GB"] for third in ("first", "last"))
    return [
        *lines,
        "",
        f"PEARL takes {small['median']:.0f} gradient steps a second at 2 x 128, 16 x 32 ({small['min']:.0f} to "
        f"{small['max']:.0f}).",
        "",
        f"`python benchmarks/memory.py --iterations {memory['iterations']}`, HalfCheetahVel, 40 tasks x 20 rollouts x "
        f"200 steps, two workers: all processes together hold {memory['largest sum of PSS, GB']} GB (PSS) at most, "
        f"{early} GB in the first third of the meta-updates and {late} GB in the last.",
        "",
    ]


def endurance() -> list[str]:
    """Deaths, faults and what keeping a run safe costs, from their records."""
    kills, faults, cost = figures("kill_and_resume"), figures("faults"), figures("overhead")
    workers, shards = faults["workers, shards"]
    dead = faults["one worker killed in a shard (s, ratio)"][1]
    shares = {name: cost[name] for name in ("checkpoint", "validation", "held-out")}
    survived = ", ".join(f"{one['bit-identical']} of {one['tries']} ({recipe})" for recipe, one in kills.items())
    each = ", ".join(
        f"a {name} {one['seconds']['median']:.3f} s ({one['one, share of the run (%)']} %; "
        f"all {one['seconds']['runs']} of them {one['all, share of the run (%)']} %)"
        for name, one in shares.items()
    )
    return [
        "## Endurance",
        "",
        "* `benchmarks/kill_and_resume.py`: runs killed with SIGKILL at random moments and resumed, those that are "
        f"bit-identical to an undisturbed one in weights, metrics and rows: {survived}.",
        f"* `benchmarks/faults.py`, {workers} workers, {shards} shards, bits the same in all iterations: "
        f"{str(faults['bit-identical in all iterations']).lower()}. One worker stalled ten times: an iteration takes "
        f"{faults['ratio of medians']:.2f} of a usual one "
        f"({faults['stalled, overdue shards left to it (ratio)']:.2f} if its shards are left to it); one killed in a "
        f"shard: {dead:.2f}.",
        f"* `benchmarks/overhead.py`, the run of the README's first command ({cost['seconds of the run']} s): {each}.",
        "",
    ]


def figures(name: str) -> Any:
    """The figures in a benchmark's record."""
    return json.loads((RESULTS / "benchmarks" / f"{name}.json").read_text())["figures"]


def summarise_again() -> None:
    """Every summary from the published rows, in the form that the code has now."""
    for path in RESULTS.glob("*/summary.json"):
        runs = find_runs(path.parent)
        held_out = runs[0].task_set(runs[0].family(), "held-out")
        write(path, summary(curve([run.rows() for run in runs], "stochastic"), held_out))


def main() -> None:
    for runs in sys.argv[1:]:
        publish(Path(runs))
    summarise_again()
    notes = RESULTS / "notes.md"
    (RESULTS / "README.md").write_text(table() + (f"\n{notes.read_text()}" if notes.is_file() else ""))


if __name__ == "__main__":
    main()
