"""`acclimate baselines`: the agents that learn nothing across tasks."""

from __future__ import annotations

from trainers.cli.console import entry, note


def baselines() -> None:
    """List the baselines that can be measured in a run's place."""
    from agents.baselines import BASELINES
    from trainers.recipes.listing import summaries

    for name, summary in summaries(BASELINES).items():
        entry(name, summary)
    note("measure one: acclimate evaluate RUN --agent NAME; your own is named package.module:Name")
