"""Defects of kinds that public robot files have, planted in our examples: does `acclimate check` find each?

    python benchmarks/planted_defects.py

A defect is a change of an example's model or description; found is one that is refused with a sentence when it is
loaded, or that a check names. The sound examples must pass every check.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from measure import record

from envs.check import check_task_family
from envs.mujoco import described
from envs.task import TaskError

ROBOTS = Path(__file__).resolve().parents[1] / "examples" / "robots"
SOUND = ("servo_dog", "biped", "puck_arm", "swimmer", "tendon_finger", "quadruped", "arm")
Data = dict[str, Any]


@dataclass(frozen=True)
class Defect:
    """A change of an example: of its model's text, and of its description's data, in place."""

    of: str
    model: Callable[[str], str] = lambda text: text
    data: Callable[[Data], object] = lambda data: None


def swap(old: str, new: str, count: int = 0) -> Callable[[str], str]:
    def swapped(text: str) -> str:
        if not re.search(old, text):
            raise SystemExit(f"the example has no {old}")
        return re.sub(old, new, text, count=count)

    return swapped


def both(*functions: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One after the other; those of a model give its text on, those of data change it."""

    def all_of(value: Any) -> Any:
        for function in functions:
            value = function(value) or value
        return value

    return all_of


def put(*path: str, value: Any) -> Callable[[Data], object]:
    def inside(data: Data) -> None:
        for key in path[:-1]:
            data = data.setdefault(key, {})
        data[path[-1]] = value

    return inside


def change(field: str, **more: Any) -> Data:
    return {"change": field, "uniform": [0.5, 1.5], **more}


DEFECTS = {
    # what a task parameter changes is not what moves
    "friction of feet, where the floor has priority": Defect("servo_dog", data=put(
        "tasks", "ground_friction", value=change("friction", of="*_foot"))),
    "friction of the floor, where the feet have priority": Defect(
        "servo_dog", swap(r'(name="fl_foot"|name="fr_foot"|name="bl_foot"|name="br_foot")', r'\1 priority="2"')),
    "friction of the floor, of which a pair has its own": Defect("biped", swap(
        r"</worldbody>", '</worldbody><contact><pair geom1="floor" geom2="left_foot" friction="1 1 .01 .01 .01"/>'
        '<pair geom1="floor" geom2="right_foot" friction="1 1 .01 .01 .01"/></contact>')),
    "wind without air": Defect("servo_dog", data=put(
        "tasks", "wind", value={"change": "wind", "how": "set", "uniform": [-3, 3]})),
    "a factor on stiffness that is 0": Defect("servo_dog", data=put(
        "tasks", "springs", value=change("stiffness", of="*_knee"))),
    "mass of a decoration": Defect("servo_dog", swap(
        "</worldbody>", '<body name="lamp" pos="3 0 0"><geom size=".1" mass="1"/></body></worldbody>'),
        put("tasks", "lamp", value=change("mass", of="lamp"))),
    "gear of a servo": Defect("servo_dog", data=put("tasks", "power", value=change("gear", of="*"))),
    "kp of motors": Defect("quadruped", data=put("tasks", "power", value=change("kp", of="*"))),
    "a command that nothing reads": Defect("servo_dog", data=put(
        "tasks", "aim", value={"command": "heading", "uniform": [-1, 1]})),
    "a randomized change that does nothing": Defect("biped", data=put(
        "randomize", "springs", value=change("stiffness", of="*"))),
    # where it starts
    "no keyframe, and joints that may not be at 0": Defect("servo_dog", data=lambda data: data.pop("start")),
    "a keyframe in the ground": Defect("servo_dog", swap('qpos="0 0 .32', 'qpos="0 0 .24')),
    "a start beyond a limit": Defect("biped", data=put("start", "joints", value={"left_knee": 9.0})),
    "a start that a condition ends at once": Defect("servo_dog", data=put("terminate", "height_below_m", value=0.5)),
    "a start on a forbidden contact": Defect("servo_dog", swap('qpos="0 0 .32', 'qpos="0 0 .316'), put(
        "terminate", "contact", value=["*_foot"])),
    "a success at once": Defect("puck_arm", data=put(
        "success", value={"term": "distance", "of": "puck", "to": "target", "below": 5.0})),
    # what moves, and what is paid
    "motors that act on nothing": Defect("arm", both(
        swap(r'joint="(turn|shoulder|elbow)"', 'joint="fan"'),
        swap("</worldbody>", '<body><joint name="fan" limited="false"/><geom size=".05"/></body></worldbody>'))),
    "a reward that nothing changes": Defect("servo_dog", data=both(
        put("reward", value={"alive": 1.0}), put("terminate", value={}))),
    "gains at which it flies apart": Defect("servo_dog", both(
        swap('kp="35" kv="0.8"', 'kp="350000"'), swap(r'forcerange="[^"]*"', "")), put("terminate", value={})),
    "a control step that is no multiple": Defect("servo_dog", data=put("control_dt_s", value=0.005)),
    "a motor without a range": Defect("quadruped", both(
        swap(r'ctrlrange="[^"]*"', ""), swap('ctrllimited="true"', 'ctrllimited="false"'))),
    "observed sensors that are not there": Defect("arm", data=put("observe", value=["sensors"])),
    "only terms that are empty": Defect("puck_arm", data=put(
        "observe", value=[{"term": "joint_positions", "of": "none*"}])),
    "a tilt of an arm": Defect("arm", data=put("reward", "tilt", value=-1.0)),
    # names and files
    "a misspelt base": Defect("servo_dog", data=put("base", value="trnk")),
    "a misspelt keyframe": Defect("servo_dog", data=put("start", value={"keyframe": "hom"})),
    "a misspelt foot": Defect("servo_dog", data=put("reward", "steps", value={
        "term": "foot_air_time", "of": "*_fot", "weight": 1.0})),
    "a mesh that is not there": Defect("servo_dog", swap(
        "<worldbody>", '<asset><mesh name="shell" file="shell.stl"/></asset><worldbody>', 1)),
    "an include that is not there": Defect("servo_dog", swap(
        "<worldbody>", '<include file="parts.xml"/><worldbody>', 1)),
    "an element of a newer MuJoCo": Defect("servo_dog", swap("<worldbody>", "<flexes/><worldbody>", 1)),
    "a delay by another name": Defect("servo_dog", data=put(
        "tasks", "late", value={"sensor_delay": True, "choice": [0, 1]})),
    "a mass that may be negative": Defect("servo_dog", data=put(
        "tasks", "payload_kg", "uniform", value=[-20, 3])),
    "a ground whose name is taken": Defect("servo_dog", swap('name="head"', 'name="floor_head"'), both(
        put("terrain", value={"kind": "rough"}), put("terminate", "contact", value=["trunk"]))),
}  # fmt: skip


def findings(folder: Path, name: str) -> list[str]:
    """The sentences of loading and checking a description."""
    try:
        family = described.load(folder / f"{name}.yaml")
    except TaskError as error:
        return [str(error).replace(str(folder), "").lstrip("/")]
    return [f"{one.check}: {one.problem}" for one in check_task_family(family) if one.problem]


def planted(defect: Defect) -> list[str]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = yaml.safe_load((ROBOTS / f"{defect.of}.yaml").read_text())
        defect.data(data)
        (folder / f"{defect.of}.xml").write_text(defect.model((ROBOTS / f"{defect.of}.xml").read_text()))
        (folder / f"{defect.of}.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
        return findings(folder, defect.of)


def main() -> None:
    found = {}
    for name, defect in DEFECTS.items():
        found[f"{defect.of}: {name}"] = sentences = planted(defect)
        print(
            f"{'found' if sentences else 'MISSED'}  {defect.of}: {name}\n       {' | '.join(sentences)[:220]}",
            flush=True,
        )
    blamed = {name: sentences for name in SOUND if (sentences := findings(ROBOTS, name))}
    record("planted_defects", {
        "planted": len(found), "found": sum(map(bool, found.values())), "sound examples": len(SOUND),
        "sound examples blamed": blamed, "sentences": found,
    })  # fmt: skip


if __name__ == "__main__":
    main()
