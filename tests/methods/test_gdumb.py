"""GDumb: learns only from its memory, each time from the initial weights."""

from collections import Counter

import pytest

from clbench.engine.optimizers import SGD
from clbench.engine.training.loop import Training
from clbench.errors import ConfigError
from clbench.instantiate import instantiate
from clbench.methods.gdumb import GDumb
from clbench.methods.naive import Naive
from tests.streams import blob_stream, learn, learner_for, same, trainer, weights


class Watched(GDumb):
    """Stores the (task, row) of every sample that it trains on."""

    def setup(self, learner, stream):
        super().setup(learner, stream)
        self.notes = {}

    def extend_batch(self, learner, batch):
        pairs = zip(batch.tasks.tolist(), batch.rows.tolist(), strict=True)
        self.notes.setdefault(batch.task, Counter()).update(pairs)
        return batch


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_it_trains_on_what_the_memory_holds_and_nothing_else(setting):
    stream, held = blob_stream(setting), {}

    def remember(task, learner):
        held[task.index] = method.memory.samples

    method = Watched(25)
    learn(method, stream, after=remember)
    for task in range(3):
        assert set(method.notes[task]) == held[task]
        assert set(method.notes[task].values()) == {2}  # the epochs
        assert len(held[task]) == 25


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_every_class_has_its_share(setting):
    def check(task, learner):
        held = method.memory.split()
        counts = Counter(zip(held.tasks.tolist(), held.labels.tolist(), strict=True))
        assert len(counts) == 2 * (task.index + 1)
        assert max(counts.values()) - min(counts.values()) <= 1

    method = GDumb(25)
    learn(method, blob_stream(setting), after=check)


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_each_task_starts_from_the_initial_weights_without_moments(setting):
    """Training by hand from the initial weights on the same memory gives the same weights, after any earlier tasks."""
    stream = blob_stream(setting)
    method = GDumb(25)
    learner, _ = learn(method, stream, learner_for(stream, optimizer=SGD(0.05, momentum=0.9)))
    fresh = learner_for(stream, optimizer=SGD(0.05, momentum=0.9))
    training = Training(fresh, Naive(), trainer())
    fresh.start(2)
    training.start(stream.tasks[2])
    training.fit(method.memory.split())
    assert same(weights(learner), weights(fresh))


def test_a_memory_for_everything_learns_all_tasks():
    stream = blob_stream()
    _, rows = learn(GDumb(240), stream, how=trainer(epochs=10))
    assert rows[-1] == [40, 40, 40]
    _, plain = learn(Naive(), stream, how=trainer(epochs=10))
    assert plain[-1][0] == 0


def test_samples_are_chosen_at_random_and_by_the_seed():
    held = []
    for seed in (0, 0, 1):
        method, stream = GDumb(25), blob_stream()
        learn(method, stream, learner_for(stream, seed=seed), tasks=1)
        held.append(method.memory.samples)
    assert held[0] == held[1] != held[2]
    second = blob_stream().tasks[0].train.rows[40:].tolist()  # in their own order its first 13 would be held
    assert max(second.index(row) for _, row in held[0] if row in second) >= 13


def test_inputs_are_not_touched_by_offering(monkeypatch):
    stream = blob_stream()
    learner, method, read = learner_for(stream), GDumb(25), []
    method.setup(learner, stream)
    monkeypatch.setattr(learner, "batch", lambda *arguments, **named: read.append(arguments))
    method.fit(learner, stream.tasks[0], lambda split: None, ())
    assert read == []
    assert len(method.memory) == 25


def test_a_memory_of_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"method\.buffer_size=0"):
        instantiate({"_target_": "clbench.methods.gdumb.GDumb", "buffer_size": 0}, "method")
