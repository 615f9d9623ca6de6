"""SGP: between naive and GPM, by the importance of each direction."""

import itertools

import pytest
import torch

from clbench.engine.optimizers import SGD
from clbench.methods.naive import Naive
from clbench.methods.sgp import SGP
from tests.methods.shipped import shipped
from tests.streams import blob_stream, learn, learner_for, same, weights


class Fixed(SGP):
    """All importances the same."""

    value = 1.0

    def absorb(self, name, rows, threshold):
        super().absorb(name, rows, threshold)
        self.importances[name] = torch.full_like(self.importances[name], self.value)


class Free(Fixed):
    value = 0.0


def trained(method):
    stream = blob_stream("domain")
    return weights(learn(method, stream, learner_for(stream, optimizer=SGD(0.05, 0.9, 0.01)))[0])


def test_full_importance_is_gpm_and_none_is_naive():
    assert same(
        trained(shipped("sgp", Fixed, threshold=0.9, samples=100, scale=10.0)),
        trained(shipped("gpm", threshold=0.9, samples=100)),
    )
    plain, free = trained(Naive()), trained(shipped("sgp", Free, threshold=0.9, samples=100, scale=10.0))
    assert all(torch.allclose(plain[name], free[name], atol=1e-6) for name in plain)
    assert not all(
        torch.allclose(plain[name], value, atol=1e-3)
        for name, value in trained(shipped("gpm", threshold=0.9, samples=100)).items()
    )


def authors_importance(before, basis, x, new, scale):
    """Equations 2 and 6 as the authors compute them, through the decomposition of what the old basis sees."""
    u, s, _ = torch.linalg.svd(basis @ basis.mT @ x.mT, full_matrices=False)
    r = basis.shape[1]
    old = ((basis.mT @ u[:, :r]).square() @ s[:r].square()).sqrt()
    residual = x.mT - basis @ basis.mT @ x.mT
    reach = torch.cat([old, torch.linalg.svdvals(residual)[:new]])
    found = (scale + 1) * reach / (scale * reach + reach.max())
    found[:r] = (found[:r] + before).clamp(0, 1)
    return found


def test_importances_are_the_authors():
    g = torch.Generator().manual_seed(0)
    method = shipped("sgp", threshold=0.9, samples=100, scale=3.0)
    method.bases, method.importances = {}, {}
    first, second = (
        torch.randn(40, 12, generator=g, dtype=torch.float64) * torch.logspace(0, -1, 12, dtype=torch.float64)[order]
        for order in (torch.arange(12), torch.arange(12).flip(0))
    )
    method.absorb("layer", first, 0.8)
    basis, before = method.bases["layer"], method.importances["layer"]
    s = torch.linalg.svdvals(first)[: basis.shape[1]]
    torch.testing.assert_close(before, 4 * s / (3 * s + s.max()))
    method.absorb("layer", second, 0.8)
    new = method.bases["layer"].shape[1] - basis.shape[1]
    assert new > 0
    torch.testing.assert_close(method.importances["layer"], authors_importance(before, basis, second, new, 3.0))


def test_importances_stay_shares_and_only_grow():
    marks = []
    method = shipped("sgp", threshold=0.95, samples=50, scale=10.0)
    learn(
        method, blob_stream("class"), after=lambda task, lrn: marks.append({n: i.clone() for n, i in method.importances.items()})
    )
    for earlier, later in itertools.pairwise(marks):
        for name, old in earlier.items():
            new = later[name]
            assert len(new) == method.bases[name].shape[1] or later is not marks[-1]
            assert bool((new >= 0).all() and (new <= 1).all() and (new[: len(old)] >= old).all())


@pytest.mark.parametrize("rows", [torch.zeros(4, 6), torch.randn(0, 6)])
def test_inputs_without_energy_add_nothing(rows):
    method = shipped("sgp", threshold=0.9, samples=10, scale=10.0)
    method.bases, method.importances = {}, {}
    method.absorb("layer", rows, 0.9)
    assert method.bases["layer"].shape == (6, 0)
    assert method.importances["layer"].shape == (0,)


def test_it_lies_between_naive_and_gpm():
    stream = blob_stream("domain", kind="permuted", n_tasks=4)
    falls = []
    for method in (Naive(), shipped("sgp", threshold=0.95, samples=100, scale=1.0), shipped("gpm", samples=100)):
        _, rows = learn(method, stream)
        falls.append(sum(rows[j][j] - rows[-1][j] for j in range(3)))
    assert falls[2] <= falls[1] < falls[0]
