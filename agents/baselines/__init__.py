"""Agents that learn nothing across tasks; `BASELINES` are the names for `acclimate evaluate RUN --agent NAME`."""

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
