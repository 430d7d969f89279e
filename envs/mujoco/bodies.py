"""Hidden bodies: the distributions of rand_param_envs over masses, frictions, dampings and inertias."""

from __future__ import annotations

from envs.distributions import Distribution, LogUniform
from envs.mujoco.changes import Change

# x 1.5^U(-3, 3) and x 1.3^U(-3, 3), the factors of rand_param_envs (log scale limit 3).
SCALE_RANGE = (1.5**-3, 1.5**3)
DAMPING_SCALE_RANGE = (1.3**-3, 1.3**3)
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
    """Distributions of the parameters of `BODY_CHANGES`: a factor for each body, each changed friction, each joint."""
    ood, damping_ood = (
        ((low ** (4 / 3), low), (high, high ** (4 / 3))) for low, high in (SCALE_RANGE, DAMPING_SCALE_RANGE)
    )  # powers from 3 to 4, and as small
    return {
        "mass_scale": LogUniform(*SCALE_RANGE, shape=(bodies,), ood=ood),
        "friction_scale": LogUniform(*SCALE_RANGE, shape=(frictions,), ood=ood),
        "damping_scale": LogUniform(*DAMPING_SCALE_RANGE, shape=(joints,), ood=damping_ood),
    }


def independent_distributions(bodies: int, frictions: int, joints: int) -> dict[str, Distribution]:
    """Distributions of the parameters of `INDEPENDENT_CHANGES`: three more factors for the inertia of each body."""
    inertia = {"inertia_scale": LogUniform(*SCALE_RANGE, shape=(3 * bodies,))}
    return body_distributions(bodies, frictions, joints) | inertia
