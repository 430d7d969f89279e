"""Every agent with every space that it can: trains, the same on shards of any size, and resumes to the same bits."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from agents.contract import AgentError, concatenate, policy_weights
from tests.spaces import ACTIONS, OBSERVATIONS, family_of
from trainers.online import OnlineAgent
from trainers.recipes import registry
from trainers.recipes.registry import interface_of
from trainers.sampling.random_streams import random_key
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials

INNER = {"meta_batch_size": 2, "rollouts": 2, "hidden_sizes": [4]}
SMALL = {
    "maml": INNER,
    "reptile": INNER,
    "rl2": {"meta_batch_size": 2, "memory": {"name": "gru", "size": 4}, "normalise_observations": True},
    "varibad": {
        "meta_batch_size": 2, "encoder": {"name": "gru", "size": 4}, "policy_sizes": [4], "decoder_sizes": [4],
        "vae_updates": 1, "state_coef": 1.0, "normalise_observations": True,
    },
    "pearl": {
        "train_tasks": 2, "initial_episodes": 1, "tasks_per_iteration": 2, "prior_rounds": 1, "posterior_rounds": 1,
        "hidden_sizes": [4], "encoder_sizes": [4], "gradient_steps": 1, "meta_batch_size": 2, "batch_size": 4,
        "context_size": 4, "context_capacity": 20, "normalise_observations": True,
    },
}  # fmt: skip
# Every observation space with Box actions, and every action space with some observations.
PAIRS = [(name, "box") for name in OBSERVATIONS] + [("dict", name) for name in ACTIONS if name != "box"]


def built(agent, family):
    algorithm = registry.algorithm(agent)
    config = algorithm.config(**SMALL[agent])
    made = algorithm.make_agent(config, interface_of(family))
    return made, algorithm.make_learner(made, config, 0, torch.device("cpu"))


def trials(agent, learner, family, iteration, tasks_per_shard):
    plan = learner.plan(iteration)
    count = plan.tasks if isinstance(plan.tasks, int) else len(plan.tasks)
    tasks = family.sample(count, np.random.default_rng(0), "train")
    keys = [random_key(0, "training", iteration, position) for position in range(count * plan.trials_per_task)]
    shards = make_shards(tasks, plan.rounds, keys, tasks_per_shard)
    return concatenate([run_trials(agent, family, learner.weights(), shard) for shard in shards])


def unserved(agent, observations, actions):
    return agent == "pearl" and (actions != "box" or observations.startswith("image"))


@pytest.mark.parametrize(("observations", "actions"), PAIRS)
@pytest.mark.parametrize("name", SMALL)
def test_every_agent_trains_with_every_space_that_it_can(name, observations, actions):
    family = family_of(observations, actions)
    if unserved(name, observations, actions):
        with pytest.raises(AgentError, match=r"images|flat Box actions"):
            built(name, family)
        return
    agent, learner = built(name, family)
    before = learner.weights()
    for iteration in range(2):
        metrics = learner.update(trials(agent, learner, family, iteration, 10))
        assert np.isfinite(list(metrics.values())).all()
    after = learner.weights()
    assert any(not torch.equal(before[key], value) for key, value in after.items())
    if OBSERVATIONS[observations].__class__.__name__ == "Box" and observations.startswith("image"):
        moved = [key for key, value in after.items() if "kernel_0" in key and not torch.equal(before[key], value)]
        assert moved, "no gradient reached the images' first convolution"


@pytest.mark.parametrize("name", ["maml", "rl2", "varibad"])
@pytest.mark.parametrize("observations", ["dict", "image_and_numbers"])
def test_trials_do_not_depend_on_the_size_of_shards_and_a_learner_resumes_to_the_same_bits(name, observations):
    family = family_of(observations, "multi_discrete")
    agent, learner = built(name, family)
    one, other = (trials(agent, learner, family, 0, size) for size in (1, 2))
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first.valid, second.valid)
        for key in ("observation", "next_observation", "action", "reward", "log_prob"):  # padding is nobody's
            mine, others = (getattr(batch, key)[first.valid] for batch in (first, second))
            np.testing.assert_allclose(mine, others, rtol=1e-5, err_msg=key)  # the network ran on another batch
    learner.update(one)
    _, fresh = built(name, family)
    fresh.load_state_dict(deepcopy(learner.state_dict()))
    for each in (learner, fresh):
        each.update(trials(agent, each, family, 1, 2))
    again = fresh.weights()
    assert all(torch.equal(again[key], value) for key, value in learner.weights().items())


@pytest.mark.parametrize("name", ["maml", "rl2", "varibad"])
@pytest.mark.parametrize("actions", ["multi_discrete", "multi_binary", "discrete"])
def test_an_agent_acts_online_on_what_the_environment_gives(name, actions):
    family = family_of("dict", actions)
    agent, learner = built(name, family)
    online = OnlineAgent(agent, policy_weights(learner), family, rollouts=1)
    online.begin_trial()
    env = family.make_env(family.sample(1, np.random.default_rng(0), "train")[0])
    for episode in range(2):
        observation, _ = env.reset(seed=episode)
        for step in range(family.episode_steps):
            action = online.act(observation)
            assert env.action_space.contains(action)
            observation, reward, terminated, _, _ = env.step(action)
            online.observe(observation, reward, terminated, step + 1 == family.episode_steps and not terminated)
            if terminated:
                break
    assert online.episodes == 2


@pytest.mark.parametrize("actions", ACTIONS)
def test_random_actions_are_elements_of_every_action_space(actions):
    family = family_of("dict", actions)
    agent = registry.baseline("random")(interface_of(family), 1)
    noise = agent.draw_noise(np.random.default_rng(0), (50, 4))
    chosen, _ = agent.choose(None, np.zeros((50, 4, 1)), noise)
    space = ACTIONS[actions]
    sent = [action.astype(space.dtype) for action in chosen.reshape(200, *space.shape)]
    assert all(space.contains(action) for action in sent)
    if actions != "box":
        flat = np.array(sent).reshape(200, -1)
        assert (flat.min(0) != flat.max(0)).all()  # more than one of each choice
