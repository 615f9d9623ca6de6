"""ROGO: GPM with relaxed directions near the new task; folding changes nothing; the step of W itself stays projected."""

import pytest
import torch

from clbench.engine.optimizers import SGD, Adam
from clbench.engine.schedules import Step
from clbench.engine.training.loop import Training
from clbench.errors import ConfigError
from clbench.methods.rogo import ROGO
from tests.methods.shipped import shipped
from tests.streams import blob_stream, learn, learner_for, same, trainer, weights

OPTIMIZERS = {
    "momentum and weight decay": lambda: SGD(0.05, 0.9, 0.01),
    "adam": lambda: Adam(0.01, (0.9, 0.999), 1e-8),
}
LOOSE = {"threshold": 0.95, "samples": 100, "cosine": 0.3, "strength": 0.1}


class Watched(ROGO):
    """Stores the state at the end of a task, before folding."""

    def setup(self, learner, stream):
        super().setup(learner, stream)
        self._logs = []

    def end_task(self, learner, task, history):
        learner.model.eval()
        inputs = learner.batch(task.train, torch.arange(20)).inputs
        log = {
            "task": task.index,
            "bases": {n: b.clone() for n, b in self.bases.items()},
            "relaxed": dict(self._relaxed),
            "rest": {n: self._rest[n] for n in self._relaxed},
            "changes": {n: learner.added(n).detach().clone() for n in self._relaxed},
            "own": {n: p.detach().clone() for n, p in learner.parameters.items() if not n.startswith("added.")},
            "before": learner.logits(inputs, self._own(learner)).detach(),
            "gradients": None,
        }
        super().end_task(learner, task, history)
        log["after"] = learner.logits(inputs, self._own(learner)).detach()
        self._logs.append(log)

    def _own(self, learner):
        return learner.task if learner.stream.setting == "task" else None


def watched(setting, optimizer="momentum and weight decay", bias=True, **changes):
    stream = blob_stream(setting)
    method = shipped("rogo", Watched, **LOOSE | changes)
    learner = learner_for(stream, optimizer=OPTIMIZERS[optimizer](), bias=bias)
    starts = []
    begin = method.begin_task

    def begin_task(lrn, task):
        starts.append(weights(lrn))
        begin(lrn, task)

    method.begin_task = begin_task
    learn(method, stream, learner, how=trainer(epochs=4))
    return method, starts, learner


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_a_cosine_above_one_is_gpm_bit_for_bit(setting, name):
    stream = blob_stream(setting)
    runs = []
    for method in (shipped("gpm", samples=100), shipped("rogo", samples=100, cosine=1.01)):
        learner, _ = learn(method, stream, learner_for(stream, optimizer=OPTIMIZERS[name]()), how=trainer(epochs=3))
        runs.append(weights(learner))
    assert same(*runs)
    relaxed, _ = learn(shipped("rogo", **LOOSE), stream, learner_for(stream, optimizer=OPTIMIZERS[name]()), how=trainer(epochs=3))
    assert not same(runs[0], weights(relaxed))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_relaxed_directions_are_a_part_of_the_protected_space(setting, bias):
    method, _, _ = watched(setting, bias=bias)
    seen = 0
    for log in method._logs:
        for name, basis in log["relaxed"].items():
            seen += 1
            whole, rest = log["bases"][name], log["rest"][name]
            torch.testing.assert_close(basis.mT @ basis, torch.eye(basis.shape[1]), atol=1e-5, rtol=0)
            assert (basis - whole @ (whole.mT @ basis)).abs().max() < 1e-5
            assert (rest.mT @ basis).abs().sum() < 1e-4
            assert rest.shape[1] + basis.shape[1] == whole.shape[1]
            assert log["changes"][name].shape == 2 * (basis.shape[1],)
            assert log["changes"][name].abs().max() > 0, "D was trained"
    assert seen
    assert any(entry["relaxed"] for entry in method.diagnostics().values())


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("setting", ["task", "domain"])
def test_folding_leaves_the_function_and_the_own_step_is_off_the_past(setting, name):
    method, starts, learner = watched(setting, name)
    assert not hasattr(learner.model, "added")
    for log, start in zip(method._logs, starts, strict=True):
        torch.testing.assert_close(log["before"], log["after"], atol=1e-5, rtol=1e-5)
        for key, basis in log["bases"].items():
            matrix = method._matrices[key]
            step = matrix.joined(log["own"]) - matrix.joined(start)
            assert (step @ basis).abs().max() < 1e-5 * max(1.0, float(step.abs().max()))
    changed = [log for log in method._logs if log["relaxed"]]
    assert changed
    key = next(iter(changed[0]["relaxed"]))
    folded = method._matrices[key].joined(starts[changed[0]["task"] + 1])
    assert (folded - method._matrices[key].joined(changed[0]["own"])).abs().max() > 1e-4


def test_the_penalty_holds_the_change_small():
    sizes = []
    for strength in (0.0, 1.0, 10.0):
        method, _, _ = watched("domain", strength=strength)
        sizes.append(max(float(c.norm()) for log in method._logs for c in log["changes"].values()))
    assert sizes[0] > sizes[1] > sizes[2]


def test_the_search_may_wait_for_the_schedule_and_has_an_end():
    stream = blob_stream("domain")

    def rates(**changes):
        method = shipped("rogo", **LOOSE | changes)
        learner, seen = learner_for(stream), []
        method.setup(learner, stream)
        training = Training(learner, method, trainer(epochs=6, schedule=Step([1, 3], 2.0)))
        for task in stream.tasks[:2]:
            training.learn(task, on_epoch=lambda epoch, epochs: seen.append(round(learner.lr / 0.05, 6)))
        return seen[6:]

    plain = [1, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert rates(cosine=1.1) == plain
    assert rates(search="decay", rate=1.0) == plain
    assert rates(search="decay", rate="reset", searches=1) == [1, 1, 1, 0.5, 0.5, 0.5]
    assert rates(search="decay", rate="reset", searches=1, search_below=0.0125) == [1, 0.5, 0.5, 1, 1, 1]
    assert rates(search="decay", rate="reset", search_below=0.01) == plain
    halved = rates(rate=0.5, cosine=0.01, searches=1)
    assert halved == [1, 0.25, 0.25, 0.125, 0.125, 0.125]


@pytest.mark.parametrize("key", ["energy", "cosine"])
def test_a_value_per_layer_must_fit_the_model(key):
    with pytest.raises(ConfigError, match=rf"method.{key}.*2 layers"):
        learn(shipped("rogo", **{key: [0.9, 0.9, 0.9]}), blob_stream("domain"))


def test_it_learns_more_than_gpm_where_gpm_is_full():
    """Where every direction is taken, GPM cannot move; relaxed directions can."""
    stream = blob_stream("domain", kind="permuted", n_tasks=4)
    rows = {}
    for name, changes in {"gpm": {}, "rogo": {"cosine": 0.5, "strength": 0.01}}.items():
        method = shipped(name, threshold=1.0, samples=240, **changes)
        _, rows[name] = learn(method, stream, how=trainer(epochs=4))
    gained = {name: sum(found[j][j] for j in range(1, 4)) for name, found in rows.items()}
    assert gained["rogo"] > gained["gpm"]
