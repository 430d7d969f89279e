"""One learner of a group: a Ray actor that holds a copy of the learner and makes every meta-update with the others."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch

from agents.common.savepoints import copied, savepoint
from agents.contract import Learner, Plan, Round, TeamLearner, shared_parts
from trainers.cluster.nodes import facts
from trainers.cluster.parcels import unpacked
from trainers.cluster.team import ProcessTeam
from trainers.process import keep_freed_memory, prepare_gpu
from trainers.runs.facts import BatchFacts, meta_update


class LearnerProcess:
    """A copy of the learner, with the others' addresses.

    Args:
        agent_and_family: as workers get them, in Ray's store.
        recipe: (make_learner, its configuration, the seed, whether to be deterministic), pickled.
        device: of the learner.
        threads: of torch.
    """

    def __init__(self, agent_and_family: Sequence[Any], recipe: bytes, device: str, threads: int) -> None:
        import ray

        keep_freed_memory()
        torch.set_num_threads(threads)
        agent, self._family = unpacked(ray.get(agent_and_family[0]))
        make_learner, config, seed, deterministic = ray.cloudpickle.loads(recipe)
        self._device = torch.device(device)
        prepare_gpu(self._device, deterministic=deterministic)
        self._learner: Learner = make_learner(agent, config, seed, self._device)
        self._trials: list[Any] = []
        self._revert: Callable[[], None] = lambda: None

    def describe(self) -> dict[str, Any]:
        """Its node; `parts` is how many learners can share an update, 0 where it cannot be shared."""
        gpu = torch.cuda.get_device_name() if self._device.type == "cuda" else None
        return {**facts(), "parts": shared_parts(self._learner), "gpu": gpu}

    def meeting_place(self) -> str:
        """Where the group's learners can meet on this node: 'tcp://HOST:PORT', free a moment ago."""
        import ray

        host = ray.util.get_node_ip_address()
        with socket.socket() as free:
            free.bind((host, 0))
            return f"tcp://{host}:{free.getsockname()[1]}"

    def join(self, rank: int, size: int, place: str, timeout_s: float) -> None:
        """Meet the others; returns once all are there."""
        backend = "nccl" if self._device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(
            backend, init_method=place, rank=rank, world_size=size, timeout=timedelta(seconds=timeout_s)
        )
        assert isinstance(self._learner, TeamLearner)
        self._learner.join(ProcessTeam(self._device))

    # -- the learner, as the training loop uses it

    def receive(self, trials: Sequence[Any]) -> None:
        """Get the trials of all shards from where the workers have put them; raises Ray's error where they are lost."""
        import ray

        self._trials = ray.get(list(trials))

    def learn(self, rounds: Sequence[Round]) -> tuple[dict[str, float], BatchFacts]:
        """One meta-update on the trials that were received."""
        trials, self._trials = self._trials, []
        return meta_update(self._learner, self._family, trials, rounds)

    def plan(self, iteration: int) -> Plan:
        """The learner's plan."""
        return self._learner.plan(iteration)

    def weights(self) -> dict[str, torch.Tensor]:
        """The learner's weights."""
        return self._learner.weights()

    def digest(self) -> str:
        """A hash of the weights: equal in all learners of a group, or their numbers have come apart."""
        hashed = hashlib.sha256()
        for name, value in sorted(self._learner.weights().items()):
            hashed.update(name.encode() + value.contiguous().numpy().tobytes())
        return hashed.hexdigest()

    def state(self) -> dict[str, Any]:
        """The learner's state, its tensors on the CPU."""
        return copied(self._learner.state_dict(), torch.device("cpu"))

    def load(self, state: Mapping[str, Any]) -> None:
        """Take a state over; copied, for tensors out of Ray's store are aligned otherwise, which changes last bits."""
        self._learner.load_state_dict(copied(state))

    def save(self) -> None:
        """Remember this moment for `revert`."""
        self._revert = savepoint(self._learner)

    def revert(self) -> None:
        """Back to the last `save`."""
        self._trials = []
        self._revert()
