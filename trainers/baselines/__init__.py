"""Learners from elsewhere, measured under our evaluator: Stable-Baselines3 and RLlib, from scratch on each task.

Each is a class that is made with a budget (`contestants.Settings`), listed here by its name.
"""

# Imported when asked for: neither library is needed for anything else.
LEARNERS = {
    "sb3_ppo": "trainers.baselines.sb3_learners:PPO",
    "sb3_sac": "trainers.baselines.sb3_learners:SAC",
    "sb3_td3": "trainers.baselines.sb3_learners:TD3",
    "sb3_tqc": "trainers.baselines.sb3_learners:TQC",
    "sb3_recurrent_ppo": "trainers.baselines.sb3_recurrent:RecurrentPPO",
    "rllib_ppo": "trainers.baselines.rllib_learners:PPO",
    "rllib_sac": "trainers.baselines.rllib_learners:SAC",
}
