"""Families with few states and actions, whose optimum is known or bounded."""

# Lazy, so that what a family needs (MuJoCo, say) is imported only by those who use it.
FAMILIES = {
    "bandit_2_arms-v1": "envs.tabular.bandit:Bandit2Arms",
    "bandit_5_arms-v1": "envs.tabular.bandit:Bandit5Arms",
    "grid_navi-v1": "envs.tabular.grid_navi:GridNavi",
    "tabular_mdp-v1": "envs.tabular.tabular_mdp:TabularMDP",
}
