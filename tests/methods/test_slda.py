"""SLDA: the running covariance is the batch one; the published update is the authors' program, sample by sample."""

from types import SimpleNamespace

import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from clbench.errors import ConfigError
from clbench.instantiate import instantiate
from clbench.methods.slda import SLDA
from clbench.toolkit import features as frozen
from tests.methods.test_ncm import learn_in, samples
from tests.streams import blob_stream, learn, learner_for, same, weights


def pooled(x, y):
    """The within-class covariance of everything, divided by n."""
    centred = torch.cat([x[y == label] - x[y == label].mean(0) for label in y.unique()])
    return centred.mT @ centred / len(x)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_the_running_covariance_is_the_batch_one(setting, order, chunk, monkeypatch):
    monkeypatch.setattr(frozen, "CHUNK", chunk)
    stream, method = blob_stream(setting), SLDA(1e-4, "exact")
    learner = learn_in(method, stream, order)
    x, y = samples(learner, stream.tasks)
    torch.testing.assert_close(method.scatter / method.counts.sum(), pooled(x, y), rtol=1e-6, atol=1e-9)
    for label in y.unique():
        torch.testing.assert_close(method.means[label], x[y == label].mean(0), rtol=1e-6, atol=1e-9)


def test_exact_is_welfords_update_sample_by_sample(monkeypatch):
    monkeypatch.setattr(frozen, "CHUNK", 50)
    stream, method = blob_stream("domain"), SLDA(1e-4, "exact")
    learner, _ = learn(method, stream)
    scatter, means, counts = torch.zeros_like(method.scatter), torch.zeros_like(method.means), [0, 0]
    for z, label in zip(*samples(learner, stream.tasks), strict=True):
        before, c = z - means[label], counts[label]
        means[label] += before / (c + 1)
        counts[label] += 1
        scatter += torch.outer(before, z - means[label])
    torch.testing.assert_close(method.scatter, scatter)


@pytest.mark.parametrize("chunk", [1, 33])
def test_published_is_avalanches_program(chunk, monkeypatch):
    """Avalanche's StreamingLDA.fit and .predict, themselves, called on one sample after the other in double precision."""
    pytest.importorskip("avalanche", reason="Avalanche is not installed (pip install 'clbench[avalanche]')")
    from avalanche.training.supervised.deep_slda import StreamingLDA

    monkeypatch.setattr(frozen, "CHUNK", chunk)
    stream, method = blob_stream("class"), SLDA(1e-4, "published")
    learner, _ = learn(method, stream)
    x, y = samples(learner, stream.tasks)
    zeros = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
    theirs = SimpleNamespace(
        streaming_update_sigma=True,
        muK=torch.zeros(6, x.shape[1], dtype=torch.float64),
        cK=torch.zeros(6, dtype=torch.float64),
        Sigma=zeros + 1,
        Lambda=zeros,
        num_updates=0,
        prev_num_updates=-1,
        shrinkage_param=1e-4,
        input_size=x.shape[1],
        device="cpu",
    )
    for i in range(len(x)):
        StreamingLDA.fit(theirs, x[i : i + 1], y[i : i + 1])
    torch.testing.assert_close(method.scatter / len(x), theirs.Sigma)
    torch.testing.assert_close(method.means, theirs.muK)
    inputs = stream.preprocess(stream.evaluation[1].split.raw())
    scores = StreamingLDA.predict(theirs, learner.features(inputs).detach().double())
    torch.testing.assert_close(method.predict(learner, inputs, None), scores, rtol=1e-5, atol=1e-5)


def test_published_is_more_than_the_batch_covariance_and_knows_the_order():
    stream, found = blob_stream("class"), []
    for order in ([0, 1, 2], [2, 0, 1]):
        method = SLDA(1e-4, "published")
        learner = learn_in(method, stream, order)
        found.append(method.scatter / method.counts.sum())
        excess = found[-1] - pooled(*samples(learner, stream.tasks))
        assert torch.linalg.eigvalsh(excess).min() > -1e-9
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_weights_and_bias_are_those_of_scikit_learns_lda():
    """Its covariance is the mean over classes of what an estimator says, here the shrunk one; classes are of equal size."""

    class Shrunk(EmpiricalCovariance):
        def fit(self, x, y=None):
            super().fit(x)
            self.covariance_ = 0.9 * self.covariance_ + 0.1 * torch.eye(x.shape[1]).numpy()
            return self

    stream, method = blob_stream("class"), SLDA(0.1, "exact")
    learner, _ = learn(method, stream, learner_for(stream, hidden=()))
    x, y = samples(learner, stream.tasks)
    reference = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Shrunk()).fit(x.numpy(), y.numpy())
    inputs = stream.preprocess(stream.evaluation[2].split.raw())
    expected = torch.from_numpy(reference.decision_function(inputs.flatten(1).double().numpy()))
    torch.testing.assert_close(method.predict(learner, inputs, None), expected - torch.tensor(1 / 6).double().log())


def test_full_shrinkage_is_the_nearest_mean():
    stream, method = blob_stream("class"), SLDA(1.0, "exact")
    learner, _ = learn(method, stream)
    x, y = samples(learner, stream.tasks)
    means = torch.stack([x[y == label].mean(0) for label in range(6)])
    inputs = stream.preprocess(stream.evaluation[0].split.raw())
    distances = torch.cdist(learner.features(inputs).detach().double(), means)
    assert torch.equal(method.predict(learner, inputs, None).argmax(1), distances.argmin(1))


def test_only_outputs_in_play_win_and_nothing_is_trained():
    rows = []
    for outputs in ("seen", "all"):
        stream, method = blob_stream("class", outputs), SLDA(1e-4, "exact")
        learner = learner_for(stream)
        before = weights(learner)
        rows.append(learn(method, stream, learner)[1])
        assert same(before, weights(learner))
    assert rows[0] == rows[1]
    stream, method = blob_stream("task"), SLDA(1e-4, "exact")
    learner, rows = learn(method, stream, tasks=2)
    assert rows[1][:2] > [30, 30]
    assert (method.predict(learner, stream.preprocess(stream.evaluation[2].split.raw()), 2) == float("-inf")).all()


@pytest.mark.parametrize(("key", "value"), [("shrinkage", 0.0), ("shrinkage", 1.1), ("covariance", "diagonal")])
def test_values_that_cannot_be_used_are_refused(key, value):
    node = {"_target_": "clbench.methods.slda.SLDA", "shrinkage": 1e-4, "covariance": "exact", key: value}
    with pytest.raises(ConfigError, match=rf"method\.{key}={value!r}"):
        instantiate(node, "method")
