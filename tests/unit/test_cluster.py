"""Joining a Ray cluster: addresses, what listens there, tokens, versions, nodes, and heads that go away."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import ray

from tests.helpers import TINY
from trainers.cluster import addresses, connection, nodes
from trainers.cluster.addresses import Address
from trainers.cluster.readiness import of_a_node, reason
from trainers.errors import ClusterError, RecipeError
from trainers.recipes.schema import Recipe
from trainers.runs.run_folder import Run
from trainers.sampling.samplers import LocalSampler, make_sampler
from trainers.stopping import Abandoned, StopRequest
from trainers.training import running
from trainers.training.setup import open_for_resume

HERE = Address("10.0.0.1:6379", "cluster=10.0.0.1:6379", "set cluster=null to use this machine")


@pytest.fixture(autouse=True)
def _no_address(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


# -- addresses


def test_the_recipes_cluster_comes_before_the_variable_and_null_is_this_machine(monkeypatch):
    assert addresses.named(None) is None
    assert addresses.named("h:1").place == "h:1"
    monkeypatch.setenv("RAY_ADDRESS", "v:2")
    assert addresses.named("h:1").name == "cluster=h:1"
    assert addresses.named("h:1").otherwise == "set cluster=null and unset RAY_ADDRESS to use this machine"
    assert addresses.named(None) == Address("v:2", "RAY_ADDRESS=v:2", "unset RAY_ADDRESS to use this machine")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert addresses.named(None) is None


@pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "host:port", "[::1]"])
def test_an_address_that_is_none_is_refused(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ClusterError, match=r"RAY_ADDRESS=.* is no address; give HOST:PORT .*or unset RAY_ADDRESS"):
        addresses.named(None)
    if address != "[::1]":  # a list of YAML
        with pytest.raises(RecipeError, match=r"cluster is '.*', but must be text or null, such as auto or 10.0.0.1:6"):
            Recipe.load("point_nav_maml", [f"cluster='{address}'"])


def test_ray_client_is_refused_with_the_reason():
    with pytest.raises(
        ClusterError, match=r"cluster=ray://h:10001 is Ray Client's, which is not used, .*set cluster=null"
    ):
        addresses.named("ray://h:10001")


def test_a_cluster_without_workers_contradicts_itself():
    with pytest.raises(RecipeError, match=r"cluster is .*, but workers: 0 and learners: 0 leave nothing to "):
        Recipe.load("point_nav_maml", ["workers=0", "cluster=10.0.0.1:6379"])


def test_auto_is_the_cluster_that_ray_notes_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(ClusterError, match=r"cluster=auto: no cluster is noted on this machine .*`ray start --head`"):
        addresses.named("auto")
    file = tmp_path / "ray" / "ray_current_cluster"
    file.parent.mkdir()
    file.write_text("127.0.0.1:1\n")
    found = addresses.named("auto")
    assert (found.place, found.name) == ("127.0.0.1:1", "cluster=auto (127.0.0.1:1)")
    with pytest.raises(ClusterError, match=rf"nothing answers there .*{file} names it, maybe from a cluster that"):
        addresses.refuse_unusable(found, StopRequest())


# -- what listens there


@pytest.mark.parametrize("place", ["127.0.0.1:1", "127.0.0.1:99999", "no-such-host.invalid:6379", "[::1]:1"])
def test_nothing_at_the_address_is_said_at_once(place):
    with pytest.raises(ClusterError, match=r"cluster=.*: nothing answers there .*`ray start --head`, or set cluster="):
        addresses.refuse_unusable(addresses.named(place), StopRequest())


def test_something_else_at_the_address_is_said_in_seconds_and_waited_for_aloud(monkeypatch):
    monkeypatch.setattr(addresses, "ANSWER_S", 1.4)
    monkeypatch.setattr(addresses, "NOTICE_S", 0.5)
    said = []
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ClusterError, match="does not answer as the head of a Ray cluster within 1 s; give the add"):
            addresses.refuse_unusable(addresses.named(place), StopRequest(said.append))
    assert said == [f"Waiting up to 1 s for the Ray cluster at {place} to answer"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_for_an_answer(number):
    with socket.create_server(("127.0.0.1", 0)) as other, StopRequest() as stop:
        address = addresses.named(f"127.0.0.1:{other.getsockname()[1]}")

        def interrupt():
            other.accept()  # it is being asked
            os.kill(os.getpid(), number)

        threading.Thread(target=interrupt, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(Abandoned), stop.abandonable(at_once=True):
            addresses.refuse_unusable(address, stop)
        assert time.monotonic() - began < addresses.ANSWER_S
        assert stop.signal == number.name


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"error": "RpcError: InvalidAuthToken"}, r"cluster=10.*: the head refuses .*set RAY_AUTH_MODE=token and"),
        ({"error": "couldn't find an authentication token"}, r"RAY_AUTH_TOKEN_PATH, or start the head and this"),
        ({"error": "RpcError: Method not found!"}, r"is another port of a cluster, or another service.*or set clu"),
        ({"error": "OSError: broken"}, r"Ray cannot be joined there \(OSError: broken\); mend that, or set cluster=nu"),
        ({"ray": "2.50.1", "python": "3.9.1", "node_here": True}, r"runs Ray 2.50.1 \(here .*\) and Python 3.9.1 \(h"),
        ({"ray": None, "python": None, "node_here": False}, r"no node of that cluster, .*`ray start --address=10.0.0"),
        (None, r"does not answer as the head of a Ray cluster within 30 s"),
    ],
)
def test_each_answer_that_is_no_usable_cluster_is_one_sentence(monkeypatch, answer, sentence):
    monkeypatch.setattr(addresses, "_answer", lambda address, stop: answer)
    with pytest.raises(ClusterError, match=sentence) as refused:
        addresses.refuse_unusable(HERE, StopRequest())
    assert "\n" not in str(refused.value)


def test_patch_releases_of_python_may_differ_where_ray_lets_them(monkeypatch):
    major, minor, patch = sys.version_info[:3]
    answer = {"python": f"{major}.{minor}.{patch + 1}"}
    assert "Python" in addresses._other_versions(answer)
    monkeypatch.setenv("RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL", "minor")
    assert not addresses._other_versions(answer)
    assert addresses._other_versions({"python": f"{major}.{minor + 1}.{patch}"})


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("AF_UNIX path length cannot exceed 107 bytes: /x", r"whose name is too long: set TMPDIR=/tmp"),
        ("[Errno 2] No such file or directory: '/proc/.ray'", r"'/proc/.ray'.*set HOME and TMPDIR"),
    ],
)
def test_what_keeps_ray_from_starting_here_is_named_with_the_cure(reason, sentence):
    with pytest.raises(ClusterError, match=sentence):
        raise ClusterError(connection._why_not_here(reason))


# -- a head that goes away


def test_a_head_that_goes_away_is_said_and_after_a_while_an_error(monkeypatch):
    monkeypatch.setattr(connection, "HEAD_LOOK_S", 0.0)
    said = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        head = connection.Head(f"127.0.0.1:{port}", said.append)
        head.check()
        assert not said
    for _ in range(2):
        head.check()
        (sentence,) = said
        assert re.match(
            rf"The head of the Ray cluster at 127.0.0.1:{port} does not answer .*stops if it is away", sentence
        )
    with socket.create_server(("127.0.0.1", port)):
        head.check()  # it was started again
    head.check()
    assert len(said) == 2
    monkeypatch.setattr(connection, "HEAD_S", 0.0)
    with pytest.raises(ClusterError, match=r"the head of .* does not answer \(.*refused\) since \d+ s; mend that"):
        head.check()


# -- workers that die


def test_the_telling_line_of_rays_report_is_given_and_a_nodes_death_is_told_from_a_workers():
    ends = "The actor never ran - it was cancelled before it started running."
    of_node = "The actor died unexpectedly.\n\tpid: 5\nThe actor died because its node has died. Node Id: 8abd\n" + ends
    of_worker = "The actor died.\nThe actor is dead because its worker process has died. Worker exit type: X\n" + ends
    raised = "The actor died because of an error raised in its creation task, ray::Worker\nImportError: no module x\n"
    died = [ray.exceptions.RayActorError("a1", text) for text in (of_node, of_worker, raised)]
    assert [of_a_node(error) for error in died] == [True, False, False]
    assert reason(died[0]) == "The actor died because its node has died. Node Id: 8abd"
    assert reason(died[1]).startswith("The actor is dead because its worker process has died.")
    assert reason(died[2]) == "ImportError: no module x"


# -- workers


class Room:
    """A connection to a cluster of three CPUs."""

    address = HERE

    def __init__(self, cpus=3):
        self.said, self._cpus = [], cpus
        self._say = self.said.append

    def cpus(self):
        return self._cpus


def test_auto_is_a_worker_a_cpu_of_the_cluster_but_those_that_learners_need():
    room = Room()
    assert connection.Connection.auto_workers(room) == 3
    assert connection.Connection.auto_workers(room, learner_cpus=2) == 1
    assert room.said == [
        "workers: auto is 3 on the Ray cluster at 10.0.0.1:6379, which has 3 CPUs",
        "workers: auto is 1 on the Ray cluster at 10.0.0.1:6379, which has 3 CPUs, and its learners need 2",
    ]
    with pytest.raises(ClusterError, match=r"has 3 now, and its learners need 3; name a number, which a cluster that"):
        connection.Connection.auto_workers(room, learner_cpus=3)
    with pytest.raises(ClusterError, match=r"has 0 now; name a number"):
        connection.Connection.auto_workers(Room(0))


def test_no_workers_need_no_cluster():
    assert isinstance(make_sampler(0), LocalSampler)


def test_a_resumed_run_may_change_its_cluster_and_each_process_notes_its_nodes(tmp_path):
    run = running.train(Recipe.load("point_nav_maml", TINY), tmp_path / "run").run
    assert "nodes" not in run.provenance()
    run.note_nodes([{"id": "a1"}])
    changed = open_for_resume(run.path, ["cluster=10.0.0.1:6379", "workers=3", "iterations=3"])
    assert (changed.recipe.cluster, changed.recipe.workers) == ("10.0.0.1:6379", 3)
    changed.note_resume().note_nodes([{"id": "b2"}, {"id": "c3"}])
    noted = Run.open(run.path).provenance()
    assert noted["nodes"] == [{"id": "a1"}]
    assert noted["resumed"][0]["nodes"] == [{"id": "b2"}, {"id": "c3"}]
    with pytest.raises(RecipeError, match=r"workers: 0 and learners: 0 leave nothing to a cluster; set one"):
        open_for_resume(run.path, ["workers=0"])


# -- nodes that would compute other numbers


def facts(**others):
    own = {"sources": nodes.sources(), "versions": nodes.versions(), "instruction_set": nodes.instruction_set()}
    return {"node": "pod-7", "address": "10.0.0.7", "id": "a1", "process": 5, "commit": None, **own, **others}


def test_nodes_are_recorded_once_each_with_their_workers():
    noted = []
    table = nodes.Nodes(print, noted.append)
    table.noted()
    assert not noted, "there is nothing to note"
    for found in (facts(), facts(id="b2", node="pod-8"), facts(process=6)):
        table.welcome(found)
    table.noted()
    table.noted()
    ((one, other),) = noted
    assert (one["id"], one["node"], one["workers"]) == ("a1", "pod-7", 2)
    assert (other["id"], other["node"], other["workers"]) == ("b2", "pod-8", 1)
    assert "process" not in one
    json.dumps(noted)


@pytest.mark.parametrize("package", nodes.DECISIVE)
def test_another_release_of_a_package_is_refused_with_the_node_and_both_versions(package):
    own = nodes.versions()
    others = facts(versions={**own, package: "0.0.1"})
    sentence = rf"the node pod-7 \(10.0.0.7\) has {package} 0.0.1, this process {re.escape(own[package])}"
    with pytest.raises(ClusterError, match=sentence):
        nodes.Nodes(print, None).welcome(others)


def test_another_acclimate_is_refused_and_an_older_one_that_cannot_say_too():
    with pytest.raises(ClusterError, match=r"pod-7 .* has another Acclimate, .*commit 5e1f, sources 00ff\), this proc"):
        nodes.Nodes(print, None).welcome(facts(sources="00ff", commit="5e1f"))
    with pytest.raises(ClusterError, match=r"the node old has another Acclimate, of another time"):
        nodes.Nodes(print, None).welcome({"node": "old", "process": 1, "instruction_set": "AVX2"})


def test_other_instructions_and_builds_of_one_release_are_said():
    said = []
    own = nodes.versions()
    torch = own["torch"].partition("+")[0]
    built = facts(instruction_set="NO AVX", versions={**own, "torch": f"{torch}+other"})
    nodes.Nodes(said.append, None).welcome(built)
    assert [sentence.partition(" (")[0] for sentence in said] == ["The worker on pod-7"] * 2
    assert "computes with NO AVX instructions, this process with" in said[0]
    assert f"has torch {torch}+other, this process {own['torch']}: the last bits may differ" in said[1]


def test_the_digest_of_the_sources_is_that_of_any_process_with_them():
    asked = "from trainers.cluster.nodes import sources; print(sources())"
    other = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == nodes.sources()
