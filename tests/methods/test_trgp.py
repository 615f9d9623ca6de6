"""TRGP: a task mixes what related tasks use, and no old task's function changes."""

import copy
import itertools

import pytest
import torch
from pydantic import ValidationError

from clbench import subspace
from clbench.engine.learner.step_plan import StepPlan
from clbench.engine.optimizers import SGD, Adam
from clbench.engine.training.loop import Training
from clbench.errors import ClbenchError, RefusedError
from clbench.method import Method
from clbench.methods.naive import Naive
from clbench.methods.trgp import TRGP
from clbench.testing.make_run import make_spec, run
from clbench.toolkit import weight_matrices
from tests.methods.shipped import shipped
from tests.methods.test_gpm import OPTIMIZERS
from tests.streams import Blobs, blob_stream, doubled, learn, learner_for, same, trainer, weights

ALL = {"threshold": 1.0, "samples": 1000}
TRUSTING = {"threshold": 0.9, "samples": 100, "trust": 0.2}
FEW = Blobs(per_class=2)
"""Four samples per task: each spans a part of the inputs, so that W moves as well."""


class Watched(TRGP):
    """Stores the gradients behind the trust, and each task's final Q."""

    def setup(self, learner, stream):
        super().setup(learner, stream)
        self._starts, self._ends = [], []

    def begin_task(self, learner, task):
        before = weights(learner)
        super().begin_task(learner, task)
        self._starts.append((before, dict(self._trusted), dict(self.bases), copy.deepcopy(self.spans)))

    def end_task(self, learner, task, history):
        learner.model.eval()
        plain = {name: matrix.joined(learner.parameters).detach().clone() for name, matrix in self._matrices.items()}
        found = self.reparametrize(learner, task.index)
        mixed = {n: m.joined({**learner.parameters, **found}).detach().clone() for n, m in self._matrices.items()}
        self._ends.append((plain, mixed, dict(self.bases), copy.deepcopy(self.spans)))
        super().end_task(learner, task, history)


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def drift(method, optimizer="sgd", bias=True, hidden=(18, 20), dataset=FEW):
    """Return the later movement of old tasks' logits on their training inputs, and the movement of W."""
    stream = doubled(blob_stream("task", dataset=dataset))
    learner = learner_for(stream, optimizer=OPTIMIZERS[optimizer](), hidden=hidden, bias=bias)
    marks, moved, states = [], [], []

    def outputs(task):
        return learner.logits(task.train.raw(), task.index).detach()

    def after(task, lrn):
        marks.append(outputs(task))
        moved.append(max(float((outputs(old) - mark).abs().max()) for old, mark in zip(stream.tasks, marks)))
        states.append(weights(lrn))

    learn(method, stream, learner, after=after, how=trainer(epochs=4, batch_size=4))
    names = [name for name in states[0] if name.startswith("backbone")]
    return max(moved), sum(float((states[2][name] - states[0][name]).abs().sum()) for name in names)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("spaces", ["ranked", "extended"])
def test_old_functions_do_not_change_while_w_and_q_do(double, spaces, name, bias):
    method = shipped("trgp", trust=0.05, spaces=spaces, **ALL)
    moved, step = drift(method, name, bias)
    assert moved < 1e-10
    assert step > 1e-3
    assert any(float(d.abs().max()) > 1e-3 for scales in method.scales for pairs in scales.values() for _, d in pairs)


def test_nor_where_every_direction_is_taken(double):
    method = shipped("trgp", trust=0.05, **ALL)
    moved, step = drift(method, hidden=(12,), dataset=Blobs())
    assert moved < 1e-10
    assert step < 1e-10, "W stands still; heads and Q learn"
    assert method.scales[2]


@pytest.mark.parametrize("broken", ["step", "scales"])
def test_without_the_projection_or_without_the_old_q_they_change(double, broken):
    class Forgetful(TRGP):
        if broken == "step":
            edit_update = Method.edit_update

        def _scales(self, learner, task_id):
            known = broken == "scales" and task_id < len(self.scales)
            return self.scales[-1] if known else super()._scales(learner, task_id)

    assert drift(shipped("trgp", Forgetful, trust=0.05, **ALL))[0] > 1e-3


@pytest.mark.parametrize("name", ["sgd", "momentum and weight decay"])
def test_differentiating_through_what_stands_still_gives_the_same_steps(double, name):
    """The authors' gradient of W, through W S_j too, is this one after projection."""

    class Through(TRGP):
        def reparametrize(self, learner, task_id):
            found = {}
            for key, pairs in self._scales(learner, task_id).items():
                matrix = self._matrices[key]
                joined = mixed = matrix.joined(learner.parameters)
                for old, change in pairs:
                    directions = self.bases[key][:, self.spans[old][key]]
                    mixed = mixed + joined @ directions @ change @ directions.mT
                found |= {each: learner.parameters[each] for each in (matrix.weight, matrix.bias) if each}
                matrix.write(found, *matrix.parted(mixed))
            return found

    stream, runs = doubled(blob_stream("task", dataset=FEW)), []
    for kind in (TRGP, Through):
        method = shipped("trgp", kind, trust=0.05, **ALL)
        learner = learner_for(stream, optimizer=OPTIMIZERS[name](), hidden=(18, 20))
        learn(method, stream, learner, how=trainer(epochs=4, batch_size=4))
        runs.append(weights(learner))
    assert any(method.scales[2].values())
    for key, value in runs[0].items():
        torch.testing.assert_close(value, runs[1][key], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_trusting_nobody_is_gpm_bit_for_bit(name):
    stream, runs = blob_stream("task"), []
    for method in (
        shipped("gpm", samples=100),
        shipped("trgp", samples=100, trust=1.01, spaces="extended"),
        shipped("trgp", samples=100, trust=0.1, spaces="extended"),
    ):
        learner, _ = learn(method, stream, learner_for(stream, optimizer=OPTIMIZERS[name]()), how=trainer(epochs=3))
        runs.append((weights(learner), method.bases))
    assert same(*(run[0] for run in runs[:2]))
    assert same(*(run[1] for run in runs[:2]))
    assert not same(runs[0][0], runs[2][0])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("trust", [0.0, 0.5, 0.8])
def test_trust_is_the_largest_shares_of_the_gradients_norm(trust, most, bias):
    stream = blob_stream("task", kind="permuted", n_tasks=5)
    method = shipped("trgp", Watched, **TRUSTING | {"trust": trust, "most": most, "trust_samples": 1000})
    learner = learner_for(stream, bias=bias)
    learn(method, stream, learner)
    sizes = []
    for task, (before, trusted, bases, spans) in zip(stream.tasks[1:], method._starts[1:], strict=True):
        learner.restore(before)
        learner.start(task.index)
        learner.act_for(StepPlan())
        found = weight_matrices.gradients(learner, task.train, torch.arange(len(task.train)), method._matrices)
        for name, gradient in found.items():
            shares = {}
            for old, span in enumerate(spans):
                directions = bases[name][:, span[name]]
                shares[old] = float((gradient @ directions @ directions.mT).norm() / gradient.norm())
            ranked = sorted((old for old in shares if shares[old] > trust), key=shares.get, reverse=True)
            assert trusted[name] == ranked[:most]
            sizes.append(len(ranked))
    assert max(sizes) > (most if trust < 0.8 else 0)
    assert min(sizes) < (2 if trust < 0.8 else 1)


@pytest.mark.parametrize("bias", [False, True])
def test_the_network_of_a_task_is_w_with_old_spaces_turned_by_q(double, bias):
    """W + sum_j (W S_j Q_j S_j^T - W S_j S_j^T), and W itself as long as Q = I."""
    stream = doubled(blob_stream("task"))
    method = shipped("trgp", Watched, **TRUSTING)
    learner = learner_for(stream, bias=bias)
    learn(method, stream, learner, how=trainer(epochs=4))
    mixings = 0
    for scales, (plain, mixed, bases, spans) in zip(method.scales, method._ends, strict=True):
        for name, weight in plain.items():
            expected = weight.clone()
            for old, change in scales.get(name, []):
                directions = bases[name][:, spans[old][name]]
                q = torch.eye(len(change)) + change
                expected += weight @ directions @ q @ directions.mT - weight @ directions @ directions.mT
                mixings += 1
            torch.testing.assert_close(mixed[name], expected, atol=1e-12, rtol=1e-12)
            assert bool((mixed[name] - weight).abs().max() > 1e-3) == bool(scales.get(name))
    assert mixings
    learner.start(2)
    method.scales.pop()
    method._trusted = {name: [old for old, _ in pairs] for name, pairs in scales.items()}
    for name, pairs in scales.items():
        for old, change in pairs:
            learner.add(f"{name}.{old}", torch.zeros_like(change))
    for name, value in method.reparametrize(learner, 2).items():
        assert torch.equal(value, learner.parameters[name]), "Q = I"


def test_q_of_an_old_task_is_kept_as_it_was_and_counted(tmp_path):
    stream, marks = blob_stream("task", kind="permuted", n_tasks=4), []
    method = shipped("trgp", **TRUSTING)
    learner, _ = learn(method, stream, after=lambda task, lrn: marks.append(copy.deepcopy((method.scales, method.spans))))
    assert not hasattr(learner.model, "added")
    for earlier, later in itertools.pairwise(marks):
        for old, new in zip(earlier[0], later[0]):
            assert old.keys() == new.keys()
            for name in old:
                assert [j for j, _ in old[name]] == [j for j, _ in new[name]]
                assert all(torch.equal(a, b) for (_, a), (_, b) in zip(old[name], new[name], strict=True))
        assert all(torch.equal(old[name], new[name]) for old, new in zip(earlier[1], later[1]) for name in old)
    assert [bool(scales) for scales in marks[-1][0]] == [False, True, True, True]
    torch.save(method.state(), tmp_path / "state")
    again = shipped("trgp", **TRUSTING)
    fresh = learner_for(stream)
    again.setup(fresh, stream)
    again.load_state(fresh, torch.load(tmp_path / "state", weights_only=True))
    fresh.restore(weights(learner))
    Training(fresh, again, trainer())
    for task in stream.tasks:
        inputs = stream.preprocess(task.train.raw())
        learner.model.eval(), fresh.model.eval()
        assert torch.equal(learner.logits(inputs, task.index), fresh.logits(inputs, task.index))


@pytest.mark.parametrize("stop_short", [False, True])
def test_a_task_owns_the_fewest_directions_old_or_new_that_hold_its_energy(stop_short):
    g = torch.Generator().manual_seed(0)
    method = shipped("trgp", stop_short=stop_short)
    method.bases, method.spans = {}, []
    before = torch.zeros(10, 0)
    for task in range(4):
        method._span = {}
        rows = torch.randn(30, 10, generator=g) * torch.logspace(0, -1.5, 10)[torch.randperm(10, generator=g)]
        method.absorb("w", rows, 0.9)
        basis, span = method.bases["w"], method._span["w"]
        torch.testing.assert_close(basis.mT @ basis, torch.eye(basis.shape[1]), atol=1e-5, rtol=0)
        assert torch.equal(basis[:, : before.shape[1]], before)
        residual = rows - rows @ before @ before.mT
        new = torch.linalg.svdvals(residual.double()).square()
        old = (rows @ before).double().square().sum(0)
        ranked = torch.cat([old, new]).sort(descending=True)
        count = int((ranked.values.cumsum(0) < 0.9 * rows.double().square().sum()).sum()) + 1 - int(stop_short and task == 0)
        chosen = ranked.indices[:count]
        assert set(span.tolist()) == set(chosen.tolist())
        assert basis.shape[1] == before.shape[1] + int((chosen >= before.shape[1]).sum())
        assert basis.shape[1] >= subspace.extend(before, rows, 0.9, stop_short and task == 0).shape[1], "never fewer than GPM's"
        before = basis
    assert before.shape[1] > 4


def test_a_threshold_of_zero_owns_nothing_and_is_the_plain_run():
    stream = blob_stream("task")
    plain, _ = learn(Naive(), stream)
    method = shipped("trgp", threshold=0.0)
    off, _ = learn(method, stream)
    assert same(weights(plain), weights(off))
    assert not any(len(span) for spans in method.spans for span in spans.values())


@pytest.mark.parametrize("setting", ["domain", "class"])
def test_a_setting_without_tasks_at_test_is_refused_by_name(setting, tmp_path):
    with pytest.raises(RefusedError, match=rf"(?s)trgp does not support scenario.setting={setting}.*task"):
        run(make_spec("trgp", [f"scenario.setting={setting}"], results_dir=tmp_path))


@pytest.mark.parametrize("changes", [{"trust": -0.1}, {"most": 0}, {"trust_samples": 0}, {"spaces": "all"}])
def test_values_without_a_meaning_are_refused(changes):
    with pytest.raises((ClbenchError, ValidationError), match=next(iter(changes))):
        shipped("trgp", **changes)


def test_what_it_reports():
    method = shipped("trgp", **TRUSTING)
    learn(method, blob_stream("task"))
    for name, entry in method.diagnostics().items():
        assert set(entry) == {"taken", "of", "added", "removed", "trusted", "relaxed"}
        assert entry["relaxed"] == sum(len(method.spans[old][name]) for old in entry["trusted"]) > 0
        assert entry["trusted"] == [old for old, _ in method.scales[-1][name]]


def test_it_learns_more_than_gpm_where_gpm_is_full_and_forgets_less_than_naive():
    stream, rows = blob_stream("task", kind="permuted", n_tasks=4, dataset=Blobs(per_class=10)), {}
    for name, changes in {"naive": None, "gpm": {}, "trgp": {"trust": 0.2}}.items():
        method = Naive() if changes is None else shipped(name, **ALL | changes)
        learner = learner_for(stream, optimizer=SGD(0.02) if name else Adam(0.01, (0.9, 0.999), 1e-8), hidden=(8,))
        _, rows[name] = learn(method, stream, learner, how=trainer(epochs=3))
    gained = {name: sum(found[j][j] for j in range(1, 4)) for name, found in rows.items()}
    fall = {name: sum(found[j][j] - found[-1][j] for j in range(3)) for name, found in rows.items()}
    assert gained["trgp"] > gained["gpm"]
    assert fall["trgp"] == 0 < fall["naive"]
