"""A loaded agent in a user's own loop sees, does and learns what it does in the platform's trial loop."""

from __future__ import annotations

import numpy as np
import pytest

from envs.navigation.point_nav import PointNav
from tests.helpers import TINY, LineFamily, small_maml, some_tasks
from trainers.errors import UsageError
from trainers.online import OnlineAgent, load
from trainers.recipes.registry import interface_of
from trainers.recipes.schema import Recipe
from trainers.runs.run_folder import Run
from trainers.sampling.random_streams import generator, random_key
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials
from trainers.training import running

LINE = LineFamily()
ROLLOUTS = 3


def play(online: OnlineAgent, env, seed=None) -> float:
    """One episode; its return."""
    observation, _ = env.reset(seed=seed)
    total, ended = 0.0, False
    while not ended:
        observation, reward, terminated, truncated, _ = env.step(online.act(observation))
        online.observe(observation, reward, terminated, truncated)
        total, ended = total + reward, terminated or truncated
    return total


@pytest.mark.parametrize("rounds", [1, 2])
def test_it_is_the_trial_loop(rounds, monkeypatch):
    """The same noise and the same resets: the same actions, and the same adapted parameters."""
    agent, learner = small_maml(family=LINE, inner_learning_rates=(0.5, 0.3))
    weights = learner.weights()
    key = random_key(0, "evaluation", 0)
    (task,) = some_tasks(1, LINE)
    (shard,) = make_shards([task], agent.trial_rounds(rounds, ROLLOUTS), [key], 1)
    expected = run_trials(agent, LINE, weights, shard)

    blocks, seeds = [], []
    for position in range(rounds + 1):  # what the trial loop draws, in its order
        stream = generator(key, position)
        seeds.append(stream.integers(2**31, size=ROLLOUTS))
        blocks.append(agent.draw_noise(stream, (LINE.episode_steps, ROLLOUTS)))
    online = OnlineAgent(agent, weights, LINE, rollouts=ROLLOUTS)
    online.begin_trial()
    env = LINE.make_vector_env([task], 1)
    for position, batch in enumerate(expected):
        for row in range(ROLLOUTS):
            flat, _ = env.reset(seed=[int(seeds[position][row])])
            step, ended = 0, False
            while not ended:
                noise = blocks[position][step, row][None, None]
                monkeypatch.setattr(agent, "draw_noise", lambda rng, shape, noise=noise: noise)
                assert np.allclose(flat[0], batch.observation[0, 0, row, step], atol=1e-5)
                action = online.act(flat[0])
                assert np.allclose(action, np.clip(batch.action[0, 0, row, step], -1, 1), atol=1e-5)
                flat, reward, terminated, truncated, _ = env.step(action[None])
                online.observe(flat[0], reward[0], terminated[0], truncated[0])
                step, ended = step + 1, bool(terminated[0] or truncated[0])
            assert step == batch.valid[0, 0, row].sum()
    assert online.adaptations == rounds + 1
    assert online.episodes == ROLLOUTS * (rounds + 1)
    assert online.env_steps == sum(batch.steps for batch in expected)


def test_a_loaded_agent_acts_like_its_run_and_a_new_trial_knows_nothing(tmp_path):
    running.train(Recipe.load("point_nav_maml", [*TINY, "evaluation.rollouts=3"]), tmp_path / "run")
    online = load(tmp_path / "run", deterministic=True)
    run = Run.open(tmp_path / "run")
    agent, weights, _ = run.load(run.family())
    observation = np.array([0.1, -0.2], np.float32)
    expected, _, _ = agent.act(weights, agent.begin_trial(weights, 1), observation[None, None], None)
    online.begin_trial()
    first = online.act(observation)
    assert np.array_equal(first, np.clip(expected[0, 0], -1, 1))
    noisy = load(tmp_path / "run")  # three episodes a round, as the run was evaluated
    noisy.begin_trial()
    env = noisy.family.make_env(noisy.family.task(goal_m=[0.3, 0.3]))
    for _ in range(3):
        assert noisy.adaptations == 0
        play(noisy, env)
    assert noisy.adaptations == 1
    shift = noisy.inspect()["parameter_shift"]
    assert np.abs(shift).max() > 0
    noisy.begin_trial()
    assert np.abs(noisy.inspect()["parameter_shift"]).max() == 0
    assert (noisy.adaptations, noisy.episodes, noisy.env_steps) == (0, 0, 0)
    assert load(tmp_path / "run", checkpoint="best").interface == interface_of(PointNav())


def test_adapting_early_uses_the_episodes_there_are():
    agent, learner = small_maml(family=LINE, inner_learning_rates=(0.5,))
    online = OnlineAgent(agent, learner.weights(), LINE, rollouts=50)
    online.begin_trial()
    env = LINE.make_env(some_tasks(1, LINE)[0])
    with pytest.raises(UsageError, match="no episode to adapt on yet"):
        online.adapt()
    observation, _ = env.reset(seed=0)
    online.observe(env.step(online.act(observation))[0], 0.0, False, False)
    with pytest.raises(UsageError, match="an episode is under way"):
        online.adapt()
    online.act(observation)
    online.observe(observation, -1.0, False, True)
    online.adapt()
    assert online.adaptations == 1


def test_wrong_uses_are_sentences():
    agent, learner = small_maml(family=LINE)
    online = OnlineAgent(agent, learner.weights(), LINE, rollouts=2)
    with pytest.raises(UsageError, match="act was called before begin_trial"):
        online.act(np.zeros(1))
    online.begin_trial()
    with pytest.raises(UsageError, match="observe was called without an action"):
        online.observe(np.zeros(1), 0.0, False, False)
    with pytest.raises(UsageError, match=r"shape \(3,\).*shape \(1,\).*line-v1"):
        online.act(np.zeros(3))
    online.act(np.zeros(1))
    with pytest.raises(UsageError, match="reward is nan"):
        online.observe(np.zeros(1), float("nan"), False, False)
    online.observe(np.zeros(1), 0.0, False, False)  # and it goes on
    with pytest.raises(UsageError, match="rollouts is 0"):
        OnlineAgent(agent, learner.weights(), LINE, rollouts=0)
