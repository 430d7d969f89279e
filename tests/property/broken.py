"""A family whose reward breaks in its third step, named by import path in a test."""

from tests.helpers import LineFamily, LineWalk


class _Env(LineWalk):
    def reset(self, **kwargs):
        self._steps = 0
        return super().reset(**kwargs)

    def step(self, action):
        observation, reward, *rest = super().step(action)
        self._steps += 1
        return observation, float("nan") if self._steps == 3 else reward, *rest


class NanFamily(LineFamily):
    name = "nan_line-v1"

    def make_env(self, task):
        return _Env(task["target_m"])
