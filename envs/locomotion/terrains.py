"""Robots on hidden grounds: every kind of terrain for HalfCheetah, Walker2d and Ant.

A family is its robot's run on one kind of ground: the reward, the observation and the end of an episode are the
robot's, heights are counted from the ground under it. The distributions of its parameters are those
of the terrain (`envs/mujoco/terrains/`). The mixed ground also comes with a height scan, for robots that see.
"""

from __future__ import annotations

from typing import cast

from envs.locomotion.ant import AntRun
from envs.locomotion.half_cheetah import HalfCheetahRun
from envs.locomotion.walker2d import Walker2dRun
from envs.mujoco.locomotion import Locomotion
from envs.mujoco.terrains.base import SQUARE, STRIP, Terrain
from envs.mujoco.terrains.boxes import FrictionPatches, Gaps, Steps
from envs.mujoco.terrains.height_fields import Mixed, Rough, Waves
from envs.mujoco.terrains.slope import Slope

SCAN_M = (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


def on(robot: type[Locomotion], name: str, terrain: Terrain, scan: tuple[float, ...] = ()) -> type[Locomotion]:
    """The family of a robot that runs on a ground.

    Args:
        robot: its run on the plane.
        name: of the family, with its version.
        terrain: the ground.
        scan: distances of a height scan, m; () for none.

    Returns:
        the family's class; its docstring states the distributions.
    """
    distributions = "; ".join(f"{key} ~ {distribution}" for key, distribution in terrain.parameters.items())
    scanned = f" and its height above the ground at {', '.join(f'{x:g}' for x in scan)} m ahead" if scan else ""
    text = (
        f"{name}: {robot.__name__} on hidden ground.\n\n"
        f"    * Ground: {(terrain.__doc__ or '').splitlines()[0]}\n"
        f"    * Observation: the robot's own{scanned}. Reward: {(robot.__doc__ or '').splitlines()[0]}\n"
        f"    * Ends: as the robot's, heights counted from the ground; truncated after {robot.episode_steps} steps.\n"
        f"    * Task distribution: {distributions}.\n"
        "    * Source: ours. Versions: v1, 2026.\n    "
    )
    class_name = "".join(part.capitalize() for part in name.split("-")[0].split("_"))
    body = {
        "__doc__": text,
        "__module__": __name__,
        "name": name,
        "terrain": terrain,
        "scan": scan,
        "parameters": terrain.parameters,
        "reset_depends_on_task": bool(scan),
        "can_switch": False,  # the ground under a robot does not change its shape
        "differs_at_once": False,
    }
    return cast("type[Locomotion]", type(class_name, (robot,), body))


HalfCheetahSlope = on(HalfCheetahRun, "half_cheetah_slope-v1", Slope(STRIP))
HalfCheetahSteps = on(HalfCheetahRun, "half_cheetah_steps-v1", Steps(STRIP))
HalfCheetahGaps = on(HalfCheetahRun, "half_cheetah_gaps-v1", Gaps(STRIP))
HalfCheetahFriction = on(HalfCheetahRun, "half_cheetah_friction-v1", FrictionPatches(STRIP))
HalfCheetahWaves = on(HalfCheetahRun, "half_cheetah_waves-v1", Waves(STRIP))
HalfCheetahRough = on(HalfCheetahRun, "half_cheetah_rough-v1", Rough(STRIP))
HalfCheetahMixed = on(HalfCheetahRun, "half_cheetah_mixed-v1", Mixed(STRIP))
HalfCheetahMixedScan = on(HalfCheetahRun, "half_cheetah_mixed_scan-v1", Mixed(STRIP), SCAN_M)

Walker2dSlope = on(Walker2dRun, "walker2d_slope-v1", Slope(STRIP))
Walker2dSteps = on(Walker2dRun, "walker2d_steps-v1", Steps(STRIP))
Walker2dGaps = on(Walker2dRun, "walker2d_gaps-v1", Gaps(STRIP))
Walker2dFriction = on(Walker2dRun, "walker2d_friction-v1", FrictionPatches(STRIP))
Walker2dWaves = on(Walker2dRun, "walker2d_waves-v1", Waves(STRIP))
Walker2dRough = on(Walker2dRun, "walker2d_rough-v1", Rough(STRIP))
Walker2dMixed = on(Walker2dRun, "walker2d_mixed-v1", Mixed(STRIP))
Walker2dMixedScan = on(Walker2dRun, "walker2d_mixed_scan-v1", Mixed(STRIP), SCAN_M)

AntSlope = on(AntRun, "ant_slope-v1", Slope(SQUARE))
AntSteps = on(AntRun, "ant_steps-v1", Steps(SQUARE))
AntGaps = on(AntRun, "ant_gaps-v1", Gaps(SQUARE))
AntFriction = on(AntRun, "ant_friction-v1", FrictionPatches(SQUARE))
AntWaves = on(AntRun, "ant_waves-v1", Waves(SQUARE))
AntRough = on(AntRun, "ant_rough-v1", Rough(SQUARE))
AntMixed = on(AntRun, "ant_mixed-v1", Mixed(SQUARE))
AntMixedScan = on(AntRun, "ant_mixed_scan-v1", Mixed(SQUARE), SCAN_M)
