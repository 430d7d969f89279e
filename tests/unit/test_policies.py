import math

import gymnasium
import numpy as np
import pytest
import torch
from scipy import stats

from agents.contract import AgentError
from agents.nets.mlp import mlp
from agents.nets.policies import ActionStd, Categorical, Gaussian, make_policy
from agents.nets.weights import check_shapes

BOX = gymnasium.spaces.Box(-1, 1, (3,))
ACTION = gymnasium.spaces.Box(-1, 1, (2,))


def gaussian(**changed):
    return Gaussian(BOX, ACTION, (4,), "tanh", ActionStd(**({"initial": 0.5} | changed)))


def test_gaussian_log_probability_is_scipys_summed_over_dimensions():
    policy = gaussian()
    parameters = policy.init(torch.Generator().manual_seed(0))
    features = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    distribution = policy.distribution(parameters, features)
    action = torch.randn(5, 2, generator=torch.Generator().manual_seed(2))
    expected = stats.norm(distribution[0].numpy(), 0.5).logpdf(action.numpy()).sum(-1)
    np.testing.assert_allclose(policy.log_prob(distribution, action), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["box", "discrete"])
def test_sampling_reports_the_log_probability_of_its_action(kind):
    space = ACTION if kind == "box" else gymnasium.spaces.Discrete(4, start=2)
    policy = make_policy(BOX, space, (4,), "relu", ActionStd(0.7, 1e-3))
    parameters = policy.init(torch.Generator().manual_seed(0))
    features = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    distribution = policy.distribution(parameters, features)
    noise = torch.as_tensor(policy.draw_noise(np.random.default_rng(0), (6,)))
    for given in (noise, None):
        action, log_prob = policy.sample(distribution, given)
        torch.testing.assert_close(log_prob, policy.log_prob(distribution, action), rtol=1e-5, atol=1e-6)


def test_the_gumbel_rule_draws_with_the_policys_probabilities():
    policy = Categorical(BOX, gymnasium.spaces.Discrete(3), (), "tanh")
    wanted = torch.tensor([0.6, 0.3, 0.1])
    draws = 20_000
    noise = torch.as_tensor(policy.draw_noise(np.random.default_rng(0), (draws,)))
    action, _ = policy.sample((wanted.log().expand(draws, 3),), noise)
    frequencies = np.bincount(action.numpy(), minlength=3) / draws
    assert np.abs(frequencies - wanted.numpy()).max() < 4 * math.sqrt(0.25 / draws)  # four standard errors


def test_gaussian_kl_by_hand():
    # Per dimension ln(s1/s0) + (s0^2 + (m0-m1)^2) / (2 s1^2) - 1/2, with m0=0, s0=1, m1=1, s1=2:
    # ln 2 + (1 + 1) / 8 - 1/2 = ln 2 - 1/4; two equal dimensions double it.
    policy = gaussian()
    old = (torch.zeros(1, 2), torch.zeros(1, 2))
    new = (torch.ones(1, 2), torch.full((1, 2), math.log(2)))
    assert float(policy.kl(old, new)) == pytest.approx(2 * (math.log(2) - 0.25), rel=1e-6)


def test_categorical_kl_by_hand():
    # (1/2, 1/2) against (1/4, 3/4): 1/2 ln 2 + 1/2 ln(2/3)
    policy = Categorical(BOX, gymnasium.spaces.Discrete(2), (), "tanh")
    old, new = (torch.tensor([[0.5, 0.5]]).log(),), (torch.tensor([[0.25, 0.75]]).log(),)
    assert float(policy.kl(old, new)) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), rel=1e-5)


@pytest.mark.parametrize("space", [ACTION, gymnasium.spaces.Discrete(3)], ids=["gaussian", "categorical"])
def test_fisher_is_the_hessian_of_kl(space):
    policy = make_policy(BOX, space, (5,), "tanh", ActionStd(0.5, 1e-3))
    parameters = {k: v.double() for k, v in policy.init(torch.Generator().manual_seed(0)).items()}
    features = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    old = tuple(part.detach() for part in policy.distribution(parameters, features))

    def kl(weights):
        return policy.kl(old, policy.distribution(weights, features)).sum()

    noise = torch.Generator().manual_seed(2)
    tangent = {k: torch.randn(v.shape, generator=noise, dtype=torch.float64) for k, v in parameters.items()}
    _, exact = torch.func.jvp(torch.func.grad(kl), (parameters,), (tangent,))
    output, pushed = torch.func.jvp(lambda p: policy.distribution(p, features), (parameters,), (tangent,))
    _, pull = torch.func.vjp(lambda p: policy.distribution(p, features), parameters)
    (product,) = pull(policy.fisher(output, pushed))
    for name in parameters:
        torch.testing.assert_close(product[name], exact[name], rtol=1e-7, atol=1e-9)


def test_many_tasks_at_once_are_each_task_alone():
    policy = gaussian()
    each = [policy.init(torch.Generator().manual_seed(seed)) for seed in range(3)]
    stacked = {name: torch.stack([one[name] for one in each]) for name in each[0]}
    features = torch.randn(3, 7, 3, generator=torch.Generator().manual_seed(5))
    together, _ = policy.distribution(stacked, features)
    for task, one in enumerate(each):
        torch.testing.assert_close(together[task], policy.distribution(one, features[task])[0])


def test_a_missing_parameter_is_an_error_and_not_a_default():
    policy = gaussian()
    parameters = policy.init(torch.Generator())
    del parameters["bias_1"]
    with pytest.raises(KeyError):
        mlp(parameters, 2, "tanh", torch.zeros(1, 3))
    with pytest.raises(AgentError, match="bias_1"):
        check_shapes(parameters, policy.init(torch.Generator()))


def test_spaces_it_cannot_serve_are_refused_in_a_sentence():
    of_any_length = gymnasium.spaces.Sequence(gymnasium.spaces.Discrete(2))
    with pytest.raises(AgentError, match="no fixed size"):
        make_policy(of_any_length, ACTION, (4,), "tanh", ActionStd(1, 0.1))
    actions = {
        "split the action": gymnasium.spaces.Dict(arm=ACTION),
        "split the": gymnasium.spaces.Tuple([ACTION]),
        "whole numbers": gymnasium.spaces.Box(0, 4, (1,), np.int64),
        r"shape \(6,\) and reshape": gymnasium.spaces.Box(-1, 1, (2, 3)),
        "served by no agent": gymnasium.spaces.Text(3),
    }
    for said, space in actions.items():
        with pytest.raises(AgentError, match=said):
            make_policy(BOX, space, (4,), "tanh", ActionStd(1, 0.1))


def test_the_unadapted_deviation_has_a_floor_that_an_adapted_one_may_leave():
    policy = gaussian(min_initial=0.5, gain=2.0, minimum=0.01)
    parameters = policy.init(torch.Generator().manual_seed(0))
    parameters["log_std"] = torch.full((1, 2), math.log(0.2) / 2)
    assert policy.distribution(parameters, torch.zeros(1, 3))[1].exp().tolist() == [[pytest.approx(0.2)] * 2]
    policy.project(parameters)
    assert policy.distribution(parameters, torch.zeros(1, 3))[1].exp().tolist() == [[pytest.approx(0.5)] * 2]


def test_a_gradient_step_moves_the_log_deviation_by_the_gain_squared():
    moved = []
    for gain in (1.0, 3.0):
        policy = gaussian(gain=gain)
        parameters = policy.init(torch.Generator().manual_seed(0))

        def loss(p, policy=policy):
            return policy.distribution(p, torch.zeros(1, 3))[1].sum()

        step = parameters["log_std"] - 0.01 * torch.func.grad(loss)(parameters)["log_std"]
        moved.append(float((gain * (step - parameters["log_std"]))[0, 0]))
    assert moved == pytest.approx([-0.01, -0.09], rel=1e-4)
