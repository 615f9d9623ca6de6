"""FedSVD: what a decomposition keeps, and what it changes."""

import pytest
import torch

from clbench.engine.training.loop import Training
from clbench.errors import RefusedError
from clbench.federated.servers.fedsvd import refactored
from tests.federated.servers.rounds import federate, federated_stream
from tests.federated.servers.shipped import shipped
from tests.methods import shipped as methods
from tests.streams import blob_stream, learner_for, same, trainer, weights


def pair(rank=4, out=9, width=12, seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rank, width, generator=g, dtype=dtype), torch.randn(out, rank, generator=g, dtype=dtype)


def deficient():
    a, b = pair()
    b[:, 2] = b[:, 1]
    return a, b


CASES = {
    "tall": pair(4, 9, 12),
    "wide": pair(4, 20, 6),
    "square": pair(6, 6, 6),
    "one": pair(1, 5, 3),
    "few outputs": pair(4, 2, 8),
    "deficient": deficient(),
    "twins": (torch.eye(3, 7), torch.eye(5, 3)),  # singular values that are all the same
    "float64": pair(dtype=torch.float64),
}


@pytest.mark.parametrize("case", CASES)
def test_the_product_stays_and_the_rows_become_orthonormal(case):
    a, b = CASES[case]
    turned, left = refactored(a, b)
    assert (turned.shape, left.shape, turned.dtype, left.dtype) == (a.shape, b.shape, a.dtype, b.dtype)
    product = b.double() @ a.double()
    assert float((left.double() @ turned.double() - product).norm()) <= 1e-6 * float(product.norm())
    torch.testing.assert_close(turned.double() @ turned.double().mT, torch.eye(len(a)).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_singular_value_decomposition(case):
    a, b = CASES[case]
    turned, left = refactored(a.double(), b.double())
    gram = left.mT @ left
    values = torch.linalg.svdvals(b.double() @ a.double())
    padded = torch.zeros(len(a), dtype=torch.float64)
    padded[: len(values)] = values[: len(a)]
    torch.testing.assert_close(gram, torch.diag(padded**2), rtol=1e-9, atol=1e-9)
    assert bool((turned.gather(1, turned.abs().argmax(1, keepdim=True)) > 0).all())  # the sign is settled


@pytest.mark.parametrize("case", sorted(set(CASES) - {"twins"}))
def test_a_second_time_changes_nothing(case):
    a, b = (factor.double() for factor in CASES[case])
    once = refactored(a, b)
    twice = refactored(*once)
    torch.testing.assert_close(twice[1], once[1], rtol=1e-9, atol=1e-9)
    kept = once[1].norm(dim=0) > 1e-9  # what has no weight may turn
    torch.testing.assert_close(twice[0][kept], once[0][kept], rtol=1e-9, atol=1e-9)


def test_it_is_deterministic():
    a, b = CASES["tall"]
    one, two = refactored(a, b), refactored(a.clone(), b.clone())
    assert all(torch.equal(x, y) for x, y in zip(one, two, strict=True))


def test_what_a_rotation_between_the_factors_hides_comes_out_the_same():
    """A and B are known up to an invertible matrix between them; their decomposition is not."""
    a, b = pair(dtype=torch.float64)
    between = pair(4, 4, 4, seed=5, dtype=torch.float64)[0]
    one, two = refactored(a, b), refactored(torch.linalg.solve(between, a), b @ between)
    for x, y in zip(one, two, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9)


def test_where_b_is_zero_both_stay():
    a, b = pair()
    turned, left = refactored(a, torch.zeros_like(b))
    assert torch.equal(turned, a)
    assert not bool(left.any())


def test_more_rows_than_entries_are_refused():
    a, b = pair(5, 8, 4)
    with pytest.raises(RefusedError, match=r"rank=4"):
        refactored(a, b)


def test_clients_train_b_and_the_heads():
    names = ["backbone.q.lora_A.task0.weight", "backbone.q.lora_B.task0.weight", "heads.0.weight", "backbone.norm.weight"]
    assert shipped("fedsvd").trained(names) == [names[1], names[2]]
    assert shipped("fedsvd", head="freeze").trained(names) == [names[1]]


def test_without_adapters_it_is_refused():
    with pytest.raises(RefusedError, match="method=seq_lora"):
        shipped("fedsvd").trained(["backbone.layers.0.weight", "heads.0.weight"])


LORA = {"rank": 2, "alpha": 4.0, "dropout": 0.0}


def lora():
    pytest.importorskip("peft")
    return methods.shipped("seq_lora", **LORA)


def product(learner):
    """Return B A of the one adapted layer."""
    found = {name.rsplit(".", 3)[1]: p.detach().double() for name, p in learner.parameters.items() if ".lora_" in name}
    return found["lora_B"] @ found["lora_A"], found["lora_A"]


def train(rule, start=None, clients=4, rounds=4, tasks=1, how=None, **options):
    """Return product and A after every round, and the training; `start(learner)` may change the model after it got adapters."""
    learner = learner_for(federated_stream(blob_stream("domain"), clients))
    seen = []

    class Started(type(rule)):
        def begin_task(self, learner, task):
            super().begin_task(learner, task)
            if start is not None and task.index == 0:
                start(learner)

    rule.__class__ = Started
    after = lambda training, round: seen.append(product(training.learner))  # noqa: E731
    run = federate(rule, learner.stream, lora, clients, rounds, tasks, learner, how, after=after, **options)
    return seen, run


def orthonormal(learner):
    """Give A orthonormal rows with the same span."""
    for name, p in learner.parameters.items():
        if ".lora_A." in name:
            with torch.no_grad():
                p.copy_(torch.linalg.qr(p.mT).Q.mT)


def test_without_decompositions_a_is_what_it_was_drawn_as():
    """FFA-LoRA; and the clients' own A stands still too, or their B would not be what it is for the common A."""
    seen, run = train(shipped("fedsvd", period=0), clients=1)
    a = seen[0][1]
    assert all(torch.equal(each, a) for _, each in seen)
    probe = learner_for(federated_stream(blob_stream("domain"), 1))
    method = lora()
    method.setup(probe, probe.stream)
    task = probe.stream.tasks[0]
    probe.start(0)
    method.begin_task(probe, task)
    for name, p in probe.parameters.items():
        p.requires_grad_(".lora_B." in name or name.startswith("heads."))
    probe.rebuild()
    training = Training(probe, method, trainer(epochs=1))
    for round in range(4):
        training.start(task, first_epoch=round)
        training.fit(task.train)
    for name, value in weights(run.learner).items():
        torch.testing.assert_close(value, weights(probe)[name], msg=name)


def test_rows_are_orthonormal_after_every_period():
    seen, _ = train(shipped("fedsvd", period=2), rounds=5)
    apart = [float((a @ a.mT - torch.eye(2).double()).abs().max()) for _, a in seen]
    assert apart[0] > 1e-2
    assert max(apart[1:]) < 1e-6
    assert torch.equal(seen[1][1], seen[2][1])  # between decompositions A stands still
    assert not torch.equal(seen[2][1], seen[3][1])


@pytest.mark.parametrize("clients", [1, 4])
def test_under_plain_descent_it_is_training_of_b_on_orthonormal_rows(clients):
    """Up to the basis: a step of B moves the product by its gradient times A^T A, which no rotation changes."""
    plain, _ = train(shipped("fedsvd", period=0), orthonormal, clients)
    turned, _ = train(shipped("fedsvd", period=1), orthonormal, clients)
    for (one, _), (other, _) in zip(plain, turned, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(plain[-1][1], turned[-1][1], atol=1e-2)  # the last bases


@pytest.mark.parametrize("head", ["train", "freeze"])
def test_what_travels(head):
    """A down and not up; B both ways; heads up where they train, and nothing that stands still."""
    start = weights(learner_for(blob_stream("domain")))
    _, run = train(shipped("fedsvd", head=head), clients=4, rounds=3)
    a, b, heads = 2 * 16, 16 * 2, sum(value.numel() for name, value in start.items() if name.startswith("heads."))
    up = 4 * 3 * 4 * (b + (heads if head == "train" else 0))
    assert run.sent["up"] == up
    assert run.sent["down"] == 4 * 3 * 4 * (a + b + heads)
    moved = [name for name, value in weights(run.learner).items() if name in start and not torch.equal(value, start[name])]
    assert bool(moved) is (head == "train")
    assert all(name.startswith("heads.") for name in moved)


def test_a_new_adapter_of_every_task_is_turned_too():
    pytest.importorskip("peft")
    make = lambda: methods.shipped("inc_lora", **LORA, past="apart")  # noqa: E731
    run = federate(shipped("fedsvd"), blob_stream("domain"), make)
    for name, p in run.learner.parameters.items():
        if name.endswith("lora_A.task2.weight"):
            torch.testing.assert_close(p @ p.mT, torch.eye(2), rtol=0, atol=1e-5)
            return
    raise AssertionError("no adapter of task 2")


def test_it_is_deterministic_over_rounds():
    (_, one), (_, two) = (train(shipped("fedsvd"), tasks=2) for _ in range(2))
    assert same(weights(one.learner), weights(two.learner))


def test_a_method_without_adapters_is_refused():
    with pytest.raises(RefusedError, match="trains none"):
        federate(shipped("fedsvd"), blob_stream("domain"))
