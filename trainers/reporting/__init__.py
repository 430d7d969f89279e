"""How runs are shown: plots, videos, embeddings, trackers, the report."""

# Drawn at the end of every run, in this order, each a function (FinishedRun) -> Figure or None where it shows nothing.
PLOTS = {
    "adaptation_curve": "trainers.reporting.plots:adaptation_curve",
    "learning_curve": "trainers.reporting.plots:learning_curve",
    "adaptation_during_training": "trainers.reporting.plots:adaptation_during_training",
    "trajectories": "trainers.reporting.plots:trajectories",
}
# Of several runs: a function (labels and curves of their held-out tasks) -> Figure.
COMPARISON = "trainers.reporting.comparison:adaptation_curves"
