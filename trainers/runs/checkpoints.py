"""Checkpoints: atomic to write, nothing that executes to read, and every byte is checked.

A checkpoint is a folder `iteration-000120/` with `tensors.safetensors` and `state.json`. It is written under a
temporary name, synced to disk and renamed, so that a reader sees all of it or nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from trainers.errors import RunFolderError
from trainers.files import read_bytes, sync_folder, write_synced

FORMAT = "acclimate-checkpoint-1"
_TENSOR = "$tensor"


def save(folder: Path, iteration: int, algorithm: str, state: Mapping[str, Any]) -> Path:
    """Writes the state (nested dictionaries and lists of tensors and plain data) under `folder`; returns its place."""
    tensors: dict[str, torch.Tensor] = {}
    plain = _take_out(state, "", tensors)
    binary = save_tensors(tensors)
    content = {
        "format": FORMAT,
        "algorithm": algorithm,
        "iteration": iteration,
        "tensors_sha256": hashlib.sha256(binary).hexdigest(),
        "state": plain,
    }
    content["sha256"] = _digest(content)
    target = place(folder, iteration)
    temporary = folder / f".writing-{iteration:06d}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        temporary.mkdir()
        write_synced(temporary / "tensors.safetensors", binary)
        write_synced(temporary / "state.json", json.dumps(content).encode())
        sync_folder(temporary)
        _remove(target)  # the same iteration again, after a resume: the same bits
        temporary.rename(target)
        sync_folder(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise RunFolderError(
            f"the checkpoint of iteration {iteration} could not be written to {folder} ({error.strerror}); "
            "earlier checkpoints are whole: free some space or choose another folder"
        ) from error
    return target


def load(path: Path, algorithm: str) -> tuple[int, dict[str, Any]]:
    """(iteration, state) of the checkpoint folder; raises RunFolderError unless every byte is as it was written."""
    try:
        content = json.loads(read_bytes(path / "state.json"))
        binary = read_bytes(path / "tensors.safetensors")
    except (OSError, ValueError, RecursionError) as error:
        raise _refusal(path, f"it cannot be read ({' '.join(str(error).split())[:120]})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _refusal(path, f"its format is not {FORMAT}")
    try:
        if content.pop("sha256", None) != _digest(content):
            raise _refusal(path, "state.json was changed after it was written")
        if hashlib.sha256(binary).hexdigest() != content["tensors_sha256"]:
            raise _refusal(path, "tensors.safetensors was cut or changed after it was written")
        if content["algorithm"] != algorithm:
            raise _refusal(path, f"it is of the algorithm {content['algorithm']}, the run's is {algorithm}")
        if path.name != place(path, content["iteration"]).name:
            raise _refusal(path, f"it is of iteration {content['iteration']}, not what its folder says")
        tensors = load_tensors(binary)
        for name, value in tensors.items():
            if not torch.isfinite(value).all():
                raise _refusal(path, f"{name} holds values that are not finite")
        return content["iteration"], _put_back(content["state"], tensors)
    except RunFolderError:
        raise
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _refusal(path, f"its content does not fit together ({' '.join(str(error).split())[:120]})") from error


def place(folder: Path, iteration: int) -> Path:
    """Where the checkpoint of an iteration lies."""
    return folder / f"iteration-{iteration:06d}"


def iterations(folder: Path) -> list[int]:
    """The iterations that a folder of checkpoints holds, in order."""
    found = folder.glob("iteration-*") if folder.is_dir() else []
    return sorted(int(number) for one in found if (number := one.name.removeprefix("iteration-")).isdecimal())


def newest(folder: Path) -> Path:
    """The newest checkpoint in a folder of them."""
    found = iterations(folder)
    if not found:
        raise RunFolderError(f"{folder} holds no checkpoint; train the run first")
    return place(folder, found[-1])


def prune(folder: Path, keep: int, best: int | None = None) -> None:
    """Removes all but the newest `keep` checkpoints and that of iteration `best`, and what a crash left behind."""
    for iteration in iterations(folder)[:-keep]:
        if iteration != best:
            _remove(place(folder, iteration))
    for leftover in [*folder.glob(".writing-*"), *folder.glob(".removing-*")]:
        shutil.rmtree(leftover)


def remove_after(folder: Path, iteration: int) -> None:
    """Removes the checkpoints of later iterations: the run goes back to this one."""
    for later in iterations(folder):
        if later > iteration:
            _remove(place(folder, later))


def _remove(path: Path) -> None:
    """Takes a checkpoint away in one step: a crash on the way leaves no half of it under its name."""
    if path.is_dir():
        aside = path.with_name(f".removing-{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        shutil.rmtree(aside)


def _refusal(path: Path, reason: str) -> RunFolderError:
    own = path.name.removeprefix("iteration-")
    earlier = [one for one in iterations(path.parent) if own.isdecimal() and one < int(own)]
    cure = f"go back to an earlier one with --checkpoint {earlier[-1]}" if earlier else "train again"
    return RunFolderError(f"checkpoint {path} is refused: {reason}; {cure}")


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _take_out(node: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Plain data with every tensor replaced by its name in `tensors`."""
    if isinstance(node, torch.Tensor):
        tensors[path] = node.detach().cpu().contiguous().clone()
        return {_TENSOR: path}
    if isinstance(node, Mapping):
        # JSON keys are words; the keys of an optimiser's state are numbers, so the kind of key is kept beside it.
        return {
            "$items": [[key, _take_out(value, f"{path}/{key}", tensors)] for key, value in node.items()],
        }
    if isinstance(node, (list, tuple)):
        return [_take_out(value, f"{path}/{index}", tensors) for index, value in enumerate(node)]
    if node is None or isinstance(node, (bool, int, float, str)):
        return node
    raise TypeError(f"a checkpoint holds tensors and plain data, not {type(node).__name__} at {path or '/'}")


def _put_back(node: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(node, dict):
        if _TENSOR in node:
            return tensors[node[_TENSOR]]
        return {key: _put_back(value, tensors) for key, value in node["$items"]}
    if isinstance(node, list):
        return [_put_back(value, tensors) for value in node]
    return node
