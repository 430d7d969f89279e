"""Tables of the benchmarks' records in docs/results/benchmarks/."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from trainers.evaluation.statistics import interval

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"


def optimum() -> list[str]:
    """Where the optimum is known, from benchmarks/known_optimum.json."""
    lines = [
        "## Where the optimum is known or bounded",
        "",
        "`python benchmarks/known_optimum.py --run RECIPE docs/results/RECIPE ...`: total reward of a trial over the",
        "same held-out tasks for all. Of baselines the mean and its standard error over trials; of what is trained the",
        "mean,",
        "its 95 % interval over seeds (t, S - 1 degrees of freedom) and each seed's mean. The difference to the best",
        "agent that does not observe the task is taken task by task, in standard errors of it given these runs.",
        "",
    ]
    for setting, measured in figures("known_optimum").items():
        against = next(name for name, agent in measured["agents"].items() if "difference" not in agent)
        lines += [
            f"| {setting}; {measured['trials']:,} trials | total reward | of each seed | minus {against} | "
            "in standard errors |",
            "|---|---|---|---|---|",
        ]
        for name, agent in measured["agents"].items():
            seeds = ", ".join(f"{mean:.2f}" for mean in agent.get("of_each_seed", ())) or "-"
            cells = [_total(agent), seeds, "-", "-"]
            if "difference" in agent:
                share = agent["difference_in_standard_errors"]
                cells[2:] = [f"{agent['difference']:+.3f}", "-" if share is None else f"{share:+.1f}"]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    return lines + memories()


def _total(agent: dict[str, Any]) -> str:
    """A mean, of runs with the interval over their seeds, else with its standard error over trials."""
    if len(seeds := agent.get("of_each_seed", ())) < 2:
        return f"{agent['mean']:.3f} ± {agent['standard_error']:.3f}"
    low, high = interval(np.array(seeds)[:, None], "fixed")
    return f"{agent['mean']:.3f} [{low:.3f}, {high:.3f}]"


def memories() -> list[str]:
    """RL²'s kinds of memory, from benchmarks/memories.json."""
    measured = figures("memories")
    blind, bayes = measured["gap"]
    lines = [
        f"`python benchmarks/memories.py`: RL² on two arms, 10 pulls, {measured['tasks']:,} held-out bandits; the",
        f"share of the gap between blind ({blind}) and Bayes-optimal ({bayes}) that each of three seeds closes, and",
        "with its memory wiped.",
        "",
        "| memory | closed | wiped | seconds of training |",
        "|---|---|---|---|",
    ]
    for kind, memory in measured["kinds"].items():
        cells = [", ".join(f"{value:.2f}" for value in memory[key]) for key in ("closed", "wiped")]
        seconds = statistics.median(memory["seconds of training"])
        lines.append(f"| {kind} | {' | '.join(cells)} | {seconds:.0f} |")
    return [*lines, ""]


def speed() -> list[str]:
    """Control steps a second on MuJoCo, from benchmarks/locomotion.json."""
    measured = figures("locomotion")
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
    for name, robot in measured["robots"].items():
        rate = robot["control steps a second"]
        ratio = f"{robot['closed against raw, random policy']:.2f}"
        if "closed against raw, trained policy" in robot:
            ratio += f" (trained {robot['closed against raw, trained policy']:.2f})"
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
    for name, robot in measured["families whose model varies"].items():
        rate = robot["control steps a second"]
        lines.append(
            f"| {name} | {rate['closed']:,} | {rate['raw']:,} | {robot['closed against raw, building included']:.2f} | "
            f"{robot['seconds to prepare 1,000 tasks']} |"
        )
    workers = measured["workers"]
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
    measured = figures("sinusoid")
    lines = [
        "## Sinusoid regression, 5 points (Finn et al. 2017, table 2)",
        "",
        f"`python benchmarks/sinusoid.py`: {sum(measured['meta-updates']):,} meta-updates, mean squared error over "
        f"{measured['test sinusoids of each seed']:,} new",
        "sinusoids, mean and each of three seeds.",
        "",
        "| inner steps | MAML | MAML (paper) | pretrained, the control | pretrained (paper) |",
        "|---|---|---|---|---|",
    ]
    for steps in ("1", "5", "10"):
        cells = []
        for name in ("MAML", "pretrained"):
            seeds = ", ".join(f"{error:.2f}" for error in measured[name]["of each seed"][steps])
            cells += [f"{measured[name]['mean'][steps]:.2f} ({seeds})", f"{measured['paper'][name][steps]:.2f}"]
        lines.append(f"| {steps} | {' | '.join(cells)} |")
    return [*lines, ""]


def learners() -> list[str]:
    """Price of learning by inference, and a whole run's memory, from their records."""
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
    for name, timed in rl2.items():
        update, bare = (1e3 * timed[key]["median"] for key in ("update (s)", "bare products (s)"))
        lines.append(f"| RL², {name} | {update:.0f} | {bare:.0f} | {timed['ratio']:.2f} |")
    for name, timed in pearl.items():
        step, bare = (timed[key]["median"] for key in ("step (ms)", "bare products (ms)"))
        lines.append(f"| PEARL, {name} | {step:.1f} | {bare:.1f} | {timed['ratio']['median']:.2f} |")
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
    survived = ", ".join(f"{kill['bit-identical']} of {kill['tries']} ({recipe})" for recipe, kill in kills.items())
    stopped = ", ".join(
        f"{one['exit 143 within 10 s']} and {one['bit-identical after resume']} of {one['tries']} ({agent})"
        for agent, one in figures("stopping").items()
    )
    each = ", ".join(
        f"a {name} {share['seconds']['median']:.3f} s ({share['one, share of the run (%)']} %; "
        f"all {share['seconds']['runs']} of them {share['all, share of the run (%)']} %)"
        for name, share in shares.items()
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
        "* `benchmarks/stopping.py`: SIGTERM to the process group of a run with two workers, while it samples, learns, "
        "validates or evaluates, that ended with 143 within 10 s; then resumed to the bits of an undisturbed run: "
        f"{stopped}.",
        f"* `benchmarks/overhead.py`, the run of the README's first command ({cost['seconds of the run']} s): {each}.",
        "",
    ]


def figures(name: str) -> Any:
    """The figures in a benchmark's record."""
    return json.loads((RESULTS / "benchmarks" / f"{name}.json").read_text())["figures"]
