"""iCaRL: herding, exemplars, distillation, the nearest mean."""

import weakref

import pytest
import torch
import torch.nn.functional as F

from clbench.engine.evaluation.accuracy import evaluate
from clbench.engine.training.loop import Training
from clbench.errors import ConfigError
from clbench.methods import icarl
from clbench.methods.icarl import ICaRL, classes_met, herd
from tests.streams import blob_stream, learn, learner_for, same, trainer, weights

D = torch.float64
BOTH = pytest.mark.parametrize("setting", ["task", "class"])
NORMALISE = pytest.mark.parametrize("normalise", [True, False])


def held_by_class(method):
    """Return the stored rows of each class, in the order of the memory."""
    split, held = method.memory.split(), {}
    columns = split.labels + torch.tensor(method.memory.learner.stream.offsets)[split.tasks]
    for c, row in zip(columns.tolist(), split.rows.tolist(), strict=True):
        held.setdefault(c, []).append(row)
    return held


def raw_features(learner, task, rows, normalise):
    """Return the features of pool rows, one by one, without the method."""
    learner.model.eval()
    inputs = learner.stream.preprocess(learner.stream.tasks[task].train.pool.inputs[rows])
    with torch.no_grad():
        features = torch.cat([learner.model.backbone(x.unsqueeze(0)) for x in inputs])
    return features / features.norm(dim=1, keepdim=True) if normalise else features


# ---- exemplars -------------------------------------------------------------------------------------------------------
@BOTH
@NORMALISE
def test_exemplars_are_herded_from_their_class_and_shares_are_equal(setting, normalise):
    """By the features of the model in evaluation mode."""
    stream, size = blob_stream(setting), 25

    def check(task, learner):
        held, share = held_by_class(method), size // (2 * task.index + 2)
        assert sorted(held) == list(range(2 * task.index + 2))
        assert len(method.memory) <= size
        for own in stream.tasks[: task.index + 1]:
            for label in range(2):
                rows = own.train.rows[own.train.labels == own.train.labels.unique()[label]]
                mine = held[2 * own.index + label]
                assert len(mine) == share
                assert set(mine) <= set(rows.tolist())
                if own.index == task.index:
                    features = raw_features(learner, task.index, rows, normalise).double()
                    assert mine == rows[herd(features, share)].tolist()

    method = ICaRL(size, normalise)
    learn(method, stream, learner_for(stream, dropout=0.5), after=check)


@BOTH
def test_features_are_taken_batch_by_batch_and_no_more_inputs_are_held(setting, monkeypatch):
    stream, seen, most = blob_stream(setting), [], []
    whole, _ = learn(ICaRL(25, True), stream, tasks=1)
    monkeypatch.setattr(icarl, "CHUNK", 7)
    method, learner = ICaRL(25, True), learner_for(stream)
    make = learner.batch

    def watched(*arguments, **named):
        most.append(sum(inputs() is not None for inputs in seen))
        batch = make(*arguments, **named)
        assert len(batch) <= 7
        seen.append(weakref.ref(batch.inputs))
        return batch

    learn(method, stream, learner, tasks=1)
    learner.batch = watched
    with torch.no_grad():
        features, columns = method._features(learner, stream.tasks[0].train)
    assert len(seen) == -(-len(stream.tasks[0].train) // 7) > 2
    assert max(most) <= 1
    monkeypatch.undo()
    expected = raw_features(learner, 0, stream.tasks[0].train.rows, True)
    torch.testing.assert_close(features, expected)
    assert torch.equal(columns, stream.tasks[0].train.labels)
    assert same(weights(whole), weights(learner))


@BOTH
def test_the_cut_keeps_the_first(setting):
    stream, before = blob_stream(setting), {}

    def check(task, learner):
        held = held_by_class(method)
        for c, rows in before.items():
            assert held[c] == rows[: len(held[c])]
            assert len(held[c]) < len(rows)
        before.update(held)

    method = ICaRL(25, True)
    learn(method, stream, after=check)
    assert len(before) == 6


def test_a_task_is_trained_together_with_the_exemplars():
    class Watched(ICaRL):
        def extend_batch(self, learner, batch):
            notes.setdefault(batch.task, set()).update(zip(batch.tasks.tolist(), batch.rows.tolist(), strict=True))
            return batch

    stream, notes, held = blob_stream(), {}, {-1: set()}
    method = Watched(25, True)
    learn(method, stream, after=lambda task, learner: held.update({task.index: method.memory.samples}))
    for task in stream.tasks:
        assert notes[task.index] == {(task.index, row) for row in task.train.rows.tolist()} | held[task.index - 1]


def test_fewer_exemplars_than_classes_are_refused_by_name():
    stream = blob_stream()
    with pytest.raises(ConfigError, match=r"method\.buffer_size=5 .* 6 classes\n.*method\.buffer_size=6"):
        ICaRL(5, True).setup(learner_for(stream), stream)
    method = ICaRL(6, True)
    learn(method, stream)
    assert sorted(held_by_class(method)) == list(range(6))


# ---- loss ------------------------------------------------------------------------------------------------------------
@BOTH
@pytest.mark.parametrize("outputs", ["seen", "all"])
def test_old_columns_learn_the_earlier_model_and_new_ones_the_labels(setting, outputs):
    """Compare with the explicit sum over every sample and every class seen."""
    stream = blob_stream(setting, outputs)
    method = ICaRL(25, True)
    learner, _ = learn(method, stream, tasks=2)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    learner.start(2)
    with torch.no_grad():
        for parameter in learner.parameters.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    batch = learner.batch(method.memory.split(beside=stream.tasks[2].train), torch.arange(70, 100))
    loss = method.criterion(learner, batch, learner.forward(batch)).item()

    def sigmoids(weights):
        features = torch.func.functional_call(learner.model.backbone, part(weights, "backbone."), (batch.inputs,))
        heads = [part(weights, f"heads.{h}.") for h in range(len(learner.model.heads))]
        return torch.sigmoid(torch.cat([features @ head["weight"].T + head["bias"] for head in heads], dim=1)).double()

    now, earlier = sigmoids(learner.model.state_dict()), sigmoids(before)
    total = 0.0
    for i in range(30):
        for c in range(6):
            target = earlier[i, c] if c < 4 else float(batch.labels[i] == c)
            total -= float(target * now[i, c].log() + (1 - target) * (1 - now[i, c]).log())
    assert loss == pytest.approx(total / (30 * 6), rel=1e-5)


def part(weights, prefix):
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


@BOTH
def test_the_first_task_has_one_hot_targets_among_its_own_outputs(setting):
    stream = blob_stream(setting, "all")
    learner, method = learner_for(stream), ICaRL(25, True)
    method.setup(learner, stream)
    learner.start(0)
    batch = learner.batch(method.memory.split(beside=stream.tasks[0].train), torch.arange(80))
    logits = learner.forward(batch)
    expected = F.binary_cross_entropy_with_logits(batch.joint[:, :2], F.one_hot(stream.tasks[0].train.labels, 2).float())
    assert torch.equal(method.criterion(learner, batch, logits), expected)


@BOTH
def test_a_model_that_has_not_moved_has_no_gradient_in_old_columns(setting):
    stream = blob_stream(setting)
    method = ICaRL(25, True)
    learner, _ = learn(method, stream, tasks=2)
    learner.start(2)
    batch = learner.batch(method.memory.split(beside=stream.tasks[2].train), torch.arange(100))
    logits = learner.forward(batch)
    gradient = torch.autograd.grad(method.criterion(learner, batch, logits), batch.joint)[0]
    assert gradient[:, :4].abs().max() < 1e-7
    assert gradient[:, 4:].abs().min() > 1e-5


# ---- prediction ------------------------------------------------------------------------------------------------------
@BOTH
@NORMALISE
def test_prediction_is_the_nearest_mean_by_brute_force(setting, normalise):
    stream = blob_stream(setting)

    def check(task, learner):
        means = []
        for c, rows in sorted(held_by_class(method).items()):
            mean = raw_features(learner, c // 2, torch.tensor(rows), normalise).double().mean(0)
            means.append(mean / mean.norm() if normalise else mean)
        for own in stream.tasks[: task.index + 1]:
            test = stream.evaluation[own.index].split
            inputs = stream.preprocess(test.raw())
            with torch.inference_mode():
                features = learner.features(inputs).double()
                scores = method.predict(learner, inputs, own.index if setting == "task" else None)
            features = features / features.norm(dim=1, keepdim=True) if normalise else features
            known = range(2 * own.index, 2 * own.index + 2) if setting == "task" else range(len(means))
            assert scores.shape == (40, len(known))
            expected = torch.stack([-(features - means[c]).square().sum(1) for c in known], dim=1)
            torch.testing.assert_close(scores.double(), expected, atol=1e-5, rtol=1e-4)

    method = ICaRL(25, normalise)
    learn(method, stream, after=check)


@BOTH
@pytest.mark.parametrize("outputs", ["seen", "all"])
def test_scores_have_a_column_for_every_output_in_play(setting, outputs):
    """Before, within and after every task; a class without exemplars never wins against one that has some."""
    stream = blob_stream(setting, outputs)
    learner, method = learner_for(stream), ICaRL(25, True)
    method.setup(learner, stream)
    inputs = stream.preprocess(stream.evaluation[0].split.raw())

    def check(known):
        learner.model.eval()
        for head in range(3) if setting == "task" else [None]:
            logits, scores = learner.logits(inputs, head), method.predict(learner, inputs, head)
            assert scores.shape == logits.shape
            start = 0 if head is None else 2 * head
            if start >= known:
                assert torch.equal(scores, logits)
            else:
                assert scores[:, : known - start].isfinite().all()
                assert scores[:, known - start :].eq(float("-inf")).all()

    training = Training(learner, method, trainer())
    check(0)
    for task in stream.tasks:
        training.learn(task, lambda step, known=2 * task.index: check(known) if step == 1 else None)
        check(2 * task.index + 2)


def test_within_a_task_the_means_are_those_of_the_model_as_it_stands():
    stream = blob_stream()
    method, seen = ICaRL(25, True), []
    learner, _ = learn(method, stream, tasks=1)
    training = Training(learner, method, trainer())

    def measure(step):
        evaluate(learner, method, stream.evaluation, 64)
        rows = held_by_class(method)
        fresh = torch.stack([raw_features(learner, 0, torch.tensor(rows[c]), True).mean(0) for c in range(2)])
        torch.testing.assert_close(method.means, F.normalize(fresh, dim=1))
        seen.append(method.means.clone())

    training.learn(stream.tasks[1], measure)
    assert not torch.equal(seen[0], seen[-1])
    assert len(method.means) == classes_met(learner, 1) == 4


def test_it_remembers_what_naive_training_forgets():
    _, rows = learn(ICaRL(60, True), blob_stream(), how=trainer(epochs=10))
    assert min(rows[-1]) >= 36
