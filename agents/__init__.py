"""What learns: one file per algorithm. Names here are what a recipe's `agent.name` may say."""

ALGORITHMS = {
    "maml": "agents.maml:MAML",
    "pearl": "agents.pearl:PEARL",
    "reptile": "agents.reptile:REPTILE",
    "rl2": "agents.rl2:RL2",
    "varibad": "agents.varibad:VARIBAD",
}

# Agents that learn nothing across tasks: what `acclimate evaluate RUN --agent` may say.
BASELINES = {
    "bayes": "agents.baselines.bandits:Bayes",
    "belief": "agents.baselines.grid_navi:Belief",
    "gittins": "agents.baselines.bandits:Gittins",
    "oracle": "agents.baselines.oracle:Oracle",
    "posterior_greedy": "agents.baselines.tabular:PosteriorGreedy",
    "posterior_replan": "agents.baselines.tabular:PosteriorReplan",
    "psrl": "agents.baselines.tabular:PSRL",
    "random": "agents.baselines.uniform:Random",
    "thompson": "agents.baselines.bandits:Thompson",
    "ucb1": "agents.baselines.bandits:UCB1",
}
