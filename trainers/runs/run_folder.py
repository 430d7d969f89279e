"""Run folders: everything a run leaves behind, and the only way it is read again.

config.yaml  provenance.json  tasks/<split>.json  metrics.jsonl  metrics.schema.json
adaptation.parquet  checkpoints/iteration-000100/  *.png  inside/*.png  report.html  family/
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import torch

from agents.contract import Agent, Learner, Weights
from envs.task import SPLITS, TaskFamily, TaskSet
from envs.task_sets import load_task_set
from trainers import files
from trainers.errors import RunFolderError, UsageError
from trainers.files import json_bytes, write_synced
from trainers.recipes import registry
from trainers.recipes.assembling import build
from trainers.recipes.registry import AnyFamily
from trainers.recipes.schema import Recipe
from trainers.runs import checkpoints, frames, metrics, provenance, rows
from trainers.runs.making import whole_folder
from trainers.runs.restoring import restore, restore_weights, run_state
from trainers.runs.selection import best_iteration

FAMILY_FOLDER = "family"  # copies of the files of a described family


@dataclass(frozen=True)
class Run:
    """An open run folder.

    Attributes:
        path: of the folder.
        recipe: what it trains.
        config_differs: whether config.yaml still holds another recipe, until `note_resume` writes this one.
        resume_from: the iteration whose checkpoint to go back to; None for the newest.
    """

    path: Path
    recipe: Recipe = field(repr=False)
    config_differs: bool = field(default=False, repr=False)
    resume_from: int | None = field(default=None, repr=False)

    @classmethod
    def create(
        cls,
        path: Path,
        recipe: Recipe,
        task_sets: Iterable[TaskSet],
        learner: Learner,
        created_with: Mapping[str, Any],
        copies: Mapping[str, Path] = MappingProxyType({}),
    ) -> Run:
        """A new run folder with its first checkpoint, all of it or nothing; refuses one that already holds something.

        `created_with` joins the provenance; `copies` are files of the family, by their names in its folder.
        """
        with whole_folder(path) as making:
            (making / "tasks").mkdir()
            write_synced(making / "config.yaml", recipe.to_yaml().encode())
            origin = {"id": secrets.token_hex(8), **provenance.provenance(), **created_with}
            write_synced(making / provenance.FILE, json_bytes(origin))
            for one in task_sets:
                write_synced(making / "tasks" / f"{one.split}.json", json_bytes(one.to_json(), indent=1))
            for name, file in copies.items():
                (making / FAMILY_FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
                write_synced(making / FAMILY_FOLDER / name, file.read_bytes())
            checkpoints.save(making / "checkpoints", 0, recipe.agent_name, run_state(learner))
        return cls(path, recipe)

    @classmethod
    def open(cls, path: str | Path, *, family: AnyFamily | None = None) -> Run:
        """An existing run folder, whose config.yaml is read here and not again; RunFolderError if it is none.

        `family` stands in for the one that the recipe names: a class, an instance or a name. A run whose family was
        defined in a script or a notebook needs it in any other process.
        """
        path = Path(path)
        if not (path / "config.yaml").is_file():
            raise RunFolderError(
                f"{path} is not a run folder: it has no config.yaml; name what `acclimate train` wrote"
            )
        recipe = Recipe.stored(path / "config.yaml")
        if family is None:
            return cls(path, recipe)
        named = recipe.model_copy(update={"family": registry.give(family)})
        return cls(path, named, config_differs=named != recipe)

    @classmethod
    def of(cls, run: Run | str | Path, *, family: AnyFamily | None = None) -> Run:
        """A run as it is, or the one in a folder of this name; `family` as in `open`."""
        if not isinstance(run, Run):
            return cls.open(run, family=family)
        return run if family is None else cls.open(run.path, family=family)

    def held(self) -> AbstractContextManager[None]:
        """Nobody else trains in this folder meanwhile; RunFolderError if somebody does."""
        return files.held(
            self.path, RunFolderError(f"another process is training in {self.path}; stop it or wait for it")
        )

    def note_resume(self) -> Run:
        """Write the recipe to config.yaml, and to the provenance which process resumed the run."""
        noted = self.provenance()
        noted["resumed"] = [*noted.get("resumed", []), provenance.provenance()]
        files.replace(self.path / provenance.FILE, json_bytes(noted))
        files.replace(self.path / "config.yaml", self.recipe.to_yaml().encode())
        return replace(self, config_differs=False)

    def note_nodes(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        """Write to the provenance which nodes the workers of the process run on that trains now."""
        noted = self.provenance()
        (noted.get("resumed") or [noted])[-1]["nodes"] = list(nodes)
        files.replace(self.path / provenance.FILE, json_bytes(noted))

    def provenance(self) -> dict[str, Any]:
        """The commit, versions and machine that the run was made with."""
        return provenance.read(self.path)

    @property
    def id(self) -> str | None:
        """The run's own name in its rows and trackers; None for a folder without provenance."""
        return self.provenance().get("id") if (self.path / provenance.FILE).exists() else None

    def other_versions(self) -> list[str]:
        """The packages that the run began with in another version than this process has, and how it computed else."""
        began = self.provenance()
        auto = self.recipe.learner_threads == "auto"
        return [
            *provenance.other_versions(began.get("versions", {})),
            *provenance.other_machine(began.get("machine", {}), threads=auto),
        ]

    def refuse_links(self) -> None:
        """A link inside a run folder could lead its writing elsewhere."""
        trackers = self.path / "wandb"  # its own links are its own business: it makes a new folder each time
        for file in self.path.rglob("*"):
            if file.is_symlink() and trackers not in file.parents:
                raise RunFolderError(
                    f"{file} is a symbolic link; a run that is resumed holds files: put the file in its place"
                )

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    def family(self, *, task_in_observation: bool | None = None) -> TaskFamily:
        """The run's task family, with the task in its observations or not (None: as the recipe says).

        One that was read from files must be read from the same ones, or from the copies that the run folder keeps.
        """
        task_in_observation = self.recipe.task_in_observation if task_in_observation is None else task_in_observation
        name, near, digest = self.recipe.family, [self.path], None
        if name.endswith((".yaml", ".yml")):
            noted = self.provenance()
            near += [Path(noted["family_file"])] if "family_file" in noted else []
            near += [self.path / noted["family_copy"]] if "family_copy" in noted else []
            digest = noted.get("family_sha256")
        family = registry.family(name, task_in_observation=task_in_observation, near=near, digest=digest)
        if family.digest is not None and family.digest != self.provenance().get("family_sha256"):
            raise RunFolderError(
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
            raise RunFolderError(f"{self.path} has no tasks/{split}.json; take it from a copy")
        if split in SPLITS:  # ood: drawn when first asked for, from the run's own task seed
            settings = self.recipe.evaluation
            return family.task_set(split, settings.held_out_tasks, settings.task_seed)
        if Path(split).is_file():
            return load_task_set(Path(split), family)
        raise UsageError(f"--split {split} is neither a split ({', '.join(SPLITS)}) nor a file of tasks")

    @property
    def rows_file(self) -> Path:
        """The adaptation rows of all evaluations."""
        return self.path / "adaptation.parquet"

    def write_rows(self, table: pa.Table) -> None:
        """Replace adaptation.parquet as a whole."""
        rows.write(self.rows_file, table)

    def rows(self) -> pa.Table:
        """All adaptation rows of the run so far."""
        return rows.read(self.rows_file, self.id, self.recipe.agent_name)

    def _rows_so_far(self) -> pa.Table:
        """All adaptation rows; none where nothing has been measured yet."""
        return self.rows() if self.rows_file.exists() else rows.ROWS.empty_table()

    def held_out_rows(self, iteration: int) -> pa.Table:
        """The rows on held-out tasks after so many meta-updates; RunFolderError where they were not measured."""
        return rows.measured(self._rows_so_far(), "held-out", iteration, str(self.path))

    def adaptation(self, split: str = "held-out", *, iteration: int | Literal["last", "all"] = "last") -> pd.DataFrame:
        """The adaptation rows of a split as a data frame: one row for each episode of an evaluation.

        Its columns are those of `trainers.runs.rows.ROWS`, but that each task parameter has columns of its own in the
        place of `parameters` (`trainers.runs.frames`).

        Args:
            split: validation or held-out, or another one that was measured while the run was trained.
            iteration: of the evaluation: the last one, all, or after so many meta-updates.

        Raises:
            RunFolderError: there is no such evaluation.
        """
        return frames.adaptation(self._rows_so_far(), split, iteration, str(self.path))

    def metrics(self) -> pd.DataFrame:
        """The metrics of each iteration as a data frame, a row for each; metrics.schema.json says what they mean."""
        return frames.metrics(metrics.read(self.metrics_file) if self.metrics_file.exists() else [])

    def truncate_to(self, iteration: int) -> tuple[list[dict[str, float]], pa.Table]:
        """Take away the metrics, adaptation rows and checkpoints of later iterations; returns what is left of both.

        Raises:
            RunFolderError: unless both are whole up to there; nothing is changed then.
        """
        kept = rows.up_to(self._rows_so_far(), iteration)
        lines = metrics.up_to(self.metrics_file, iteration)
        validated = {line["iteration"] for line in lines if any(name.startswith("validation_") for name in line)}
        if lacking := validated - set(rows.of_split(kept, "validation")["iteration"].to_pylist()):
            raise RunFolderError(f"{self.rows_file} lacks the rows of iteration {min(lacking)}; take it from a copy")
        metrics.write(self.metrics_file, lines)
        if self.rows_file.exists():
            self.write_rows(kept)
        checkpoints.remove_after(self.checkpoints, iteration)
        return lines, kept

    @property
    def metrics_file(self) -> Path:
        """One line for each iteration."""
        return self.path / "metrics.jsonl"

    def load(self, family: TaskFamily, which: str = "last") -> tuple[Agent, Weights, int]:
        """(agent, weights, iteration) of a checkpoint: last, best (on the validation tasks), or an iteration."""
        agent, learner = build(self.recipe, family, torch.device("cpu"))
        iteration = restore_weights(learner, self.recipe, self.checkpoint(which))
        return agent, learner.weights(), iteration

    def checkpoint(self, which: str) -> Path:
        """The folder of a checkpoint: last, best or an iteration."""
        held = checkpoints.iterations(self.checkpoints)
        if which == "last" or not held:
            return checkpoints.newest(self.checkpoints)
        best = which == "best"
        wanted = best_iteration(metrics.read(self.metrics_file), self.recipe.algorithm) if best else which
        if not str(wanted).isdecimal() or int(str(wanted)) not in held:
            found = ", ".join(map(str, held))
            raise RunFolderError(f"{self.path} holds no checkpoint {which}; it holds last and the iterations {found}")
        return checkpoints.place(self.checkpoints, int(str(wanted)))

    def restore(self, learner: Learner) -> tuple[int, dict[str, Any]]:
        """Give the learner its state in the checkpoint to resume from: (iteration, the whole state of the run)."""
        which = "last" if self.resume_from is None else str(self.resume_from)
        return restore(learner, self.recipe, self.checkpoint(which))


def named_folder(text: str) -> tuple[str | None, Path]:
    """(name, folder) of `NAME=FOLDER` or of a folder, which has no name of its own then."""
    label, sign, folder = text.partition("=")
    if sign and label and not os.path.exists(text):  # noqa: PTH110 - Path raises where the text is too long for one
        return label, Path(folder)
    return None, Path(text)


def run_folders(path: str | Path) -> list[Path]:
    """The run folder of this name, or the run folders `seed-*` in it."""
    path = Path(path)
    if (path / "config.yaml").is_file():
        return [path]
    seeds = sorted(folder for folder in path.glob("seed-*") if folder.is_dir()) if path.is_dir() else []
    if not seeds:
        inside = sorted(folder.name for folder in path.iterdir() if _holds_runs(folder)) if path.is_dir() else []
        hint = f"; it holds the runs {', '.join(inside)}: name them, such as {path / inside[0]}" if inside else ""
        raise RunFolderError(f"{path} is not a run folder: it has neither config.yaml nor seed-* folders{hint}")
    return seeds


def _holds_runs(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() or any(folder.glob("seed-*/config.yaml"))


def find_runs(path: str | Path, *, family: AnyFamily | None = None) -> list[Run]:
    """The run in a folder, or the runs in its `seed-*` folders; `family` as in `Run.open`."""
    return [Run.open(folder, family=family) for folder in run_folders(path)]
