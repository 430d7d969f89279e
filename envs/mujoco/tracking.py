"""Terms of a described family that track a site or a body, and what all terms need of a robot."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from envs.errors import TaskError
from envs.mujoco.elements import element_names
from envs.mujoco.state import SimulationState
from envs.validation import nearest

# Terms that can track a site, body, sensor or geoms, `of`.
TRACKING = (
    "position", "orientation", "linear_velocity", "angular_velocity", "sensor", "goal_distance", "goal_reached",
    "distance", "foot_air_time", "contact", "torque", "command", "speed", "joint_positions", "joint_velocities",
    "joint_velocity_squared",
)  # fmt: skip


@dataclass(frozen=True)
class TrackedBody:
    """A body or a site whose place is read at every step.

    Attributes:
        array: of MjData, `xpos` or `site_xpos`.
        index: its number.
    """

    array: str
    index: int

    def place(self, state: SimulationState) -> np.ndarray:
        """[n, 3] m; as in MuJoCo, where it was at the start of the last physics step."""
        return state.sensed[self.array][:, self.index]


def tracked_body(model: mujoco.MjModel, name: str) -> TrackedBody:
    """Find the site or else the body of this name.

    Raises:
        TaskError: there is neither; it names the nearest.
    """
    sites = [model.site(number).name for number in range(model.nsite)]
    if name in sites:
        return TrackedBody("site_xpos", sites.index(name))
    bodies = element_names(model, "body")
    if name in bodies:
        return TrackedBody("xpos", bodies.index(name))
    raise TaskError(f"there is no site or body {name}; {nearest(name, [*sites, *bodies[1:]])}")


def require(fine: bool, term: str, part: str) -> None:
    """Raise TaskError unless the robot has the part that a term needs."""
    if not fine:
        raise TaskError(f"the term {term} needs {part}, which this robot has not; leave it out")


def one_name(term: str, of: str | tuple[str, ...]) -> str:
    """The name, of a term that tracks one thing; TaskError for several."""
    if not isinstance(of, str) and len(of) == 1:
        return of[0]
    if not isinstance(of, str):
        raise TaskError(f"the term {term} tracks one thing, not {len(of)}; name one")
    return of


def names_of(of: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Names and wildcards; all by default."""
    return ("*",) if of is None else (of,) if isinstance(of, str) else of


def refuse_needless_of(term: str, of: str | tuple[str, ...] | None) -> None:
    """Raise TaskError if `of` is given to a term that tracks nothing."""
    if of is not None and term not in TRACKING:
        named = of if isinstance(of, str) else ", ".join(of)
        raise TaskError(f"the term {term} tracks nothing, so `of: {named}` has no meaning; leave it out")
