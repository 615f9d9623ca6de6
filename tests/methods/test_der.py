"""DER and DER++: switched off they are naive bit for bit; the stored logits; the compared outputs."""

import pytest
import torch
import torch.nn.functional as F

from clbench.engine.optimizers import SGD, Adam
from clbench.methods.compose import Compose
from clbench.methods.der import DER, distance
from clbench.methods.er import ER
from clbench.methods.ewc import EWC
from clbench.methods.naive import Naive
from tests.streams import blob_stream, learn, learner_for, same, trainer, weights

EVERYWHERE = [(setting, outputs) for setting in ("task", "domain", "class") for outputs in ("seen", "all")]


def normalised(stream, optimizer):
    """Return a learner whose model has BatchNorm and dropout: a hidden forward pass would show in both."""
    learner = learner_for(stream, optimizer=optimizer)
    learner.model.backbone = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(16, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Dropout(0.2)
    )
    torch.manual_seed(0)
    for module in learner.model.backbone:
        if isinstance(module, torch.nn.Linear):
            module.reset_parameters()
    learner.rebuild()
    return learner


@pytest.mark.parametrize("optimizer", [SGD(0.05, 0.9, 0.01), Adam(0.01, (0.9, 0.999), 1e-8, 0.1, True)], ids=["sgd", "adamw"])
@pytest.mark.parametrize(("setting", "outputs"), EVERYWHERE)
def test_off_is_the_plain_run_bit_for_bit(setting, outputs, optimizer):
    stream = blob_stream(setting, outputs)
    plain, _ = learn(Naive(), stream, normalised(stream, optimizer))
    off, _ = learn(DER(30, 8, 0.0, 0.0, "every", "reservoir"), stream, normalised(stream, optimizer))
    assert same(weights(plain), weights(off))
    on, _ = learn(DER(30, 8, 0.5, 0.0, "every", "reservoir"), stream, normalised(stream, optimizer))
    assert not same(weights(plain), weights(on))


class Watched(DER):
    """Stores the model's logits of every offered sample: all of a shared head, or NaN for other heads."""

    def penalty(self, learner, batch, logits):
        own = logits[: batch.own]
        if learner.stream.setting == "task" and learner.stream.outputs == "seen":
            start, size = learner.stream.offsets[batch.task], learner.stream.head_sizes[batch.task]
            own = own if own.shape[1] == size else own[:, start : start + size]
        else:
            own, start = batch.joint[: batch.own], 0
        for row, said in zip(batch.rows[: batch.own].tolist(), own.detach(), strict=True):
            full = torch.full((sum(learner.stream.head_sizes),), float("nan"))
            full[start : start + len(said)] = said
            NOTES.setdefault((batch.task, row), []).append(full)
        return super().penalty(learner, batch, logits)


NOTES: dict[tuple[int, int], list[torch.Tensor]] = {}


def noted(memory, slot, offer):
    """Return whether the stored logits of a slot are those of its sample, from the first pass or from any."""
    told = NOTES[int(memory.tasks[slot]), int(memory.rows[slot])][: 1 if offer == "first" else None]
    return any(torch.equal(memory.kept["logits"][slot].nan_to_num(1e9), full.nan_to_num(1e9)) for full in told)


@pytest.mark.parametrize(
    ("policy", "offer"), [("reservoir", "first"), ("reservoir", "every"), ("ring", "every"), ("balanced", "first")]
)
@pytest.mark.parametrize(("setting", "outputs"), EVERYWHERE)
def test_kept_logits_are_those_at_insertion(setting, outputs, policy, offer):
    NOTES.clear()
    method = Watched(30, 8, 0.5, 0.5, offer, policy)
    learner, _ = learn(method, blob_stream(setting, outputs))
    memory = method.memory
    assert len(memory) == 30
    kept = memory.kept["logits"]
    assert all(noted(memory, slot, offer) for slot in memory.slots().tolist())
    known = (~kept[memory.slots()].isnan()).sum(1)
    own_head = setting == "task" and outputs == "seen"
    assert (known == (2 if own_head else sum(learner.stream.head_sizes))).all()


@pytest.mark.parametrize(("setting", "outputs"), EVERYWHERE)
def test_the_penalty_is_the_written_one(setting, outputs):
    """alpha times the mean squared distance over the outputs known then, beta times the mean cross-entropy, on all samples."""
    stream = blob_stream(setting, outputs)
    method = DER(30, 1000, 0.3, 0.7, "first", "ring")
    learner, _ = learn(method, stream, tasks=2)
    learner.start(2)
    learner.model.eval()
    memory = method.memory
    squares, entropies = [], []
    for slot in memory.slots().tolist():
        task, then = int(memory.tasks[slot]), memory.kept["logits"][slot]
        sample = memory.read(torch.tensor([slot]))
        label = int(sample.labels)
        if setting == "task":
            now = torch.cat([learner.logits(sample.inputs, head) for head in range(3)], dim=1)[0]
            start = stream.offsets[task]
            active = slice(None) if outputs == "all" else slice(start, start + 2)
        else:
            now = learner.logits(sample.inputs)[0]
            start, active = 0, slice(None)
            then = then[: len(now)]
        told = ~then.isnan()
        squares.append((now - then)[told].square())
        shift = start if active != slice(None) else 0
        entropies.append(F.cross_entropy(now[active].unsqueeze(0), torch.tensor([label - shift])))
    expected = 0.3 * torch.cat(squares).mean() + 0.7 * torch.stack(entropies).mean()
    batch = method.extend_batch(learner, learner.batch(stream.tasks[2].train, torch.arange(4), epoch=1))
    found = method.penalty(learner, batch, learner.forward(batch))
    torch.testing.assert_close(found, expected)


def test_distance_is_the_mean_squared_error_where_all_is_known():
    draws = torch.Generator().manual_seed(0)
    now, then = torch.randn(5, 4, generator=draws), torch.randn(5, 4, generator=draws)
    torch.testing.assert_close(distance(now, then), F.mse_loss(now, then))


def test_distance_has_no_gradient_where_something_is_unknown():
    nan = float("nan")
    now = torch.tensor([[1.0, nan, 3.0], [2.0, 5.0, 1.0]], requires_grad=True)
    then = torch.tensor([[0.0, 2.0, nan], [2.0, nan, 3.0]])
    value = distance(now, then)
    value.backward()
    assert value.item() == pytest.approx((1 + 0 + 4) / 3)
    torch.testing.assert_close(now.grad, torch.tensor([[2 / 3, 0, 0], [0, 0, -4 / 3]]))


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.0), (0.0, 0.5), (0.5, 0.5)])
def test_old_heads_learn_on_in_the_task_setting(alpha, beta):
    marks = []
    learn(DER(30, 8, alpha, beta, "every", "reservoir"), blob_stream("task"), after=lambda task, lrn: marks.append(weights(lrn)))
    assert not torch.equal(marks[0]["heads.0.weight"], marks[1]["heads.0.weight"])
    assert torch.equal(marks[0]["heads.2.weight"], marks[1]["heads.2.weight"])
    assert all(value.isfinite().all() for value in marks[2].values())


def test_the_two_draws_are_independent_and_of_the_batch_size():
    class Draws(DER):
        def penalty(self, learner, batch, logits):
            read, rows = self.memory.read, []

            def watched(slots, augment=False):
                rows.append(self.memory.rows[slots].tolist())
                return read(slots, augment)

            self.memory.read = watched
            value = super().penalty(learner, batch, logits)
            del self.memory.read
            if len(rows) == 2 and len(self.memory) == 60:
                pairs.append(rows)
            return value

    pairs = []
    learn(Draws(60, None, 0.5, 0.5, "first", "reservoir"), blob_stream())
    assert pairs
    assert {len(rows) for pair in pairs for rows in pair} == {16}
    assert all(set(one) != set(two) for one, two in pairs)


@pytest.mark.parametrize(("offer", "times"), [("first", 1), ("every", 3)])
def test_samples_are_offered_in_the_first_pass_or_in_every_one(offer, times):
    stream = blob_stream()
    method = DER(1000, 4, 0.1, 0.0, offer, "reservoir")
    learn(method, stream, how=trainer(epochs=3))
    every = sum(len(task.train) for task in stream.tasks)
    assert method.memory.seen == times * every
    assert len(method.memory.samples) == every


def test_in_a_single_pass_there_is_no_difference():
    stream = blob_stream()
    runs = [learn(DER(30, 8, 0.5, 0.5, o, "reservoir"), stream, how=trainer(epochs=1))[0] for o in ("first", "every")]
    assert same(weights(runs[0]), weights(runs[1]))


@pytest.mark.parametrize(
    ("kind", "setting", "beta"), [("permuted", "domain", 0.0), ("permuted", "domain", 1.0), ("split", "class", 1.0)]
)
def test_it_forgets_less_than_naive(kind, setting, beta):
    stream = blob_stream(setting, kind=kind, n_tasks=4 if kind == "permuted" else 3)
    _, plain = learn(Naive(), stream, how=trainer(epochs=6))
    _, kept = learn(DER(100, None, 0.5, beta, "every", "reservoir"), stream, how=trainer(epochs=6))
    fall = [sum(rows[j][j] - rows[-1][j] for j in range(len(stream) - 1)) for rows in (plain, kept)]
    assert fall[1] < 0.8 * fall[0]


@pytest.mark.parametrize(("setting", "outputs"), EVERYWHERE)
def test_it_composes_with_replay_and_with_a_penalty(setting, outputs):
    """With a joined draw, only the batch's own samples are stored, with their own logits."""
    NOTES.clear()
    der = Watched(30, 8, 0.5, 0.0, "every", "reservoir")
    parts = {"er": ER(30, 8, "reservoir"), "der": der, "ewc": EWC(0.1, "online", 1.0, "empirical", 20)}
    learner, _ = learn(Compose(parts), blob_stream(setting, outputs))
    assert all(noted(der.memory, slot, "every") for slot in der.memory.slots().tolist())
    assert all(value.isfinite().all() for value in weights(learner).values())
