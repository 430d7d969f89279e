"""The nodes that workers run on: what each computes with, and the refusal of one that would give other numbers."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from trainers.errors import ClusterError
from trainers.process import instruction_set, usable_cores
from trainers.runs.provenance import commit, versions

_ROOT = Path(__file__).resolve().parents[2]
_OURS = ("acclimate", "agents", "envs", "trainers")
# Sampling computes with these: another version of one may give other numbers, and nobody would notice.
DECISIVE = ("torch", "numpy", "scipy", "gymnasium", "mujoco")
Record = list[dict[str, Any]]  # the nodes, as they stand in provenance.json


@cache
def sources() -> str:
    """16 hexadecimal digits of the SHA-256 of Acclimate's own source files, as they were when first asked for."""
    digest = hashlib.sha256()
    for package in _OURS:
        for file in sorted((_ROOT / package).rglob("*.py")):
            digest.update(f"{file.relative_to(_ROOT).as_posix()}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@cache
def facts() -> dict[str, Any]:
    """Where this process runs and all that its numbers depend on; plain data."""
    import ray

    context = ray.get_runtime_context()
    return {
        "node": platform.node(),
        "address": ray.util.get_node_ip_address(),
        "id": context.get_node_id(),
        "process": os.getpid(),
        "instruction_set": instruction_set(),
        "threads": torch.get_num_threads(),
        "cores": usable_cores(),
        "commit": commit(),
        "sources": sources(),
        "versions": versions(),
    }


class Nodes:
    """The nodes of a sampler's workers, each welcomed when a worker is ready there.

    Args:
        say: is given sentences for the user.
        note: is given the record when it has changed, as often as `noted` is called.
    """

    def __init__(self, say: Callable[[str], None], note: Callable[[Record], None] | None) -> None:
        self._here: dict[str, Any] = {
            "sources": sources(),
            "versions": versions(),
            "commit": commit(),
            "instruction_set": instruction_set(),
        }
        self._say, self._note = say, note
        self._known: dict[str, dict[str, Any]] = {}
        self._changed = False

    def welcome(self, found: Mapping[str, Any]) -> None:
        """A worker is ready on a node, which `facts` found there.

        Raises:
            ClusterError: it would compute other numbers than this process.
        """
        where = f"{found['node']} ({found['address']})" if "address" in found else str(found["node"])
        if other := self._other(found):
            raise ClusterError(
                f"the node {where} has {other}: trials sampled there would not be the same; give every node what this "
                "process has"
            )
        if found["instruction_set"] != (own := self._here["instruction_set"]):
            self._say(
                f"The worker on {where} computes with {found['instruction_set']} instructions, this process with "
                f"{own}: the last bits may differ from run to run"
            )
        for name, there, version in self._pairs(found):
            if there != version:  # torch 2.13.0+cpu and 2.13.0+cu128: one release, built for other machines
                self._say(
                    f"The worker on {where} has {name} {there}, this process {version}: the last bits may differ from "
                    "run to run"
                )
        known = self._known.setdefault(found["id"], {key: found[key] for key in found if key != "process"})
        known["workers"] = known.get("workers", 0) + 1
        self._changed = True

    def _pairs(self, found: Mapping[str, Any]) -> Sequence[tuple[str, str | None, str | None]]:
        """(package, version there, version here) of all that decides."""
        return [(name, found["versions"].get(name), self._here["versions"].get(name)) for name in DECISIVE]

    def _other(self, found: Mapping[str, Any]) -> str:
        """'numpy 2.4.1, this process 2.5.0'; '' where all is the same, but for builds of one release."""
        here = self._here
        if found.get("sources") != here["sources"]:
            return f"another Acclimate, {_acclimate(found)}, this process {_acclimate(here)}"
        for name, there, version in self._pairs(found):
            if _release(there) != _release(version):
                return f"{name} {there}, this process {version}"
        return ""

    def noted(self) -> None:
        """Note the nodes so far, if there is news of them."""
        if self._changed and self._note is not None:
            self._changed = False
            self._note([dict(node) for node in self._known.values()])


def _acclimate(found: Mapping[str, Any]) -> str:
    """'0.3.0 (commit 12ab…, sources 34cd…)', as far as it is known."""
    known = [f"{name} {str(found[name])[:16]}" for name in ("commit", "sources") if found.get(name)]
    version = found.get("versions", {}).get("acclimate")
    return f"{version or 'of another time'} ({', '.join(known) or 'it does not say more'})"


def _release(version: str | None) -> str | None:
    return version.partition("+")[0] if version else version
