"""What is learned: one file per task family, all listed here. Importing this package registers the single
environments with Gymnasium as `acclimate/<family>`.
"""

from __future__ import annotations

from typing import Any

import gymnasium

# Lazy, so that a family's own packages (MuJoCo, say) are only needed by those who use it.
FAMILIES = {
    "half_cheetah_vel-v1": "envs.half_cheetah:HalfCheetahVel",
    "half_cheetah_vel_u03-v1": "envs.half_cheetah:HalfCheetahVelU03",
    "half_cheetah_dir-v1": "envs.half_cheetah:HalfCheetahDir",
    "point_nav-v1": "envs.point_nav:PointNav",
    "point_robot-v1": "envs.point_robot:PointRobot",
    "sparse_point_robot-v1": "envs.point_robot:SparsePointRobot",
}


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
