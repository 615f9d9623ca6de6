"""Methods with a model that writes answers, token by token: each learns, and acts as it does on labels."""

import pytest
import torch

from clbench.data.pool import Pool
from clbench.engine.optimizers import SGD
from clbench.errors import RefusedError
from clbench.method import Method
from clbench.methods.agem import AGEM
from clbench.methods.compose import Compose
from clbench.methods.der import DER
from clbench.methods.er import ER
from clbench.methods.ewc import EWC
from clbench.methods.gem import GEM
from clbench.methods.joint import Joint
from clbench.methods.lwf import LwF
from clbench.methods.naive import Naive
from clbench.methods.si import SI
from clbench.toolkit.importance import diagonal_fisher
from tests.riddles import encoder_for, riddle_stream, writer_for
from tests.streams import learn, same, trainer, weights

pytest.importorskip("transformers")
STREAM = riddle_stream()


def methods():
    return {
        "er": ER(12, None, "reservoir"),
        "agem": AGEM(12, 8, "stream", "ring"),
        "gem": GEM(12, 0.5, 1e-3, "end"),
        "ewc": EWC(10.0, "online", 1.0, "empirical", 20),
        "si": SI(0.5, 0.1, "total"),
        "lwf": LwF(1.0, 2.0, False, True),
    }


@pytest.mark.parametrize("name", list(methods()))
@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_every_method_that_says_so_learns_and_differs_from_naive(name, kind):
    plain, _ = learn(Naive(), STREAM, writer_for(STREAM, kind), tasks=2, how=trainer(2, 8))
    method = methods()[name]
    assert method.supports_generation
    learner, rows = learn(method, STREAM, writer_for(STREAM, kind), tasks=2, how=trainer(2, 8))
    bound = name in ("agem", "gem")  # which act only where a step would do harm
    assert bound or not same(weights(plain), weights(learner))
    assert all(torch.isfinite(value).all() for value in weights(learner).values())
    assert len(rows) == 2


def test_joint_training_learns_all_riddles_and_naive_keeps_only_the_last():
    _, joint = learn(Joint(), STREAM, writer_for(STREAM), how=trainer(12, 8))
    _, naive = learn(Naive(), STREAM, writer_for(STREAM), how=trainer(12, 8))
    assert min(joint[-1]) >= 8, joint  # of 16 each
    assert sum(naive[-1][:2]) < sum(joint[-1][:2]) / 2, naive
    assert not Method.supports_generation
    assert not DER.supports_generation


def test_the_fisher_information_is_the_mean_of_squared_gradients_of_each_answers_likelihood():
    learner = writer_for(STREAM)
    learner.start(0)
    split = STREAM.tasks[0].train.select(torch.tensor([0, 30, 40]))
    found = diagonal_fisher(learner, split, "empirical", None, torch.Generator())
    names, parameters = learner.trainable()
    learner.model.eval()
    expected = {name: torch.zeros_like(p) for name, p in zip(names, parameters, strict=True)}
    for position in range(3):
        batch = learner.batch(split, torch.tensor([position]))
        logits = learner.forward(batch)
        value = torch.log_softmax(logits, 1).gather(1, batch.labels[:, None]).sum()
        for name, gradient in zip(names, torch.autograd.grad(value, parameters), strict=True):
            expected[name] += gradient.square() / 3
    for name in names:
        torch.testing.assert_close(found[name], expected[name])
    with pytest.raises(RefusedError, match=r"(?s)exact Fisher.*empirical"):
        diagonal_fisher(learner, split, "exact", None, torch.Generator())


def test_the_exact_one_is_refused_before_anything_is_trained_and_not_where_there_are_classes():
    parts = {"er": ER(12, None, "reservoir"), "ewc": EWC(10.0, "online", 1.0, "exact", 20)}
    for method in (parts["ewc"], Compose(parts)):
        with pytest.raises(
            RefusedError, match=r"(?s)method\.fisher=exact.*all 20 tokens.*method\.fisher=empirical or sampled"
        ) as caught:
            method.setup(writer_for(STREAM), STREAM)
        assert "method.parts.NAME.fisher" in caught.value.remedy
    classes = riddle_stream("class", form="classes")
    parts["ewc"].setup(encoder_for(classes), classes)


def test_an_encoders_fisher_information_is_that_of_per_sample_gradients():
    stream = riddle_stream("class", form="classes")
    learner = encoder_for(stream)
    learner.start(0)
    split = stream.tasks[0].train.select(torch.tensor([0, 30]))
    found = diagonal_fisher(learner, split, "exact", None, torch.Generator())
    names, parameters = learner.trainable()
    expected = {name: torch.zeros_like(p) for name, p in zip(names, parameters, strict=True)}
    for position in range(2):
        logits = torch.log_softmax(learner.forward(learner.batch(split, torch.tensor([position]))), 1)[0]
        for logit in logits:
            gradients = torch.autograd.grad(logit, parameters, retain_graph=True, allow_unused=True)
            for name, gradient in zip(names, gradients, strict=True):
                if gradient is not None:
                    expected[name] += gradient.square() * logit.exp().detach() / 2
    for name in names:
        torch.testing.assert_close(found[name], expected[name])


class Recorder(Naive):
    """Naive, with a penalty that pulls and keeps count."""

    def setup(self, learner, stream):
        self._calls = 0

    def penalty(self, learner, batch, logits):
        self._calls += 1
        return 0.1 * sum(p.square().sum() for p in learner.parameters.values())


@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_batch_in_parts_gives_the_step_of_the_whole_and_counts_a_penalty_once(size):
    stream = riddle_stream()
    whole = writer_for(stream, optimizer=SGD(0.05))  # Adam would make steps of roundings
    learn(Recorder(), stream, whole, tasks=1, how=trainer(1, 16))
    method, parts = Recorder(), writer_for(stream, optimizer=SGD(0.05))
    learn(method, stream, parts, tasks=1, how=trainer(1, 16, micro_batch_size=size))
    assert method._calls == 48 // size if 16 % size == 0 else 3 * 6
    for name, value in whole.parameters.items():
        torch.testing.assert_close(value, parts.parameters[name], rtol=1e-4, atol=1e-6)


def test_replay_in_parts_keeps_whom_samples_belong_to():
    stream = riddle_stream()
    results = []
    for size in (None, 5):
        method = LwF(1.0, 2.0, False, False)
        learner = writer_for(stream, optimizer=SGD(0.05))
        learn(method, stream, learner, tasks=2, how=trainer(1, 16, micro_batch_size=size))
        results.append(learner.parameters)
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], rtol=1e-4, atol=1e-6)


def test_epochs_and_rate_by_task():
    stream, seen = riddle_stream(), []

    class Watching(Naive):
        def edit_update(self, learner, updates):
            seen.append((learner.task, learner.lr))

    learn(Watching(), stream, writer_for(stream), how=trainer([3, 1], 48, later_lr=1e-4))
    assert seen == [(0, 3e-3)] * 3 + [(1, 1e-4), (2, 1e-4)]


def test_a_pool_goes_to_a_device_with_all_that_belongs_to_it():
    pool = STREAM.tasks[0].train.pool
    moved = pool.to(torch.device("cpu"))
    assert isinstance(moved, Pool)
    assert (moved.pad, moved.vocabulary) == (pool.pad, pool.vocabulary)
    assert torch.equal(moved.answers, pool.answers)
