"""The summary of an evaluation as a table."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from trainers.cli.console import console


def print_summary(summary: dict[str, Any], to: Console = console) -> None:
    """Print an evaluation's adaptation curve step by step, and what was gained; its title names a control."""
    from trainers.evaluation.curves import interval_text
    from trainers.runs.metrics import selected_steps

    seeds = summary["training_seeds"]
    measured = f"{seeds} training seed{'s' if seeds > 1 else ''}" if seeds else f"baseline {summary['agent']}"
    control = f", control: {summary['control']}" if summary.get("control") else ""
    title = (
        f"{summary['family']}, {summary['task_count']:,} {summary['split']} tasks (set {summary['task_set_hash']}), "
        f"{summary['policy']} policy, {measured}{control}"
    )
    rates = summary.get("success_rate")
    columns = ["adaptations", "steps on the task", "mean return", "95 % interval", "IQM"] + ["success"] * bool(rates)
    table = Table(*columns, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for step in selected_steps(len(summary["adaptation_step"])):
        table.add_row(
            str(step),
            f"{summary['env_steps'][step]:,.0f}",
            f"{summary['mean'][step]:.2f}",
            interval_text(summary["ci95"][step]),
            f"{summary['iqm'][step]:.2f}",
            *([f"{rates[step]:.0%}"] if rates else []),
        )
    to.print(title, soft_wrap=True)
    to.print(table)
    for name, label in (("gain", "gained by adapting"), ("trial_total", "return of a whole trial")):
        if name in summary:
            to.print(f"{label}: {summary[name]['mean']:.2f} ({interval_text(summary[name]['ci95'])})")
