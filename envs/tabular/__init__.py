"""Families with few states and actions, whose optimum is known or bounded."""

# Import paths, so that MuJoCo and other packages that a family needs are imported when it is first used.
FAMILIES = {
    "bandit_2_arms-v1": "envs.tabular.bandit:Bandit2Arms",
    "bandit_5_arms-v1": "envs.tabular.bandit:Bandit5Arms",
    "grid_navi-v1": "envs.tabular.grid_navi:GridNavi",
    "tabular_mdp-v1": "envs.tabular.tabular_mdp:TabularMDP",
}
