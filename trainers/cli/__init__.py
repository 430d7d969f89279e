"""The command `acclimate`: one file a command."""

# Each a function whose signature Typer reads; imported when the command line is.
COMMANDS = {
    "train": "trainers.cli.train:train",
    "resume": "trainers.cli.resume:resume",
    "evaluate": "trainers.cli.evaluate:evaluate",
    "benchmark": "trainers.cli.benchmark:benchmark",
    "compare": "trainers.cli.compare:compare",
    "report": "trainers.cli.report:report",
    "render": "trainers.cli.render:render",
    "embed": "trainers.cli.embed:embed",
    "recipes": "trainers.cli.recipes:recipes",
    "agents": "trainers.cli.agents:agents",
    "baselines": "trainers.cli.baselines:baselines",
    "families": "trainers.cli.families:families",
    "suites": "trainers.cli.suites:suites",
    "describe": "trainers.cli.describe:describe",
    "new": "trainers.cli.new:new",
    "check": "trainers.cli.check:check",
}
