"""Ray for a sampler: a local one in a process session of its own, or the cluster that RAY_ADDRESS names.

Where Ray offers no other way, two of its private names are replaced while it starts (see `connected`); a test holds
them to what they should do.
"""

from __future__ import annotations

import logging
import os
import socket
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


def start(workers: int, stop: StopRequest) -> bool:
    """Connect this process to Ray, unless it is already; returns whether Ray is to be shut down by who called.

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
    options: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
    if address != "local":
        probe(address)
    try:
        with stop.kept(), _quiet_and_apart():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # of all kinds: Ray's own, the system's, a broken installation's
        raise ClusterError(_why_not(address, error)) from error
    return True


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


def dead_processes() -> list[str]:
    """The kinds of Ray's processes that this process started and that have ended."""
    import ray

    node = ray._private.worker._global_node
    return [] if node is None else [kind for kind, _ in node.dead_processes()]


def lacking(workers: int) -> str:
    """'the cluster has 2 CPUs, 0 of them free': for workers that wait for one each."""
    import ray

    cpus, free = ray.cluster_resources().get("CPU", 0.0), ray.available_resources().get("CPU", 0.0)
    where = os.environ.get("RAY_ADDRESS") or "this machine"
    waiting = "1 worker waits for a free CPU" if workers == 1 else f"{workers} workers wait for a free CPU each"
    return f"{waiting}: Ray on {where} has {cpus:.0f} CPUs, {free:.0f} of them free"


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed on this machine for lack of memory; 0 where it does not count them."""
    counts = [0]
    for path in (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events")):
        if path.is_file():
            counts += [int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("oom_kill ")]
    return max(counts)
