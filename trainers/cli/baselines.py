"""`acclimate baselines`: the agents that learn nothing across tasks, and learners from elsewhere."""

from __future__ import annotations

from trainers.cli.console import entry, note


def baselines() -> None:
    """List the baselines that can be measured in a run's place, or beside runs."""
    from agents.baselines import BASELINES
    from trainers.baselines import LEARNERS
    from trainers.recipes.listing import summaries

    for name, summary in summaries(BASELINES).items():
        entry(name, summary)
    note("measure one: acclimate evaluate RUN --agent NAME; your own is named package.module:Name")
    for name, summary in summaries(LEARNERS).items():
        entry(name, summary)
    note("measure these, and those above, beside runs: acclimate benchmark SUITE --baselines NAME NAME")
