"""Decompositions: where LAPACK does not converge another way gives the same, and values that are not finite are refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from clbench import subspace
from clbench.errors import DivergedError

ROUNDING = 5e-8
"""Single precision over six directions of a matrix whose norm is about .01."""
NAMES = {"eigh": "eigh", "eigvalsh": "eigvalsh", "svd": "svd", "svdvals": "svdvals"}


def symmetric(d: int = 6) -> Tensor:
    rows = torch.randn(4, d, generator=torch.Generator().manual_seed(0))
    return 1e-3 * rows.mT @ rows


def rebuilt(name: str, found: Any) -> Tensor:
    """Return the matrix behind a decomposition, in double, or the sorted values where there are no vectors."""
    if name == "eigh":
        values, vectors = (part.double() for part in found)
        return (vectors * values) @ vectors.mT
    if name == "svd":
        u, s, vh = (part.double() for part in found)
        return (u * s) @ vh
    return found.double().sort().values


def fails(name: str, wrong: Callable[[Tensor], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch's function fail on some matrices, as LAPACK does where it does not converge."""
    plain = getattr(torch.linalg, name)

    def fragile(matrix: Tensor, **options: Any) -> Any:
        if wrong(matrix):
            raise torch.linalg.LinAlgError("the algorithm failed to converge")
        return plain(matrix, **options)

    monkeypatch.setattr(torch.linalg, name, fragile)


@pytest.mark.parametrize("name", NAMES)
def test_where_single_precision_does_not_converge_double_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = symmetric()
    wanted = rebuilt(name, getattr(torch.linalg, name)(matrix))
    fails(name, lambda each: each.dtype == torch.float32, monkeypatch)
    found = getattr(subspace, name)(matrix)
    torch.testing.assert_close(rebuilt(name, found), wanted, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("name", ["eigh", "eigvalsh"])
def test_where_no_eigenvalues_are_found_the_singular_values_give_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = symmetric() - 1e-3 * torch.eye(6)  # with negative eigenvalues
    wanted = rebuilt(name, getattr(torch.linalg, name)(matrix))
    fails(name, lambda each: True, monkeypatch)
    found = getattr(subspace, name)(matrix)
    torch.testing.assert_close(rebuilt(name, found), wanted, atol=ROUNDING, rtol=0)
    values = found[0] if name == "eigh" else found
    assert torch.equal(values, values.sort().values)


@pytest.mark.parametrize("name", ["svd", "svdvals"])
def test_where_a_matrix_fails_its_transpose_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    options = {"full_matrices": False} if name == "svd" else {}
    wanted = rebuilt(name, getattr(torch.linalg, name)(matrix, **options))
    fails(name, lambda each: each.shape == (7, 3), monkeypatch)
    torch.testing.assert_close(rebuilt(name, getattr(subspace, name)(matrix)), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_matrix_that_converges_has_the_result_of_torch(name: str) -> None:
    matrix = symmetric()
    options = {"full_matrices": False} if name == "svd" else {}
    expected, found = getattr(torch.linalg, name)(matrix, **options), getattr(subspace, name)(matrix)
    pairs = zip(expected, found, strict=True) if isinstance(found, tuple) else [(expected, found)]
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_with_a_remedy(name: str, value: float) -> None:
    matrix = symmetric()
    matrix[1, 2] = matrix[2, 1] = value
    with pytest.raises(DivergedError, match=r"\(6 x 6\) has 2 values .* not a number\n.*optimizer\.lr"):
        getattr(subspace, name)(matrix)


def test_a_basis_is_not_extended_by_inputs_that_are_not_finite() -> None:
    rows = torch.ones(3, 4)
    rows[0, 0] = float("nan")
    with pytest.raises(DivergedError, match="the inputs of a layer"):
        subspace.extend(None, rows, 0.9)


def test_inputs_of_which_most_are_zero_give_a_basis(monkeypatch: pytest.MonkeyPatch) -> None:
    """The case that LAPACK failed on: a convolution whose filters are almost all silent."""
    rows = torch.zeros(30, 20)
    rows[:, 3], rows[:, 7] = 1e-2, torch.linspace(0, 1e-6, 30)
    fails("eigh", lambda each: each.dtype == torch.float32, monkeypatch)
    basis = subspace.extend(None, rows, 0.9)
    torch.testing.assert_close(basis.abs(), torch.eye(20)[:, [3]], atol=1e-4, rtol=0)
