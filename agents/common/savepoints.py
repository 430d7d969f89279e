"""Savepoints: back to the state from before an update, whose cost does not grow with what an update leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from agents.contract import Learner


@runtime_checkable
class RevertibleLearner(Protocol):
    """A learner with much state of which an update changes little, such as replay."""

    def savepoint(self) -> Callable[[], None]:
        """A function that takes the learner back to this moment, until the next savepoint is made."""


def savepoint(learner: Learner) -> Callable[[], None]:
    """A function that takes the learner back to this moment, until its next savepoint is made."""
    if isinstance(learner, RevertibleLearner):
        return learner.savepoint()
    state = copied(learner.state_dict())
    return lambda: learner.load_state_dict(state)


class Replay(Protocol):
    """Keeps what it is given, up to a capacity."""

    def savepoint(self) -> Callable[[], None]:
        """A function that takes back what is added from now on, until the next savepoint is made."""


def savepoint_beside_replay(
    state: Mapping[str, Any], load: Callable[[Mapping[str, Any]], None], replays: Sequence[Replay]
) -> Callable[[], None]:
    """The savepoint of a learner whose state is `state`, which `load` takes back, and these replays."""
    kept, reverts = copied(state), [replay.savepoint() for replay in replays]

    def revert() -> None:
        load(kept)
        for one in reverts:
            one()

    return revert


def copied(state: Any, device: torch.device | None = None) -> Any:
    """The same nested state, its tensors copied, to a device if one is named."""
    if isinstance(state, torch.Tensor):
        return state.detach().to(device, copy=True)
    if isinstance(state, Mapping):
        return {key: copied(value, device) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [copied(value, device) for value in state]
    return state
