"""The worker on Ray, stateless."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from agents.contract import TrialBatch, Weights
from trainers.cluster.nodes import facts
from trainers.cluster.parcels import unpacked
from trainers.process import keep_freed_memory
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
        """Where it runs and all that its numbers depend on."""
        return facts()

    def run(self, version: int, parcel: Sequence[Any], weights: Weights, shard: Shard) -> TrialBatch:
        """Run a shard with this version of agent and family, whose parcel lies in Ray's store."""
        if version != self._version:
            import ray

            # As bytes that are unpickled here: arrays straight out of Ray's store would be read-only views, aligned
            # otherwise, which changes last bits.
            self._agent_and_family = unpacked(ray.get(parcel[0]))
            self._version = version
        own = {name: value.clone() for name, value in weights.items()}  # fresh tensors, for the same reason
        agent, family = self._agent_and_family
        return run_shard(agent, family, own, shard)

    def run_and_keep(self, *given: Any) -> tuple[None, TrialBatch]:
        """`run`, as two answers: that it is done, and the trial batch, which stays here until somebody gets it."""
        return None, self.run(*given)
