"""Permuted: the same images in every task, each time under a bijection of its own."""

import pytest
import torch

from clbench.errors import RefusedError


def test_views_are_bijections_of_the_pixels_and_differ(stream_of, fake):
    stream = stream_of("permuted", dataset=fake(shape=(3, 5, 7)), setting="domain", n_tasks=6)
    views = [task.train.view for task in stream.tasks]
    assert all(view.sort().values.tolist() == list(range(35)) for view in views)
    assert len({tuple(view.tolist()) for view in views}) == 6
    assert all(view.tolist() != list(range(35)) for view in views)


def test_channels_move_together_and_every_task_sees_all(stream_of, fake):
    source = fake(shape=(3, 5, 7))
    stream = stream_of("permuted", dataset=source, setting="domain", n_tasks=3)
    data = source.load([], False)
    for task, column in zip(stream.tasks, stream.evaluation):
        for split, pool in ((task.train, data.train), (column.split, data.test)):
            flat = pool.inputs.flatten(2)
            expected = torch.stack([flat[:, channel][:, task.train.view] for channel in range(3)], 1)
            assert torch.equal(split.raw(), expected.view_as(pool.inputs))
            assert torch.equal(split.labels, pool.targets)
        assert task.classes == tuple(range(10))


def test_first_task_as_it_is_when_asked(stream_of, fake):
    kept, plain = (stream_of("permuted", first_identity=first) for first in (True, False))
    assert torch.equal(kept.tasks[0].train.raw(), fake().load([], False).train.inputs)
    assert kept.tasks[0].name == "unpermuted"
    assert [task.name for task in kept.tasks[1:]] == [f"permutation {i}" for i in range(1, 5)]
    for a, b in zip(kept.tasks[1:], plain.tasks[1:]):
        assert torch.equal(a.train.view, b.train.view)


@pytest.mark.parametrize(("setting", "heads", "first"), [("domain", (10,), 0), ("task", (10,) * 3, 0), ("class", (30,), 10)])
def test_outputs_of_each_setting(stream_of, setting, heads, first):
    stream = stream_of("permuted", setting=setting, n_tasks=3)
    assert stream.head_sizes == heads
    assert stream.tasks[1].train.labels.unique().tolist() == list(range(first, first + 10))
    assert torch.equal(stream.tasks[1].train.labels - first, stream.tasks[1].train.pool.targets)


def test_permutations_follow_the_seed(stream_of):
    first, again, other = (stream_of("permuted", setting="domain", seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_more_tasks_leave_the_first_as_they_are(stream_of):
    few, many = (stream_of("permuted", setting="domain", n_tasks=n) for n in (2, 4))
    assert all(torch.equal(a.train.view, b.train.view) for a, b in zip(few.tasks, many.tasks))


@pytest.mark.parametrize("first", [True, False])
def test_another_order_holds_the_same_permutations(stream_of, first):
    plain, mixed = (
        stream_of("permuted", setting="domain", n_tasks=8, first_identity=first, order_seed=order) for order in (None, 1)
    )
    views = [{task.name: task.train.view.tolist() for task in stream.tasks} for stream in (plain, mixed)]
    assert views[0] == views[1]
    assert list(views[0]) != list(views[1])
    assert mixed.fingerprint != plain.fingerprint
    if first:
        assert mixed.tasks[0].name == "unpermuted"


@pytest.mark.parametrize("first", [True, False])
def test_union_shows_each_sample_as_its_task_does(stream_of, first):
    stream = stream_of("permuted", setting="domain", n_tasks=3, first_identity=first, valid_fraction=0.3)
    union = stream.union([stream.tasks[2], stream.tasks[0]])
    assert torch.equal(union.raw(), torch.cat([stream.tasks[2].train.raw(), stream.tasks[0].train.raw()]))
    some = torch.tensor([50, 3, 70, 3])
    assert torch.equal(union.inputs(some), union.raw()[some])


@pytest.mark.parametrize(
    ("change", "words"),
    [({"image": False, "shape": (7,)}, r"no images .* shape \[7\]"), ({"crop": 4}, "crop=4"), ({"flip": True}, "flip=True")],
)
def test_refusals(stream_of, fake, change, words):
    with pytest.raises(RefusedError, match=words) as caught:
        stream_of("permuted", dataset=fake(**change))
    assert caught.value.remedy
