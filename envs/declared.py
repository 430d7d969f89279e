"""Whether a family declares what every family declares, before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.spaces import describe
from envs.task import KINDS


def malformed(family: Any) -> str | None:
    """The fault in a family's class attributes, such as "lacks the class attribute name"; None if there is none."""
    for attribute in ("name", "parameters", "episode_steps"):
        if not hasattr(family, attribute):
            return f"lacks the class attribute {attribute}"
    name, parameters, steps = family.name, family.parameters, family.episode_steps
    if not isinstance(name, str) or not name.strip():
        return f"has {describe(name)} for its name, which is a text such as 'my_robot-v1'"
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
        return f"has {describe(steps)} for episode_steps, which is a whole number of at least 1"
    if not isinstance(parameters, Mapping):
        return f"has {describe(parameters)} for parameters, which maps names to distributions such as Uniform(0.5, 2.0)"
    for parameter, distribution in parameters.items():
        if not isinstance(parameter, str):
            return f"has {describe(parameter)} for the name of a parameter, which is a text"
        if not hasattr(distribution, "draw"):
            return (
                f"has {describe(distribution)} for the distribution of {parameter}, which is one such as "
                "Uniform(0.5, 2.0) or Choice((-1, 1))"
            )
    if family.kind not in KINDS:
        return f"has {describe(family.kind)} for its kind, which is one of {', '.join(KINDS)}"
    return None
