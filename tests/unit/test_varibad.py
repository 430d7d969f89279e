"""VariBAD's belief, its bound and who learns from what."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.contract import AgentError
from agents.functional.elbo import kl_to_previous, reparameterise
from agents.nets.statistics import RunningStatistics
from agents.varibad import VariBADAgent, VariBADConfig, VariBADLearner
from envs.tabular.grid_navi import GridNavi
from tests.conformance.test_families import TwoEnds
from tests.helpers import PLAIN_VARIBAD, LineFamily, sample, some_tasks
from trainers.recipes.registry import interface_of

SMALL = PLAIN_VARIBAD | {
    "meta_batch_size": 5, "episodes_per_trial": 2, "update_epochs": 1, "encoder": {"name": "gru", "size": 6},
    "latent_size": 3, "vae_updates": 2, "vae_batch": 4, "policy_sizes": (8,), "decoder_sizes": (8,),
}  # fmt: skip


def build(family, seed=0, **config):
    settings = VariBADConfig.model_validate(SMALL | config)
    agent = VariBADAgent(settings, interface_of(family))
    return agent, VariBADLearner(agent, settings, seed, torch.device("cpu"))


def trials(agent, learner, family, iteration=0, count=5):
    return sample(agent, learner, some_tasks(count, family, iteration), family=family, iteration=iteration)


def test_kl_to_the_posterior_before_by_hand():
    """D = 1. N(0, 1) from the prior costs 0; N(1, 4) after it: log(1/2) + (4 + 1) / 2 - 1/2."""
    mean = torch.tensor([0.0, 1.0])[:, None, None]
    log_variance = torch.tensor([0.0, math.log(4.0)])[:, None, None]
    expected = [0.0, math.log(0.5) + 2.5 - 0.5]
    assert kl_to_previous(mean, log_variance)[:, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_latent_is_drawn_at_its_mean_and_deviation():
    sample = reparameterise(torch.tensor([1.0]), torch.tensor([math.log(4.0)]), torch.tensor([0.5]))
    assert sample.tolist() == pytest.approx([2.0])


@pytest.mark.parametrize("family", [LineFamily(), TwoEnds()], ids=["continuous, ends early", "discrete"])
@pytest.mark.parametrize(
    "options", [{}, {"policy_into_encoder": True}, {"normalise_observations": True}, {"normalise_beliefs": True}]
)
def test_the_learner_believes_what_the_agent_believed(family, options):
    agent, learner = build(family, **options)
    with torch.no_grad():  # a fresh policy hardly depends on what it reads
        learner.parameters["actor/weight_1"].mul_(30.0)
    for iteration in range(2):
        assert abs(learner.update(trials(agent, learner, family, iteration))["policy_kl"]) < 1e-7


def test_the_policy_reads_beliefs_in_their_deviations_and_a_checkpoint_holds_these():
    family = GridNavi()
    agent, learner = build(family, normalise_beliefs=True)
    batch = trials(agent, learner, family)
    with torch.no_grad():
        believed = torch.cat(learner._beliefs(learner.encode_trials(batch[0].by_trial()).inputs), -1).flatten(0, 1)
    learner.update(batch)
    weights = learner.weights()
    torch.testing.assert_close(weights["believed/mean"], believed.mean(0))
    torch.testing.assert_close(weights["believed/deviation"], believed.std(0) + 1e-3)
    _, other = build(family, seed=1, normalise_beliefs=True)
    other.load_state_dict(learner.state_dict())
    assert all(torch.equal(value, weights[name]) for name, value in other.weights().items())
    # A belief one deviation above the mean is read as ones.
    plain = {name: value for name, value in weights.items() if not name.startswith("believed")}
    observation, one = torch.zeros(1, agent.trial_inputs.observation_size), torch.ones(1, 6)
    above = weights["believed/mean"] + weights["believed/deviation"]
    scaled = agent.networks.heads(weights, observation, above[None].chunk(2, -1))
    as_read = agent.networks.heads(plain, observation, one.chunk(2, -1))
    torch.testing.assert_close(scaled[1], as_read[1])


def changed(before, after):
    return {name.partition("/")[0] for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.mark.parametrize("reaches", [False, True])
def test_the_policys_gradients_reach_the_encoder_only_if_asked(reaches):
    family = GridNavi()
    agent, learner = build(family, policy_into_encoder=reaches)
    before = learner.weights()
    learner._policy_update(trials(agent, learner, family)[0].by_trial())
    moved = changed(before, learner.weights())
    assert moved == ({"actor", "critic", "encoder", "belief"} if reaches else {"actor", "critic"})


def test_the_bound_moves_encoder_and_decoders_alone():
    family = LineFamily()
    agent, learner = build(family, state_coef=1.0)
    learner._store(trials(agent, learner, family)[0].by_trial())
    before = learner.weights()
    metrics = learner._encoder_update()
    assert changed(before, learner.weights()) == {"encoder", "belief", "decoder"}
    assert metrics["state_error"] > 0


def test_every_posterior_decodes_the_whole_trial_past_and_future():
    """With a decoder that says 0 the reward's cost is the sum of half the squared rewards of the trial."""
    family = LineFamily()
    agent, learner = build(family, kl_coef=0.0)
    batch = trials(agent, learner, family)[0].by_trial()
    learner._store(batch)
    with torch.no_grad():
        for name, value in learner.parameters.items():
            if name.startswith("decoder/"):
                value.zero_()
    kept = {name: value.transpose(0, 1) for name, value in learner._trials.state_dict().items()}
    loss = -learner._take_elbo_gradient(kept, torch.Generator().manual_seed(0))[0]
    each = 0.5 * (np.where(batch.valid, batch.reward, 0.0) ** 2).sum((1, 2))
    weight = batch.valid.sum((1, 2)) / batch.valid.sum()  # a trial counts by its posteriors
    assert float(loss) == pytest.approx(float((each * weight).sum()), rel=1e-5)


def test_some_posteriors_and_steps_stand_for_all():
    """The mean over draws of steps is the bound of all steps."""
    family = GridNavi()
    agent, learner = build(family, kl_coef=0.0)
    learner._store(trials(agent, learner, family)[0].by_trial())
    kept = {name: value.transpose(0, 1) for name, value in learner._trials.state_dict().items()}
    with torch.no_grad():
        for name, value in learner.parameters.items():
            if name.startswith("decoder/"):
                value.zero_()
    whole = -float(learner._take_elbo_gradient(kept, torch.Generator().manual_seed(0))[0])
    _, some = build(family, kl_coef=0.0, posteriors=4, decoded=10)
    some.parameters, some._trials = learner.parameters, learner._trials
    generator = torch.Generator().manual_seed(0)
    draws = [-float(some._take_elbo_gradient(kept, generator)[0]) for _ in range(300)]
    assert np.mean(draws) == pytest.approx(whole, abs=4 * np.std(draws) / math.sqrt(len(draws)))


def test_only_the_newest_trials_are_kept_and_a_checkpoint_holds_them():
    family = GridNavi()
    agent, learner = build(family, vae_trials=7)
    for iteration in range(2):
        learner.update(trials(agent, learner, family, iteration))
    assert len(learner._trials) == 7
    _, other = build(family, seed=1, vae_trials=7)
    other.load_state_dict(learner.state_dict())
    assert torch.equal(other._trials.state_dict()["reward"], learner._trials.state_dict()["reward"])


def test_another_optimiser_of_the_decoders_is_refused_and_nothing_taken():
    family = GridNavi()
    agent, learner = build(family)
    learner.update(trials(agent, learner, family))
    state = learner.state_dict()
    state["vae"]["state"][0]["exp_avg"] = torch.zeros(2, 2)
    _, other = build(family, seed=1)
    before = other.weights()
    with pytest.raises(AgentError, match="optimiser belongs to another network"):
        other.load_state_dict(state)
    assert all(torch.equal(value, before[name]) for name, value in other.weights().items())


def test_inspect_tells_the_belief():
    family = GridNavi()
    agent, learner = build(family)
    begun = agent.begin_trial(learner.weights(), 2)
    _, _, state = agent.act(learner.weights(), begun, np.zeros((2, 1), np.int64), None)
    beliefs = agent.inspect(learner.weights(), state)
    assert beliefs["belief_mean"].shape == (2, 3)
    assert (beliefs["belief_deviation"] > 0).all()


def test_a_decoder_for_each_observation_wants_discrete_ones():
    with pytest.raises(AgentError, match="per_observation is for Discrete observations"):
        build(LineFamily(), reward_decoder={"name": "gaussian", "per_observation": True})
    agent, learner = build(GridNavi(), reward_decoder={"name": "bernoulli", "per_observation": True})
    assert math.isfinite(learner.update(trials(agent, learner, GridNavi()))["elbo"])


def test_the_page_shows_the_arithmetic_of_the_published_kl_weights():
    page = (Path(__file__).parents[2] / "docs" / "algorithms" / "varibad.md").read_text()
    rows = re.findall(r"\| \w+ \| ([\d.]+) \| (\d+) \| (\d+) \| (\d+).*? \| (\S+ ?\S*) \| .* = ([\d.]+) \|", page)
    assert len(rows) == 2
    for *numbers, cost, stated in rows:
        weight, trials_, steps, decoded = map(float, numbers)
        kl_coef = weight * trials_ * steps / ((steps + 1) * decoded) / (2 if cost.startswith("squared") else 1)
        assert kl_coef == pytest.approx(float(stated), abs=5e-5)


def test_beliefs_that_hardly_vary_are_not_magnified():
    beliefs = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0)) * 0.1
    for floor, deviation in ((0.0, 0.1), (1.0, 1.0)):
        _, learner = build(LineFamily(), normalise_beliefs=True, least_belief_scale=floor, latent_size=2)
        statistics = learner._belief_statistics
        statistics.update(beliefs, 0)
        scaled = RunningStatistics.normalise(statistics.tensors, beliefs, "believed")
        assert scaled.std(0).numpy() == pytest.approx(np.full(4, 0.1 / deviation), rel=0.1)
