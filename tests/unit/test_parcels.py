"""The agent and the family as they are sent: unpacked by a process that has none of the user's files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envs.oracle import OracleWrapper
from tests.helpers import small_maml
from trainers.cluster import own_files, parcels
from trainers.cluster.own_files import OwnFiles, is_own, modules_in
from trainers.errors import ClusterError, RecipeError
from trainers.recipes import registry

ROOT = Path(__file__).resolve().parents[2]
# A process without the user's files, which is forked for each parcel: importing takes seconds.
UNPACK = """
import os, sys, tempfile
from pathlib import Path
from trainers.cluster.parcels import unpacked
from trainers.errors import USER_ERRORS

def unpack():
    try:
        _, family = unpacked(Path("parcel").read_bytes())
    except USER_ERRORS as error:
        return f"{type(error).__name__}: {error}"
    task = family.task(**{name: one.corners[0] for name, one in family.parameters.items()})
    family.make_vector_env([task], 1).reset(seed=[0])
    file = getattr(sys.modules[type(family).__module__], "__file__", None)
    return f"{type(family).__name__} {family.name} {family.digest} {file}"

for line in sys.stdin:
    if not (child := os.fork()):
        os.chdir(line.strip())
        tempfile.tempdir = line.strip()
        Path("said").write_text(unpack())
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""
FAMILY = """
from envs.navigation.point_nav import PointNav
{imports}


class Mine(PointNav):
    name = "mine-v1"

    def make_vector_env(self, tasks, rows):
        {late}
        return super().make_vector_env(tasks, rows)
"""


@pytest.fixture(scope="module")
def other():
    """The process that unpacks."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", UNPACK], cwd="/", env=environment, **pipes) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def unpack(other):
    """Unpack a parcel in a new folder, with nothing else in it: the family, in words, or the user's error."""

    def unpack(parcel, folder):
        folder.mkdir()
        (folder / "parcel").write_bytes(parcel)
        print(folder, file=other.stdin, flush=True)
        assert other.stdout.readline() == "0\n", "see what it wrote to stderr"
        return (folder / "said").read_text()

    return unpack


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder that Python finds modules in; away before anybody unpacks."""
    folder = tmp_path / "source"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:  # those of the folder alone: Ray does not bear to be imported twice
        if str(folder) in str(
            getattr(sys.modules[name], "__file__", None) or getattr(sys.modules[name], "__path__", "")
        ):
            del sys.modules[name]
    own_files._unit.cache_clear()
    own_files._files.cache_clear()


def parcel_of(family):
    return parcels.packed(small_maml()[0], family, elsewhere=True)


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def family_text(imports="", late="pass"):
    """A module with a family, and what it imports at the top and does in a function."""
    return FAMILY.format(imports=imports, late=late)


def test_a_module_travels_with_those_that_it_imports(source, tmp_path, unpack):
    write(source, {"lone.py": family_text("import lone_helper", "import lone_late; lone_late.SEEN")})
    write(source, {"lone_helper.py": "import lone_second\n", "lone_second.py": "", "lone_late.py": "SEEN = 1\n"})
    write(source, {"lone_unused.py": ""})
    parcel = parcel_of(registry.family("lone:Mine"))
    assert b"lone_unused" not in parcel
    shutil.move(source, tmp_path / "away")
    said = unpack(parcel, tmp_path / "empty")
    assert said.startswith(f"Mine mine-v1 None {tmp_path / 'empty'}/acclimate-")


def test_a_package_travels_as_a_whole_but_without_caches_and_runs(source, tmp_path, unpack):
    late = "from pathlib import Path; assert (Path(__file__).parent / 'table.csv').read_text() == '1,2'"
    write(source, {"whole/__init__.py": "", "whole/family.py": family_text("from .parts.shift import SHIFT", late)})
    write(source, {"whole/parts/__init__.py": "", "whole/parts/shift.py": "SHIFT = 1\n", "whole/table.csv": "1,2"})
    left_out = ("whole/.git/x", "whole/__pycache__/y.pyc", "whole/run/checkpoints/z", "whole/run/config.yaml")
    write(source, dict.fromkeys(left_out, "left out"))
    parcel = parcel_of(registry.family("whole.family:Mine"))
    assert b"left out" not in parcel
    shutil.move(source, tmp_path / "away")
    assert unpack(parcel, tmp_path / "empty").startswith("Mine mine-v1 None ")


def test_modules_in_folders_without_init_and_in_one_named_as_ours(source, tmp_path, unpack, monkeypatch):
    import envs

    # As `registry` does for the folder of the command.
    monkeypatch.setattr(envs, "__path__", [*envs.__path__, str(source / "envs")])
    imports = "from ..beside import A\nfrom envs.mine import B"
    write(
        source, {"bare/inner/family.py": family_text(imports), "bare/beside.py": "A = 1\n", "envs/mine.py": "B = 2\n"}
    )
    parcel = parcel_of(registry.family("bare.inner.family:Mine"))
    shutil.move(source, tmp_path / "away")
    assert unpack(parcel, tmp_path / "empty").startswith("Mine mine-v1 None ")


def test_files_that_lie_on_the_workers_machine_are_not_unpacked_but_where_they_differ(source, tmp_path, unpack):
    write(source, {"there.py": family_text()})
    parcel = parcel_of(registry.family("there:Mine"))
    assert unpack(parcel, tmp_path / "same") == f"Mine mine-v1 None {source / 'there.py'}"
    write(source, {"there.py": "raise ValueError('edited since')\n"})
    assert f"{tmp_path / 'edited'}/acclimate-" in unpack(parcel, tmp_path / "edited")
    assert b"edited since" not in parcel_of(registry.family("there:Mine")), "workers that start later get the same"


def test_workers_of_one_machine_share_a_folder_and_mend_it(source, tmp_path, monkeypatch):
    monkeypatch.setattr(own_files.tempfile, "tempdir", str(tmp_path))
    write(source, {"shared.py": "X = 1\n"})
    files = OwnFiles.read("the module shared", {"shared.py": source / "shared.py"})
    assert files.folder() is None, "it lies where it was read"
    (source / "shared.py").unlink()
    folder = files.folder()
    assert folder == files.folder()
    assert (folder / "shared.py").read_text() == "X = 1\n"
    (folder / "shared.py").unlink()  # cleaned away
    assert (files.folder() / "shared.py").read_text() == "X = 1\n"
    (folder / "shared.py").write_text("X = 2\n")
    assert (files.folder() / "shared.py").read_text() == "X = 1\n"
    folder.parent.chmod(0o777)
    with pytest.raises(ClusterError, match=r"acclimate-\d+ on .* is another user's; remove it there, or set TMPDIR"):
        files.folder()


def test_a_package_that_is_too_large_must_lie_there(source, tmp_path, monkeypatch, unpack):
    monkeypatch.setattr(own_files, "LARGEST", 1_000)
    write(source, {"huge/__init__.py": "", "huge/family.py": family_text(), "huge/data.csv": "0" * 2_000})
    parcel = parcel_of(registry.family("huge.family:Mine"))
    assert b"class Mine" not in parcel
    assert unpack(parcel, tmp_path / "same").startswith("Mine mine-v1")
    shutil.move(source, tmp_path / "away")
    said = unpack(parcel, tmp_path / "empty")
    assert said.startswith(f"ClusterError: the package huge ({source / 'huge'}) is too large to be sent to work")


@pytest.fixture
def described(tmp_path):
    """A family in a description, whose model includes a file of another folder."""
    folder = tmp_path / "robot"
    (folder / "parts").mkdir(parents=True)
    robots = ROOT / "examples" / "robots"
    shutil.copy(robots / "swimmer.yaml", folder)
    text = (robots / "swimmer.xml").read_text()
    start, end = text.index("<actuator>"), text.index("</actuator>") + len("</actuator>")
    (folder / "parts" / "motors.xml").write_text(f"<mujoco>{text[start:end]}</mujoco>")
    (folder / "swimmer.xml").write_text(text[:start] + '<include file="parts/motors.xml"/>' + text[end:])
    parcels._description.cache_clear()
    return folder


@pytest.mark.parametrize("wrap", [lambda family: family, OracleWrapper], ids=["as it is", "oracle"])
def test_a_described_family_travels_with_every_file_of_its_model(tmp_path, described, wrap, unpack):
    family = wrap(registry.family(str(described / "swimmer.yaml")))
    parcel = parcel_of(family)
    kind = type(family).__name__
    assert unpack(parcel, tmp_path / "same").startswith(f"{kind} {family.name} {family.digest}")
    assert not list((tmp_path / "same").glob("acclimate-*"))
    shutil.move(described, tmp_path / "away")
    assert unpack(parcel, tmp_path / "empty").startswith(f"{kind} {family.name} {family.digest}")
    assert len([file for file in (tmp_path / "empty").rglob("*.xml") if file.is_file()]) == 2


def test_a_description_that_is_too_large_or_edited_since_is_a_sentence(tmp_path, described, monkeypatch, unpack):
    monkeypatch.setattr(own_files, "LARGEST", 1_000)
    family = registry.family(str(described / "swimmer.yaml"))
    parcel = parcel_of(family)
    (described / "swimmer.xml").write_text((described / "swimmer.xml").read_text() + "\n")
    parcels._description.cache_clear()
    with pytest.raises(RecipeError, match=r"swimmer.yaml or its model file was changed while it was in use; start aga"):
        parcel_of(family)
    said = unpack(parcel, tmp_path / "empty")
    assert said.startswith(f"ClusterError: the family in {described / 'swimmer.yaml'} is too large to be sent to work")


def test_only_the_users_own_modules_are_sent():
    import ray

    agent, family = small_maml()[0], registry.family("half_cheetah_vel-v1")
    assert modules_in(ray.cloudpickle.dumps((agent, family))) == []
    assert not is_own(shutil.__file__)
    assert not is_own(pytest.__file__)
    assert not is_own(parcels.__file__)
    assert is_own(__file__)
