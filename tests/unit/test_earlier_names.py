"""Names of the first version that a user's family or a robot's description may still use."""

from __future__ import annotations

import pytest
import yaml

from envs.check import check_task_family
from envs.errors import TaskError
from envs.mujoco import described
from envs.oracle import OracleWrapper
from envs.task import Choice
from tests.helpers import LineFamily
from tests.unit.test_structure import ROOT


class Fresh(LineFamily):
    kind = "law"


class Closed(LineFamily):
    name = "ways-v1"
    parameters = {"target_m": Choice((-1.0, 2.0))}
    kind = "closed"


class Inherits(Closed):
    """A family of a family."""


def test_kinds_of_a_users_family():
    assert [family.kind for family in (Fresh, Closed, Inherits)] == ["distribution", "finite", "finite"]
    assert [task["target_m"] for task in Inherits().task_set("held-out", 2, 0).tasks] == [-1.0, 2.0]
    assert not [finding for finding in check_task_family(Closed()) if finding.problem]


def test_an_unknown_kind_is_found_out():
    class Misspelt(LineFamily):
        kind = "clsoed"

    problems = [finding.problem for finding in check_task_family(Misspelt()) if finding.problem]
    assert "its kind is 'clsoed', not one of distribution, region, finite" in problems


def test_the_method_yardsticks_is_still_heard():
    class Known(LineFamily):
        def yardsticks(self, task):
            return {"blind": -3.0, "oracle": -1.0}

    task = Known().task(target_m=1.0)
    assert Known().reference_returns(task) == {"blind": -3.0, "oracle": -1.0}
    assert OracleWrapper(Known()).reference_returns(task) == {"blind": -3.0, "oracle": -1.0}

    class OutOfOrder(LineFamily):
        def yardsticks(self, task):
            return {"blind": 1.0, "oracle": 0.0}

    assert "out of order" in "".join(finding.problem or "" for finding in check_task_family(OutOfOrder()))


@pytest.fixture
def on_waves(tmp_path):
    """Makes a described family on waves, with keys of the description changed."""
    source = ROOT / "examples" / "robots"
    (tmp_path / "quadruped.xml").write_text((source / "quadruped.xml").read_text())
    data = yaml.safe_load((source / "quadruped.yaml").read_text())
    data["tasks"] = {"velocity_m_per_s": data["tasks"]["velocity_m_per_s"]}

    def make(**changed):
        path = tmp_path / "quadruped.yaml"
        path.write_text(yaml.safe_dump(data | changed))
        return described.load(path)

    return make


def test_kinds_and_laws_of_a_description(on_waves):
    narrow = {"wave_height_m": {"uniform": [0.0, 0.1]}}
    earlier = on_waves(kind="law", terrain={"kind": "waves", "laws": narrow})
    today = on_waves(kind="distribution", terrain={"kind": "waves", "distributions": narrow})
    assert earlier.kind == today.kind == "distribution"
    assert earlier.parameters == today.parameters
    assert today.parameters["wave_height_m"].high == 0.1
    finite = {"velocity_m_per_s": {"command": "velocity", "choice": [0.5, 1.0]}}
    assert on_waves(kind="closed", tasks=finite).kind == on_waves(kind="finite", tasks=finite).kind == "finite"


def test_both_names_at_once_are_refused(on_waves):
    terrain = {"kind": "waves", "laws": {}, "distributions": {}}
    with pytest.raises(TaskError, match="laws is the earlier name of distributions, and both are given"):
        on_waves(terrain=terrain)
    with pytest.raises(TaskError, match=r"there is no key terrain\.distribution; did you mean distributions"):
        on_waves(terrain={"kind": "waves", "distribution": {}})
