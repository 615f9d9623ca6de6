"""Adam-NSCL: steps stay in the inputs' null space with every optimiser; the energy covers all samples."""

import pytest
import torch
from pydantic import ValidationError

from clbench.engine.optimizers import SGD, Adam
from clbench.errors import ClbenchError
from clbench.method import Method
from clbench.methods.adam_nscl import AdamNSCL
from clbench.methods.naive import Naive
from clbench.models.classifier import Classifier
from clbench.toolkit import weight_matrices
from tests.methods.shipped import shipped
from tests.methods.test_gpm import OPTIMIZERS
from tests.streams import Blobs, blob_stream, doubled, learn, learner_for, same, trainer, weights
from tests.toolkit.test_weight_matrices import Attentive

PROGRAM = {"normalise": True, "later_rate": 0.5}
"""The authors' program, where the paper has neither."""
FEW = Blobs(per_class=3)
"""Six samples per task: fewer than the 16 inputs, so that a null space is left."""


class Watched(AdamNSCL):
    """Stores every applied step, and the moments of its projection."""

    def setup(self, learner, stream):
        super().setup(learner, stream)
        self._steps = []

    def edit_update(self, learner, updates):
        raw = {name: step.clone() for name, step in updates.items()}
        super().edit_update(learner, updates)
        self._steps.append((learner.task, raw, dict(updates), dict(self.moments), dict(self.bases)))


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def drift(method, setting, optimizer, bias=True, hidden=(20, 18), tasks=3):
    """Return the later movement of outputs on any task's training inputs, and the movement of the weights."""
    stream = doubled(blob_stream(setting, dataset=FEW))
    learner = learner_for(stream, optimizer=OPTIMIZERS[optimizer](), hidden=hidden, bias=bias)
    marks, moved, before = [], [], []

    def outputs(task):
        logits = learner.logits(task.train.raw(), task.index if setting == "task" else None)
        return logits[:, :2].detach()

    def after(task, lrn):
        marks.append(outputs(task))
        moved.append(max(float((outputs(old) - mark).abs().max()) for old, mark in zip(stream.tasks, marks)))
        before.append(weights(lrn))

    learn(method, stream, learner, after=after, tasks=tasks, how=trainer(epochs=4))
    step = sum(float((a - b).abs().sum()) for a, b in zip(before[0].values(), before[1].values(), strict=True))
    return max(moved), step


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("setting", ["task", "domain"])
def test_outputs_on_all_old_training_data_stay_where_inputs_leave_a_null_space(double, setting, name, bias):
    """Deep ReLU net, layer by layer; every training sample, as every one was counted."""
    moved, step = drift(shipped("adam_nscl"), setting, name, bias)
    assert moved < 1e-10
    assert step > 1e-3, "later tasks do move the weights"


@pytest.mark.parametrize("hook", ["project", "edit_update"])
def test_without_the_projection_they_move(double, hook, monkeypatch):
    if hook == "project":
        monkeypatch.setattr(weight_matrices, "project", lambda *_: None)
    else:
        monkeypatch.setattr(AdamNSCL, "edit_update", Method.edit_update)
    assert drift(shipped("adam_nscl"), "domain", "adam")[0] > 1e-3


@pytest.mark.parametrize("ratio", [3.0, 1e3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_has_no_part_in_directions_of_more_than_ratio_times_the_least_energy(name, ratio):
    stream = blob_stream("domain")
    method = shipped("adam_nscl", Watched, ratio=ratio, **PROGRAM)
    learn(method, stream, learner_for(stream, optimizer=OPTIMIZERS[name]()))
    later = [each for each in method._steps if each[0] > 0]
    assert len(later) < len(method._steps)
    held = 0
    for _, raw, step, moments, _ in later:
        for key, matrix in method._matrices.items():
            values, vectors = torch.linalg.eigh(moments[key].double())
            least = max(float(values[0]), float(values[-1]) * torch.finfo(torch.float32).eps)
            loud, quiet = vectors[:, values > ratio * least], vectors[:, values <= ratio * least]
            before, after = matrix.joined(raw).double(), matrix.joined(step).double()
            assert (after @ loud).norm() < 1e-5 * before.norm()
            expected = before @ quiet @ quiet.mT * 0.5 / quiet.shape[1] ** 0.5
            assert (after - expected).norm() < 1e-4 * before.norm()
            held += loud.shape[1]
    assert held


def test_the_rate_of_later_tasks_is_a_factor_on_projected_layers_alone():
    def steps(**changes):
        method = shipped("adam_nscl", Watched, **changes)
        learn(method, blob_stream("task"), tasks=2)
        first = next(step for task, _, step, _, _ in method._steps if task == 1)
        start = next(step for task, _, step, _, _ in method._steps if task == 0)
        return start, first, method

    start, plain, method = steps()
    for changes, factor in (
        ({"later_rate": 0.25}, lambda free: 0.25),
        ({"normalise": True}, lambda free: free**-0.5),
        ({"normalise": True, "later_rate": 3.0}, lambda free: 3 * free**-0.5),
    ):
        same_start, scaled, _ = steps(**changes)
        assert same(start, same_start), "the first task is as it was"
        for key, matrix in method._matrices.items():
            d, k = next(bases[key].shape for task, _, _, _, bases in method._steps if task == 1)
            for name in (matrix.weight, matrix.bias):
                torch.testing.assert_close(scaled[name], plain[name] * factor(d - k), rtol=1e-5, atol=1e-9)
        assert torch.equal(scaled["heads.1.weight"], plain["heads.1.weight"])


@pytest.mark.parametrize("bias", [False, True])
def test_the_moments_are_those_of_all_samples_of_all_tasks_however_they_are_cut(bias, monkeypatch):
    """Against one pass over everything, forward by hand; and the same for chunks of 7."""
    found = []
    for size in (7, 1000):
        monkeypatch.setattr("clbench.methods.adam_nscl.CHUNK", size)
        stream, marks = blob_stream("domain", dataset=Blobs(per_class=11)), []
        method = shipped("adam_nscl")
        learner = learner_for(stream, bias=bias)
        learn(method, stream, learner, after=lambda task, lrn, marks=marks: marks.append((task, weights(lrn))))
        found.append(method.moments)
    expected = 0
    for task, values in marks:
        inputs = stream.preprocess(task.train.raw()).flatten(1).double()
        ones = inputs.new_ones(len(inputs), 1)
        first = torch.cat([inputs, ones], 1) if bias else inputs
        names = [name for name in values if name.startswith("backbone")]
        hidden = inputs @ values[names[0]].double().mT + (values[names[1]].double() if bias else 0)
        second = torch.cat([hidden.relu(), ones], 1) if bias else hidden.relu()
        expected = [a + b.mT @ b for a, b in zip(expected or [0, 0], (first, second), strict=True)]
    assert len(expected) == len(found[0]) == 2
    for cut, whole, true in zip(found[0].values(), found[1].values(), expected, strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(whole.double(), true, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_a_ratio_without_bounds_is_the_plain_run_bit_for_bit_and_the_first_task_always(setting, name):
    stream, firsts, runs = blob_stream(setting), [], []
    for method in (Naive(), shipped("adam_nscl", ratio=1e30), shipped("adam_nscl", **PROGRAM)):
        marks = []
        learner = learner_for(stream, optimizer=OPTIMIZERS[name]())
        learn(method, stream, learner, after=lambda task, lrn, marks=marks: marks.append(weights(lrn)))
        firsts.append(marks[0])
        runs.append(marks[-1])
    assert same(firsts[0], firsts[1])
    assert same(firsts[0], firsts[2])
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_a_larger_ratio_holds_fewer_directions_and_at_least_one_is_left():
    taken = []
    for ratio in (1.0, 10.0, 1e3, 1e30):
        method = shipped("adam_nscl", ratio=ratio)
        learn(method, blob_stream("domain"), tasks=2)
        report = method.diagnostics()
        assert all(set(entry) == {"taken", "of", "added", "removed"} for entry in report.values())
        assert all(entry["taken"] < entry["of"] == 17 for entry in report.values())
        assert all(entry["removed"] is None or 0 < entry["removed"] <= 1 for entry in report.values())
        taken.append(sum(entry["taken"] for entry in report.values()))
    assert taken[0] == 2 * 16, "the least eigenvalue alone"
    assert taken[0] >= taken[1] > taken[2] > taken[3] == 0


def test_any_layer_is_covered_and_what_is_not_stands_still():
    stream = blob_stream("task", dataset=Blobs(per_class=12))
    learner, marks = learner_for(stream, optimizer=Adam(0.01, (0.9, 0.999), 1e-8)), []
    torch.manual_seed(0)
    learner.model = Classifier(Attentive(), stream.head_sizes, (1, 4, 4))
    method = shipped("adam_nscl", ratio=1e4)
    learn(method, stream, learner, after=lambda task, lrn: marks.append(weights(lrn)))
    for name in ("backbone.positions", "backbone.attention.norm1.weight"):
        assert torch.equal(marks[0][name], marks[2][name])
    moved = {name for name in method.bases if (marks[2][name] - marks[0][name]).abs().max() > 1e-4}  # a step moves by .01
    assert moved == set(method.bases) - {"backbone.pairs.weight"}, "all its free directions are of tokens that never come"


@pytest.mark.parametrize("changes", [{"ratio": 0.5}, {"later_rate": 0.0}, {"head": "frozen"}, {"normalise": "a bit"}])
def test_values_without_a_meaning_are_refused(changes):
    with pytest.raises((ClbenchError, ValidationError), match=next(iter(changes))):
        shipped("adam_nscl", **changes)


def test_it_forgets_less_than_naive_and_learns():
    stream = blob_stream("domain", kind="permuted", n_tasks=4)
    fall, learned = [], []
    for method in (Naive(), shipped("adam_nscl", ratio=30.0)):
        _, rows = learn(method, stream, learner_for(stream, optimizer=SGD(0.05), hidden=(64,)), how=trainer(epochs=3))
        fall.append(sum(rows[j][j] - rows[-1][j] for j in range(3)))
        learned.append(sum(rows[j][j] for j in range(4)))
    assert fall[1] < 0.5 * fall[0]
    assert learned[1] > 0.9 * learned[0]


@pytest.mark.parametrize(("ratio", "expected"), [(1.0, 1), (1e12, 0)])
def test_a_null_space_that_leaves_nothing_of_a_task_is_said_once(ratio, expected, caplog):
    class Flat(Blobs):
        """The lower half of every image is empty, in all classes."""

        def load(self, search, download):
            made = super().load(search, download)
            for pool in (made.train, made.test):
                pool.inputs[..., 2:, :] = 0
            return made

    stream = blob_stream("domain", dataset=Flat())
    learn(shipped("adam_nscl", ratio=ratio, head="project"), stream, learner_for(stream, hidden=(4,)))
    said = [entry.getMessage() for entry in caplog.records if "free directions" in entry.getMessage()]
    assert len(said) == expected
    assert all("give a larger method.ratio" in text and "of 17" in text for text in said)
