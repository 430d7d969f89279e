"""Limits of the machine: cores, quotas of cgroups, threads."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys

import pytest

import envs.mujoco
from trainers import process
from trainers.cluster.parcels import packed
from trainers.errors import RecipeError

ALLOWED = len(os.sched_getaffinity(0))


def cgroups(tmp_path, own, **files):
    for name, content in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "own").write_text(own)
    return tmp_path / "cgroup", tmp_path / "own"


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/slurm/job_7\n", {"slurm/cpu.max": "400000 100000", "slurm/job_7/cpu.max": "max 100000"}, 4.0),
        ("0::/docker/gone\n", {"cpu.max": "50000 100000"}, 0.5),  # in a container, whose own group is the root
        (
            "4:cpu,cpuacct:/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "200000", "cpu,cpuacct/cpu.cfs_period_us": "50000"},
            4.0,
        ),
        ("4:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, None),
        ("5:memory:/\n", {"cpu.max": "100000 100000"}, None),
        ("", {}, None),
    ],
)
def test_quotas_of_both_versions_are_read(tmp_path, own, files, quota):
    assert process.cpu_quota(*cgroups(tmp_path, own, **files)) == quota


@pytest.mark.parametrize(
    ("limit", "cores"), [("50000 100000", 1), ("max 100000", ALLOWED), ("150000 100000", min(2, ALLOWED))]
)
def test_usable_cores_fill_the_quota_and_never_fall_below_one(tmp_path, limit, cores):
    assert process.usable_cores(*cgroups(tmp_path, "0::/\n", **{"cpu.max": limit})) == cores


def test_threads_follow_openmps_variable_then_mkls_then_the_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    monkeypatch.setenv("MKL_NUM_THREADS", "5")
    assert process.auto_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert process.auto_threads() == 5
    monkeypatch.delenv("MKL_NUM_THREADS")
    assert process.auto_threads() == process.usable_cores()


class Held:
    name = "held-v1"

    def __reduce__(self):
        raise TypeError("cannot pickle '_thread.lock' object")


def test_what_cannot_be_sent_to_workers_is_named():
    with pytest.raises(
        RecipeError, match=r"the family held-v1 cannot be sent .*_thread.lock.*in make_env, or set work"
    ):
        packed(object(), Held(), elsewhere=False)


@pytest.mark.parametrize(
    ("wanted", "platform", "problem"),
    [
        ("", "", None),
        ("glfw", "egl", None),
        ("disabled", "", None),
        ("opengl", "", "MUJOCO_GL is opengl; it is one of egl, glfw, osmesa"),
        ("osmesa", "egl", "MUJOCO_GL is osmesa, but PYOPENGL_PLATFORM is egl; unset PYOPENGL_PLATFORM"),
        ("egl", "", "MUJOCO_GL is egl, but the library EGL is not installed; install or unset it"),
    ],
)
def test_values_that_mujoco_could_not_be_imported_with_are_named(monkeypatch, wanted, platform, problem):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    assert envs.mujoco.gl_problem(wanted, platform) == problem


def test_motion_needs_no_opengl():
    asked = "from trainers.recipes import registry; print(registry.family('half_cheetah_vel-v1').name)"
    environment = {**os.environ, "MUJOCO_GL": "opengl"}
    made = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True)
    assert made.stdout == "half_cheetah_vel-v1\n"
