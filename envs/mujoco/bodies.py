"""Bodies that are not told: the laws of rand_param_envs over masses, frictions, dampings and inertias."""

from __future__ import annotations

from envs.mujoco.changes import Change
from envs.task import Distribution, LogUniform

# x 1.5^U(-3, 3) and x 1.3^U(-3, 3), the scale laws of rand_param_envs (log scale limit 3).
SCALED = (1.5**-3, 1.5**3)
DAMPED = (1.3**-3, 1.3**3)
BODY_CHANGES = {
    "mass_scale": Change("mass"),
    "friction_scale": Change("friction"),
    "damping_scale": Change("damping"),
}


# As published: a mass leaves its inertia alone, which has factors of its own.
INDEPENDENT_CHANGES = BODY_CHANGES | {
    "mass_scale": Change("mass", inertia_follows=False),
    "inertia_scale": Change("inertia"),
}


def body_distributions(bodies: int, frictions: int, joints: int) -> dict[str, Distribution]:
    """The laws of `BODY_CHANGES`: a factor for each body, for each friction that is changed, for each joint."""
    beyond, damped_beyond = (
        ((low ** (4 / 3), low), (high, high ** (4 / 3))) for low, high in (SCALED, DAMPED)
    )  # powers from 3 to 4, and as small
    return {
        "mass_scale": LogUniform(*SCALED, shape=(bodies,), ood=beyond),
        "friction_scale": LogUniform(*SCALED, shape=(frictions,), ood=beyond),
        "damping_scale": LogUniform(*DAMPED, shape=(joints,), ood=damped_beyond),
    }


def independent_distributions(bodies: int, frictions: int, joints: int) -> dict[str, Distribution]:
    """The laws of `INDEPENDENT_CHANGES`: three factors more for the inertia of each body."""
    return body_distributions(bodies, frictions, joints) | {"inertia_scale": LogUniform(*SCALED, shape=(3 * bodies,))}
