"""Noise reaches every matrix product on a CPU, is as large as asked for, repeats itself, and ends with its context."""

import pytest
import torch
import torch.nn.functional as F

from clbench.testing.product_noise import product_noise

A, B, WEIGHT = (
    torch.arange(1.0, 3001).reshape(50, 60),
    torch.linspace(0.1, 1, 60 * 40).reshape(60, 40),
    torch.full((3, 4, 3, 3), 0.3),
)
IMAGES = torch.linspace(0.1, 1, 2 * 4 * 9 * 9).reshape(2, 4, 9, 9)
HEADS = torch.linspace(0.1, 1, 2 * 3 * 8 * 16).reshape(2, 3, 8, 16)


def gradient(function, x, y):
    """Return the gradient of the sum of squares by `y`."""
    y = y.clone().requires_grad_()
    return torch.autograd.grad(function(x, y).square().sum(), y)[0]


PRODUCTS = {
    "mm": lambda: A @ B,
    "mm out": lambda: torch.mm(A, B, out=torch.empty(50, 40)),
    "mv": lambda: A @ B[:, 0],
    "dot": lambda: A[0] @ B[:, 0],
    "addmm in place": lambda: torch.ones(50, 40).addmm_(A, B),
    "linear": lambda: F.linear(A, B.T, torch.ones(40)),
    "linear, three dimensions": lambda: F.linear(A[None], B.T),
    "einsum": lambda: torch.einsum("bij,bjk->bik", A[None], B[None]),
    "baddbmm": lambda: torch.baddbmm(torch.ones(1, 50, 40), A[None], B[None]),
    "vmap": lambda: torch.vmap(F.linear)(A[None], B.T[None]),
    "gradient of linear": lambda: gradient(F.linear, A, B.T),
    "convolution": lambda: F.conv2d(IMAGES, WEIGHT),
    "transposed convolution": lambda: F.conv_transpose2d(IMAGES, WEIGHT.mT.swapdims(0, 1).contiguous()),
    "gradient of convolution": lambda: gradient(F.conv2d, IMAGES, WEIGHT),
    "attention": lambda: F.scaled_dot_product_attention(HEADS, HEADS, HEADS),
    "gradient of attention": lambda: gradient(lambda x, y: F.scaled_dot_product_attention(x, y, y), HEADS, HEADS),
}


def close(values, others, amount=1e-5):
    """Whether two results are equal up to noise; gradients hold several products."""
    return torch.allclose(values, others, rtol=20 * amount, atol=0)


@pytest.mark.parametrize("name", PRODUCTS)
def test_noise_reaches_the_product_repeats_itself_and_ends(name):
    product = PRODUCTS[name]
    plain = product()
    with product_noise(1e-5):
        noisy, again = product(), product()
    with product_noise(1e-5, seed=1):
        other = product()
    assert not torch.equal(noisy, plain)
    assert torch.equal(noisy, again)
    assert not torch.equal(other, noisy)
    assert close(noisy, plain)
    assert torch.equal(product(), plain)


def test_the_products_of_perceptrons_in_onednn_get_noise():
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN linear layer")
    plain = torch.ops.mkldnn._linear_pointwise(A, B.T.contiguous(), None, "none", [], "")
    with product_noise(1e-5):
        noisy = torch.ops.mkldnn._linear_pointwise(A, B.T.contiguous(), None, "none", [], "")
    assert not torch.equal(noisy, plain)
    assert close(noisy, plain)


def test_the_noise_has_mean_zero_and_the_standard_deviation_asked_for():
    left, right = (
        torch.rand(300, 50, generator=torch.Generator().manual_seed(0)) + 0.1,
        torch.linspace(1, 2, 50 * 300).reshape(50, 300),
    )
    plain = left @ right
    with product_noise(1e-4):
        relative = (left @ right).double() / plain.double() - 1
    assert relative.std().item() == pytest.approx(1e-4, rel=0.05)
    assert abs(relative.mean().item()) < 5e-6
    assert relative.abs().max().item() < 2e-4


def test_double_precision_is_left_alone():
    with product_noise(1e-5):
        noisy = A.double() @ B.double()
    assert torch.equal(noisy, A.double() @ B.double())


def test_in_half_precision_a_share_of_the_numbers_moves_by_one_unit():
    numbers = (torch.arange(256.0) / 128 + 1).bfloat16()[:128].reshape(128, 1)
    one = torch.ones(1, 1, dtype=torch.bfloat16)
    unit = torch.finfo(torch.bfloat16).eps
    with product_noise(9e-4):
        moved = (numbers @ one).float() - numbers.float()
    share = 9e-4 / unit
    assert 0 < (moved != 0).float().mean().item() < 3 * share
    assert moved.abs().max().item() <= 2 * unit


def test_zero_stays_zero_and_no_noise_changes_nothing():
    with product_noise(1e-5):
        assert torch.equal(torch.zeros(3, 3) @ torch.ones(3, 3), torch.zeros(3, 3))
    plain = A @ B
    with product_noise(0):
        assert torch.equal(A @ B, plain)


@pytest.mark.parametrize("amount", [-1e-6, 1e-3, 1.0])
def test_an_amount_that_is_no_rounding_is_refused(amount):
    with pytest.raises(ValueError, match="give a relative noise"), product_noise(amount):
        pass


def test_an_error_within_ends_the_noise():
    plain = A @ B
    with pytest.raises(RuntimeError, match="stop"), product_noise(1e-5):
        raise RuntimeError("stop")
    assert torch.equal(A @ B, plain)
