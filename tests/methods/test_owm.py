"""OWM: P is recursive least squares on the inputs; a small alpha keeps old outputs, a large alpha is the plain run."""

import pytest
import torch

from clbench.engine.optimizers import SGD, Adam
from clbench.errors import ConfigError, RefusedError
from clbench.method import Method
from clbench.methods.compose import Compose
from clbench.methods.naive import Naive
from clbench.methods.owm import OWM, spectrum
from clbench.toolkit import weight_matrices
from tests.methods.shipped import shipped
from tests.methods.test_ogd import in_double
from tests.streams import blob_stream, learn, learner_for, same, trainer, weights
from tests.toolkit.test_weight_matrices import attentive

OPTIMIZERS = {
    "sgd": lambda: SGD(0.05),
    "momentum and weight decay": lambda: SGD(0.05, 0.9, 0.05),
    "adam": lambda: Adam(0.01, (0.9, 0.999), 1e-8),
}


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def applied(method, name):
    """Return the P that a step of matrix `name` is multiplied with, by handing it the identity for a step."""
    matrix, moment = method._matrices[name], method.moments[name]
    weight, bias = matrix.parted(torch.eye(len(moment)))
    updates = {matrix.weight: weight} | ({} if bias is None else {matrix.bias: bias})
    weight_matrices.project(updates, method._matrices, {name: method._projectors[name]})
    return matrix.joined(updates)


def recursion(rows, alpha):
    """Return P after the paper's update with each of `rows` `[n, d]`, one by one."""
    p = torch.eye(rows.shape[1], dtype=rows.dtype)
    for x in rows:
        k = p @ x / (alpha + x @ p @ x)
        p = p - torch.outer(k, x @ p)
    return p


def closed(rows, alpha):
    return alpha * torch.linalg.inv(alpha * torch.eye(rows.shape[1], dtype=rows.dtype) + rows.mT @ rows)


class Recorded(OWM):
    """Stores the inputs of its P, in their order, and P after each task."""

    def setup(self, learner, stream):
        super().setup(learner, stream)
        self._seen = {name: [] for name in self._matrices}
        self._logs = []

    def end_task(self, learner, task, history):
        size = self.batch if self.inputs == "means" else len(task.train)
        order = torch.randperm(len(task.train), generator=learner.generator("owm", task.index))
        counts = {}
        for part in order.split(size):
            for name, rows in weight_matrices.entering(learner, task.train, part, self._matrices):
                x = rows if self.inputs == "all" else rows.mean(0, keepdim=True)
                self._seen[name].append(x)
                counts[name] = counts.get(name, 0) + len(x)
        if self.energy == "mean":
            for name, count in counts.items():
                fresh = torch.cat(self._seen[name])[-count:]
                self._seen[name] = [torch.cat(self._seen[name])[:-count], fresh / count**0.5]
        super().end_task(learner, task, history)
        self.begin_task(learner, task)
        self._logs.append({name: applied(self, name) for name in self.moments})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("energy", ["mean", "sum"])
@pytest.mark.parametrize("inputs", ["all", "means"])
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
@pytest.mark.usefixtures("double")
def test_p_is_what_the_papers_recursion_makes_of_the_inputs(setting, inputs, energy, bias, monkeypatch):
    monkeypatch.setattr("clbench.methods.owm.CHUNK", 33)
    stream = in_double(blob_stream(setting))
    method = shipped("owm", Recorded, inputs=inputs, energy=energy, alpha=0.3, batch=9)
    learn(method, stream, learner_for(stream, bias=bias))
    assert list(method._logs[2]) == ["backbone.layers.0.weight"] + (["heads.0.weight"] if setting != "task" else [])
    for name, found in method._logs[2].items():
        rows = torch.cat(method._seen[name])
        assert rows.shape == (3 * (80 if inputs == "all" else 9), 16 + bias)
        torch.testing.assert_close(found, closed(rows, 0.3), atol=1e-10, rtol=0)
        torch.testing.assert_close(found, recursion(rows, 0.3), atol=1e-8, rtol=0)


@pytest.mark.parametrize("alpha", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("inputs", ["all", "means"])
def test_p_is_symmetric_between_0_and_1_and_only_shrinks(inputs, alpha):
    method = shipped("owm", Recorded, inputs=inputs, alpha=alpha, batch=10)
    learn(method, blob_stream("domain", kind="permuted", n_tasks=4))
    for name in method.moments:
        before = torch.eye(len(method.moments[name]))
        for log in method._logs:
            p = log[name]
            assert (p - p.mT).abs().max() < 1e-5
            values = torch.linalg.eigvalsh((p + p.mT) / 2)
            assert values.min() > -1e-5
            assert values.max() < 1 + 1e-5
            assert torch.linalg.eigvalsh(before - p).min() > -1e-5
            before = p


def test_directions_without_energy_are_free():
    moment = torch.diag(torch.tensor([4.0, 0.0, 1.0, 1e-20], dtype=torch.float64))
    vectors, energies = spectrum(moment)
    assert vectors.shape == (4, 2)
    torch.testing.assert_close(energies, torch.tensor([1.0, 4.0], dtype=torch.float64))
    assert spectrum(torch.zeros(3, 3, dtype=torch.float64))[0].shape == (3, 0)


def drift(kind=OWM, setting="domain", optimizer="sgd", hidden=(), bias=True, **changes):
    """Return the movement of outputs on the first task's inputs during later tasks."""
    stream, marks = in_double(blob_stream(setting, "all" if setting == "class" else "seen")), []
    inputs = stream.tasks[0].train.raw()
    method = shipped("owm", kind, **changes)
    learner = learner_for(stream, optimizer=OPTIMIZERS[optimizer](), hidden=hidden, bias=bias)
    task = 0 if setting == "task" else None
    learn(method, stream, learner, after=lambda _, lrn: marks.append(lrn.logits(inputs, task).detach()))
    return max(float((mark - marks[0]).abs().max()) for mark in marks[1:])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("setting", "hidden"), [("domain", ()), ("class", ()), ("domain", (12,))])
@pytest.mark.usefixtures("double")
def test_a_small_alpha_keeps_the_outputs_on_old_inputs(setting, hidden, name, bias):
    assert drift(setting=setting, optimizer=name, hidden=hidden, bias=bias, alpha=1e-12) < 1e-8
    assert drift(setting=setting, optimizer=name, hidden=hidden, bias=bias, alpha=1e12) > 1e-2


@pytest.mark.usefixtures("double")
def test_the_trunk_is_held_for_old_heads():
    assert drift(setting="task", hidden=(12,), alpha=1e-12, optimizer="momentum and weight decay") < 1e-8


@pytest.mark.usefixtures("double")
def test_without_the_hook_they_move():
    class Forgetful(OWM):
        edit_update = Method.edit_update

    assert drift(Forgetful, alpha=1e-12) > 1e-2


@pytest.mark.usefixtures("double")
def test_a_large_alpha_is_the_plain_run_and_between_the_two_it_is_gradual():
    stream = in_double(blob_stream("domain"))
    plain, _ = learn(Naive(), stream)
    off, _ = learn(shipped("owm", alpha=1e12), stream)
    for name, value in weights(plain).items():
        torch.testing.assert_close(value, weights(off)[name], atol=1e-8, rtol=0)
    drifts = [drift(hidden=(12,), alpha=alpha) for alpha in (1e-3, 1e-1, 1e1, 1e3)]
    assert drifts == sorted(drifts)


def test_the_first_task_is_the_plain_run_bit_for_bit():
    stream = blob_stream("domain")
    plain, _ = learn(Naive(), stream, tasks=1)
    first, _ = learn(shipped("owm"), stream, tasks=1)
    assert same(weights(plain), weights(first))


def test_old_heads_are_left_alone_in_the_task_setting():
    stream, marks = blob_stream("task"), []
    method = shipped("owm")
    learn(method, stream, after=lambda task, lrn: marks.append(weights(lrn)))
    assert torch.equal(marks[0]["heads.0.weight"], marks[2]["heads.0.weight"])
    assert list(method.moments) == ["backbone.layers.0.weight"]


@pytest.mark.parametrize("head", ["project", "free"])
def test_a_shared_head_may_be_left_free(head):
    method = shipped("owm", head=head)
    learn(method, blob_stream("domain"), tasks=1)
    assert ("heads.0.weight" in method.moments) == (head == "project")


def test_it_learns_with_layers_of_any_kind_and_means_are_taken_per_place():
    stream, learner = attentive()
    method = shipped("owm")
    learn(method, stream, learner, tasks=2)
    assert method.moments["backbone.conv.weight"].shape == (10, 10)
    assert all(moment.dtype == torch.float64 for moment in method.moments.values())
    _, learner = attentive()
    del learner.model.backbone.pairs
    learner.model.backbone.pairs = Shift()
    means = shipped("owm", inputs="means", energy="sum", batch=80)
    learn(means, stream, learner, tasks=1)
    (_, rows), *_ = weight_matrices.entering(learner, stream.tasks[0].train, torch.arange(80), means._matrices)
    places = rows.unflatten(0, (80, 16)).mean(0).double()
    torch.testing.assert_close(means.moments["backbone.conv.weight"], places.mT @ places, atol=1e-4, rtol=1e-5)


class Shift(torch.nn.Module):
    def forward(self, x):
        return x.unsqueeze(-1).float()


def test_means_of_what_does_not_come_sample_by_sample_are_refused():
    stream, learner = attentive()
    with pytest.raises(RefusedError, match=r"backbone.pairs.weight do not come sample by sample"):
        learn(shipped("owm", inputs="means"), stream, learner, tasks=1)


def test_it_reports_what_p_holds():
    stream, found = blob_stream("domain"), []
    method = shipped("owm", alpha=0.1)
    learn(method, stream, after=lambda task, lrn: found.append(method.diagnostics()))
    for name, moment in method.moments.items():
        entries = [each[name] for each in found]
        p = 0.1 * torch.linalg.inv(0.1 * torch.eye(17, dtype=torch.float64) + moment)
        assert entries[2]["taken"] == pytest.approx(17 - float(p.trace()))
        assert sum(entry["added"] for entry in entries) == pytest.approx(entries[2]["taken"])
        assert entries[0]["added"] > entries[2]["added"] > 0
        assert [entry["of"] for entry in entries] == [17, 17, 17]
        assert entries[0]["removed"] is None
        assert all(0 < entry["removed"] < 1 for entry in entries[1:])
    assert list(method.state()) == ["moments"]


@pytest.mark.parametrize("options", [{"alpha": 1.0}, {"alpha": 0.03, "inputs": "means", "batch": 16}])
def test_it_forgets_less_than_naive_and_learns(options):
    stream = blob_stream("domain", kind="permuted")
    _, plain = learn(Naive(), stream, how=trainer(epochs=8))
    _, kept = learn(shipped("owm", **options), stream, how=trainer(epochs=8))
    fall = [sum(rows[j][j] - rows[-1][j] for j in range(2)) for rows in (plain, kept)]
    gain = [sum(rows[j][j] for j in range(3)) for rows in (plain, kept)]
    assert fall[1] < fall[0] / 2
    assert gain[1] > 0.95 * gain[0]


def test_an_alpha_per_layer_must_fit_the_model():
    method = shipped("owm", alpha=[1e12, 1e-12])
    learn(method, blob_stream("domain"))
    held = {name: entry["taken"] for name, entry in method.diagnostics().items()}
    assert held["backbone.layers.0.weight"] < 1e-6 < 1 < held["heads.0.weight"]
    with pytest.raises(ConfigError, match=r"method.alpha.*2 layers"):
        learn(shipped("owm", alpha=[1.0, 1.0, 1.0]), blob_stream("domain"))


@pytest.mark.parametrize(
    ("key", "value"), [("alpha", 0.0), ("alpha", -1.0), ("inputs", "some"), ("energy", "max"), ("batch", 0), ("head", "drop")]
)
def test_values_out_of_bounds_are_refused(key, value):
    with pytest.raises(ConfigError, match=rf"method.{key}={value!r}"):
        shipped("owm", **{key: value})


def test_replay_beside_it_is_refused():
    with pytest.raises(RefusedError, match="replays samples and owm projects"):
        Compose({"er": shipped("er"), "owm": shipped("owm")})
