"""Ray for a sampler: one of this process's own in a process session apart, or a cluster that it joins.

Where Ray offers no other way, two of its private names are replaced while it starts (see `_quiet_and_apart`); a test
holds them to what they should do.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from trainers.cluster import addresses
from trainers.cluster.addresses import Address
from trainers.errors import ClusterError
from trainers.stopping import StopRequest

HEAD_S = 45.0  # without a head, until it is given up; Ray's nodes end themselves after 60 s
HEAD_LOOK_S = 5.0  # between looks whether it is there


def start(workers: int, stop: StopRequest, address: Address | None = None) -> bool:
    """Connect this process to Ray, unless it is already; returns whether Ray is to be shut down by who called.

    Args:
        workers: how many a Ray of this process's own has room for.
        stop: is told what is waited for.
        address: the cluster to join; None for a Ray of this process's own.

    Raises:
        ClusterError: the cluster cannot be joined, or Ray cannot be started here.
    """
    import ray

    if ray.is_initialized():
        _refuse_another(address)
        return False
    # Before `ray.init`, since Ray reads it while starting: quiet its notice about unused accelerators.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is None:
        # On this machine a worker is a process, so more workers than cores is the user's choice to make.
        options: dict[str, Any] = {"address": "local", "num_cpus": workers, "include_dashboard": False}
    else:
        addresses.refuse_unusable(address, stop)
        options = {"address": address.place}
        # Without a head, Ray ends a driver after 60 s, whatever it computes; `Head` sees to it that a checkpoint is
        # written first, if need be after a long meta-update.
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "86400")
    try:
        with stop.kept(), _quiet_and_apart():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except SystemExit:  # of Ray's own handler of SIGTERM, while it was there: it is this process's to handle
        signal.raise_signal(signal.SIGTERM)
        raise
    except Exception as error:  # of all kinds: Ray's own, the system's, a broken installation's
        reason = " ".join(str(error).split())
        raise ClusterError(addresses.why_not(address, reason) if address else _why_not_here(reason)) from error
    return True


def _refuse_another(address: Address | None) -> None:
    """ClusterError if this process has joined another Ray than the one that is asked for."""
    import ray

    if address is None:
        return
    joined = ray.get_runtime_context().gcs_address
    (host, _, port), (joined_host, _, joined_port) = (place.rpartition(":") for place in (address.place, joined))
    # A head answers to several names of its machine; two heads on one machine differ by their ports.
    here = host in ("localhost", "127.0.0.1") and joined_host == ray.util.get_node_ip_address()
    if port != joined_port or not (here or _numbers_of(host) & _numbers_of(joined_host)):
        raise ClusterError(
            f"{address.name}, but this process has joined the Ray at {joined} already; call ray.shutdown() first, or "
            "leave cluster out to use that one"
        )


def _numbers_of(host: str) -> set[str]:
    """The addresses that a host's name stands for, or the name itself."""
    try:
        return {str(one[4][0]) for one in socket.getaddrinfo(host.strip("[]"), None)}
    except OSError:
        return {host}


@contextmanager
def _quiet_and_apart() -> Iterator[None]:
    """Ray's processes get a session of their own, and its reports of deaths, which we sum up, are not printed.

    A signal to the process group, such as Ctrl-C, `timeout` or Slurm sends, would else take Ray away before the driver
    can save anything. They still die with the driver: the kernel kills them then (PR_SET_PDEATHSIG, set by Ray).
    """
    import ray
    from ray._private import services

    class Apart(services.ConsolePopen):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "start_new_session": True})

    popen = services.ConsolePopen
    setattr(services, "ConsolePopen", Apart)  # noqa: B010, a class for a class
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        setattr(services, "ConsolePopen", popen)  # noqa: B010


def _why_not_here(reason: str) -> str:
    if "AF_UNIX path length" in reason:
        return f"Ray cannot keep its sockets in {tempfile.gettempdir()}, whose name is too long: set TMPDIR=/tmp"
    home = os.environ.get("HOME", "~")
    return (
        f"Ray cannot be started ({reason[:300]}); it writes to HOME, which is {home}, and to {tempfile.gettempdir()}: "
        "set HOME and TMPDIR to folders that can be written, or workers=0 to sample in this process"
    )


class Connection:
    """This process's connection to Ray.

    Attributes:
        address: of the cluster that it joined; None for a Ray on this machine.
        owned: whether this process connected it, and `close` disconnects it.
        elsewhere: whether workers may run on other machines than this one.
        has_room: whether there is a CPU for each worker, as in a Ray of this process's own.
    """

    def __init__(self, workers: int, stop: StopRequest, address: Address | None = None) -> None:
        import ray

        self.address, self._say = address, stop.say
        self.owned = start(workers, stop, address)
        self.has_room = self.owned and address is None
        node = ray._private.worker._global_node
        self.elsewhere = address is not None or node is None or not node.is_head()
        self._raylet = Raylet()
        self._head = Head(address.place, stop.say) if address is not None else None

    def check(self) -> None:
        """ClusterError if Ray is gone."""
        self._raylet.check()
        if self._head is not None:
            self._head.check()

    def answers(self) -> bool:
        """Whether Ray can be asked something now: without its head it would wait, deaf to signals."""
        return self._head is None or self._head.answers()

    def cpus(self) -> int:
        """How many CPUs all nodes have together."""
        import ray

        return int(ray.cluster_resources().get("CPU", 0.0))

    def auto_workers(self, learner_cpus: int = 0) -> int:
        """The workers of `workers: auto` on a cluster: one for each CPU, but those that learners need; said aloud.

        Raises:
            ClusterError: none is left.
        """
        assert self.address is not None
        cpus = self.cpus()
        kept = f", and its learners need {learner_cpus}" if learner_cpus else ""
        if cpus <= learner_cpus:
            raise ClusterError(
                f"workers: auto is one worker for each CPU, and the Ray cluster at {self.address.place} has {cpus} "
                f"now{kept}; name a number, which a cluster that grows makes room for, or add nodes"
            )
        count = cpus - learner_cpus
        self._say(f"workers: auto is {count} on the Ray cluster at {self.address.place}, which has {cpus} CPUs{kept}")
        return count

    def lacking(self, waiting: int, workers: int) -> str:
        """'2 of 4 workers are not ready: each needs a CPU, and Ray on 10.0.0.1:6379 has 2, 0 of them free'."""
        import ray

        cpus, free = self.cpus(), ray.available_resources().get("CPU", 0.0)
        where = self.address.place if self.address else "this machine"
        verb = "is" if workers == 1 else "are"
        return (
            f"{waiting} of {workers} worker{'' if workers == 1 else 's'} {verb} not ready: each needs a CPU, and Ray "
            f"on {where} has {cpus}, {free:.0f} of them free"
        )

    def close(self) -> None:
        """Leave Ray, if this process connected it here."""
        import ray

        self._raylet.close()
        if self.owned:
            with suppress(Exception):  # of any kind, where the cluster is gone
                ray.shutdown()


class Raylet:
    """Ray's process on this machine that this one talks to: without it, Ray ends this process in its next call."""

    def __init__(self) -> None:
        import ray

        self._handle: int | None = None
        self._poll = select.poll()
        node = ray._private.worker._global_node
        if node is None or not hasattr(os, "pidfd_open"):
            return
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(node.raylet_socket_name.removeprefix("unix:"))
            process_id, _, _ = struct.unpack("3i", asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if process_id > 0:  # 0: of another namespace
            self._handle = os.pidfd_open(process_id)
            self._poll.register(self._handle, select.POLLIN)

    def check(self) -> None:
        """ClusterError if it has ended."""
        if self._handle is not None and self._poll.poll(0):
            raise ClusterError(
                "Ray's raylet process has ended, and its workers with it (killed, maybe for lack of memory); mend that"
            )

    def close(self) -> None:
        """Give back the handle."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class Head:
    """The head of a cluster that was joined, on whatever machine: without it no worker can be started."""

    _said: ClassVar[set[str]] = set()  # places of which this process has said so: sampler and learners look both

    def __init__(self, place: str, say: Callable[[str], None]) -> None:
        self._place, self._say = place, say
        host, _, port = place.rpartition(":")
        self._host_and_port = host.strip("[]"), int(port)
        self._answered = self._looked = time.monotonic()

    def check(self) -> None:
        """Look now and then, say so when it is away; ClusterError when it was for `HEAD_S`."""
        if time.monotonic() - self._looked < HEAD_LOOK_S or self.answers():
            return
        away = time.monotonic() - self._answered
        gone = f"the head of the Ray cluster at {self._place} does not answer ({self._error})"
        if away > HEAD_S:
            raise ClusterError(f"{gone} since {away:.0f} s; mend that")
        if self._place not in self._said:
            self._said.add(self._place)
            self._say(f"{gone[0].upper()}{gone[1:]}; the run stops if it is away for {HEAD_S:.0f} s")

    def answers(self) -> bool:
        """Whether it does now."""
        self._looked = time.monotonic()
        try:
            socket.create_connection(self._host_and_port, timeout=2.0).close()
        except OSError as error:
            self._error = error
            return False
        self._answered = time.monotonic()
        self._said.discard(self._place)
        return True


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed on this machine for lack of memory; 0 where it does not count them."""
    counts = [0]
    for path in (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events")):
        if path.is_file():
            counts += [int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("oom_kill ")]
    return max(counts)
