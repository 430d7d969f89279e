import pytest
import torch

from agents.functional.parameters import flatten, unflatten
from agents.functional.trust_region import conjugate_gradient, full_step, line_search

A = torch.tensor([[4.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
B = torch.tensor([1.0, 2.0], dtype=torch.float64)


def test_conjugate_gradient_solves_two_equations_in_two_products():
    # 4x + y = 1, x + 3y = 2: x = 1/11, y = 7/11.
    solution, image = conjugate_gradient(lambda v: A @ v, B, iterations=2)
    assert solution.tolist() == pytest.approx([1 / 11, 7 / 11])
    assert image.tolist() == pytest.approx((A @ solution).tolist())


def test_one_product_leaves_a_residual_and_says_so():
    solution, image = conjugate_gradient(lambda v: A @ v, B, iterations=1)
    assert solution.tolist() != pytest.approx([1 / 11, 7 / 11])
    assert image.tolist() == pytest.approx((A @ solution).tolist())


def test_the_full_step_reaches_the_border_of_the_trust_region():
    # 1/2 s^T F s = max_kl is the second-order border.
    step = full_step(lambda v: A @ v, B, max_kl=0.01, iterations=2)
    assert float(0.5 * step @ (A @ step)) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("max_kl", "expected", "trials"),
    # loss (x-1)^2 from x = 0 (loss 1), step 4, shrink 1/2: x = 4 (loss 9), 2 (1: no gain), 1 (0: good); KL = x.
    [(10.0, 1.0, 3), (0.6, 0.5, 4), (0.0, 0.0, 6)],
)
def test_line_search(max_kl, expected, trials):
    found, tried, _, _ = line_search(
        lambda x: (float((x - 1) ** 2), float(x)),
        torch.tensor(0.0),
        torch.tensor(4.0),
        loss_before=1.0,
        max_kl=max_kl,
        backtracks=6,
        shrink=0.5,
    )
    assert (float(found), tried) == (expected, trials)


def test_the_line_search_refuses_a_loss_that_is_not_finite():
    found, _, loss, divergence = line_search(
        lambda x: (float("nan"), 0.0),
        torch.tensor(0.0),
        torch.tensor(1.0),
        loss_before=1.0,
        max_kl=1.0,
        backtracks=3,
        shrink=0.5,
    )
    assert (float(found), loss, divergence) == (0.0, 1.0, 0.0)


def test_flatten_and_unflatten_are_inverse():
    parameters = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor([[7.0]])}
    back = unflatten(flatten(parameters), parameters)
    assert list(back) == ["b", "a"]
    assert all(torch.equal(back[name], parameters[name]) for name in parameters)
