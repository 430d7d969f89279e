"""Names that a shell completes; quick, so nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path

_SHIPPED = Path(__file__).resolve().parents[2] / "configs"


def recipe_names(incomplete: str) -> list[str]:
    """Shipped recipes that begin so."""
    return _beginning(incomplete, [path.stem for path in _SHIPPED.glob("*.yaml")])


def family_names(incomplete: str) -> list[str]:
    """Listed families that begin so."""
    from envs import FAMILIES

    return _beginning(incomplete, list(FAMILIES))


def baseline_names(incomplete: str) -> list[str]:
    """Listed baselines that begin so."""
    from agents.baselines import BASELINES

    return _beginning(incomplete, list(BASELINES))


def describable(incomplete: str) -> list[str]:
    """All listed names that begin so."""
    from agents import ALGORITHMS

    found = [*ALGORITHMS, "recipe"]
    return [
        *_beginning(incomplete, found),
        *baseline_names(incomplete),
        *family_names(incomplete),
        *recipe_names(incomplete),
    ]


def _beginning(incomplete: str, names: list[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
