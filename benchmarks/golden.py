"""Golden record: does the present tree compute the same bits as another commit, on this machine?

    python benchmarks/golden.py BASE                    small runs of every algorithm, loop type and family kind
    python benchmarks/golden.py BASE --results          every run folder of BASE's docs/results, evaluated by both
    python benchmarks/golden.py BASE --only rl2         only the cases whose name holds this

Last bits differ between processors, so nothing is stored: BASE is checked out beside the present tree and both play the
same cases through their own command line. Compared are the weights (every tensor of the newest checkpoint, whatever
its name), every metric but timings, every column of the adaptation rows, and the summaries of `acclimate evaluate`.
The present tree trains the whole recipes that BASE stored, so that a default that has changed is no difference. What
BASE has must be there with equal values; what has come since is free. Prints a line a case; exits 1 if any differ.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NO_RESULT = ("config",)  # parts of a record that are kept for the other tree
UNCOMPARED = ("success", "run_id")  # columns: one that may be null, one that is new for every run
RENAMED = {"point": "adaptation_step"}  # columns of adaptation rows that are called otherwise since

SMALL_EVALUATION = {"every": 2, "validation_tasks": 2, "held_out_tasks": 3, "rollouts": 2}
IN_A_ROW = {"every": 2, "validation_tasks": 2, "held_out_tasks": 3, "rollouts": 1, "repeats": 2}
MAML = {"name": "maml", "meta_batch_size": 3, "rollouts": 3, "hidden_sizes": [8]}
CLIP = MAML | {"outer": {"name": "clip"}}
REPTILE = MAML | {"name": "reptile", "inner_steps": 2}
RL2 = {"name": "rl2", "meta_batch_size": 4, "episodes_per_trial": 2}
VARIBAD = {
    "name": "varibad",
    "meta_batch_size": 3,
    "episodes_per_trial": 2,
    "vae_batch": 2,
    "policy_sizes": [8],
}
PEARL = {
    "name": "pearl",
    "train_tasks": 4,
    "initial_episodes": 2,
    "tasks_per_iteration": 3,
    "prior_rounds": 1,
    "posterior_rounds": 1,
    "hidden_sizes": [8],
    "encoder_sizes": [8],
    "gradient_steps": 3,
    "meta_batch_size": 2,
    "batch_size": 8,
    "context_size": 8,
    "context_capacity": 50,
}
OWN_FAMILY = '''
import gymnasium
from envs.task import TaskFamily, Uniform


class PendulumMass(TaskFamily):
    """pendulum_mass-v1: Gymnasium's pendulum."""

    name = "pendulum_mass-v1"
    parameters = {"mass_kg": Uniform(0.5, 2.0, unit="kg", ood=((2.0, 3.0),))}
    episode_steps = 20
    kind = "region"

    def make_env(self, task):
        env = gymnasium.make("Pendulum-v1", max_episode_steps=self.episode_steps)
        env.unwrapped.m = task["mass_kg"]
        return env

    def in_held_out_region(self, parameters):
        return parameters["mass_kg"] > 1.5
'''


def recipe(family: str, agent: dict[str, Any], evaluation: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """A recipe of three meta-updates, in the vocabulary of the first release."""
    few = {"seed": 3, "iterations": 3, "workers": 0, "device": "cpu", "learner_threads": 1, "family": family}
    return few | {"agent": agent, "evaluation": evaluation, "sampling": {"tasks_per_shard": 2}} | keys


def cases() -> dict[str, dict[str, Any]]:
    """Recipes by name; `then` are commands on the run folder RUN that follow."""
    row = IN_A_ROW | {"rounds": 1}
    pearl = IN_A_ROW | {"rounds": 2, "repeats": 1, "held_out_tasks": 4}
    controls = ["evaluate RUN --untrained", "evaluate RUN --context none"]
    made: dict[str, dict[str, Any]] = {
        "maml_trpo": recipe("point_nav-v1", MAML, SMALL_EVALUATION)
        | {"then": ["evaluate RUN --deterministic --rounds 2", "evaluate RUN --split ood", "evaluate RUN --untrained"]},
        "maml_clip_two_steps": recipe(
            "point_nav-v1", CLIP | {"inner_steps": 2, "outer_weights": [2, 1], "task_chunk": 2}, SMALL_EVALUATION
        ),
        "maml_first_order_step_sizes": recipe(
            "point_robot-v1", MAML | {"first_order": True, "learn_step_sizes": True}, SMALL_EVALUATION
        ),
        "maml_ray": recipe("half_cheetah_vel-v1", CLIP, SMALL_EVALUATION, workers=2),
        "maml_fixed_tasks": recipe("point_nav-v1", CLIP, SMALL_EVALUATION, train_tasks=5),
        "maml_pretrained": recipe("point_nav-v1", MAML | {"inner_steps": 0}, SMALL_EVALUATION),
        "maml_told": recipe("point_nav-v1", CLIP, SMALL_EVALUATION, tells_task=True),
        "maml_discrete": recipe("grid_navi-v1", CLIP, SMALL_EVALUATION),
        "maml_own_region": recipe("own_family:PendulumMass", CLIP, SMALL_EVALUATION),
        "reptile": recipe("point_nav-v1", MAML | {"name": "reptile", "inner_steps": 2}, SMALL_EVALUATION),
        "pearl": recipe("point_robot-v1", PEARL | {"normalise_observations": True}, pearl, train_tasks=4)
        | {"then": [*controls, "evaluate RUN --context another", "evaluate RUN --deterministic"]},
        "pearl_ray": recipe(
            "half_cheetah_dir-v1",
            PEARL | {"train_tasks": 2, "tasks_per_iteration": 2, "temperature": {"name": "learned"}},
            pearl | {"validation_tasks": 2, "held_out_tasks": 2},
            train_tasks=2,
            workers=2,
        ),
        "pearl_dense": recipe(
            "sparse_point_robot-v1",
            PEARL | {"dense_reward": True, "held_exploration": True, "next_observation_in_context": True},
            pearl,
            train_tasks=4,
        ),
        "rl2_gru": recipe(
            "bandit_5_arms-v1",
            RL2 | {"episodes_per_trial": 10, "memory": {"name": "gru", "size": 6}, "bptt_steps": 4, "minibatches": 2},
            row | {"rounds": 9},
        )
        | {
            "then": [
                *controls,
                *(f"evaluate RUN --agent {name}" for name in ("random", "thompson", "ucb1", "gittins", "oracle")),
            ]
        },
        "rl2_lstm": recipe(
            "half_cheetah_vel-v1",
            RL2 | {"memory": {"name": "lstm", "size": 6, "chrono_steps": 24}, "normalise_observations": True},
            row,
            workers=2,
        ),
        "rl2_transformer": recipe(
            "point_robot-v1", RL2 | {"memory": {"name": "transformer", "size": 8, "heads": 2, "layers": 1}}, row
        ),
        "rl2_snail": recipe(
            "point_robot-v1", RL2 | {"memory": {"name": "snail", "filters": 3, "key_size": 3, "value_size": 3}}, row
        ),
        "rl2_external": recipe(
            "point_robot-v1", RL2 | {"memory": {"name": "external", "size": 6, "slots": 4, "width": 3}}, row
        ),
        "rl2_pairs": recipe(
            "tabular_mdp-v1",
            RL2 | {"pair_inputs": True, "heads_per_observation": True, "head_sizes": [6], "reward_offset": 0.5},
            row,
        )
        | {"then": [f"evaluate RUN --agent {name}" for name in ("psrl", "posterior_greedy", "oracle")]},
        "varibad": recipe(
            "grid_navi-v1",
            VARIBAD | {"reward_decoder": {"name": "bernoulli", "per_observation": True}, "posteriors": 5},
            row,
        )
        | {"then": [*controls, "evaluate RUN --agent belief"]},
        "varibad_into_encoder": recipe(
            "point_robot-v1",
            VARIBAD
            | {
                "encoder": {"name": "lstm", "size": 6},
                "state_coefficient": 1.0,
                "decoded": 4,
                "policy_into_encoder": True,
            },
            row,
        ),
        "varibad_normalised": recipe(
            "half_cheetah_vel-v1", VARIBAD | {"normalise_beliefs": True, "normalise_observations": True}, row
        ),
        "resumed": recipe("point_nav-v1", CLIP, SMALL_EVALUATION, iterations=1) | {"then": ["resume RUN iterations=3"]},
        "resumed_pearl": recipe("point_robot-v1", PEARL, pearl, train_tasks=4, iterations=2)
        | {"then": ["resume RUN iterations=4"]},
        "warm_start": recipe("point_nav-v1", CLIP, SMALL_EVALUATION, init="runs/maml_clip_two_steps"),
    }
    of_families = (
        "ant_fwd_back-v1",
        "ant_goal-v1",
        "walker2d_rand_params-v1",
        "hopper_vel-v1",
        "humanoid_dir-v1",
        "half_cheetah_mixed-v1",
        "ant_rough-v1",
        "half_cheetah_motor_fails-v1",
        "half_cheetah_late_sensors-v1",
        "half_cheetah_wind-v1",
        "half_cheetah_mixed_scan-v1",
    )
    for name in of_families:
        made[f"family_{name}"] = recipe(name, CLIP | {"meta_batch_size": 2, "rollouts": 2}, SMALL_EVALUATION)
    for name in ("quadruped", "arm"):
        made[f"described_{name}"] = recipe(f"examples/robots/{name}.yaml", CLIP, SMALL_EVALUATION)
    return made


# -- one tree's own record


def command(*words: str) -> str:
    """Run the tree's command line with these words and return its output; raises RuntimeError where it fails."""
    module, _, function = tomllib.loads(Path("pyproject.toml").read_text())["project"]["scripts"][
        "acclimate"
    ].partition(":")
    said = io.StringIO()
    sys.argv = ["acclimate", *words]
    try:
        with redirect_stdout(said), redirect_stderr(said):
            getattr(import_module(module), function)()
    except SystemExit as stop:
        if stop.code not in (0, None):
            raise RuntimeError(f"acclimate {' '.join(words)}: {said.getvalue()[-600:]}") from stop
    return said.getvalue()


def in_present_keys(config: str) -> dict[str, Any]:
    """The stored recipe of an earlier commit as one of the present tree: keys that came since hold what was before."""
    from trainers.recipes.schema import Recipe

    file = Path("stored.yaml")
    file.write_text(config)
    return Recipe.stored(file).to_data()


def digest(data: Any) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else json.dumps(data).encode()).hexdigest()[:16]


def record_of(run: Path) -> dict[str, Any]:
    """Checksums of a run folder."""
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file

    newest = max((run / "checkpoints").glob("iteration-*"))
    tensors = load_file(newest / "tensors.safetensors")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    schema = json.loads((run / "metrics.schema.json").read_text())
    rows = pq.read_table(run / "adaptation.parquet").to_pandas()
    return {
        "config": (run / "config.yaml").read_text().replace(f"{Path.cwd()}/", ""),
        "weights": sorted(digest(value.tobytes()) for value in tensors.values()),
        "metrics": [
            {name: repr(value) for name, value in line.items() if not schema[name]["timing"]} for line in lines
        ],
        "rows": {RENAMED.get(name, name): digest(rows[name].tolist()) for name in rows if name not in UNCOMPARED},
        "tasks": {path.name: json.loads(path.read_text())["hash"] for path in (run / "tasks").glob("*.json")},
    }


def play(out: Path, only: str, base: Path | None) -> None:
    """Plays the cases, or the recipes in the record `base`, in the working directory; writes their record to `out`."""
    import yaml

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    Path("runs").mkdir(exist_ok=True)
    Path("own_family.py").write_text(OWN_FAMILY)
    stored = json.loads(base.read_text()) if base else {}
    records: dict[str, Any] = {}
    for name, case in cases().items():
        if only not in name and name != "maml_clip_two_steps":
            continue
        then = case.pop("then", [])
        if stored:
            case = in_present_keys(stored[name]["config"]) | {"iterations": case["iterations"]}  # before any resuming
        Path(f"{name}.yaml").write_text(yaml.safe_dump(case))
        run = Path("runs") / name
        command("train", f"{name}.yaml", "--out", str(run))
        summaries = {}
        for number, words in enumerate(then):
            if words.startswith("resume"):
                command(*words.replace("RUN", str(run)).split())
                continue
            command(*words.replace("RUN", str(run)).split(), "--json", f"{name}-{number}.json")
            summaries[words] = summary_in(Path(f"{name}-{number}.json"))
        records[name] = record_of(run) | {"summaries": summaries}
        print(name, flush=True)
    out.write_text(json.dumps(records))


def evaluate_results(out: Path, results: Path, only: str) -> None:
    """Evaluates every published recipe of `results`; the summaries go to `out`."""
    records = {}
    for folder in sorted(results.iterdir()):
        if only in folder.name and list(folder.glob("seed-*")):
            command("evaluate", str(folder), "--json", f"{folder.name}.json")
            records[folder.name] = {"summaries": {"held-out": summary_in(Path(f"{folder.name}.json"))}}
            print(folder.name, flush=True)
    out.write_text(json.dumps(records))


def summary_in(path: Path) -> dict[str, Any]:
    """The summary that `evaluate --json` wrote, in today's keys whichever tree wrote it."""
    renamed = {"rounds": "adaptation_step", "params": "parameters"}
    data = json.loads(path.read_text())
    tasks = [{renamed.get(key, key): value for key, value in task.items()} for task in data["tasks"]]
    return {renamed.get(key, key): value for key, value in data.items()} | {"tasks": tasks}


# -- two trees


def differences(base: Any, new: Any, where: str = "") -> list[str]:
    """Where the new record lacks or changes what the base has."""
    if isinstance(base, dict):
        if not isinstance(new, dict):
            return [f"{where}: {str(new)[:60]} in place of a mapping"]
        return [
            one
            for key, value in base.items()
            if key not in NO_RESULT
            for one in (differences(value, new[key], f"{where}/{key}") if key in new else [f"{where}/{key}: is gone"])
        ]
    if isinstance(base, list) and isinstance(new, list) and len(base) == len(new):
        return [
            one
            for index, pair in enumerate(zip(base, new, strict=True))
            for one in differences(*pair, f"{where}/{index}")
        ]
    return [] if base == new else [f"{where}: {str(base)[:60]} -> {str(new)[:60]}"]


def record(tree: Path, folder: Path, words: list[str]) -> dict[str, Any]:
    """The record that this file makes of a tree, in a process of its own."""
    folder.mkdir(parents=True)
    for name in ("pyproject.toml", "examples"):
        (folder / name).symlink_to(tree / name)
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "ACCLIMATE_TREE": str(tree)}
    done = subprocess.run(
        [sys.executable, __file__, *words, "--record", "record.json"],
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
    )
    if done.returncode:
        raise SystemExit(f"{tree}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads((folder / "record.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", nargs="?", default="HEAD")
    parser.add_argument("--results", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", type=Path, help="a folder for BASE's record, which a later call takes from there")
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--base-record", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.record:
        sys.path.insert(0, str(Path.cwd()))
        if chosen.results:
            evaluate_results(chosen.record, chosen.of, chosen.only)
        else:
            play(chosen.record, chosen.only, chosen.base_record)
        return
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary) / "base"
        subprocess.run(["git", "worktree", "add", "--detach", "--quiet", base, chosen.base], cwd=ROOT, check=True)
        try:
            words = ["--only", chosen.only]
            if chosen.results:
                words += ["--results", "--of", str(base / "docs" / "results")]
            kept = chosen.keep / f"{'results' if chosen.results else 'golden'}.json" if chosen.keep else None
            if kept and kept.is_file():
                before = json.loads(kept.read_text())
            else:
                before = record(base, Path(temporary) / "of-base", words)
                if kept:
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    kept.write_text(json.dumps(before))
            given = Path(temporary) / "base.json"
            given.write_text(json.dumps(before))
            after = record(ROOT, Path(temporary) / "of-new", [*words, "--base-record", str(given)])
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", base], cwd=ROOT, check=True)
    failed = 0
    compared = {name: one for name, one in before.items() if chosen.only in name}
    for name, one in compared.items():
        found = differences(one, after.get(name, {}))
        failed += bool(found)
        print(f"{'DIFFERS' if found else 'equal  '} {name}" + "".join(f"\n    {line}" for line in found[:6]))
    print(f"{len(compared) - failed} of {len(compared)} equal")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
