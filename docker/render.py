"""Renders one MuJoCo frame without a screen and looks at it."""

from __future__ import annotations

import os
import sys
from ctypes.util import find_library

SCENE = """
<mujoco><worldbody><light pos="0 0 3"/><geom type="plane" size="2 2 .1" rgba=".3 .5 .7 1"/>
<geom type="sphere" size=".3" pos="0 0 .3" rgba=".9 .2 .2 1"/></worldbody></mujoco>
"""


def main() -> None:
    os.environ.setdefault("MUJOCO_GL", "osmesa")  # in software: needs neither a screen nor a GPU
    if os.environ["MUJOCO_GL"] == "osmesa" and find_library("OSMesa") is None:
        print("rendering is not verified: libosmesa6 is not installed (docker/install.sh system does it)")
        return
    import mujoco

    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, 120, 160) as renderer:
        renderer.update_scene(data)
        frame = renderer.render()
    red = (frame[..., 0] > 2 * frame[..., 2]).mean()
    if not 0.005 < red < 0.5:
        sys.exit(f"the rendered frame is wrong: {red:.1%} of it is the red ball; check MUJOCO_GL and its library")
    print(f"rendered {frame.shape} with MUJOCO_GL={os.environ['MUJOCO_GL']}; the ball is {red:.1%} of the frame")


if __name__ == "__main__":
    main()
