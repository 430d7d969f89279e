"""Which Ray cluster a run joins, and the sentence where that cannot be, before this process depends on it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.errors import ClusterError
from trainers.stopping import StopRequest

CONNECT_S = 5.0  # until an address that does not answer is given up
ANSWER_S = 30.0  # until one that answers, but not as Ray's head does; a busy machine takes long to ask
NOTICE_S = 3.0  # until the user is told that an answer is waited for


@dataclass(frozen=True)
class Address:
    """The head of a cluster.

    Attributes:
        place: HOST:PORT.
        name: who says so, for messages: `cluster=auto (10.0.0.1:6379)`.
        otherwise: the advice to do without: `set cluster=null to use this machine`.
        hint: about what may be wrong with the place, or "".
    """

    place: str
    name: str
    otherwise: str
    hint: str = ""


def named(cluster: str | None) -> Address | None:
    """The cluster that a recipe's `cluster`, or else RAY_ADDRESS, names; None for a Ray of this process's own.

    Raises:
        ClusterError: it is no address, or `auto` where Ray notes no cluster.
    """
    variable = os.environ.get("RAY_ADDRESS")
    given = cluster or variable
    if not given or given == "local":
        return None
    name = f"cluster={given}" if cluster else f"RAY_ADDRESS={given}"
    otherwise = f"{'set cluster=null' if cluster and not variable else 'unset RAY_ADDRESS'} to use this machine"
    if cluster and variable:
        otherwise = "set cluster=null and unset RAY_ADDRESS to use this machine"
    if given == "auto":
        return _current(name, otherwise)
    if given.startswith("ray://"):
        # Measured with Ray 2.60: a lost server is noticed after 62 to 94 s, a wrong token after 31 s without its name.
        raise ClusterError(
            f"{name} is Ray Client's, which is not used, for it notices late that a cluster is gone; name HOST:PORT "
            "of the head on a machine that `ray start --address=HOST:PORT --num-cpus=0` made a node, or run the "
            f"command on the cluster (`ray job submit`), or {otherwise}"
        )
    host, _, port = given.rpartition(":")
    if not (host and port.isdecimal()):
        raise ClusterError(
            f"{name} is no address; give HOST:PORT of a head, as `ray start --head` prints it, or {otherwise}"
        )
    return Address(given, name, otherwise)


def _current(name: str, otherwise: str) -> Address:
    """The cluster that `ray start` noted on this machine last."""
    from ray._private.utils import get_ray_address_file, read_ray_address

    file = get_ray_address_file(None)
    try:
        place = read_ray_address()
    except OSError as error:
        raise ClusterError(f"{name}: {file} cannot be read ({error.strerror}); {otherwise}") from error
    if not place:
        raise ClusterError(
            f"{name}: no cluster is noted on this machine (there is no {file}); start one with `ray start --head`, "
            f"join one with `ray start --address=HOST:PORT`, or {otherwise}"
        )
    hint = f"; {file} names it, maybe from a cluster that has ended: remove it then"
    return Address(place, f"{name} ({place})", otherwise, hint)


def refuse_unusable(address: Address, stop: StopRequest) -> None:
    """ClusterError unless a cluster's head answers there that this process can join, within `ANSWER_S`."""
    answer = _answer(address, stop)
    if answer is None:
        raise ClusterError(
            f"{address.name}: what listens there does not answer as the head of a Ray cluster within {ANSWER_S:.0f} s"
            f"{address.hint}; give the address that `ray start --head` printed, or {address.otherwise}"
        )
    if "nothing" in answer:
        raise ClusterError(
            f"{address.name}: nothing answers there ({answer['nothing']}){address.hint}; start a head with "
            f"`ray start --head`, or {address.otherwise}"
        )
    if "error" in answer:
        raise ClusterError(why_not(address, answer["error"]))
    if other := _other_versions(answer):
        raise ClusterError(
            f"{address.name} runs {other}: Ray joins only what is the same; install those versions here, or these on "
            f"every node of the cluster, or {address.otherwise}"
        )
    if answer.get("node_here") is False:
        host, _, port = address.place.rpartition(":")
        raise ClusterError(
            f"{address.name}: this machine ({platform.node()}) is no node of that cluster, as the one that trains must "
            f"be: `ray start --address={host}:{port} --num-cpus=0` here makes it one without workers, or start the run "
            f"on a node, or {address.otherwise}"
        )


def _answer(address: Address, stop: StopRequest) -> dict[str, Any] | None:
    """The answer of `ask_head`; None if it takes too long."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("ask_head.py")), address.place, str(CONNECT_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asking:
        try:
            try:
                out, errors = asking.communicate(timeout=min(NOTICE_S, ANSWER_S))
            except subprocess.TimeoutExpired:
                stop.say(f"Waiting up to {ANSWER_S:.0f} s for the Ray cluster at {address.place} to answer")
                out, errors = asking.communicate(timeout=max(ANSWER_S - NOTICE_S, 0.0))
        except subprocess.TimeoutExpired:
            return None
        finally:  # also where a signal abandons the wait
            asking.kill()
    # Without a token file Ray ends the process, with the reason in its log.
    return {"error": " ".join(errors.split())} if asking.returncode else json.loads(out)


def _other_versions(answer: dict[str, Any]) -> str:
    """'Ray 2.59.0 (here 2.60.0)' and the like, of what Ray refuses to mix; '' where all is the same."""
    import ray

    here = {"Ray": ray.__version__, "Python": platform.python_version()}
    there = {"Ray": answer.get("ray"), "Python": answer.get("python")}
    # Ray compares patch releases of Python too, unless this variable says otherwise.
    if os.environ.get("RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL") == "minor" and there["Python"]:
        here["Python"], there["Python"] = (text.rpartition(".")[0] for text in (here["Python"], there["Python"]))
    others = [f"{name} {there[name]} (here {here[name]})" for name in here if there[name] not in (None, here[name])]
    return " and ".join(others)


def why_not(address: Address, reason: str) -> str:
    """The sentence for what Ray says when it is asked, or joined."""
    if any(words in reason for words in ("AuthToken", "uthentication token", "Unauthenticated")):
        mode = os.environ.get("RAY_AUTH_MODE")
        return (
            f"{address.name}: the head refuses this process's token, or asks for one "
            f"(RAY_AUTH_MODE is {mode or 'not set'} here); set RAY_AUTH_MODE=token and the head's RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH, or start the head and this process both with RAY_AUTH_MODE=disabled"
        )
    if "Method not found" in reason or "UNIMPLEMENTED" in reason:
        return (
            f"{address.name} is another port of a cluster, or another service; give the address of the head that "
            f"`ray start --head` printed, by default of port 6379, or {address.otherwise}"
        )
    return f"{address.name}: Ray cannot be joined there ({reason[:300]}); mend that, or {address.otherwise}"
