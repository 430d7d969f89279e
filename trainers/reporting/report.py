"""report.html: a run's recipe, provenance and results on one self-contained page."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment

from trainers.runs.metrics import selected_steps
from trainers.runs.run_folder import Run

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
 body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
 h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
 table { border-collapse: collapse; } td, th { padding: .25rem .9rem .25rem 0; text-align: right; }
 td:first-child, th:first-child { text-align: left; } tr + tr { border-top: 1px solid #ddd; }
 img { max-width: 100%; } pre { background: #f6f6f6; padding: 1rem; overflow-x: auto; font-size: .85rem; }
 .quiet { color: #666; }
</style></head><body>
<h1>{{ title }}</h1>
<p class="quiet">{{ summary.split }} tasks, set {{ summary.task_set_hash }}, {{ summary.task_count }} tasks,
{{ summary.policy }} policy, training seed {{ seed }}, {{ iteration }} meta-updates.</p>
<h2>Adaptation</h2>
<table><tr><th>adaptations</th><th>environment steps on the task</th><th>mean return</th>
<th>95 % interval over tasks</th><th>interquartile mean</th>
{% if summary.success_rate %}<th>success rate</th>{% endif %}</tr>
{% for k in steps %}<tr><td>{{ k }}</td><td>{{ "{:,.0f}".format(summary.env_steps[k]) }}</td>
<td>{{ "%.2f" | format(summary.mean[k]) }}</td>
<td>{{ "%.2f" | format(summary.ci95[k][0]) }} … {{ "%.2f" | format(summary.ci95[k][1]) }}</td>
<td>{{ "%.2f" | format(summary.iqm[k]) }}</td>
{% if summary.success_rate %}<td>{{ "{:.0%}".format(summary.success_rate[k]) }}</td>{% endif %}</tr>{% endfor %}</table>
{% if summary.gain %}<p>Gained from the first adaptation step to the last, task by task:
{{ "%.2f" | format(summary.gain.mean) }}
({{ "%.2f" | format(summary.gain.ci95[0]) }} … {{ "%.2f" | format(summary.gain.ci95[1]) }}).{% endif %}
{% if summary.trial_total %}Return of a whole trial: {{ "%.2f" | format(summary.trial_total.mean) }}
({{ "%.2f" | format(summary.trial_total.ci95[0]) }} … {{ "%.2f" | format(summary.trial_total.ci95[1]) }}).{% endif %}
{% if summary.gain %}</p>{% endif %}
<p class="quiet">The interval says how sure the mean over tasks is; with one training seed it says nothing of other
seeds.</p>
{% for name, data in plots %}<h2>{{ name }}</h2>
<img alt="{{ name }}" src="data:image/png;base64,{{ data }}">{% endfor %}
<h2>Recipe</h2><pre>{{ recipe }}</pre>
<h2>Provenance</h2><pre>{{ provenance }}</pre>
</body></html>
"""


def write_report(run: Run, summary: dict[str, Any], plots: Sequence[Path], iteration: int) -> Path:
    """Write the page into the run folder; returns its path."""
    encoded = [
        (path.stem.replace("_", " ").capitalize(), base64.b64encode(path.read_bytes()).decode()) for path in plots
    ]
    page = (
        Environment(autoescape=True)
        .from_string(TEMPLATE)
        .render(
            title=run.recipe.title,
            summary=summary,
            steps=selected_steps(len(summary["adaptation_step"])),
            seed=run.recipe.seed,
            iteration=iteration,
            plots=encoded,
            recipe=run.recipe.to_yaml(),
            provenance=json.dumps(run.provenance(), indent=2),
        )
    )
    path = run.path / "report.html"
    path.write_text(page, encoding="utf-8")
    return path
