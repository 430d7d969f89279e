"""What learns: one file per algorithm. Names here are what a recipe's `agent.name` may say."""

ALGORITHMS = {
    "maml": "agents.maml:MAML",
    "reptile": "agents.reptile:REPTILE",
}
