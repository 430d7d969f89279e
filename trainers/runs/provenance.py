"""Provenance: the commit, versions and machine that a result was made with."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from trainers.errors import RunFolderError
from trainers.files import read_text
from trainers.process import auto_threads, instruction_set, usable_cores

FILE = "provenance.json"
_PACKAGES = ("acclimate", "torch", "numpy", "scipy", "gymnasium", "mujoco", "ray", "pyarrow", "safetensors", "pydantic")


def provenance() -> dict[str, Any]:
    """Commit, versions and machine of this process."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": commit(),
        "versions": versions(),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "usable_cores": usable_cores(),
            "threads": auto_threads(),  # of the learner, where the recipe says auto
            "instruction_set": instruction_set(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def read(folder: Path) -> dict[str, Any]:
    """The provenance in a run folder, or RunFolderError."""
    path = folder / FILE
    try:
        found = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{path} cannot be read ({str(error)[:120]}); take it from a copy") from error
    if not (
        isinstance(found, dict)
        and isinstance(found.get("id"), str | None)
        and isinstance(found.get("resumed", []), list)
        and isinstance(found.get("versions", {}), dict)
        and isinstance(found.get("machine", {}), dict)
    ):
        raise RunFolderError(f"{path} is not what a run writes; take it from a copy")
    return found


def other_versions(before: dict[str, Any]) -> list[str]:
    """The packages that this process has in another version, such as 'torch 2.12.0, here 2.13.0'."""
    now = versions()
    return [f"{name} {version}, here {now.get(name)}" for name, version in before.items() if version != now.get(name)]


def other_machine(machine: dict[str, Any], *, threads: bool) -> list[str]:
    """How a machine computed otherwise than this process does, such as '8 threads, here 2', as far as that is known.

    `threads`: whether those count that a learner takes by itself.
    """
    others = []
    if (before := machine.get("instruction_set")) not in (None, now := instruction_set()):
        others.append(f"{before} instructions, here {now}")
    if threads and (count := machine.get("threads")) not in (None, own := auto_threads()):
        others.append(f"{count} learner thread{'' if count == 1 else 's'}, here {own}")
    return others


def versions() -> dict[str, str | None]:
    """The version of Python and of each package that counts, as this process has it; None where it is not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


def commit() -> str | None:
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
