"""Grounds that vary from task to task, by the kind that a robot's description names."""

from __future__ import annotations

from envs.mujoco.terrains.base import Terrain
from envs.mujoco.terrains.boxes import FrictionPatches, Gaps, Steps
from envs.mujoco.terrains.height_fields import Mixed, Rough, Waves
from envs.mujoco.terrains.slope import Slope

TERRAINS: dict[str, type[Terrain]] = {
    "slope": Slope,
    "steps": Steps,
    "gaps": Gaps,
    "friction": FrictionPatches,
    "waves": Waves,
    "rough": Rough,
    "mixed": Mixed,
}
