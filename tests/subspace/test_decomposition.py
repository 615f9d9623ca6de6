"""Singular value decompositions split in two."""

import pytest
import torch

from clbench import subspace


@pytest.mark.parametrize("shape", [(30, 30), (50, 20), (20, 50)])
@pytest.mark.parametrize("rank", [0, 7, 20])
def test_nothing_is_lost(shape, rank):
    weight = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    split = subspace.decompose(weight, rank)
    assert [part.shape for part in split.high] == [(shape[0], rank), (rank,), (rank, shape[1])]
    back = subspace.compose(*split.low, subspace.compose(*split.high))
    assert float((back - weight).norm() / weight.norm()) < 1e-5
    assert torch.allclose(back, subspace.compose(*split.low) + subspace.compose(*split.high), atol=1e-5)


def test_the_leading_triples_come_first_and_are_orthogonal_to_the_rest():
    weight = torch.randn(24, 16, generator=torch.Generator().manual_seed(1))
    split = subspace.decompose(weight, 5)
    assert float(split.high[1].min()) >= float(split.low[1].max())
    assert float((split.high[0].mT @ split.low[0]).abs().max()) < 1e-5
    assert float((split.low[2] @ split.high[2].mT).abs().max()) < 1e-5
    assert float((split.high[0].mT @ split.high[0] - torch.eye(5)).abs().max()) < 1e-5


def test_half_precision_is_decomposed_in_single():
    weight = torch.randn(24, 16, generator=torch.Generator().manual_seed(1)).bfloat16()
    split = subspace.decompose(weight, 5)
    back = subspace.compose(*split.low, subspace.compose(*split.high))
    assert back.dtype == torch.float32
    assert float((back - weight.float()).norm() / weight.float().norm()) < 1e-5
    assert subspace.decompose(weight.double(), 5).high[0].dtype == torch.float64


def test_a_step_is_kept_off_in_place_and_what_it_loses_is_told():
    basis, _ = torch.linalg.qr(torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))
    step = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    before = step.clone()
    along = subspace.keep_off(step, basis)
    assert float((basis.mT @ step).abs().max()) < 1e-12
    assert torch.allclose(step + basis @ along, before)
    rows = before.mT.contiguous()
    subspace.keep_off(rows.mT, basis)  # a view: the rows themselves change
    assert torch.allclose(rows, step.mT)
