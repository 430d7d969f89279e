"""`acclimate recipes`: the recipes that come with Acclimate."""

from __future__ import annotations

from trainers.cli.console import entry, note


def recipes() -> None:
    """List the recipes: who learns what, how long it takes, and what to expect."""
    from trainers.recipes import listing

    for one in listing.recipes():
        entry(one.name, f"{one.agent} on {one.family}, {one.minutes}", f"expect {one.expected}")
    note("train one: acclimate train NAME; read one: acclimate describe NAME; write one: acclimate new FILE")
