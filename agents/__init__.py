"""What learns: one file per algorithm. Names here are what a recipe's `agent.name` may say."""

ALGORITHMS = {
    "maml": "agents.maml:MAML",
    "pearl": "agents.pearl:PEARL",
    "reptile": "agents.reptile:REPTILE",
    "rl2": "agents.rl2:RL2",
    "varibad": "agents.varibad:VARIBAD",
}
