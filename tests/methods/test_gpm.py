"""GPM: outputs on stored directions do not move, with every optimiser."""

import pytest
import torch

from clbench.engine.optimizers import SGD, Adam
from clbench.errors import ConfigError
from clbench.method import Method
from clbench.methods.gpm import GPM
from clbench.methods.naive import Naive
from tests.methods.shipped import shipped
from tests.streams import blob_stream, doubled, learn, learner_for, same, weights

OPTIMIZERS = {
    "sgd": lambda: SGD(0.05),
    "momentum and weight decay": lambda: SGD(0.05, 0.9, 0.05),
    "adam": lambda: Adam(0.01, (0.9, 0.999), 1e-8),
    "adamw": lambda: Adam(0.01, (0.9, 0.999), 1e-8, 0.1, True),
}


def drift(method: Method, stream, optimizer, bias: bool, hidden=(12,)):
    """Return the movement of outputs on the first task's inputs during later tasks (float64)."""
    torch.set_default_dtype(torch.float64)
    try:
        stream = doubled(stream)
        learner = learner_for(stream, optimizer=optimizer(), hidden=hidden, bias=bias)
        inputs = stream.tasks[0].train.raw()
        marks = []
        learn(
            method,
            stream,
            learner,
            after=lambda task, lrn: marks.append(lrn.logits(inputs, 0 if stream.setting == "task" else None).detach()[:, :2]),
        )
        return max(float((mark - marks[0]).abs().max()) for mark in marks[1:])
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("setting", ["task", "domain"])
def test_outputs_on_stored_inputs_do_not_move(name, setting, bias):
    stream = blob_stream(setting)
    everything = shipped("gpm", threshold=1.0, samples=1000)
    assert drift(everything, stream, OPTIMIZERS[name], bias) < 1e-10


def test_without_the_hook_they_move():
    class Forgetful(GPM):
        edit_update = Method.edit_update

    stream = blob_stream("domain")
    assert drift(shipped("gpm", Forgetful, threshold=1.0, samples=1000), stream, OPTIMIZERS["sgd"], True) > 1e-3


def test_threshold_zero_is_the_plain_run_bit_for_bit():
    stream = blob_stream("domain")
    plain, _ = learn(Naive(), stream, learner_for(stream, optimizer=SGD(0.05, 0.9, 0.01)))
    off, _ = learn(
        shipped("gpm", threshold=0.0, threshold_step=0.1, samples=100),
        stream,
        learner_for(stream, optimizer=SGD(0.05, 0.9, 0.01)),
    )
    assert same(weights(plain), weights(off))


def test_old_heads_are_left_alone_in_the_task_setting():
    stream, marks = blob_stream("task"), []
    method = shipped("gpm", threshold=0.9, samples=50)
    learn(method, stream, after=lambda task, lrn: marks.append(weights(lrn)))
    assert torch.equal(marks[0]["heads.0.weight"], marks[2]["heads.0.weight"])
    assert not any(name.startswith("heads.") for name in method.bases)


def test_bases_grow_and_stay_orthonormal():
    stream, sizes = blob_stream("domain"), []
    method = shipped("gpm", threshold=0.8, threshold_step=0.05, samples=50)
    learn(method, stream, after=lambda task, lrn: sizes.append({n: b.shape[1] for n, b in method.bases.items()}))
    for basis in method.bases.values():
        assert (basis.mT @ basis - torch.eye(basis.shape[1])).abs().max() < 1e-5
        assert basis.shape[1] <= basis.shape[0]
    assert all(sizes[0][name] <= sizes[1][name] <= sizes[2][name] for name in sizes[0])
    assert [entry["of"] for entry in method.diagnostics().values()] == [17, 17]  # 16 inputs and the bias's constant


def thresholds(threshold, step):
    """Return the thresholds that each matrix gets, task by task."""
    found = []

    class Watched(GPM):
        def absorb(self, name, rows, threshold):
            found[-1][name] = threshold
            super().absorb(name, rows, threshold)

        def end_task(self, learner, task, history):
            found.append({})
            super().end_task(learner, task, history)

    learn(shipped("gpm", Watched, threshold=threshold, threshold_step=step, samples=20), blob_stream("domain"))
    return [list(each.values()) for each in found]


def test_the_threshold_rises_by_its_step_after_every_task_up_to_one():
    for one, two in zip(thresholds(0.5, 0.2), [[0.5, 0.5], [0.7, 0.7], [0.9, 0.9]], strict=True):
        assert one == pytest.approx(two)
    for one, two in zip(thresholds([0.5, 0.9], 0.06), [[0.5, 0.9], [0.56, 0.96], [0.62, 1.0]], strict=True):
        assert one == pytest.approx(two)


def test_a_threshold_per_layer_must_fit_the_model():
    with pytest.raises(ConfigError, match=r"method.threshold.*2 layers"):
        learn(shipped("gpm", threshold=[0.9, 0.9, 0.9], samples=10), blob_stream("domain"))


def test_it_forgets_less_than_naive_and_learns():
    stream = blob_stream("domain", kind="permuted", n_tasks=4)
    _, plain = learn(Naive(), stream)
    _, kept = learn(shipped("gpm", threshold=0.95, samples=100), stream)
    fall = [sum(rows[j][j] - rows[-1][j] for j in range(3)) for rows in (plain, kept)]
    assert fall[1] < fall[0]
