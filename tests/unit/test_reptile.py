"""Reptile's two outer steps: towards the adapted parameters, and by Adam."""

from __future__ import annotations

import copy

import pytest
import torch

from agents.contract import AgentError
from agents.maml import MAMLAgent
from agents.reptile import ReptileConfig, ReptileLearner
from tests.helpers import LineFamily, sample, some_tasks
from trainers.recipes.registry import interface_of

FAMILY = LineFamily()
TASKS = 4


def build(rate: float | None) -> tuple[MAMLAgent, ReptileLearner]:
    config = ReptileConfig(
        meta_batch_size=TASKS, rollouts=3, hidden_sizes=(8,), adam_learning_rate=rate, normalise_observations=False
    )
    agent = MAMLAgent(config, interface_of(FAMILY))
    return agent, ReptileLearner(agent, config, 0, torch.device("cpu"))


def update(learner: ReptileLearner, agent: MAMLAgent) -> dict[str, torch.Tensor]:
    before = learner.weights()
    learner.update(sample(agent, learner, some_tasks(TASKS, FAMILY), family=FAMILY))
    return {name: value - before[name] for name, value in learner.weights().items()}


def test_adams_first_step_goes_its_rate_the_way_of_the_plain_step_in_every_entry():
    plain, adam = (update(*build(rate)[::-1]) for rate in (None, 1e-2))
    for name, step in plain.items():
        clear = step.abs() > 1e-5  # far above Adam's epsilon
        torch.testing.assert_close(adam[name][clear], 1e-2 * step[clear].sign(), rtol=2e-3, atol=0)


def test_a_checkpoint_holds_adams_moments_and_one_of_the_other_outer_step_is_refused():
    agent, learner = build(1e-2)
    update(learner, agent)
    state = copy.deepcopy(learner.state_dict())
    _, again = build(1e-2)
    again.load_state_dict(state)
    steps = [update(one, agent) for one in (learner, again)]
    for name, step in steps[0].items():
        assert torch.equal(step, steps[1][name])
    with pytest.raises(AgentError, match="another outer step"):
        build(None)[1].load_state_dict(state)


def test_a_checkpoint_from_before_adam_is_read():
    _, learner = build(None)
    state = learner.state_dict()
    del state["adam"]
    learner.load_state_dict(state)
