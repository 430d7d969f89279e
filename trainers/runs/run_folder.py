"""Run folders: everything a run leaves behind, and the only way it is read again.

config.yaml  provenance.json  tasks/<split>.json  metrics.jsonl  metrics.schema.json
adaptation.parquet  checkpoints/iteration-000100/  *.png  inside/*.png  report.html
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from agents.contract import Agent, AgentError, Algorithm, Interface, Learner, Weights
from envs.task import SPLITS, TaskFamily, TaskSet
from envs.task_sets import load_task_set
from trainers.errors import RunError
from trainers.evaluation.evaluator import ROWS
from trainers.files import read_bytes, read_text, replace, sync_folder, write_synced
from trainers.recipes import loading, registry
from trainers.recipes.schema import Recipe
from trainers.runs import checkpoints, metrics

PROVENANCE = "provenance.json"
_PACKAGES = ("acclimate", "torch", "numpy", "scipy", "gymnasium", "mujoco", "ray", "pyarrow", "safetensors", "pydantic")


@dataclass(frozen=True)
class Run:
    """An open run folder."""

    path: Path
    recipe: Recipe

    @classmethod
    def create(
        cls, path: Path, recipe: Recipe, task_sets: Iterable[TaskSet], learner: Learner, born: Mapping[str, Any]
    ) -> Run:
        """A new run folder with its first checkpoint, all of it or nothing; refuses one that already holds something.

        `born` joins the provenance.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(f"{path} already exists and is not empty; name another folder with --out")
        making = path.with_name(f".{path.name}.making-{os.getpid()}")
        try:
            for leftover in path.parent.glob(f".{path.name}.making-*"):  # of a process that died here
                shutil.rmtree(leftover)
            (making / "tasks").mkdir(parents=True)
            write_synced(making / "config.yaml", recipe.to_yaml().encode())
            write_synced(making / PROVENANCE, _text({"id": secrets.token_hex(8), **provenance(), **born}))
            for one in task_sets:
                write_synced(making / "tasks" / f"{one.split}.json", _text(one.to_json(), indent=1))
            checkpoints.save(making / "checkpoints", 0, recipe.agent_name, run_state(learner))
            making.rename(path)
            sync_folder(path.parent)
        except OSError as error:
            shutil.rmtree(making, ignore_errors=True)
            raise RunError(f"{path} cannot be written ({error.strerror}); name another folder with --out") from error
        except RunError:
            shutil.rmtree(making, ignore_errors=True)
            raise
        return cls(path, recipe)

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run folder, or RunError."""
        if not (path / "config.yaml").is_file():
            raise RunError(f"{path} is not a run folder: it has no config.yaml; name what `acclimate train` wrote")
        return cls(path, loading.load(path / "config.yaml"))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else trains in this folder meanwhile; RunError if somebody does."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(f"another process is training in {self.path}; stop it or wait for it") from error
            yield
        finally:
            os.close(descriptor)

    def changed(self, recipe: Recipe) -> Run:
        """The run with another recipe in its config.yaml, and a line in its provenance of who took it up again."""
        told = self.provenance()
        told["resumed"] = [*told.get("resumed", []), provenance()]
        replace(self.path / PROVENANCE, _text(told))
        replace(self.path / "config.yaml", recipe.to_yaml().encode())
        return Run(self.path, recipe)

    def provenance(self) -> dict[str, Any]:
        """What the run was made with."""
        try:
            told = json.loads(read_text(self.path / PROVENANCE))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(
                f"{self.path / PROVENANCE} cannot be read ({str(error)[:120]}); take it from a copy"
            ) from error
        if not (
            isinstance(told, dict)
            and isinstance(told.get("resumed", []), list)
            and isinstance(told.get("versions", {}), dict)
        ):
            raise RunError(f"{self.path / PROVENANCE} is not what a run writes; take it from a copy")
        return told

    def other_versions(self) -> list[str]:
        """What the run began with and this process has otherwise, such as 'torch 2.12.0, here 2.13.0'."""
        before, now = self.provenance().get("versions", {}), provenance()["versions"]
        return [
            f"{name} {version}, here {now.get(name)}" for name, version in before.items() if version != now.get(name)
        ]

    def refuse_links(self) -> None:
        """A link inside a run folder could lead its writing elsewhere."""
        trackers = self.path / "wandb"  # its own links are its own business: it makes a new folder each time
        for one in self.path.rglob("*"):
            if one.is_symlink() and trackers not in one.parents:
                raise RunError(f"{one} is a symbolic link; a run that goes on holds files: put the file in its place")

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    def family(self, *, task_in_observation: bool | None = None) -> TaskFamily:
        """The run's task family, telling its task or not (None: as the recipe says).

        One that was read from files must be read from the same ones.
        """
        task_in_observation = self.recipe.task_in_observation if task_in_observation is None else task_in_observation
        family = registry.family(self.recipe.family, task_in_observation=task_in_observation)
        if family.digest is not None and family.digest != self.provenance().get("family_sha256"):
            raise RunError(
                f"{self.recipe.family} or its model file is not what {self.path} was trained on; take back the files "
                "of that time (their SHA-256 is in provenance.json), or train a new run"
            )
        return family

    def task_set(self, family: TaskFamily, split: str) -> TaskSet:
        """The run's frozen set of a split, or the set in a file of this name.

        Published `seed-*` runs share the sets in the `tasks/` of their folder.
        """
        shared = [self.path.parent] if self.path.name.startswith("seed-") else []
        for folder in (self.path, *shared):
            if (stored := folder / "tasks" / f"{split}.json").is_file():
                return load_task_set(stored, family)
        if split in ("validation", "held-out"):
            raise RunError(f"{self.path} has no tasks/{split}.json; take it from a copy")
        if split in SPLITS:  # ood: drawn when first asked for, from the run's own task seed
            settings = self.recipe.evaluation
            return family.task_set(split, settings.held_out_tasks, settings.task_seed)
        if Path(split).is_file():
            return load_task_set(Path(split), family)
        raise RunError(f"--split {split} is neither a split ({', '.join(SPLITS)}) nor a file of tasks")

    def write_rows(self, table: pa.Table) -> None:
        """adaptation.parquet, replaced as a whole: a reader never sees half of it."""
        content = io.BytesIO()
        # Doubles by the significance of their bytes: the same values, a fifth smaller.
        others = [name for name in table.schema.names if name != "return"]
        pq.write_table(
            table, content, compression="zstd", compression_level=9, use_dictionary=others,
            use_byte_stream_split=["return"],
        )  # fmt: skip
        replace(self.path / "adaptation.parquet", content.getvalue())

    def rows(self) -> pa.Table:
        """All adaptation rows of the run so far."""
        path = self.path / "adaptation.parquet"
        try:
            table = pq.read_table(io.BytesIO(read_bytes(path)))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise RunError(
                f"{path} cannot be read ({' '.join(str(error).split())[:120]}); take it from a copy"
            ) from error
        if table.schema.names == ROWS.names[:-1]:  # of a version that knew no schedules
            table = table.append_column(
                ROWS.field("segments"), pa.array(["0"] * len(table)).cast(ROWS.field("segments").type)
            )
        if table.schema.names != ROWS.names:
            raise RunError(f"{path} has other columns than adaptation rows; take it from a copy")
        return table

    def truncate_to(self, iteration: int) -> tuple[list[dict[str, float]], pa.Table]:
        """Takes away the metrics and adaptation rows of later iterations; returns what is left of both.

        Raises:
            RunError: unless both are whole up to there; nothing is changed then.
        """
        measured = (self.path / "adaptation.parquet").exists()
        rows = self.rows() if measured else ROWS.empty_table()
        kept = rows.filter(pc.less_equal(rows["iteration"], iteration))
        lines = metrics.up_to(self.metrics_file, iteration)
        validated = {line["iteration"] for line in lines if any(name.startswith("validation_") for name in line)}
        of_validation = kept.filter(pc.equal(kept["split"].cast(pa.string()), "validation"))
        if lacking := validated - set(of_validation["iteration"].to_pylist()):
            raise RunError(
                f"{self.path / 'adaptation.parquet'} lacks the rows of iteration {min(lacking)}; take it from a copy"
            )
        metrics.write(self.metrics_file, lines)
        if measured:
            self.write_rows(kept)
        return lines, kept

    @property
    def metrics_file(self) -> Path:
        """One line for each iteration."""
        return self.path / "metrics.jsonl"

    def load(self, family: TaskFamily, which: str = "last") -> tuple[Agent, Weights, int]:
        """(agent, weights, iteration) of a checkpoint: last, best (on the validation tasks), or an iteration."""
        agent, learner = build(self.recipe, family, torch.device("cpu"))
        iteration, _ = self._take(learner, self.checkpoint(which), weights_alone=True)
        return agent, learner.weights(), iteration

    def copy_without_learner(self, target: Path) -> None:
        """A copy to show, which cannot be gone on with: the last weights, the held-out rows, some 100 lines of metrics.

        Of more meta-updates, evenly spaced ones are kept, those that were validated and the last one.
        """
        _, weights, iteration = self.load(self.family())
        shutil.copytree(self.path / "tasks", target / "tasks")
        for name in ("config.yaml", PROVENANCE):
            shutil.copy(self.path / name, target / name)
        metrics.write(target / self.metrics_file.name, metrics.thinned(metrics.read(self.metrics_file)))
        checkpoints.save(target / "checkpoints", iteration, self.recipe.agent_name, {"weights": dict(weights)})
        rows = self.rows()
        held_out = pc.equal(rows["split"].cast(pa.string()), "held-out")
        Run(target, self.recipe).write_rows(rows.filter(held_out))

    def checkpoint(self, which: str) -> Path:
        """The place of a checkpoint: last, best or an iteration."""
        held = checkpoints.iterations(self.checkpoints)
        if which == "last" or not held:
            return checkpoints.newest(self.checkpoints)
        wanted = best_iteration(metrics.read(self.metrics_file)) if which == "best" else which
        if not str(wanted).isdecimal() or int(str(wanted)) not in held:
            found = ", ".join(map(str, held))
            raise RunError(f"{self.path} holds no checkpoint {which}; it holds last and the iterations {found}")
        return checkpoints.place(self.checkpoints, int(str(wanted)))

    def restore(self, learner: Learner, where: Path) -> tuple[int, dict[str, Any]]:
        """Gives the learner its state in a checkpoint; returns (iteration, the whole state)."""
        return self._take(learner, where, weights_alone=False)

    def _take(self, learner: Learner, where: Path, *, weights_alone: bool) -> tuple[int, dict[str, Any]]:
        done, state = checkpoints.load(where, self.recipe.agent_name)
        if "weights" in state and not weights_alone:
            raise RunError(
                f"checkpoint {where} holds weights alone, for it was made to be shown; evaluate it, or train a new run "
                f"that begins with it: init={self.path}"
            )
        try:
            if "weights" in state:
                learner.load_weights(state["weights"])
                return done, state
            learner.load_state_dict(state["learner"])
            if not (type(state["environment_steps"]) is int and state["environment_steps"] >= 0):
                raise ValueError(f"it counts {state['environment_steps']!r} environment steps")
            if "weights_before" in state:  # of a version that called them so
                state["behaviour_weights"] = state.pop("weights_before")
            algorithm = registry.algorithm(self.recipe.agent_name)
            check_behaviour_weights(state.get("behaviour_weights"), learner, algorithm, done)
        except (AgentError, LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(
                f"checkpoint {where} does not fit the run's recipe: {reason}; nothing was changed"
            ) from error
        return done, state


def run_state(learner: Learner, environment_steps: int = 0, behaviour_weights: Weights | None = None) -> dict[str, Any]:
    """What a checkpoint holds: everything that the run needs to be taken up there.

    With `behaviour_weights`, the weights from before the last update, the next iteration is sampled again.
    """
    state = {"learner": learner.state_dict(), "environment_steps": environment_steps}
    return state | ({} if behaviour_weights is None else {"behaviour_weights": dict(behaviour_weights)})


def check_behaviour_weights(given: Any, learner: Learner, algorithm: Algorithm, iteration: int) -> None:
    """Raises ValueError unless the weights of a pending iteration are there if, and only if, one is pending."""
    shapes = None if given is None else {name: value.shape for name, value in given.items()}
    pending = learner.weights() if algorithm.pipelined and iteration else None
    if shapes != (None if pending is None else {name: value.shape for name, value in pending.items()}):
        raise ValueError("the weights that its pending iteration is sampled with are not those of its agent")


def best_iteration(lines: Sequence[Mapping[str, float]]) -> int | None:
    """The iteration that is best on the validation tasks, the first one among equals.

    By the return of whole trials where an agent's episodes are all charged alike, else by that after all adaptations.
    """
    best: tuple[float, int] | None = None
    for line in lines:
        names = [name for name in line if name.startswith("validation_return_round_")]
        if names:
            last = line[max(names, key=lambda name: int(name.rpartition("_")[2]))]
            value = line.get("validation_trial_return", last)
            if best is None or value > best[0]:
                best = (value, int(line["iteration"]))
    return best[1] if best else None


def build(recipe: Recipe, family: TaskFamily, device: torch.device) -> tuple[Agent, Learner]:
    """The agent and the learner that a recipe asks for."""
    algorithm: Algorithm = registry.algorithm(recipe.agent_name)
    interface = Interface(family.observation_space, family.action_space, family.episode_steps)
    agent = algorithm.make_agent(recipe.agent, interface)
    return agent, algorithm.make_learner(agent, recipe.agent, recipe.seed, device)


def provenance() -> dict[str, Any]:
    """What a result was made with: commit, versions, machine."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": _commit(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def _commit() -> str | None:
    """The commit of the source tree, with a mark if it was changed; None when installed without one."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _text(data: Any, indent: int = 2) -> bytes:
    return (json.dumps(data, indent=indent) + "\n").encode()
