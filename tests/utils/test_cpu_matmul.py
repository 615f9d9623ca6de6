"""Products of both libraries agree up to rounding, and oneDNN computes only products that it supports and speeds up."""

import pytest
import torch
import torch.nn.functional as F

from clbench.api import run
from clbench.engine.learner.precision import arithmetic
from clbench.utils import cpu_matmul

onednn = pytest.mark.skipif(not cpu_matmul.has_onednn(), reason="this torch has no oneDNN linear layer")
BIG, SMALL = (200, 120, 80), (4, 5, 6)


@pytest.fixture(autouse=True)
def _as_before():
    before = cpu_matmul.taken()
    yield
    cpu_matmul.use(before)


def operands(sizes=BIG, dtype=torch.float32, seed=0):
    m, k, n = sizes
    g = torch.Generator().manual_seed(seed)
    return torch.randn(m, k, generator=g, dtype=dtype), torch.randn(k, n, generator=g, dtype=dtype)


@onednn
@pytest.mark.parametrize("turned", [False, True])
def test_products_agree(turned):
    assert cpu_matmul.use("onednn") == "onednn"
    a, b = operands()
    if turned:
        a, b = a.t().contiguous().t(), b.t().contiguous().t()
    exact = a.double() @ b.double()
    bias = torch.arange(float(b.shape[1]))
    assert cpu_matmul._suits(a, b.shape[1], b)
    torch.testing.assert_close(cpu_matmul.mm(a, b).double(), exact, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(
        cpu_matmul.subtract_product(exact.float(), a, b), torch.zeros_like(exact.float()), rtol=0, atol=2e-4
    )
    torch.testing.assert_close(cpu_matmul.linear(a, b.t(), bias).double(), exact + bias, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(cpu_matmul.linear(a, b.t(), None).double(), exact, rtol=1e-5, atol=1e-4)


@onednn
def test_products_are_the_same_every_time():
    cpu_matmul.use("onednn")
    a, b = operands()
    first = cpu_matmul.mm(a, b)
    for _ in range(20):
        assert torch.equal(cpu_matmul.mm(a.clone(), b.clone()), first)


@pytest.mark.parametrize("choice", ["mkl", "onednn"])
def test_what_is_small_or_double_or_wants_a_derivative_is_torchs_own(choice):
    cpu_matmul.use(choice)
    for a, b in (operands(SMALL), operands(dtype=torch.float64), operands((0, 2000, 2000))):
        assert torch.equal(cpu_matmul.mm(a, b), a @ b)
        assert torch.equal(cpu_matmul.subtract_product(a @ b, a, b), torch.addmm(a @ b, a, b, alpha=-1))
        assert torch.equal(cpu_matmul.linear(a, b.t(), None), F.linear(a, b.t()))
    a, b = operands()
    cpu_matmul.mm(a, b.requires_grad_()).sum().backward()
    expected = a.sum(0).unsqueeze(1).expand_as(b)
    torch.testing.assert_close(b.grad, expected, rtol=1e-5, atol=1e-5)  # 200 terms are rounded in another order
    with torch.no_grad():
        assert not cpu_matmul.mm(a, b).requires_grad


@onednn
@pytest.mark.parametrize("choice", ["mkl", "onednn"])
def test_a_run_takes_the_library_it_is_given_and_its_record_says_so(tmp_path, choice):
    cpu_matmul.use("mkl" if choice == "onednn" else "onednn")
    overrides = [f"runner.products={choice}", "scenario.n_tasks=2", "trainer.epochs=1", "device=cpu"]
    how = {"results_dir": tmp_path, "workers": 0, "progress": False}
    results = run(scenario="permuted_digits", method="naive", seeds=1, overrides=overrides, **how)
    (record,) = results
    assert record.provenance["products"] == choice == cpu_matmul.taken()


@onednn
def test_reduced_precision_on_a_gpu_reduces_nothing_here():
    cpu_matmul.use("onednn")
    a, b = operands()
    before = cpu_matmul.mm(a, b)
    arithmetic("tf32", torch.device("cpu"))
    try:
        assert torch.equal(cpu_matmul.mm(a, b), before)
    finally:
        arithmetic("float32", torch.device("cpu"))


def test_a_choice_that_is_not_there_is_torchs_own(monkeypatch):
    monkeypatch.setattr(cpu_matmul, "has_onednn", lambda: False)
    assert cpu_matmul.use("onednn") == cpu_matmul.use("auto") == "mkl"


@onednn
@pytest.mark.parametrize(
    ("vendor", "set_", "wanted"),
    [
        ("vendor_id : AuthenticAMD", "AVX512", "onednn"),
        ("vendor_id : AuthenticAMD", "AVX2", "mkl"),
        ("vendor_id : GenuineIntel", "AVX512", "mkl"),
    ],
)
def test_auto_goes_by_the_processor(monkeypatch, vendor, set_, wanted):
    monkeypatch.setattr(cpu_matmul, "_vendor", lambda: vendor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: set_)
    assert cpu_matmul.use("auto") == wanted
