"""Tests run side by side (pytest-xdist), but those of a group one after the other, in one process."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

# Ray's workers give way to all else that runs here (nice 15): beside two busy processes they take ten times as long.
os.environ.setdefault("RAY_worker_niceness", "0")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))
        elif item.path.parent.name == "learning":  # what a file trains is trained once
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="module")
def shared_ray() -> Iterator[None]:
    """One Ray for the tests of a file that only need some; other files test how it is started and left."""
    import ray

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()
