"""`acclimate agents`: the agents that learn."""

from __future__ import annotations

from trainers.cli.console import entry, note


def agents() -> None:
    """List the agents that a recipe can train."""
    from agents import ALGORITHMS
    from trainers.recipes.listing import summaries

    for name, summary in summaries(ALGORITHMS).items():
        entry(name, summary)
    note("keys of one: acclimate describe NAME; your own is named package.module:NAME")
