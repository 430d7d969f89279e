"""Ray for a sampler: a local one in a process session of its own, or the cluster that RAY_ADDRESS names.

Where Ray offers no other way, two of its private names are replaced while it starts (see `connected`); a test holds
them to what they should do.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainers.errors import ClusterError
from trainers.stopping import StopRequest

CONNECT_S = 5.0  # until an address that does not answer is given up
ANSWER_S = 15.0  # until one that answers, but not as Ray's head does
_ASK = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"


def start(cpus: int, stop: StopRequest) -> bool:
    """Connect this process to Ray, unless it is already; returns whether Ray is to be shut down by who called.

    A Ray of our own has so many `cpus`, whatever the machine has.

    Raises:
        ClusterError: nothing usable is at RAY_ADDRESS, or Ray cannot be started here.
    """
    import ray

    if ray.is_initialized():
        return False
    # Before `ray.init`, since Ray reads it while starting: quiet its notice about unused accelerators.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = os.environ.get("RAY_ADDRESS") or "local"
    # On this machine a worker is a process, so more workers than cores is the user's choice to make.
    options: dict[str, Any] = {"num_cpus": cpus, "include_dashboard": False} if address == "local" else {}
    if address != "local":
        probe(address)
    try:
        with stop.kept(), _quiet_and_apart():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # of all kinds: Ray's own, the system's, a broken installation's
        raise ClusterError(_why_not(address, error)) from error
    return True


def shut_down() -> None:
    """End the Ray that `start` has started, or leave the cluster that it has joined."""
    import ray

    ray.shutdown()


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


def probe(address: str) -> None:
    """ClusterError unless a Ray head answers at this address; `auto` is left to Ray."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        raise ClusterError(
            f"RAY_ADDRESS={address} is no address; give HOST:PORT of a head, as `ray start --head` prints it, or unset "
            "it to use this machine"
        )
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"RAY_ADDRESS={address}: nothing answers there ({error}); start a head with `ray start --head`, or unset "
            "RAY_ADDRESS to use this machine"
        ) from error
    if address.startswith("ray://"):
        return
    try:  # in a process of its own, for Ray's client waits for 40 s and is deaf to signals meanwhile
        asked = subprocess.run(
            [sys.executable, "-c", _ASK, address], capture_output=True, text=True, timeout=ANSWER_S
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ClusterError(
            f"RAY_ADDRESS={address}: what listens there does not answer as the head of a Ray cluster; give the address "
            "that `ray start --head` printed, or unset RAY_ADDRESS to use this machine"
        ) from error
    if asked.returncode and "AuthToken" in asked.stderr:
        raise ClusterError(_unauthorised(address))


def _unauthorised(address: str) -> str:
    mode = os.environ.get("RAY_AUTH_MODE")
    return (
        f"RAY_ADDRESS={address}: the head refuses this process's token, or asks for one "
        f"(RAY_AUTH_MODE is {mode or 'not set'} here); set RAY_AUTH_MODE=token and the head's RAY_AUTH_TOKEN, or start "
        "the head and this process both with RAY_AUTH_MODE=disabled"
    )


def _why_not(address: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:300]
    if "AuthToken" in reason or "authentication token" in reason:
        return _unauthorised(address)
    if address != "local":
        return f"RAY_ADDRESS={address}: Ray cannot be joined there ({reason}); mend that, or unset RAY_ADDRESS"
    if "AF_UNIX path length" in reason:
        return f"Ray cannot keep its sockets in {tempfile.gettempdir()}, whose name is too long: set TMPDIR=/tmp"
    home = os.environ.get("HOME", "~")
    return (
        f"Ray cannot be started ({reason}); it writes to HOME, which is {home}, and to {tempfile.gettempdir()}: set "
        "HOME and TMPDIR to folders that can be written, or workers=0 to sample in this process"
    )


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


def lacking(waiting: int, workers: int) -> str:
    """'2 of 4 workers are not ready: each needs a CPU, and Ray on 10.0.0.1:6379 has 2 CPUs, 0 of them free'."""
    import ray

    cpus, free = ray.cluster_resources().get("CPU", 0.0), ray.available_resources().get("CPU", 0.0)
    where = os.environ.get("RAY_ADDRESS") or "this machine"
    verb = "is" if workers == 1 else "are"
    return (
        f"{waiting} of {workers} worker{'' if workers == 1 else 's'} {verb} not ready: each needs a CPU, and Ray on "
        f"{where} has {cpus:.0f}, {free:.0f} of them free"
    )


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed on this machine for lack of memory; 0 where it does not count them."""
    counts = [0]
    for path in (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events")):
        if path.is_file():
            counts += [int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("oom_kill ")]
    return max(counts)
