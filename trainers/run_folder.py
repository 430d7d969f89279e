"""Run folders: everything a run leaves behind, and the only way it is read again.

config.yaml  provenance.json  tasks/<split>.json  metrics.jsonl  metrics.schema.json
adaptation.parquet  checkpoints/iteration-000100/  *.png  report.html
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from agents.contract import Agent, AgentError, Algorithm, Interface, Learner
from envs.task import SPLITS, TaskFamily, TaskSet
from trainers import checkpoints, recipes, resolve
from trainers.errors import RunError
from trainers.recipes import Recipe

PROVENANCE = "provenance.json"
_PACKAGES = ("acclimate", "torch", "numpy", "scipy", "gymnasium", "ray", "pyarrow", "safetensors", "pydantic")


@dataclass(frozen=True)
class Run:
    """An open run folder."""

    path: Path
    recipe: Recipe

    @classmethod
    def create(cls, path: Path, recipe: Recipe) -> Run:
        """A new run folder; refuses a folder that already holds something."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(f"{path} already exists and is not empty; name another folder with --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / "tasks").mkdir()
            (path / "config.yaml").write_text(recipe.to_yaml())
            (path / PROVENANCE).write_text(json.dumps(provenance(), indent=2) + "\n")
        except OSError as error:
            raise RunError(f"{path} cannot be written ({error.strerror}); name another folder with --out") from error
        return cls(path, recipe)

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run folder, or RunError."""
        if not (path / "config.yaml").is_file():
            raise RunError(f"{path} is not a run folder: it has no config.yaml; name what `acclimate train` wrote")
        return cls(path, recipes.load(path / "config.yaml"))

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    def family(self) -> TaskFamily:
        """The run's task family."""
        return resolve.family(self.recipe.family)

    def task_set(self, family: TaskFamily, split: str) -> TaskSet:
        """The run's frozen set of a split, or the set in a file of this name."""
        stored = self.path / "tasks" / f"{split}.json"
        if stored.is_file():
            return TaskSet.load(stored, family)
        if split in SPLITS:  # ood: drawn when first asked for, from the run's own task seed
            settings = self.recipe.evaluation
            return family.task_set(split, settings.held_out_tasks, settings.task_seed)
        if Path(split).is_file():
            return TaskSet.load(Path(split), family)
        raise RunError(f"--split {split} is neither a split ({', '.join(SPLITS)}) nor a file of tasks")

    def save_task_set(self, task_set: TaskSet) -> None:
        """Freezes a task set in the run folder."""
        text = json.dumps(task_set.to_json(), indent=1)
        (self.path / "tasks" / f"{task_set.split}.json").write_text(text + "\n")

    def write_rows(self, table: pa.Table) -> None:
        """adaptation.parquet, replaced as a whole: a reader never sees half of it."""
        temporary = self.path / ".adaptation.parquet.writing"
        pq.write_table(table, temporary, compression="zstd")
        temporary.replace(self.path / "adaptation.parquet")

    def rows(self) -> pa.Table:
        """All adaptation rows of the run so far."""
        return pq.read_table(self.path / "adaptation.parquet")

    def load(self, family: TaskFamily, iteration: int | None = None) -> tuple[Agent, Learner, int]:
        """(agent, learner, iteration) of the newest checkpoint, or of the one asked for."""
        where = (
            checkpoints.newest(self.checkpoints)
            if iteration is None
            else self.checkpoints / f"iteration-{iteration:06d}"
        )
        agent, learner = build(self.recipe, family, torch.device("cpu"))
        done, state = checkpoints.load(where, self.recipe.agent_name)
        try:
            learner.load_state_dict(state["learner"])
        except (AgentError, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(
                f"checkpoint {where} does not fit the run's recipe: {reason}; nothing was changed"
            ) from error
        return agent, learner, done


def build(recipe: Recipe, family: TaskFamily, device: torch.device) -> tuple[Agent, Learner]:
    """The agent and the learner that a recipe asks for."""
    algorithm: Algorithm = resolve.algorithm(recipe.agent_name)
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
