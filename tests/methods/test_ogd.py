"""OGD: steps are orthogonal to every stored gradient, with every optimiser; a linear model's stored logits do not change."""

from dataclasses import replace

import pytest
import torch

from clbench.engine.optimizers import SGD, Adam
from clbench.errors import ConfigError, RefusedError
from clbench.method import Method
from clbench.methods.compose import Compose
from clbench.methods.naive import Naive
from clbench.methods.ogd import OGD, extend, logit_gradients
from tests.methods.shipped import shipped
from tests.streams import blob_stream, learn, learner_for, weights
from tests.toolkit.test_weight_matrices import attentive

OPTIMIZERS = {
    "momentum and weight decay": lambda: SGD(0.05, 0.9, 0.05),
    "adam": lambda: Adam(0.01, (0.9, 0.999), 1e-8),
    "adamw": lambda: Adam(0.01, (0.9, 0.999), 1e-8, 0.1, True),
}
THETA = ["backbone.layers.0.weight", "backbone.layers.0.bias"]


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def in_double(stream):
    """Return the stream with its training inputs preprocessed to float64."""
    tasks = []
    for task in stream.tasks:
        pool = task.train.pool
        tasks.append(
            replace(task, train=replace(task.train, pool=replace(pool, inputs=(pool.inputs.double() / 255 - 0.5) / 0.25)))
        )
    return replace(stream, tasks=tuple(tasks), evaluation=(), preprocess=replace(stream.preprocess, mean=(), std=()))


def flat(method, learner):
    return torch.cat([learner.parameters[name].detach().flatten() for name in method._sizes])


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
@pytest.mark.usefixtures("double")
def test_what_a_task_moves_is_orthogonal_to_all_stored_gradients(setting, name):
    stream = in_double(blob_stream(setting))
    raw, thetas, drifts = [], [], []

    class Watched(OGD):
        def end_task(self, learner, task, history):
            if thetas:
                moved = flat(self, learner) - thetas[-1]
                drifts.append((float((torch.cat(raw) @ moved).abs().max()), float(moved.norm())))
            draws = learner.generator("ogd", task.index)
            chosen = torch.randperm(len(task.train), generator=draws)[: self.samples]
            raw.extend(logit_gradients(learner, task.train, chosen, list(self._sizes), self.logits))
            super().end_task(learner, task, history)
            thetas.append(flat(self, learner))

    method = shipped("ogd", Watched, samples=7)
    learn(method, stream, learner_for(stream, optimizer=OPTIMIZERS[name]()))
    assert [len(rows) for rows in raw] == [7, 7, 7]
    assert all(moved > 0.01 and along < 1e-10 for along, moved in drifts)
    assert len(drifts) == 2
    assert not method.basis.requires_grad


@pytest.mark.parametrize("logits", ["truth", "mean", "all"])
@pytest.mark.usefixtures("double")
def test_the_basis_is_orthonormal_over_many_tasks_and_spans_all_gradients(logits):
    stream = in_double(blob_stream("domain", kind="permuted", n_tasks=6))
    raw, kept = [], []

    class Watched(OGD):
        def end_task(self, learner, task, history):
            draws = learner.generator("ogd", task.index)
            chosen = torch.randperm(len(task.train), generator=draws)[: self.samples]
            raw.extend(logit_gradients(learner, task.train, chosen, list(self._sizes), self.logits))
            before = self.basis
            super().end_task(learner, task, history)
            kept.append(torch.equal(before, self.basis[: len(before)]))

    method = shipped("ogd", Watched, samples=9, logits=logits)
    learn(method, stream)
    basis, rows = method.basis, torch.cat(raw)
    assert len(rows) == 6 * 9 * (6 if logits == "all" else 1)
    assert basis.shape[1] == 16 * 16 + 16 + 16 * 6 + 6
    assert len(basis) == min(torch.linalg.matrix_rank(rows), basis.shape[1])
    assert (basis @ basis.mT - torch.eye(len(basis))).abs().max() < 1e-12
    assert (rows - rows @ basis.mT @ basis).abs().max() < 1e-8 * rows.abs().max()
    assert all(kept)


def linear_drift(logits, setting="domain", kind=OGD, optimizer="momentum and weight decay"):
    """Return the later movement of the stored and the other logits of a linear model's stored samples."""
    stream = in_double(blob_stream(setting))
    samples = []

    class Watched(kind):
        def end_task(self, learner, task, history):
            draws = learner.generator("ogd", task.index)
            chosen = torch.randperm(len(task.train), generator=draws)[: self.samples]
            inputs = task.train.inputs(chosen)
            samples.append((inputs, task.train.labels[chosen], learner.logits(inputs).detach()))
            super().end_task(learner, task, history)

    method = shipped("ogd", Watched, samples=5, logits=logits)
    learner, _ = learn(method, stream, learner_for(stream, optimizer=OPTIMIZERS[optimizer](), hidden=()))
    own, others = 0.0, 0.0
    for inputs, labels, before in samples[:-1]:
        drift = (learner.logits(inputs).detach()[:, : before.shape[1]] - before).abs()
        truth = torch.nn.functional.one_hot(labels, before.shape[1]).bool()
        own, others = max(own, float(drift[truth].max())), max(others, float(drift[~truth].max()))
    return own, others


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("setting", ["domain", "class"])
@pytest.mark.usefixtures("double")
def test_a_linear_model_keeps_what_was_stored_exactly(setting, name):
    own, others = linear_drift("truth", setting, optimizer=name)
    assert own < 1e-10
    assert others > 1e-3
    assert max(linear_drift("all", setting, optimizer=name)) < 1e-10


@pytest.mark.usefixtures("double")
def test_without_the_hook_it_moves():
    class Forgetful(OGD):
        edit_update = Method.edit_update

    assert linear_drift("truth", kind=Forgetful)[0] > 1e-3


@pytest.mark.usefixtures("double")
def test_the_mean_variant_keeps_the_mean_logit():
    stream, marks = in_double(blob_stream("domain")), []
    inputs = stream.tasks[0].train.raw()
    method = shipped("ogd", samples=1000, logits="mean")
    learner = learner_for(stream, hidden=())
    learn(method, stream, learner, after=lambda task, lrn: marks.append(lrn.logits(inputs).detach()))
    assert (marks[2].mean(1) - marks[0].mean(1)).abs().max() < 1e-10
    assert (marks[2] - marks[0]).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spanned_rows_add_nothing_and_the_basis_is_bounded(dtype):
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(5, 40, generator=g, dtype=dtype)
    basis = extend(rows.new_zeros(0, 40), rows)
    assert len(basis) == 5
    assert len(extend(basis, torch.randn(8, 5, generator=g, dtype=dtype) @ rows)) == 5
    assert len(extend(basis, torch.zeros(3, 40, dtype=dtype))) == 5
    assert len(extend(basis, torch.randn(1, 40, generator=g, dtype=dtype).expand(6, -1))) == 6
    full = extend(basis, torch.randn(100, 40, generator=g, dtype=dtype))
    assert full.shape == (40, 40)
    assert (full @ full.mT - torch.eye(40, dtype=dtype)).abs().max() < 20 * torch.finfo(dtype).eps
    assert torch.equal(full[:5], basis)
    assert extend(full, rows).shape == (40, 40)


def test_rows_that_nearly_lie_in_the_basis_still_leave_it_orthonormal():
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(20, 300, generator=g)
    basis = extend(rows.new_zeros(0, 300), rows)
    near = torch.randn(20, 20, generator=g) @ rows + 1e-4 * torch.randn(20, 300, generator=g)
    both = extend(basis, near)
    assert len(both) == 40
    assert (both @ both.mT - torch.eye(40)).abs().max() < 1e-5


@pytest.mark.parametrize("logits", ["truth", "mean", "all"])
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_gradients_are_autograds_one_by_one(setting, logits):
    """On a model with attention, convolution, embedding and normalisation; the method itself learns with it too."""
    stream, learner = attentive(setting)
    learner.start(1)
    positions = torch.tensor([3, 0, 7])
    task = stream.tasks[1]
    names = [name for name in learner.parameters if not (setting == "task" and name.startswith("heads."))]
    batch = learner.batch(task.train, positions)
    found = list(logit_gradients(learner, task.train, positions, names, logits))
    width = {"task": 2, "domain": 2, "class": 4}[setting]
    assert len(found) == (width if logits == "all" else 1)
    parameters = [learner.parameters[name] for name in names]
    for c, rows in enumerate(found):
        for i, row in enumerate(rows):
            out = learner.forward(batch)[i]
            assert len(out) == width
            scalar = {"truth": out[batch.labels[i]], "mean": out.mean(), "all": out[c]}[logits]
            own = torch.autograd.grad(scalar, parameters, allow_unused=True)
            expected = torch.cat([(p * 0 if g is None else g).flatten() for g, p in zip(own, parameters, strict=True)])
            torch.testing.assert_close(row, expected, atol=1e-6, rtol=1e-4)


def test_gradients_in_parts_are_the_same(monkeypatch):
    stream = blob_stream("class")
    learner = learner_for(stream)
    learner.start(0)
    arguments = (learner, stream.tasks[0].train, torch.arange(11), list(learner.parameters), "truth")
    (whole,) = logit_gradients(*arguments)
    monkeypatch.setattr("clbench.methods.ogd.GRADIENT_BYTES", 3 * 4 * whole.shape[1])
    (parts,) = logit_gradients(*arguments)
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize("outputs", ["seen", "all"])
def test_foreign_heads_are_left_alone_and_the_own_one_is_free(outputs):
    stream, marks, steps = blob_stream("task", outputs), [], []

    class Watched(OGD):
        def edit_update(self, learner, updates):
            name = f"heads.{learner.task}.weight"
            before = updates[name].clone()
            super().edit_update(learner, updates)
            steps.append(torch.equal(before, updates[name]))

    method = shipped("ogd", Watched, samples=20)
    learn(method, stream, after=lambda task, lrn: marks.append(weights(lrn)))
    assert list(method._sizes) == THETA
    assert all(steps)
    if outputs == "seen":
        assert torch.equal(marks[0]["heads.0.weight"], marks[2]["heads.0.weight"])
        assert not torch.equal(marks[0]["heads.1.weight"], marks[2]["heads.1.weight"])


@pytest.mark.parametrize("setting", ["domain", "class"])
def test_the_shared_head_is_covered(setting):
    method = shipped("ogd", samples=3)
    learn(method, blob_stream(setting), tasks=1)
    assert list(method._sizes) == [*THETA, "heads.0.weight", "heads.0.bias"]
    assert method.basis[:, -14:].abs().max() > 0


def test_a_model_without_shared_parameters_has_nothing_to_keep():
    stream, marks = blob_stream("task"), []
    method = shipped("ogd", samples=3)
    learn(method, stream, learner_for(stream, hidden=()), after=lambda task, lrn: marks.append(weights(lrn)))
    assert torch.equal(marks[0]["heads.0.weight"], marks[2]["heads.0.weight"])
    assert method.basis.shape == (0, 0)


def test_it_reports_what_is_stored_and_removed():
    stream, found = blob_stream("domain"), []
    method = shipped("ogd", samples=6)
    learn(method, stream, after=lambda task, lrn: found.append(method.diagnostics()["parameters"]))
    assert [(entry["taken"], entry["added"]) for entry in found] == [(6, 6), (12, 6), (18, 6)]
    assert found[0]["of"] == 16 * 16 + 16 + 2 * 16 + 2
    assert found[0]["removed"] is None
    assert all(0 < entry["removed"] < 1 for entry in found[1:])
    state = method.state()
    assert list(state) == ["basis"]
    assert state["basis"].dtype == torch.float32
    assert state["basis"].shape == (18, found[0]["of"])


def test_it_forgets_less_than_naive_and_learns():
    stream = blob_stream("domain", kind="permuted", n_tasks=4)
    _, plain = learn(Naive(), stream)
    _, kept = learn(shipped("ogd", samples=30), stream)
    fall = [sum(rows[j][j] - rows[-1][j] for j in range(3)) for rows in (plain, kept)]
    gain = [sum(rows[j][j] for j in range(4)) for rows in (plain, kept)]
    assert fall[1] < fall[0] / 2
    assert gain[1] > 0.9 * gain[0]


@pytest.mark.parametrize(("key", "value"), [("samples", 0), ("samples", 2.5), ("logits", "some"), ("statistics", "drop")])
def test_values_out_of_bounds_are_refused(key, value):
    with pytest.raises(ConfigError, match=rf"method.{key}={value!r}"):
        shipped("ogd", **{key: value})


def test_replay_beside_it_is_refused():
    with pytest.raises(RefusedError, match="replays samples and ogd projects"):
        Compose({"er": shipped("er"), "ogd": shipped("ogd")})
