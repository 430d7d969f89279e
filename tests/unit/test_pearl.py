"""PEARL: beliefs and losses by hand and against autograd, replay, what an agent makes of a trial, what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

from agents.common.replay import TaskReplay, TrialReplay
from agents.contract import AgentError, Interface, policy_weights
from agents.functional.beliefs import GaussianFactors, gaussian_factors, kl_to_prior, natural_parameters, posterior
from agents.functional.sac import actor_loss, bootstrap_target, critic_loss, squash, temperature_gradient
from agents.pearl import PEARLAgent, PEARLConfig, PEARLLearner
from envs.navigation.point_robot import PointRobot, SparsePointRobot
from tests.helpers import PLAIN_PEARL, TINY, TINY_PEARL, LineFamily, sample, some_tasks
from tests.oracles.pearl import losses
from trainers.evaluation.run_evaluation import EvaluationRequest, evaluate_runs
from trainers.recipes.registry import interface_of
from trainers.recipes.schema import Recipe
from trainers.sampling.random_streams import random_key
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials
from trainers.training.running import train

SMALL = PLAIN_PEARL | {
    "train_tasks": 4,
    "initial_episodes": 2,
    "tasks_per_iteration": 2,
    "prior_rounds": 1,
    "posterior_rounds": 1,
    "buffer_size": 100,
    "context_capacity": 50,
    "latent_size": 2,
    "hidden_sizes": (8, 9),
    "encoder_sizes": (7,),
    "gradient_steps": 2,
    "meta_batch_size": 3,
    "batch_size": 5,
    "context_size": 6,
}
BOXES = Interface(
    gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32), gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32), 20
)


def build(spaces=BOXES, seed=0, **changed):
    config = PEARLConfig(**(SMALL | changed))
    agent = PEARLAgent(config, spaces)
    return agent, PEARLLearner(agent, config, seed, torch.device("cpu"))


def filled(**changed):
    """A learner with transitions to learn from, its parameters far from their start."""
    agent, learner = build(**changed)
    generator = torch.Generator().manual_seed(1)
    for replay in (learner.replay, learner.contexts):
        for task in range(SMALL["train_tasks"]):
            replay.add(task, torch.randn(20, replay.width, generator=generator))
    for value in learner.parameters.values():
        value += 0.1 * torch.randn(value.shape, generator=generator)
    learner.replay._rows[..., -5] = (learner.replay._rows[..., -5] > 1).float()  # terminated, of some
    return agent, learner


# -- beliefs


def sampled(replay, tasks, count):
    return replay.rows_at(torch.from_numpy(replay.draw(tasks, count, np.random.default_rng(0))))


def test_the_product_of_gaussians_by_hand():
    # N(1, 1/2) N(4, 1): precisions 2 and 1, so variance 1/3 and mean (2 * 1 + 1 * 4) / 3 = 2.
    mean, precision = torch.tensor([[1.0], [4.0]]), torch.tensor([[2.0], [1.0]])
    sums = natural_parameters(GaussianFactors(mean, precision, torch.zeros(2, 1)))
    assert posterior(*sums) == (pytest.approx(2.0), pytest.approx(1 / 3))


def test_the_divergence_from_the_prior_by_hand():
    # (v + m^2 - 1 - ln v) / 2 with m = 1, v = e^2: (e^2 + 1 - 1 - 2) / 2; two equal entries double it.
    nats, grad_mean, grad_variance = kl_to_prior(torch.ones(2), torch.full((2,), math.e**2))
    assert float(nats) == pytest.approx(math.e**2 - 2, rel=1e-6)
    assert grad_mean.tolist() == [1.0, 1.0]
    assert grad_variance.tolist() == pytest.approx([0.5 * (1 - math.e**-2)] * 2)
    assert float(kl_to_prior(torch.zeros(2), torch.ones(2))[0]) == 0.0


def test_the_order_of_a_context_and_its_padding_do_not_matter():
    outputs = torch.randn(3, 10, 4, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(3, 10, dtype=torch.bool)
    valid[1, 6:] = valid[2] = False
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    plain, shuffled = (
        posterior(*natural_parameters(gaussian_factors(one, counts)))
        for one, counts in ((outputs, valid), (outputs[:, order], valid[:, order]))
    )
    short = posterior(*natural_parameters(gaussian_factors(outputs[:, :6])))
    for one, other, cut in zip(plain, shuffled, short, strict=True):
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(one[1], cut[1])
    assert (plain[0][2].tolist(), plain[1][2].tolist()) == ([0.0, 0.0], [1.0, 1.0]), "an empty context is the prior"


# -- losses


def test_squashed_actions_have_the_density_they_say():
    # One dimension, mean 0.3, std 0.5: the share of samples with a < x is Phi((atanh x - 0.3) / 0.5), and the density
    # is its derivative, here by differences.
    outputs, step = torch.tensor([0.3, math.log(0.5)], dtype=torch.float64), 1e-6
    for action in (-0.9, -0.2, 0.7):
        noise = torch.tensor([(math.atanh(action) - 0.3) / 0.5], dtype=torch.float64)
        squashed = squash(outputs, noise)
        assert float(squashed.action) == pytest.approx(action)
        share = [0.5 * math.erf((math.atanh(action + d) - 0.3) / 0.5 / math.sqrt(2)) for d in (-step, step)]
        assert float(squashed.log_prob) == pytest.approx(math.log((share[1] - share[0]) / (2 * step)), rel=1e-5)


def test_the_bellman_backup_by_hand():
    # r + g (1 - terminated) (min Q' - alpha log pi'): 1 + 0.5 (min(4, 3) - 2 * (-1)) = 3.5; and 1 where it terminated.
    target = bootstrap_target(
        torch.ones(2),
        torch.tensor([0.0, 1.0]),
        torch.tensor([[4.0, 4.0], [3.0, 3.0]]),
        torch.tensor([-1.0, -1.0]),
        torch.tensor(2.0),
        0.5,
    )
    assert target.tolist() == [3.5, 1.0]


def test_the_losses_by_hand():
    # Critics (1, 3) and (0, 0) against targets (1, 1): means of squares (0 + 4) / 2 and (1 + 1) / 2, together 3.
    value = torch.tensor([[1.0, 3.0], [0.0, 0.0]])
    loss, by_value = critic_loss(value, torch.ones(2))
    assert float(loss) == 3.0
    assert by_value.tolist() == [[0.0, 2.0], [-1.0, -1.0]]
    # Actor: mean of 2 log pi - min Q, log pi = (-1, 1): ((-2 - 0) + (2 - 0)) / 2 = 0; only the smaller critic counts.
    loss, by_value, by_log_prob = actor_loss(value, torch.tensor([-1.0, 1.0]), torch.tensor(2.0))
    assert (float(loss), float(by_log_prob)) == (0.0, 1.0)
    assert by_value.tolist() == [[0.0, 0.0], [-0.5, -0.5]]
    # The temperature rises (its gradient is below 0) while the entropy, here 0, is below its target.
    assert float(temperature_gradient(torch.tensor([-1.0, 1.0]), 3.0)) == -3.0


@pytest.mark.parametrize("sees_next", [False, True])
@pytest.mark.parametrize("sizes", [{}, {"hidden_sizes": (20, 17), "encoder_sizes": (18,), "latent_size": 9}])
def test_every_gradient_is_that_of_autograd(sees_next, sizes):
    """With layers on both sides of what counts as narrow (`ensembles.NARROW`)."""
    _, learner = filled(
        **sizes,
        next_observation_in_context=sees_next,
        temperature={"name": "learned", "value": 0.3, "target_entropy": -1.5},
        policy_regularisation=0.1,
        kl_coef=0.7,
    )
    (batch,) = learner.batches.draw(np.random.default_rng(0), 1)
    metrics = learner.compute_gradients(batch)
    parameters = {name: value.clone().requires_grad_() for name, value in learner.parameters.items()}
    slow = losses(parameters, batch, learner.config, observations=4, actions=3)
    assert float(metrics["critic_loss"]) == pytest.approx(slow["critics"].item(), rel=1e-5)
    for name, loss in slow.items():
        mine = {key: value for key, value in parameters.items() if key.startswith(name)}
        assert mine
        for key, gradient in zip(mine, torch.autograd.grad(loss, list(mine.values()), retain_graph=True), strict=True):
            torch.testing.assert_close(learner._vector.gradients[key], gradient, rtol=1e-4, atol=1e-6)


def test_targets_follow_the_critics_and_a_fixed_temperature_stays():
    _, learner = filled(tau=0.25, temperature={"name": "fixed", "value": 0.5})
    before = {name: value.clone() for name, value in learner.parameters.items()}
    learner.gradient_step(*learner.batches.draw(np.random.default_rng(0), 1))
    after = learner.parameters
    for name in before:
        if name.startswith("targets/"):
            critic = after[name.removeprefix("targets/")]
            torch.testing.assert_close(after[name], 0.75 * before[name] + 0.25 * critic)
    assert torch.equal(after["log_temperature"], before["log_temperature"])
    assert not torch.equal(after["critics/weight_0"], before["critics/weight_0"])


# -- replay


def test_replay_keeps_the_newest_of_each_task_apart_and_grows_only_as_it_must():
    replay = TaskReplay(3, 1, 5)
    replay.add(0, torch.arange(3.0)[:, None])
    replay.add(2, 100 + torch.arange(7.0)[:, None])
    replay.add(0, torch.arange(3.0, 7.0)[:, None])
    assert replay.counts.tolist() == [5, 0, 5]
    drawn = sampled(replay, np.array([2, 0]), 200)
    assert sorted(set(drawn[0, :, 0].tolist())) == [102.0, 103.0, 104.0, 105.0, 106.0]
    assert sorted(set(drawn[1, :, 0].tolist())) == [2.0, 3.0, 4.0, 5.0, 6.0]
    with pytest.raises(AgentError, match="training task 1 has no transitions"):
        sampled(replay, np.array([0, 1]), 4)


def test_replay_goes_on_to_the_same_draws_after_a_checkpoint():
    first, generator = TaskReplay(2, 3, 6), torch.Generator().manual_seed(0)
    for task, count in ((0, 4), (1, 9), (0, 5)):
        first.add(task, torch.randn(count, 3, generator=generator))
    second = TaskReplay(2, 3, 6)
    second.load_state_dict(first.state_dict())
    more = torch.randn(4, 3, generator=generator)
    for replay in (first, second):
        replay.add(0, more)
    one, other = (sampled(replay, np.array([0, 1]), 50) for replay in (first, second))
    assert torch.equal(one, other)
    for wrong in (TaskReplay(3, 3, 6), TaskReplay(2, 4, 6), TaskReplay(2, 3, 7)):
        with pytest.raises(AgentError, match="replay is of other tasks, spaces or capacity"):
            wrong.load_state_dict(first.state_dict())


@pytest.mark.parametrize("capacity", [1, 4, 7, 100])
def test_a_ring_of_trials_is_what_joining_and_cutting_them_is(capacity):
    ring, generator = TrialReplay(capacity), torch.Generator().manual_seed(capacity)
    kept = {"reward": torch.zeros(0, 3), "valid": torch.zeros(0, 3, dtype=torch.bool)}
    for count in (2, 1, 3, 9, 1, 4, 2):
        new = {"reward": torch.randn(count, 3, generator=generator)}
        new["valid"] = new["reward"] > 0
        ring.add(new)
        kept = {name: torch.cat([kept[name], values])[-capacity:] for name, values in new.items()}
        assert len(ring) == len(kept["reward"])
        indices = torch.randperm(len(ring), generator=generator)[:3]
        assert all(torch.equal(values, kept[name][indices]) for name, values in ring.select(indices).items())
        other = TrialReplay(capacity)
        other.load_state_dict(ring.state_dict())
        assert all(torch.equal(values, kept[name]) for name, values in other.state_dict().items())
        ring = other if count == 3 else ring  # goes on after a checkpoint


def test_a_full_ring_writes_the_new_trials_alone():
    ring = TrialReplay(50)
    ring.add({"reward": torch.zeros(50, 3)})
    before = ring._arrays["reward"]
    ring.add({"reward": torch.ones(2, 3)})
    assert ring._arrays["reward"] is before, "nothing else is copied"
    assert ring.select(torch.tensor([47, 48, 49]))["reward"][:, 0].tolist() == [0.0, 1.0, 1.0]


# -- the agent in its trial


def trials(agent, learner, adaptations, count=6, family=None, deterministic=False):
    family = family or PointRobot()
    rounds = agent.trial_rounds(adaptations, 1)
    if deterministic:
        rounds = tuple(one.__class__(one.label, 1, deterministic=True) for one in rounds)
    keys = [random_key(0, "evaluation", index) for index in range(count)]
    (shard,) = make_shards(some_tasks(count, family), rounds, keys, count)
    return run_trials(agent, family, learner.weights(), shard)


class RecordingPEARL(PEARLAgent):
    """Remembers every latent that it acted on."""

    def act(self, weights, state, observation, noise):
        action, log_prob, state = super().act(weights, state, observation, noise)
        self.seen.append((state.rounds, state.latent.clone()))
        return action, log_prob, state


def test_a_latent_lasts_an_episode_from_the_prior_first_and_then_from_the_posterior():
    family = PointRobot()
    agent, learner = build(interface_of(family), prior_rounds=2)
    agent.__class__, agent.seen = RecordingPEARL, []
    trials(agent, learner, 3, count=200)
    assert [one.label for one in agent.trial_rounds(3, 1)] == ["prior", "prior", "posterior", "posterior"]
    latents = []
    for number in range(4):
        of_round = [latent for rounds, latent in agent.seen if rounds == number]
        assert len(of_round) == family.episode_steps
        assert all(torch.equal(of_round[0], one) for one in of_round)
        latents.append(of_round[0])
    assert not torch.equal(latents[0], latents[1])
    for prior in latents[:2]:  # 400 numbers: mean within 4 / 20, deviation within 4 / sqrt(800)
        assert abs(float(prior.mean())) < 0.2
        assert abs(float(prior.std()) - 1) < 0.15
    assert float(latents[2].std()) < 0.5, "an untrained encoder's 40 factors are far narrower than the prior"


def test_without_noise_the_latent_is_the_mean_and_actions_are_the_policys_mean():
    agent, learner = build(interface_of(PointRobot()))
    agent.__class__, agent.seen = RecordingPEARL, []
    first, second = (trials(agent, learner, 1, deterministic=True) for _ in range(2))
    assert np.array_equal(first[1].action, second[1].action)
    assert not agent.seen[0][1].any()
    state = agent.begin_trial(learner.weights(), 6)
    state = agent.adapt(learner.weights(), state, first[0].by_trial())
    assert torch.equal(agent.seen[-1][1], torch.as_tensor(agent.inspect(learner.weights(), state)["posterior_mean"]))


def test_rounds_add_up_to_the_posterior_of_all_their_transitions_and_the_state_is_not_changed():
    agent, learner = build(interface_of(PointRobot()), prior_rounds=2)
    weights = learner.weights()
    batch = [one.by_trial() for one in trials(agent, learner, 2)]
    state = agent.begin_trial(weights, 6)
    assert not agent.inspect(weights, state)["posterior_mean"].any()
    assert (agent.inspect(weights, state)["posterior_variance"] == 1).all(), "an empty context is the prior"
    one = agent.adapt(weights, state, batch[0])
    both = agent.adapt(weights, one, batch[1])
    rows = [name for name, array in batch[0].arrays().items() if array.ndim > 1]
    joined = {name: np.concatenate([getattr(one, name) for one in batch[:2]], 2) for name in rows}
    at_once = agent.adapt(weights, state, replace(batch[0], **joined))
    assert state.rounds == 0
    assert not state.precision.any()
    for name, value in agent.inspect(weights, both).items():
        np.testing.assert_allclose(value, agent.inspect(weights, at_once)[name], rtol=1e-5)


def test_a_run_in_shards_of_one_task_still_has_other_tasks_contexts(tmp_path):
    recipe = Recipe.load("point_nav_maml", [*TINY, *TINY_PEARL, "sampling.tasks_per_shard=1"])
    train(recipe, tmp_path / "run")
    swapped = evaluate_runs(EvaluationRequest(tmp_path / "run", context="another"))
    assert swapped["task_count"] == 4
    assert swapped["mean"] != evaluate_runs(EvaluationRequest(tmp_path / "run"))["mean"]


def test_actions_fill_the_space_and_say_their_density_there():
    wide = gymnasium.spaces.Box(np.array([-2.0, 1.0], np.float32), np.array([4.0, 1.5], np.float32))
    spaces = Interface(BOXES.observation_space, wide, 20)
    agent, learner = build(spaces)
    weights, state = learner.weights(), agent.begin_trial(learner.weights(), 3)
    noise = agent.draw_noise(np.random.default_rng(0), (3, 1))
    action, density, _ = agent.act(weights, state, np.zeros((3, 1, 4), np.float32), noise)
    assert action.shape == (3, 1, 2)
    assert (wide.low < action).all()
    assert (action < wide.high).all()
    unit = build(Interface(BOXES.observation_space, gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32), 20))[0]
    centred, in_unit, _ = unit.act(weights, state, np.zeros((3, 1, 4), np.float32), noise)
    np.testing.assert_allclose(action, [1.0, 1.25] + centred * [3.0, 0.25], rtol=1e-5)
    np.testing.assert_allclose(density, in_unit - math.log(3.0 * 0.25), rtol=1e-5)


def test_held_exploration_is_one_uniform_action_an_episode_until_the_first_update():
    family = SparsePointRobot()
    agent, learner = build(interface_of(family), held_exploration=True)
    batch = trials(agent, learner, 1, count=300, family=family)
    actions = batch[0].action[:, 0, 0]  # [300, 20, 2]
    assert np.array_equal(actions, np.broadcast_to(actions[:, :1], actions.shape))
    shares = np.histogram(actions[:, 0], bins=4, range=(-1, 1))[0] / 600
    assert np.abs(shares - 0.25).max() < 4 * math.sqrt(0.25 * 0.75 / 600), "uniform, within four standard errors"
    assert (batch[0].log_prob == np.float32(-2 * math.log(2))).all()
    learner.update(sample(agent, learner, some_tasks(4, family), learner.plan(0).rounds, family))
    actions = trials(agent, learner, 1, family=family)[0].action[:, 0, 0]
    assert (actions[:, 0] != actions[:, 1]).all()


def test_the_untrained_control_measures_a_fresh_policy_and_not_held_exploration(tmp_path):
    paths = []
    for held in (True, False):
        overrides = [*(key for key in TINY if not key.startswith(("agent", "evaluation"))), *TINY_PEARL]
        recipe = Recipe.load("point_nav_maml", [*overrides, f"agent.held_exploration={held}", "iterations=1"])
        train(recipe, tmp_path / str(held))
        paths.append(tmp_path / str(held))
    of_held, of_fresh = (evaluate_runs(EvaluationRequest(path, "held-out", untrained=True)) for path in paths)
    assert of_held == of_fresh
    assert policy_weights(build()[1]).keys() == build()[1].weights().keys()


# -- the learner and its data


def test_it_plans_all_tasks_first_and_then_some_by_the_iteration_alone():
    _, learner = build(prior_rounds=2, posterior_rounds=3)
    first = learner.plan(0)
    assert (first.tasks, first.trials_per_task, [one.label for one in first.rounds]) == ((0, 1, 2, 3), 2, ["prior"])
    later = [learner.plan(iteration) for iteration in range(1, 60)]
    assert [one.label for one in later[0].rounds] == ["prior"] * 2 + ["posterior"] * 3
    assert all(len(set(one.tasks)) == 2 for one in later)
    assert {task for one in later for task in one.tasks} == {0, 1, 2, 3}
    assert later == [learner.plan(iteration) for iteration in range(1, 60)]
    assert later != [build(seed=1)[1].plan(iteration) for iteration in range(1, 60)]


@pytest.mark.parametrize("posterior_context", [False, True])
def test_each_step_goes_to_its_task_and_contexts_take_prior_rounds_alone(posterior_context):
    family = LineFamily()  # episodes that end early, so rows with padding
    agent, learner = build(interface_of(family), posterior_context=posterior_context)
    tasks = some_tasks(4, family)
    learner.update(sample(agent, learner, tasks, learner.plan(0).rounds, family))
    before, shown = learner.replay.counts, learner.contexts.counts
    batch = sample(agent, learner, [tasks[1], tasks[3]], learner.plan(1).rounds, family, iteration=1)
    learner.update(batch)
    steps = [[int(one.valid[row].sum()) for one in batch] for row in (0, 1)]
    assert (learner.replay.counts - before).tolist() == [0, sum(steps[0]), 0, sum(steps[1])]
    counted = [sum(one) if posterior_context else one[0] for one in steps]
    assert (learner.contexts.counts - shown).tolist() == [0, counted[0], 0, counted[1]]
    rows = learner.replay._rows[3, before[3] : before[3] + steps[1][0]]
    valid = batch[0].valid[1, 0, 0]
    np.testing.assert_array_equal(rows[:, 0], batch[0].observation[1, 0, 0, valid, 0])
    np.testing.assert_array_equal(rows[:, 2], batch[0].reward[1, 0, 0, valid])
    np.testing.assert_array_equal(rows[:, 3], batch[0].terminated[1, 0, 0, valid])
    np.testing.assert_array_equal(rows[:, 4], batch[0].next_observation[1, 0, 0, valid, 0])


def test_the_dense_reward_teaches_the_critics_and_nobody_else_sees_it():
    family = SparsePointRobot()

    class Nosy(PEARLAgent):
        def observe(self, weights, state, transition):
            assert "dense_reward" not in transition
            return state

        def adapt(self, weights, state, batch):
            assert batch.dense_reward is None
            return super().adapt(weights, state, batch)

    agent, learner = build(interface_of(family), dense_reward=True)
    agent.__class__ = Nosy
    tasks = some_tasks(4, family)
    batch = sample(agent, learner, tasks, agent.trial_rounds(1, 1), family)
    learner.update(batch)
    dense = batch[0].dense_reward
    for task in range(4):
        goal = family.goal(tasks[task])
        away = np.linalg.norm(batch[0].next_observation[task, 0, 0] - goal, axis=-1)
        np.testing.assert_allclose(dense[task, 0, 0], -away, rtol=1e-5)
        np.testing.assert_allclose(learner.replay._rows[task, :20, 4], -away, rtol=1e-5)
        np.testing.assert_array_equal(learner.contexts._rows[task, :20, 4], batch[0].reward[task, 0, 0])
    family = PointRobot()
    agent, learner = build(interface_of(family), dense_reward=True)
    with pytest.raises(AgentError, match=r"gives no dense reward to learn from; set agent.dense_reward to false"):
        learner.update(sample(agent, learner, some_tasks(4, family), learner.plan(0).rounds, family))


def test_observations_are_normalised_by_the_first_batch_alone():
    family = PointRobot()
    agent, learner = build(interface_of(family), normalise_observations=True)
    batch = sample(agent, learner, some_tasks(4, family), learner.plan(0).rounds, family)
    learner.update(batch)
    weights = learner.weights()
    seen = batch[0].observation.reshape(-1, 2)
    np.testing.assert_allclose(weights["observation/mean"], seen.mean(0), rtol=1e-4)
    np.testing.assert_allclose(weights["observation/scale"], seen.std(0), rtol=1e-4)
    rows = sampled(learner.replay, np.arange(4), 500)[..., :2].reshape(-1, 2)
    assert float(rows.std(0).max()) < 1.3
    learner.update(sample(agent, learner, some_tasks(4, family), learner.plan(1).rounds, family, iteration=1))
    assert torch.equal(weights["observation/mean"], learner.weights()["observation/mean"])


def test_a_loss_that_is_not_finite_leaves_the_networks_as_they_were():
    family = PointRobot()
    agent, learner = build(interface_of(family), learning_rate=1e30)
    before = learner.weights()
    with pytest.raises(AgentError, match=r"update 0: a loss is not finite; the networks are those before it"):
        learner.update(sample(agent, learner, some_tasks(4, family), learner.plan(0).rounds, family))
    assert all(torch.equal(before[name], value) for name, value in learner.weights().items())


# -- what is refused


@pytest.mark.parametrize(
    ("spaces", "sentence"),
    [
        ((BOXES.observation_space, gymnasium.spaces.Discrete(3)), r"takes flat Box actions, not Discrete\(3\)"),
        (
            (gymnasium.spaces.Box(0, 255, (7, 7, 3), np.uint8), BOXES.action_space),
            "read no images, .* varibad read",
        ),
        ((BOXES.observation_space, gymnasium.spaces.Box(-np.inf, np.inf, (2,))), "fill a bounded space, but Box"),
    ],
)
def test_spaces_it_cannot_serve_are_refused_in_a_sentence(spaces, sentence):
    with pytest.raises(AgentError, match=sentence):
        build(Interface(*spaces, 20))


def test_plans_and_keys_that_contradict_are_refused():
    agent, _ = build()
    with pytest.raises(AgentError, match="a round is 1 rollout, not 40"):
        agent.trial_rounds(2, 40)
    with pytest.raises(ValueError, match=r"drawn from train_tasks, but these are 2"):
        build(train_tasks=2)
    with pytest.raises(ValueError, match=r"prior_rounds is 0; set posterior_context"):
        build(prior_rounds=0)


def test_checkpoints_of_other_networks_optimisers_and_replays_are_refused():
    _, learner = filled()
    learner.gradient_step(*learner.batches.draw(np.random.default_rng(0), 1))
    state = learner.state_dict()
    for changed, sentence in (
        ({"latent_size": 3}, "another policy"),
        ({"temperature": {"name": "learned"}}, "optimiser belongs to another network"),
        ({"train_tasks": 5}, "replay is of other tasks"),
        ({"context_capacity": 10}, "replay is of other tasks, spaces or capacity"),
    ):
        _, other = build(**changed)
        before = other.weights()
        with pytest.raises(AgentError, match=sentence):
            other.load_state_dict(state)
        assert all(torch.equal(before[name], value) for name, value in other.weights().items())
    with pytest.raises(AgentError, match="updates is 'many', no count"):
        build()[1].load_state_dict(state | {"updates": "many"})
