"""What learns: one file per algorithm. Names here are what a recipe's `agent.name` may say."""

ALGORITHMS = {
    "maml": "agents.maml:MAML",
    "pearl": "agents.pearl:PEARL",
    "reptile": "agents.reptile:REPTILE",
    "rl2": "agents.rl2:RL2",
    "varibad": "agents.varibad:VARIBAD",
}

# Agents that learn nothing across tasks: what `acclimate evaluate RUN --agent` may say.
YARDSTICKS = {
    "bayes": "agents.yardsticks.bandits:Bayes",
    "belief": "agents.yardsticks.grid_navi:Belief",
    "gittins": "agents.yardsticks.bandits:Gittins",
    "oracle": "agents.yardsticks.oracle:Oracle",
    "posterior_greedy": "agents.yardsticks.tabular:PosteriorGreedy",
    "posterior_replan": "agents.yardsticks.tabular:PosteriorReplan",
    "psrl": "agents.yardsticks.tabular:PSRL",
    "random": "agents.yardsticks.uniform:Random",
    "thompson": "agents.yardsticks.bandits:Thompson",
    "ucb1": "agents.yardsticks.bandits:UCB1",
}
