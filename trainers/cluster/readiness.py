"""Workers that die with their node, and workers that wait for a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable

from trainers.cluster.connection import Connection
from trainers.errors import ClusterError


def deaths() -> tuple[type[Exception], ...]:
    """Ray's errors where a worker's answer cannot be had any more: the worker is gone, or what it left behind."""
    from ray import exceptions

    return (
        exceptions.RayActorError,
        exceptions.OutOfMemoryError,
        exceptions.NodeDiedError,
        exceptions.ObjectLostError,  # the answer lay on a node that died
    )


def of_a_node(error: Exception) -> bool:
    """Whether a worker may have died with its node, so that what it did is not to blame."""
    from ray import exceptions

    if isinstance(error, (exceptions.NodeDiedError, exceptions.ObjectLostError, exceptions.ActorUnavailableError)):
        return True  # the last one: Ray does not know yet whether the node or only the worker is gone
    return "node has died" in str(error) or "node died" in str(error)


def of_memory(error: Exception) -> bool:
    """Whether Ray ended a worker for lack of memory."""
    return any(words in str(error) for words in ("NODE_OUT_OF_MEMORY", "running low on memory", "OutOfMemoryError"))


def reason(error: Exception) -> str:
    """The last, most telling part of what Ray says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if "Error:" in line] or [line for line in lines if " because " in line]
    return " ".join((causes or lines or [type(error).__name__])[-1].split())[:300]


class Readiness:
    """Watches how many workers are ready, and says so where a CPU is lacking.

    Args:
        connection: to Ray.
        say: is given sentences for the user.
    """

    NOTICE_S = 8.0  # until the user is told which workers are not ready
    START_S = 600.0  # without any worker, until it is given up

    def __init__(self, connection: Connection, say: Callable[[str], None]) -> None:
        self._connection, self._say = connection, say
        self._some_since: float | None = None  # since when some worker is not ready
        self._all_since: float | None = None  # since when none is
        self._last_said = 0

    def check(self, waiting: int, workers: int) -> None:
        """So many of the workers are not ready now.

        Raises:
            ClusterError: none was for `START_S`.
        """
        now = time.monotonic()
        self._some_since = (self._some_since or now) if waiting else None
        self._all_since = (self._all_since or now) if waiting == workers else None
        over = self._all_since is not None and now - self._all_since > self.START_S
        early = self._some_since is None or now - self._some_since < self.NOTICE_S
        if not over and (early or waiting == self._last_said or self._connection.has_room):
            return
        if not self._connection.answers():
            return
        lack = self._connection.lacking(waiting, workers)
        if over:
            raise ClusterError(f"{lack}; that was so for {self.START_S:.0f} s: free some, or lower workers")
        self._last_said = waiting
        end = f"if none becomes free within {self.START_S:.0f} s the run stops: free some, or lower workers"
        self._say(f"{lack}; {end if waiting == workers else 'the others go on, or lower workers'}")
