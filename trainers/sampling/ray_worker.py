"""The worker on Ray: stateless."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import Any

import torch

from agents.contract import TrialBatch, Weights
from trainers.cluster.pickling import unpickled
from trainers.process import instruction_set, keep_freed_memory
from trainers.sampling.shards import Shard
from trainers.sampling.trial_loop import run_shard


class Worker:
    """A Ray actor: stateless, but that it keeps the agent and the family that it was last given."""

    def __init__(self) -> None:
        keep_freed_memory()
        torch.set_num_threads(1)
        self._version: int | None = None
        self._agent_and_family: Any = None

    def describe(self) -> dict[str, Any]:
        """Where it runs and with which instructions it computes."""
        return {"process": os.getpid(), "node": platform.node(), "instruction_set": instruction_set()}

    def run(self, version: int, pickled: Sequence[Any], weights: Weights, shard: Shard) -> TrialBatch:
        """Run a shard with this version of agent and family, which lie pickled in Ray's store."""
        if version != self._version:
            import ray

            self._agent_and_family = unpickled(ray.get(pickled[0]))
            self._version = version
        own = {name: value.clone() for name, value in weights.items()}  # fresh tensors, for the same reason
        agent, family = self._agent_and_family
        return run_shard(agent, family, own, shard)

    def run_and_keep(self, *given: Any) -> tuple[None, TrialBatch]:
        """`run`, as two answers: that it is done, and the trial batch, which stays here until somebody gets it."""
        return None, self.run(*given)
