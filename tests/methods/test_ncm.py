"""NCM: the means are those of all samples, nothing is trained, and only new classes take old ones' samples away."""

import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestCentroid

from clbench.engine.training.loop import Training
from clbench.errors import ConfigError
from clbench.instantiate import instantiate
from clbench.methods.ncm import NCM
from clbench.toolkit import features as frozen
from tests.streams import blob_stream, learn, learner_for, same, trainer, weights


def samples(learner, tasks):
    """Features `[n, d]` and outputs `[n]` of the training samples of `tasks`, as the methods see them."""
    found = [pair for task in tasks for pair in frozen.walk(learner, task.train)]
    return torch.cat([x for x, _ in found]), torch.cat([y for _, y in found]).argmax(1)


def learn_in(method, stream, order):
    """Learn the tasks in any order, on the model that `learner_for` makes; return the learner."""
    learner = learner_for(stream)
    method.setup(learner, stream)
    training = Training(learner, method, trainer())
    for index in order:
        training.learn(stream.tasks[index])
    return learner


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("hidden", [(16,), ()])
def test_scores_are_those_of_scikit_learns_centroids(metric, hidden):
    stream, method = blob_stream("class"), NCM(metric)
    learner, _ = learn(method, stream, learner_for(stream, hidden=hidden))
    x, y = samples(learner, stream.tasks)
    reference = NearestCentroid().fit(x.numpy(), y.numpy())
    inputs = stream.preprocess(stream.evaluation[1].split.raw())
    test = learner.features(inputs).detach().double().numpy()
    chosen = method.predict(learner, inputs, None).argmax(1).tolist()
    if metric == "euclidean":
        assert chosen == reference.predict(test).tolist()
    else:
        assert chosen == cosine_similarity(test, reference.centroids_).argmax(1).tolist()


def test_euclidean_scores_are_squared_distances_up_to_a_constant_of_the_sample():
    stream, method = blob_stream("class"), NCM("euclidean")
    learner, _ = learn(method, stream)
    x, y = samples(learner, stream.tasks)
    means = torch.stack([x[y == label].mean(0) for label in range(6)])
    inputs = stream.preprocess(stream.evaluation[0].split.raw())
    squared = (learner.features(inputs).detach().double().unsqueeze(1) - means).square().sum(2)
    rest = method.predict(learner, inputs, None) + squared / 2
    torch.testing.assert_close(rest, rest[:, :1].expand_as(rest))


def test_neither_the_order_of_tasks_nor_the_size_of_batches_matters(monkeypatch):
    stream = blob_stream("class")
    first, second = NCM("cosine"), NCM("cosine")
    learn_in(first, stream, [0, 1, 2])
    monkeypatch.setattr(frozen, "CHUNK", 7)
    learn_in(second, stream, [2, 0, 1])
    torch.testing.assert_close(first.sums, second.sums, rtol=1e-6, atol=1e-6)
    assert torch.equal(first.counts, second.counts)


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_nothing_is_trained(setting):
    stream = blob_stream(setting)
    learner = learner_for(stream)
    before = weights(learner)
    learn(NCM("cosine"), stream, learner)
    assert same(before, weights(learner))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_what_is_forgotten_went_to_new_outputs(metric):
    """Scores of earlier classes do not change: a task keeps its accuracy in its own head, and loses only to later classes."""
    stream = blob_stream("task")
    _, rows = learn(NCM(metric), stream)
    for task in range(3):
        assert len({row[task] for row in rows[task:]}) == 1
    stream, method, scores = blob_stream("class"), NCM(metric), []
    inputs = stream.preprocess(stream.evaluation[0].split.raw())
    learn(method, stream, after=lambda task, learner: scores.append(method.predict(learner, inputs, None)))
    assert [len(score.mT) for score in scores] == [2, 4, 6]
    assert torch.equal(scores[0], scores[2][:, :2])


def test_a_class_met_again_goes_on_summing():
    stream, method = blob_stream("domain"), NCM("euclidean")
    learner, _ = learn(method, stream)
    assert method.counts.tolist() == [120.0, 120.0]
    x, y = samples(learner, stream.tasks)
    torch.testing.assert_close(method.sums[1] / 120, x[y == 1].mean(0))


@pytest.mark.parametrize("outputs", ["seen", "all"])
def test_classes_not_met_lose_and_scores_have_the_outputs_in_play(outputs):
    stream, method = blob_stream("class", outputs), NCM("cosine")
    learner, _ = learn(method, stream, tasks=1)
    inputs = stream.preprocess(stream.evaluation[0].split.raw())
    scores = method.predict(learner, inputs, None)
    assert scores.shape == (len(inputs), 2 if outputs == "seen" else 6)
    assert scores[:, :2].isfinite().all()
    assert (scores[:, 2:] == float("-inf")).all()
    stream, method = blob_stream("task", outputs), NCM("cosine")
    learner, _ = learn(method, stream, tasks=1)
    assert method.predict(learner, inputs, 0).isfinite().all()
    assert (method.predict(learner, inputs, 2) == float("-inf")).all()
    with pytest.raises(ValueError, match="task_id"):
        method.predict(learner, inputs, None)


def test_unknown_metric_is_refused():
    with pytest.raises(ConfigError, match=r"method\.metric='manhattan'"):
        instantiate({"_target_": "clbench.methods.ncm.NCM", "metric": "manhattan"}, "method")
