"""Three Ray nodes on this machine, in a process of their own: Ray's test cluster bears no other Ray beside it.

python -m tests.ray_nodes       prints the address and the head's node id, then obeys "replace NODE_ID" line by line
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOTICED_SOON = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
}


class RayNodes:
    """The cluster, as tests use it.

    Attributes:
        address: of its head.
        head: id of the head's node, which is the driver's.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address, self.head = self._answer().split()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("node: "):  # Ray prints too
                return line.removeprefix("node: ").strip()
        raise AssertionError("the process that runs the nodes has ended")

    def replace(self, node_id: str) -> str:
        """Kill every process of a node that is not the head, and add another node: its id."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{node_id}\n")
        self._process.stdin.flush()
        return self._answer()


@contextmanager
def ray_nodes() -> Iterator[RayNodes]:
    """Three nodes of a CPU each, as long as the body goes on."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # short, for sockets; `auto` finds no cluster of a test
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ray_nodes"],
        env={**os.environ, "RAY_TMPDIR": str(folder)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield RayNodes(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    from ray.cluster_utils import Cluster

    head = {"include_dashboard": False, "_system_config": NOTICED_SOON}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        cluster.add_node()
    print(f"node: {cluster.address} {cluster.head_node.node_id}", flush=True)
    for line in sys.stdin:
        (lost,) = [node for node in cluster.worker_nodes if node.node_id == line.strip()]
        cluster.remove_node(lost, allow_graceful=False)
        print(f"node: {cluster.add_node().node_id}", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
