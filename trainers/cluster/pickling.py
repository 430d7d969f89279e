"""Agents and families on their way to other processes, and the errors of those that cannot go."""

from __future__ import annotations

import os
import sys

from agents.contract import Agent
from envs.task import TaskFamily
from trainers.errors import RecipeError


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


def unpickled(pickled: bytes) -> tuple[Agent, TaskFamily]:
    """The inverse of `pickled`, in another process.

    Bytes are unpickled here: arrays straight out of Ray's store would be read-only views, aligned otherwise, which
    changes last bits.
    """
    import ray

    path, agent_and_family = ray.cloudpickle.loads(pickled)
    sys.path += [folder for folder in path if folder not in sys.path]
    return ray.cloudpickle.loads(agent_and_family)
