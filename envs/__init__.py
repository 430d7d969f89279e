"""Task families by name, and the framework that they stand on.

Each room of families lists its own; `FAMILIES` is all of them. Importing this package registers their single
environments with Gymnasium as `acclimate/<family>`.
"""

from __future__ import annotations

from typing import Any

import gymnasium

from envs import locomotion, navigation, tabular

FAMILIES = dict(sorted({**locomotion.FAMILIES, **navigation.FAMILIES, **tabular.FAMILIES}.items()))


def make_env(family: str, **parameters: Any) -> gymnasium.Env:
    """A single environment of a listed family: of the task with these parameters, else of its first training draw."""
    from importlib import import_module

    import numpy as np

    module, _, name = FAMILIES[family].partition(":")
    maker = getattr(import_module(module), name)()
    task = maker.task(**parameters) if parameters else maker.sample(1, np.random.default_rng(0), "train")[0]
    return maker.make_env(task)


for _name in FAMILIES:
    if f"acclimate/{_name}" not in gymnasium.registry:
        gymnasium.register(f"acclimate/{_name}", entry_point="envs:make_env", kwargs={"family": _name})
