"""An own task family: everything below is what it needs.  acclimate check own_family:CartPoleLength"""

import gymnasium

from envs.task import TaskFamily, Uniform


class CartPoleLength(TaskFamily):
    name = "cart_pole_length-v1"
    parameters = {"half_length_m": Uniform(0.25, 1.0, unit="m")}
    episode_steps = 200

    def make_env(self, task):
        env = gymnasium.make("CartPole-v1", max_episode_steps=self.episode_steps)
        cart = env.unwrapped
        cart.length, cart.polemass_length = task["half_length_m"], cart.masspole * task["half_length_m"]
        return env
