"""Agents and learners, one file per algorithm; `ALGORITHMS` are the names for `agent.name` of a recipe."""

ALGORITHMS = {
    "maml": "agents.maml:MAML",
    "pearl": "agents.pearl:PEARL",
    "reptile": "agents.reptile:REPTILE",
    "rl2": "agents.rl2:RL2",
    "varibad": "agents.varibad:VARIBAD",
}
