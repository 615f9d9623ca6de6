"""Validation: carved from train, class by class, the same for the same seed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.errors import ConfigError


def split_of(task):
    return task.train.pool.targets[task.train.rows], task.valid.pool.targets[task.valid.rows]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.floats(0.02, 0.98), st.integers(0, 9))
def test_disjoint_and_in_proportion(stream_of, fake, train, fraction, seed):
    source = fake(n_classes=6, train=train)
    try:
        stream = stream_of("split", dataset=source, n_tasks=2, valid_fraction=fraction, seed=seed)
    except ConfigError:
        nothing_held = int(fraction * 3 * train + 0.5) == 0
        class_used_up = -(-fraction * train // 1) >= train  # a share rounded up takes all of a class
        assert nothing_held or class_used_up
        return
    for task in stream.tasks:
        rows = torch.cat([task.train.rows, task.valid.rows])
        assert len(rows.unique()) == len(rows) == 3 * train
        assert len(task.valid) == int(fraction * 3 * train + 0.5)
        own, held = split_of(task)
        for number in task.classes:
            assert abs(int((held == number).sum()) - fraction * train) < 1
            assert int((own == number).sum()) >= 1
        assert torch.equal(task.train.rows, task.train.rows.sort().values)


def test_none_without_a_fraction(stream_of):
    assert all(task.valid is None for task in stream_of("split", valid_fraction=0).tasks)


def test_follows_the_seed_and_the_task(stream_of):
    first, again, other = (stream_of("permuted", n_tasks=2, valid_fraction=0.5, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.tasks[0].valid.rows, again.tasks[0].valid.rows)
    assert not torch.equal(first.tasks[0].valid.rows, other.tasks[0].valid.rows)
    assert not torch.equal(first.tasks[0].valid.rows, first.tasks[1].valid.rows)


def test_same_samples_in_every_setting(stream_of):
    held = [
        [task.valid.rows.tolist() for task in stream_of("split", setting=setting, valid_fraction=0.5).tasks]
        for setting in ("task", "domain", "class")
    ]
    assert held[0] == held[1] == held[2]


def test_keeps_the_view(stream_of):
    task = stream_of("permuted", n_tasks=2, valid_fraction=0.5).tasks[1]
    assert torch.equal(task.valid.view, task.train.view)
    assert task.valid.tasks == task.train.tasks == 1


def test_test_samples_are_not_touched(stream_of):
    for plain, carved in zip(stream_of("split").evaluation, stream_of("split", valid_fraction=0.5).evaluation):
        assert torch.equal(plain.split.rows, carved.split.rows)


def test_uneven_classes(stream_of, fake):
    class Uneven(fake):
        def load(self, search, download):
            data = super().load(search, download)
            data.train.targets[:] = torch.tensor([0] * 15 + [1] * 5)
            return data

    stream = stream_of("split", dataset=Uneven(n_classes=2, train=10), n_tasks=1, valid_fraction=0.2)
    assert split_of(stream.tasks[0])[1].bincount().tolist() == [3, 1]


@pytest.mark.parametrize(
    ("train", "fraction", "words"),
    [
        (6, 0.01, "holds no validation sample out in task 0 (fake 0-1, 12 training samples)"),
        (6, 0.99, "leaves a class without training samples"),
        (1, 0.5, "leaves a class without training samples"),
    ],
)
def test_nothing_left_is_refused(stream_of, fake, train, fraction, words):
    with pytest.raises(ConfigError) as caught:
        stream_of("split", dataset=fake(train=train), valid_fraction=fraction)
    assert words in str(caught.value)
    assert f"scenario.valid_fraction={fraction}" in str(caught.value)
