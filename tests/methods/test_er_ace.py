"""ER-ACE: the classes that compete."""

import pytest
import torch
import torch.nn.functional as F

from clbench.engine.learner.learner import Batch
from clbench.methods.er import ER
from clbench.methods.er_ace import ERACE
from clbench.methods.naive import Naive
from tests.streams import blob_stream, learn, learner_for, trainer


def example(own_labels, replayed_labels, outputs=6):
    """Return a batch with these labels and random logits."""
    labels = torch.tensor([*own_labels, *replayed_labels])
    logits = torch.randn(len(labels), outputs, generator=torch.Generator().manual_seed(0), requires_grad=True)
    zeros = torch.zeros(len(labels), dtype=torch.int64)
    return Batch(torch.zeros(len(labels), 1), labels, zeros, 1, own=len(own_labels)), logits


def loss_of(batch, logits):
    return ERACE(10, None, "reservoir").criterion(None, batch, logits)


def test_the_loss_is_the_written_one():
    """Equation 4, sample by sample: own ones over the classes 2 and 4, replayed ones over all six."""
    batch, logits = example([4, 2, 4], [0, 2, 5, 1])
    own = [logits[i, int(batch.labels[i])] - torch.logsumexp(logits[i, [2, 4]], 0) for i in range(3)]
    replayed = [logits[i, int(batch.labels[i])] - torch.logsumexp(logits[i], 0) for i in range(3, 7)]
    expected = -torch.stack(own).mean() - torch.stack(replayed).mean()
    torch.testing.assert_close(loss_of(batch, logits), expected)


def test_it_is_the_reference_criterion_but_for_the_half():
    regularization = pytest.importorskip("avalanche.training.regularization")
    batch, logits = example([4, 2, 4], [0, 2, 5, 1])
    halved = regularization.ACECriterion()(logits[:3], batch.labels[:3], logits[3:], batch.labels[3:])
    torch.testing.assert_close(loss_of(batch, logits), 2 * halved)


def test_own_samples_do_not_move_absent_classes():
    batch, logits = example([4, 2, 4], [0, 1])
    (gradient,) = torch.autograd.grad(loss_of(batch, logits), logits)
    assert torch.equal(gradient[:3, [0, 1, 3, 5]], torch.zeros(3, 4))
    assert (gradient[:3, [2, 4]] != 0).all()
    assert (gradient[3:] != 0).all()


def test_a_single_class_without_replay_has_nothing_to_learn():
    batch, logits = example([3, 3], [])
    loss = loss_of(batch, logits)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_without_replay_and_with_all_classes_it_is_cross_entropy():
    batch, logits = example([0, 1, 2, 3, 4, 5], [])
    torch.testing.assert_close(loss_of(batch, logits), F.cross_entropy(logits, batch.labels))


@pytest.mark.parametrize("outputs", ["seen", "all"])
@pytest.mark.parametrize("setting", ["task", "class"])
def test_it_learns_wherever_it_is_declared(setting, outputs):
    stream = blob_stream(setting, outputs)
    learner = learner_for(stream)
    _, rows = learn(ERACE(60, None, "reservoir"), stream, learner, how=trainer(epochs=10))
    assert all(parameter.isfinite().all() for parameter in learner.parameters.values())
    assert min(rows[-1]) > 25  # of 40


def test_it_forgets_less_than_naive_and_no_more_than_replay():
    stream = blob_stream("class")
    falls = {}
    for name, method in (("naive", Naive()), ("er", ER(30, None, "reservoir")), ("ace", ERACE(30, None, "reservoir"))):
        _, rows = learn(method, stream, how=trainer(epochs=5))
        falls[name] = sum(rows[j][j] - rows[-1][j] for j in range(2))
    assert falls["ace"] < falls["naive"]
    assert falls["ace"] <= falls["er"]
