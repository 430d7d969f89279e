"""Ask what listens at an address whether it is the head of a Ray cluster, and of which; prints the answer as JSON.

A program of its own, `python -P ask_head.py ADDRESS SECONDS`: Ray's own client waits for 40 s and is deaf to signals
meanwhile, and so is the look-up of a host's name. `trainers.cluster.addresses` runs it, and ends it when it takes long.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any


def ask(address: str, connect_s: float) -> dict[str, Any]:
    """The answer, with the first of these keys that applies.

    nothing: why nothing can be reached there. error: what Ray says instead of an answer. Else python, ray: versions of
    the cluster; node_here: whether one of its nodes runs on this machine.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=connect_s).close()
    except (OSError, OverflowError) as error:
        return {"nothing": str(error)}
    try:
        return _head(address)
    except Exception as error:  # of all kinds: Ray's own, of a broken installation
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def _head(address: str) -> dict[str, Any]:
    from ray import _raylet
    from ray._common.usage.usage_lib import get_cluster_metadata
    from ray._private.services import find_node_ids
    from ray.core.generated import gcs_pb2

    raylet: Any = _raylet  # compiled: no checker knows what is in them
    messages: Any = gcs_pb2
    head = raylet.GcsClient(address=address)
    versions = get_cluster_metadata(head) or {}
    alive = head.get_all_node_info(timeout=10, state_filter=messages.GcsNodeInfo.GcsNodeState.ALIVE)
    return {
        "ray": versions.get("ray_version"),
        "python": versions.get("python_version"),
        "node_here": not {node_id.hex() for node_id in alive}.isdisjoint(find_node_ids()),
    }


if __name__ == "__main__":
    print(json.dumps(ask(sys.argv[1], float(sys.argv[2]))))
