"""Agents and learners, one file per algorithm; `ALGORITHMS` are the names for `agent.name` of a recipe."""

from pkgutil import extend_path

# A user's folder of this name without __init__.py is on the path as well, perhaps: its modules join ours (ADR 1).
__path__ = extend_path(__path__, __name__)

ALGORITHMS = {
    "maml": "agents.maml:MAML",
    "pearl": "agents.pearl:PEARL",
    "reptile": "agents.reptile:REPTILE",
    "rl2": "agents.rl2:RL2",
    "varibad": "agents.varibad:VARIBAD",
}
