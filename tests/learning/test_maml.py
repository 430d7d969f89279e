"""MAML and its relatives learn to adapt on 2-D navigation, whose blind and oracle returns are exact; sabotaged, they
do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.contract import concatenate
from agents.maml import ClippedSurrogate, MAMLAgent, MAMLConfig, MAMLLearner
from agents.reptile import ReptileConfig, ReptileLearner
from envs.navigation.point_nav import PointNav
from tests.helpers import PLAIN_INNER_LOOP, sample
from trainers.process import keep_freed_memory
from trainers.recipes.registry import interface_of
from trainers.sampling.random_streams import generator, random_key
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials

pytestmark = pytest.mark.learning
FAMILY = PointNav()
UPDATES = 10
HELD_OUT = FAMILY.task_set("held-out", 40, 0).tasks
BLIND, ORACLE = (np.mean([FAMILY.reference_returns(task)[name] for task in HELD_OUT]) for name in ("blind", "oracle"))
THRESHOLD = 0.55  # of the gap between blind and oracle


class Flipped(MAMLAgent):
    """Sabotage: descends the advantage instead of climbing it."""

    def adapt(self, weights, state, batch):
        return super().adapt(weights, state, batch.map(lambda a: -a if a is batch.reward else a))


def config(**changed) -> MAMLConfig:
    outer = ClippedSurrogate(learning_rate=7e-3, update_epochs=5)
    settings = PLAIN_INNER_LOOP | {
        "meta_batch_size": 20, "rollouts": 10, "hidden_sizes": (32, 32), "inner_learning_rates": (0.5,), "outer": outer,
    }  # fmt: skip
    return MAMLConfig(**(settings | changed))


def train(seed: int, updates: int = UPDATES, settings=None, learner_class=MAMLLearner) -> dict[str, torch.Tensor]:
    keep_freed_memory()
    agent = MAMLAgent(settings or config(), interface_of(FAMILY))
    learner = learner_class(agent, agent.config, seed, torch.device("cpu"))
    for iteration in range(updates):
        tasks = FAMILY.sample(20, generator(random_key(seed, "tasks", iteration)), "train")
        learner.update(sample(agent, learner, tasks, seed=seed, iteration=iteration))
    return learner.weights()


def gap_closed(weights, agent_class=MAMLAgent, **changed) -> tuple[float, float]:
    """Share of the gap between blind and oracle that is closed (before adapting, after one inner step)."""
    agent = agent_class(config(**changed), interface_of(FAMILY))
    keys = [random_key(0, "evaluation", index) for index in range(40)]
    shards = make_shards(HELD_OUT, agent.trial_rounds(1, 40), keys, 20)
    batch = concatenate([run_trials(agent, FAMILY, weights, shard) for shard in shards])
    before, after = ((one.row_returns().mean() - BLIND) / (ORACLE - BLIND) for one in batch)
    return float(before), float(after)


@pytest.fixture(scope="module")
def trained():
    return [train(seed) for seed in (0, 1, 2)]


def test_one_inner_step_closes_the_gap_on_every_seed(trained):
    closed = [gap_closed(weights) for weights in trained]
    assert all(after > THRESHOLD for _, after in closed), closed
    assert all(before < 0.1 for before, _ in closed), closed


@pytest.mark.parametrize(
    "sabotage",
    [{"inner_learning_rates": (0.0,)}, {"agent_class": Flipped}],
    ids=["inner step zero", "sign of the advantage flipped"],
)
def test_sabotaged_adaptation_fails(trained, sabotage):
    closed = [gap_closed(weights, **sabotage)[1] for weights in trained]
    assert all(after < 0.1 for after in closed), closed


def test_an_untrained_start_fails(trained):
    """The same inner step from fresh parameters: the threshold is not for free, and training beats it by far."""
    untrained = [gap_closed(train(seed, updates=0))[1] for seed in (0, 1, 2)]
    assert all(after < 0.1 for after in untrained), untrained


@pytest.mark.parametrize("option", ["first_order", "learn_step_sizes"])
def test_first_order_maml_and_meta_sgd_close_the_gap_too(option):
    """8 updates; the control is the same trained policy with its inner step taken away."""
    settings = config(**{option: True})
    for seed in (0, 1, 2):
        weights = train(seed, 8, settings)
        assert gap_closed(weights, **{option: True})[1] > THRESHOLD
        still = {name: 0 * value if name.startswith("step_size/") else value for name, value in weights.items()}
        unmoved = gap_closed(
            still, **({option: True} if option == "learn_step_sizes" else {"inner_learning_rates": (0.0,)})
        )
        assert unmoved[1] < 0.1


def test_meta_sgd_moves_its_step_sizes():
    weights = train(0, 2, config(learn_step_sizes=True))
    learned = torch.cat([value.reshape(-1) for name, value in weights.items() if name.startswith("step_size/")])
    assert float(learned.std()) > 1e-3
    assert float((learned - 0.5).abs().max()) < 0.2


@pytest.mark.parametrize("rate", [None, 1e-2])
def test_reptile_comes_closer_with_every_update(rate):
    """Slower than MAML: what 12 updates of three rounds close, against the untrained start that closes nothing."""
    changed = {"meta_batch_size": 20, "rollouts": 10, "hidden_sizes": (32, 32), "inner_steps": 2}
    plain = {key: value for key, value in PLAIN_INNER_LOOP.items() if key != "outer"}
    settings = ReptileConfig(**(plain | changed | {"inner_learning_rates": (0.5,), "adam_learning_rate": rate}))
    for seed in (0, 1, 2):
        after = gap_closed(train(seed, 12, settings, ReptileLearner))[1]
        assert after > 0.2
        assert gap_closed(train(seed, 0, settings, ReptileLearner))[1] < 0.1
