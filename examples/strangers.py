"""Gymnasium's Pendulum and CartPole with hidden parameters, as anybody would write them: plain `make_env`, no more.

acclimate train family=examples.strangers:PendulumMass agent=rl2
"""

from __future__ import annotations

import gymnasium

from acclimate import Choice, Task, TaskFamily, Uniform


class PendulumMass(TaskFamily):
    """Pendulum whose mass, kg, is hidden: swing it up and hold it, 200 steps of 0.05 s."""

    name = "pendulum_mass-v1"
    parameters = {"mass": Uniform(0.5, 2.0)}
    episode_steps = 200

    def make_env(self, task: Task) -> gymnasium.Env:
        env = gymnasium.make("Pendulum-v1").unwrapped
        env.m = task["mass"]
        return env


class FlippedActions(gymnasium.ActionWrapper):
    """The two actions exchanged."""

    def action(self, action: int) -> int:
        return 1 - action


class CartPoleSign(TaskFamily):
    """CartPole whose pole length and direction of force are hidden: 1 a step until it falls, at most 200 steps."""

    name = "cart_pole_sign-v1"
    parameters = {"half_length": Uniform(0.25, 1.0), "sign": Choice((-1, 1))}
    episode_steps = 200

    def make_env(self, task: Task) -> gymnasium.Env:
        env = gymnasium.make("CartPole-v1").unwrapped
        env.length = task["half_length"]
        env.polemass_length = env.masspole * env.length
        return env if task["sign"] > 0 else FlippedActions(env)


class MirroredActions(gymnasium.ActionWrapper):
    """Actions -1, 0, 1, given as 0, 1, 2, mirrored."""

    def action(self, action: int) -> int:
        return 2 - action


class AcrobotSign(TaskFamily):
    """Acrobot whose second link's mass and direction of torque are hidden: -1 a step until it swings up."""

    name = "acrobot_sign-v1"
    parameters = {"mass": Uniform(0.5, 1.5), "sign": Choice((-1, 1))}
    episode_steps = 200

    def make_env(self, task: Task) -> gymnasium.Env:
        env = gymnasium.make("Acrobot-v1").unwrapped
        env.LINK_MASS_2 = task["mass"]
        return env if task["sign"] > 0 else MirroredActions(env)


class MountainCarPower(TaskFamily):
    """Continuous mountain car whose power is hidden: 100 at the top of the hill, less the squared actions."""

    name = "mountain_car_power-v1"
    parameters = {"power": Uniform(0.001, 0.003)}
    episode_steps = 200

    def make_env(self, task: Task) -> gymnasium.Env:
        env = gymnasium.make("MountainCarContinuous-v0").unwrapped
        env.power = task["power"]
        return env
