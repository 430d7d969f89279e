"""Several learners: the same bits, how much faster on this machine, and what N of them would send one another.

    python benchmarks/learner_group.py [--only RECIPE]...

Recorded batches of shipped recipes at full size go to 1, 2 and 3 learners that share the updates through
torch.distributed (gloo, a process and a thread each), and to a learner alone.

- same bits: weights, optimiser and all other state after five updates are the lone learner's.
- speed: seconds of an update, the medians of the second and later ones, one learner's over
  two learners'. With more learners than cores the bits alone say something.
- shared: the part of the lone learner's processor time that the learners would share; the rest each does for itself. N
  learners are at most 1 / (rest + shared / N) times as fast.
- traffic: bytes that each learner gets from the others an update, N - 1 of N of what is shared out, whatever N; and the
  exchanges in which they come, each of which takes a round trip.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from measure import record
from scale import Case
from torch import Tensor

from agents.contract import TeamLearner
from agents.team import Alone
from trainers.cluster.team import ProcessTeam
from trainers.process import gradients_in_this_thread, keep_freed_memory

RECIPES: dict[str, tuple[int, tuple[str, ...]]] = {  # which iteration's trials, and settings
    "point_nav_maml": (1, ("agent.task_chunk=5",)),
    "point_nav_maml_trpo": (1, ("agent.task_chunk=5",)),
    "point_nav_reptile": (1, ("agent.task_chunk=5",)),
    "half_cheetah_vel_u03_rl2": (1, ("agent.microbatches=4",)),
    "half_cheetah_vel_u03_varibad": (1, ("agent.microbatches=4",)),
    "half_cheetah_vel_u03_pearl": (0, ("agent.microbatches=4", "agent.gradient_steps=100")),
}
UPDATES = 5
SIZES = (1, 2, 3)


class Measuring(Alone):
    """A team of one that notes what another would share."""

    def __init__(self) -> None:
        self.seconds, self.floats, self.exchanges = 0.0, 0, 0

    def map(self, lengths: Sequence[int], compute: Callable[[int], Tensor]) -> list[Tensor]:
        began = time.process_time()
        found = super().map(lengths, compute)
        self.seconds += time.process_time() - began
        self.floats += sum(lengths)
        self.exchanges += 1
        return found


def tensors(state: Any) -> Iterator[Tensor]:
    """Those in a learner's state, in order."""
    if isinstance(state, Tensor):
        yield state
    for one in state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ():
        yield from tensors(one)


def updated(case: Case, batch: Any, team: Any) -> dict[str, Any]:
    """Seconds of each update by a learner of this team, and a hash of what it has become."""
    assert isinstance(case.learner, TeamLearner)
    case.learner.join(team)
    seconds, processor = [], []
    for _ in range(UPDATES):
        clocks = time.perf_counter(), time.process_time()
        with gradients_in_this_thread():
            case.learner.update(batch)
        seconds.append(time.perf_counter() - clocks[0])
        processor.append(time.process_time() - clocks[1])
    state = b"".join(value.detach().numpy().tobytes() for value in tensors(case.learner.state_dict()))
    return {"seconds": seconds, "processor": processor, "state": hashlib.sha256(state).hexdigest()}


def in_a_process(rank: int, size: int, name: str, folder: Path) -> None:
    """One learner of a group."""
    keep_freed_memory()
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(str(folder / f"store-{size}"), size)
    wait = timedelta(minutes=10)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=wait)
    iteration, overrides = RECIPES[name]
    case, team = Case(name, iteration=iteration, overrides=overrides), ProcessTeam(torch.device("cpu"))
    found = updated(case, pickle.loads((folder / "batch").read_bytes()), team)
    (folder / f"{size}-{rank}").write_bytes(pickle.dumps(found | {"floats": team.floats, "exchanging": team.seconds}))
    torch.distributed.destroy_process_group()


def measure(name: str, folder: Path) -> dict[str, Any]:
    """The figures of one recipe."""
    iteration, overrides = RECIPES[name]
    case = Case(name, iteration=iteration, overrides=overrides)
    batch = case.batch()
    (folder / "batch").write_bytes(pickle.dumps(batch))
    team = Measuring()
    alone = updated(case, batch, team)
    assert isinstance(case.learner, TeamLearner)
    parts = case.learner.parts()
    groups = {}
    for size in SIZES:
        torch.multiprocessing.start_processes(in_a_process, (size, name, folder), nprocs=size, start_method="spawn")
        groups[size] = [pickle.loads((folder / f"{size}-{rank}").read_bytes()) for rank in range(size)]
    usual = {size: statistics.median(members[0]["seconds"][1:]) for size, members in groups.items()}
    shared = team.seconds / sum(alone["processor"])
    return {
        "settings": " ".join(overrides),
        "parts": parts,
        "same bits": {size: all(one["state"] == alone["state"] for one in members) for size, members in groups.items()},
        "update (s)": usual,
        "2 learners, times as fast as one": usual[1] / usual[2],
        "share of an update that is shared": shared,
        "2 learners, at most": 1 / (1 - shared + shared / 2),
        f"{parts} learners, at most": 1 / (1 - shared + shared / parts),
        "bytes an update, however many learners": 4 * team.floats / UPDATES,
        "exchanges an update": team.exchanges / UPDATES,
        "share of an update that 2 spend on exchanging and waiting": groups[2][0]["exchanging"]
        / sum(groups[2][0]["seconds"]),
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--only", action="append", choices=RECIPES)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    for name in options.only or RECIPES:
        with tempfile.TemporaryDirectory() as folder:
            record("learner_group", {name: measure(name, Path(folder))}, keep=True)


if __name__ == "__main__":
    main()
