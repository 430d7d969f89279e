"""The team of learners in several processes, by torch.distributed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
import torch.distributed
from torch import Tensor

from agents.contract import blocks


class ProcessTeam:
    """The learners of the process group that this process has joined.

    Attributes:
        rank, size: as in `agents.team.Team`.
        floats: numbers that this learner has been sent by the others so far.
        seconds: that it has spent on exchanging, waiting for the others included.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.floats, self.seconds = 0, 0.0
        self._device = device

    def map(self, lengths: Sequence[int], compute: Callable[[int], Tensor]) -> list[Tensor]:
        """As in `Team`: learner r computes a block of consecutive parts."""
        shares = blocks(len(lengths), self.size)
        # Blocks differ in length, and `all_gather` takes equal ones.
        longest = max(sum(lengths[part] for part in block) for block in shares)
        own = torch.zeros(longest, device=self._device)
        place = 0
        for part in shares[self.rank]:
            own[place : place + lengths[part]] = compute(part)
            place += lengths[part]
        began = time.perf_counter()
        gathered = [torch.empty_like(own) for _ in range(self.size)]
        torch.distributed.all_gather(gathered, own)
        self.seconds += time.perf_counter() - began
        self.floats += (self.size - 1) * longest
        return [
            part
            for row, block in zip(gathered, shares, strict=True)
            for part in row[: sum(lengths[one] for one in block)].split([lengths[one] for one in block])
        ]
