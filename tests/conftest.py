"""Tests run side by side (pytest-xdist), but those of a group one after the other, in one process."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))
        elif item.path.parent.name == "learning":  # what a file trains is trained once
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
