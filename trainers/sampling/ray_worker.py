"""The worker on Ray, stateless, and the pickle of agent and family that it is sent."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from typing import Any

import torch

from agents.contract import Agent, TrialBatch, Weights
from envs.task import TaskFamily
from trainers.errors import RecipeError
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

            # As bytes that are unpickled here: arrays straight out of Ray's store would be read-only views, aligned
            # otherwise, which changes last bits.
            path, agent_and_family = ray.cloudpickle.loads(ray.get(pickled[0]))
            sys.path += [folder for folder in path if folder not in sys.path]
            self._agent_and_family = ray.cloudpickle.loads(agent_and_family)
            self._version = version
        own = {name: value.clone() for name, value in weights.items()}  # fresh tensors, for the same reason
        agent, family = self._agent_and_family
        return run_shard(agent, family, own, shard)

    def run_and_keep(self, *given: Any) -> tuple[None, TrialBatch]:
        """`run`, as two answers: that it is done, and the trial batch, which stays here until somebody gets it."""
        return None, self.run(*given)


def pickled(agent: Agent, family: TaskFamily) -> bytes:
    """The agent and the family as they are sent to workers; RecipeError if one of them cannot be.

    Classes of a script or a notebook travel whole, those of a module by their names: the folders where this process
    finds its modules go along, for on this machine workers find them there too.
    """
    import ray

    for name, one in (("agent", agent), (f"family {family.name}", family)):
        try:
            ray.cloudpickle.dumps(one)
        except Exception as error:  # of any kind: objects bring their own ways of pickling
            raise RecipeError(
                f"the {name} cannot be sent to workers ({' '.join(str(error).split())[:200]}); make what cannot be "
                "pickled, such as locks and open files, in make_env, or set workers=0"
            ) from error
    path = [os.path.abspath(folder) for folder in sys.path]  # noqa: PTH100 (an entry may be "", the working folder)
    return ray.cloudpickle.dumps((path, ray.cloudpickle.dumps((agent, family))))
