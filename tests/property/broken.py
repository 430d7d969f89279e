"""A family whose reward breaks in the third step of its second episode, after the checks before training."""

from tests.helpers import LineFamily, LineWalk


class _Env(LineWalk):
    _episodes = 0

    def reset(self, **kwargs):
        self._steps = 0
        self._episodes += 1
        return super().reset(**kwargs)

    def step(self, action):
        observation, reward, *rest = super().step(action)
        self._steps += 1
        return observation, float("nan") if (self._episodes, self._steps) == (2, 3) else reward, *rest


class NanFamily(LineFamily):
    name = "nan_line-v1"

    def make_env(self, task):
        return _Env(task["target_m"])
