"""A thousand tasks of a robot with meshes on terrain: how long until they can be stepped, and in how much memory.

    python benchmarks/mesh_terrain.py [--tasks 1000]

The dog of examples/robots with a mesh of 20,000 faces on each of its thirteen bodies, as robots on the market have
them, on rough ground with a task's own load, servos and friction. Beside it, of a few tasks, the same with the meshes
left in the simulated models.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from measure import record

from envs.mujoco import described, light

ROBOTS = Path(__file__).resolve().parents[1] / "examples" / "robots"
AROUND = 100  # vertices on a parallel and on a meridian


def write_mesh(path: Path) -> None:
    """A bumpy ball of 2 AROUND^2 faces, as Wavefront OBJ."""
    u, v = np.meshgrid(np.linspace(0, np.pi, AROUND), np.linspace(0, 2 * np.pi, AROUND, endpoint=False), indexing="ij")
    r = 1 + 0.1 * np.sin(5 * u) * np.cos(4 * v)
    points = np.stack([r * np.sin(u) * np.cos(v), r * np.sin(u) * np.sin(v), r * np.cos(u)], -1).reshape(-1, 3)
    a, b = np.meshgrid(np.arange(AROUND - 1), np.arange(AROUND), indexing="ij")
    corner = [(i * AROUND + j % AROUND + 1).ravel() for i, j in ((a, b), (a, b + 1), (a + 1, b), (a + 1, b + 1))]
    faces = np.concatenate([np.stack([corner[k] for k in face], 1) for face in ((0, 2, 1), (1, 2, 3))])
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in points] + [f"f {i} {j} {k}" for i, j, k in faces]
    path.write_text("\n".join(lines) + "\n")


def write_robot(folder: Path) -> Path:
    """The description of the dog with meshes."""
    names = [f"part_{number}" for number in range(13)]
    for name in names:
        write_mesh(folder / f"{name}.obj")
    assets = "".join(f'<mesh name="{name}" file="{name}.obj" scale=".04 .04 .04"/>' for name in names)
    text = (ROBOTS / "servo_dog.xml").read_text().replace("<worldbody>", f"<asset>{assets}</asset><worldbody>", 1)
    left = iter(names)

    def with_mesh(found: re.Match[str]) -> str:
        name = next(left, None)
        shell = f'<geom type="mesh" mesh="{name}" contype="0" conaffinity="0" density="10"/>' if name else ""
        return found.group(0) + shell

    (folder / "dog.xml").write_text(re.sub(r"<body [^>]*>\s*(<freejoint/>|<joint [^>]*/>)", with_mesh, text))
    data = yaml.safe_load((ROBOTS / "servo_dog.yaml").read_text())
    data |= {"name": "mesh_dog-v1", "mjcf": "dog.xml", "terrain": {"kind": "rough"}}
    data["tasks"]["ground_friction"]["of"] = "floor*"
    (folder / "dog.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder / "dog.yaml"


def prepared(tasks: int, whole: bool) -> dict[str, float]:
    """Seconds and megabytes for so many tasks, in this process."""
    if whole:
        light._SMALL = 1 << 62
    with tempfile.TemporaryDirectory() as place:
        family = described.load(write_robot(Path(place)))
        drawn = family.sample(tasks, np.random.default_rng(0), "train")
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        env = family.make_vector_env(drawn, 1)
        seconds = time.process_time() - began
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        env.close()
    return {
        "tasks": tasks,
        "seconds of processor time": round(seconds, 2),
        "more megabytes": round((after - before) / 1e3),
        "megabytes of the whole process at most": round(after / 1e3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--whole", action="store_true", help="leave the meshes in, print, record nothing")
    options = parser.parse_args()
    if options.whole:
        print(json.dumps(prepared(options.tasks, whole=True)))
        return
    words = [sys.executable, __file__, "--whole", "--tasks", "10"]
    beside = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    record("mesh_terrain", {"as it is": prepared(options.tasks, whole=False), "with the meshes left in": beside})


if __name__ == "__main__":
    main()
