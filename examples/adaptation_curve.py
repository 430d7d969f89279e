"""From a family of one's own to a plotted adaptation curve.  python examples/adaptation_curve.py [KEY=VALUE]..."""

import sys

import gymnasium

import acclimate


class PendulumMass(acclimate.TaskFamily):
    name = "pendulum_mass-v1"
    parameters = {"mass_kg": acclimate.Uniform(0.5, 2.0, unit="kg")}
    episode_steps = 200

    def make_env(self, task):
        env = gymnasium.make("Pendulum-v1", max_episode_steps=self.episode_steps)
        env.unwrapped.m = task["mass_kg"]
        return env


run = acclimate.train(family=PendulumMass, agent="rl2", overrides=sys.argv[1:]).run
acclimate.plot(run, "adaptation_curve").savefig("adaptation_curve.png")
