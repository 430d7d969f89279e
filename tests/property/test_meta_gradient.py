"""The meta-gradient is exact: vmap = loop = finite differences, in float64, for every form of the loss."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import gymnasium
import pytest
import torch

from agents.common.meta_objective import MetaObjective, Steps, join_step_sizes, split_step_sizes
from agents.functional.inner_loop import adapt, task_chunk_size
from agents.functional.parameters import flatten, unflatten
from agents.nets.policies import ActionStd, make_policy

TASKS, STEPS = 3, 12
OBSERVATION = gymnasium.spaces.Box(-1, 1, (2,))
ACTIONS = {"gaussian": gymnasium.spaces.Box(-1, 1, (2,)), "categorical": gymnasium.spaces.Discrete(3)}


def problem(kind: str, inner_steps: int, **changed):
    """(objective, parameters, rounds) with made-up trials, padded in one task, acted on a little off-policy."""
    generator = torch.Generator().manual_seed(0)
    policy = make_policy(OBSERVATION, ACTIONS[kind], (4,), "tanh", ActionStd(0.7, 1e-3))
    # Larger last weights than `init` gives, so that every part of the gradient is worth checking.
    parameters = {
        name: 0.5 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in policy.init(generator).items()
    }
    theta = parameters
    if changed.pop("learned", False):
        sizes = {
            name: torch.rand(value.shape, generator=generator, dtype=torch.float64) for name, value in theta.items()
        }
        parameters = join_step_sizes(theta, {name: 0.1 + 0.4 * size for name, size in sizes.items()})
    rounds = []
    for _ in range(inner_steps + 1):
        features = torch.randn(TASKS, STEPS, 2, generator=generator, dtype=torch.float64)
        if kind == "gaussian":
            action = torch.randn(TASKS, STEPS, 2, generator=generator, dtype=torch.float64)
        else:
            action = torch.randint(3, (TASKS, STEPS), generator=generator)
        noise = 0.1 * torch.randn(TASKS, STEPS, generator=generator, dtype=torch.float64)
        acting = policy.log_prob(policy.distribution(theta, features), action) + noise
        valid = torch.ones(TASKS, STEPS, dtype=torch.float64)
        valid[0, 8:] = 0
        advantage = torch.randn(TASKS, STEPS, generator=generator, dtype=torch.float64) * valid
        rounds.append(Steps(features, action, advantage, acting, valid / valid.sum(1, keepdim=True)))
    settings = {
        "step_sizes": (0.3, 0.2)[:inner_steps],
        "inner_objective": "likelihood_ratio",
        "outer_loss_weights": (1.0,),
        "clip_range": None,
        "inner_kl_coef": 0.0,
        "task_chunk": None,
    }
    return MetaObjective(policy, **(settings | changed)), parameters, rounds


FORMS = [
    ("gaussian", 1, {}),
    ("gaussian", 2, {"inner_objective": "log_likelihood"}),
    ("gaussian", 2, {"outer_loss_weights": (0.75, 0.25), "clip_range": 0.3, "inner_kl_coef": 0.1}),
    ("categorical", 1, {"clip_range": 0.3}),
    ("categorical", 2, {"inner_objective": "log_likelihood", "outer_loss_weights": (0.5, 0.5)}),
    ("gaussian", 0, {}),
    ("gaussian", 2, {"learned": True, "outer_loss_weights": (0.75, 0.25), "inner_kl_coef": 0.1}),
    ("categorical", 1, {"learned": True}),
]


def task(rounds, index):
    return [Steps(*(field[index] for field in one)) for one in rounds]


def loss_by_loop(objective, parameters, rounds, old):
    """The mean outer loss, task after task, by plain autograd: the slow twin of `gradient`."""
    losses = []
    for index in range(TASKS):
        theta, learned = split_step_sizes(parameters)
        for k, size in enumerate(objective.step_sizes):
            loss = objective.inner_loss(theta, task(rounds, index)[k])
            slopes = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
            rate = {name: learned[name] * size / objective.step_sizes[0] if learned else size for name in theta}
            theta = {
                name: value - rate[name] * slope for (name, value), slope in zip(theta.items(), slopes, strict=True)
            }
        mine = [tuple(part[index] for part in one) for one in old(0)]
        one_loss, _ = objective.task_loss(parameters, task(rounds, index), mine)
        # The last policy's surrogate by hand, where it is the whole loss.
        if len(objective.outer_loss_weights) == 1 and not objective.inner_kl_coef:
            final = task(rounds, index)[-1]
            log_prob = objective.policy.log_prob(objective.policy.distribution(theta, final.features), final.action)
            ratio = (log_prob - final.log_prob).exp()
            if objective.clip_range is None:
                by_hand = -(final.weight * ratio * final.advantage).sum()
            else:
                clipped = ratio.clamp(1 - objective.clip_range, 1 + objective.clip_range)
                by_hand = -(final.weight * torch.minimum(ratio * final.advantage, clipped * final.advantage)).sum()
            torch.testing.assert_close(one_loss, by_hand, rtol=1e-10, atol=1e-12)
            one_loss = by_hand
        losses.append(one_loss)
    return torch.stack(losses).mean()


@pytest.mark.parametrize(("kind", "inner_steps", "changed"), FORMS)
def test_vmap_is_the_loop_is_finite_differences(kind, inner_steps, changed):
    objective, parameters, rounds = problem(kind, inner_steps, **changed)
    old = objective.acting_distributions(parameters, rounds)
    # A little away from the acting parameters, or KL and clipping would have no slope.
    moved = {name: value + 0.02 for name, value in parameters.items()}
    gradient = flatten(objective.meta_gradient(moved, rounds, old)[0])

    leaves = {name: value.clone().requires_grad_() for name, value in moved.items()}
    loss = loss_by_loop(objective, leaves, rounds, old)
    looped = torch.cat([slope.reshape(-1) for slope in torch.autograd.grad(loss, list(leaves.values()))])
    torch.testing.assert_close(gradient, looped, rtol=1e-9, atol=1e-12)

    vector, width = flatten(moved), 1e-5
    for index in range(0, len(vector), 5):
        nudge = torch.zeros_like(vector)
        nudge[index] = width
        far_down, down, up, far_up = (
            objective.loss_terms(unflatten(vector + steps * nudge, moved), rounds, old).loss for steps in (-2, -1, 1, 2)
        )
        # Five points: with two, the error of the formula itself (the third derivative's) comes near the tolerance.
        slope = (8 * (up - down) - (far_up - far_down)) / (12 * width)
        scale = float(gradient.abs().max())
        assert abs(slope - float(gradient[index])) < 1e-6 * scale, f"entry {index}"


@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
def test_chunks_change_nothing(kind):
    objective, parameters, rounds = problem(kind, 2, outer_loss_weights=(0.6, 0.4), inner_kl_coef=0.1)
    old = objective.acting_distributions(parameters, rounds)
    vector = torch.randn(flatten(parameters).shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    moved = {name: value + 0.02 for name, value in parameters.items()}
    whole, terms = objective.meta_gradient(moved, rounds, old), objective.loss_terms(moved, rounds, old)
    assert terms.kl > 1e-5
    product = objective.fisher_product(parameters, rounds, 0.1)(vector)
    for size in (1, 2):
        cut = dataclasses.replace(objective, task_chunk=size)
        acting = cut.acting_distributions(parameters, rounds)
        again = cut.meta_gradient(moved, rounds, acting)
        torch.testing.assert_close(flatten(again[0]), flatten(whole[0]))
        assert again[1] == pytest.approx(whole[1])
        assert cut.loss_terms(moved, rounds, acting) == pytest.approx(terms)
        torch.testing.assert_close(cut.fisher_product(parameters, rounds, 0.1)(vector), product)


@pytest.mark.parametrize(("kind", "inner_steps", "changed"), FORMS)
def test_the_fisher_product_is_the_hessian_of_the_adapted_kl(kind, inner_steps, changed):
    objective, parameters, rounds = problem(kind, inner_steps, **changed)
    old = objective.acting_distributions(parameters, rounds)

    def divergence(theta):
        def one(theta, rounds, old):
            new = objective.distributions(theta, rounds)
            kl = [
                (s.weight * objective.policy.kl(before, after)).sum()
                for s, before, after in zip(rounds, old, new, strict=True)
            ]
            judged = kl[-len(objective.outer_loss_weights) :]
            return sum(weight * one for weight, one in zip(objective.outer_loss_weights, judged, strict=True))

        return torch.func.vmap(one, in_dims=(None, 0, 0))(theta, rounds, old(0)).mean()

    vector = torch.randn(len(flatten(parameters)), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    _, exact = torch.func.jvp(torch.func.grad(divergence), (parameters,), (unflatten(vector, parameters),))
    product = objective.fisher_product(parameters, rounds, damping=0.25)(vector)
    torch.testing.assert_close(product, flatten(exact) + 0.25 * vector, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("learned", [False, True])
def test_the_first_order_gradient_is_the_query_gradient_at_the_adapted_parameters(learned):
    """FOMAML by hand: grad of the query loss at theta_1, as it is; for a learned step size, minus the inner gradient
    times it (Li et al. 2017). And it is another vector than the exact meta-gradient."""
    objective, parameters, rounds = problem("gaussian", 1, learned=learned)
    old = objective.acting_distributions(parameters, rounds)
    exact = flatten(objective.meta_gradient(parameters, rounds, old)[0])
    first = dataclasses.replace(objective, first_order=True)
    by_hand = torch.zeros_like(exact)
    theta, _ = split_step_sizes(parameters)
    for index in range(TASKS):
        support, query = task(rounds, index)
        _, sizes = objective.unpack(parameters)
        adapted = adapt(theta, [support], objective.inner_loss, sizes)[-1]
        slope = torch.func.grad(objective.inner_loss)(theta, support)
        at_query = torch.func.grad(objective.inner_loss)(adapted, query)
        rates = {name: -slope[name] * at_query[name] for name in theta} if learned else {}
        by_hand += flatten(join_step_sizes(at_query, rates)) / TASKS
    torch.testing.assert_close(flatten(first.meta_gradient(parameters, rounds, old)[0]), by_hand, rtol=1e-9, atol=1e-12)
    assert float((exact - by_hand).norm() / exact.norm()) > 1e-3


@pytest.mark.parametrize("learned", [False, True])
def test_the_first_order_fisher_product_takes_inner_gradients_for_constants(learned):
    objective, parameters, rounds = problem("gaussian", 2, learned=learned, first_order=True)
    old = objective.acting_distributions(parameters, rounds)

    def divergence(theta):
        def one(theta, rounds, old):
            after = objective.distributions(theta, rounds)[-1]
            return (rounds[-1].weight * objective.policy.kl(old[-1], after)).sum()

        return torch.func.vmap(one, in_dims=(None, 0, 0))(theta, rounds, old(0)).mean()

    vector = torch.randn(len(flatten(parameters)), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    _, exact = torch.func.jvp(torch.func.grad(divergence), (parameters,), (unflatten(vector, parameters),))
    product = objective.fisher_product(parameters, rounds, damping=0.0)(vector)
    torch.testing.assert_close(product, flatten(exact), rtol=1e-7, atol=1e-9)


# -- the bug museum


def test_T1_the_outer_loss_is_on_the_query_and_adaptation_on_the_support():
    objective, parameters, rounds = problem("gaussian", 1)
    old = objective.acting_distributions(parameters, rounds)
    silent = [rounds[0], rounds[1]._replace(advantage=torch.zeros_like(rounds[1].advantage))]
    gradient, terms = objective.meta_gradient(parameters, silent, old)
    assert float(flatten(gradient).abs().max()) == 0.0
    assert terms.loss == 0.0
    other = [rounds[0], rounds[1]._replace(features=rounds[1].features + 1)]
    for index in range(TASKS):
        first, second = (
            adapt(parameters, task(data, index)[:1], objective.inner_loss, (0.3,))[-1] for data in (rounds, other)
        )
        assert all(torch.equal(first[name], second[name]) for name in parameters)


def test_T2_a_parameter_left_out_raises():
    objective, parameters, rounds = problem("gaussian", 1)
    del parameters["weight_1"]
    with pytest.raises(KeyError):
        objective.acting_distributions(parameters, rounds)(0)


def test_T3_adapted_parameters_do_not_depend_on_the_number_of_tasks():
    objective, parameters, rounds = problem("gaussian", 1)

    def one(support):
        return adapt(parameters, [support], objective.inner_loss, (0.3,))[-1]

    together = torch.func.vmap(one)(rounds[0])
    for index in range(TASKS):
        alone = one(task(rounds, index)[0])
        for name in parameters:
            torch.testing.assert_close(together[name][index], alone[name], rtol=1e-12, atol=1e-14)


def test_without_inner_steps_or_with_step_size_zero_nothing_adapts():
    for sizes in ((), (0.0,)):
        objective, parameters, rounds = problem("gaussian", len(sizes), step_sizes=sizes)
        distributions = objective.over_tasks(objective.distributions, parameters, rounds)
        plain = objective.policy.distribution(parameters, rounds[-1].features)
        torch.testing.assert_close(distributions[-1][0], plain[0])


def test_a_chunk_follows_the_memory_of_the_gpu(monkeypatch):
    """A quarter of 80 GB at 24 kB a step; the CPU and a small GPU take 40,000 steps; a configured number is taken."""
    memory = {"total_memory": 80_000_000_000}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(**memory))
    assert task_chunk_size(None, 1000, torch.device("cpu")) == 40
    assert task_chunk_size(None, 1000, torch.device("cuda")) == 833
    assert task_chunk_size(7, 1000, torch.device("cuda")) == 7
    memory["total_memory"] = 2_000_000_000
    assert task_chunk_size(None, 1000, torch.device("cuda")) == 40
    assert task_chunk_size(None, 10**9, torch.device("cuda")) == 1
