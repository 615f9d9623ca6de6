"""Streams: heads, active outputs, mixed splits, and what a fingerprint notices."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clbench.data.pool import Pool, Split
from clbench.data.preprocess import Preprocess
from clbench.stream import EvaluationSet, Stream, Task, fingerprint


def make(sizes=(2, 3, 1), setting="class", outputs="seen", views=False, per_class=2):
    """Return a stream whose tasks have the given numbers of classes; sample r of the pool shows the bytes of r."""
    n_classes = sum(sizes)
    targets = torch.arange(n_classes).repeat(per_class)
    pool = Pool(torch.arange(4 * len(targets), dtype=torch.uint8).view(-1, 1, 2, 2), targets)
    tasks, columns, first = [], [], 0
    for index, size in enumerate(sizes):
        rows = torch.nonzero((targets >= first) & (targets < first + size)).squeeze(1)
        labels = targets[rows] - (0 if setting == "class" else first)
        view = torch.arange(4).roll(index) if views else None
        split = Split(pool, rows, labels, index, view)
        tasks.append(Task(index, str(index), tuple(range(first, first + size)), split))
        columns.append(EvaluationSet(f"task {index}", split))
        first += size
    return Stream(setting, outputs, tuple(tasks), tuple(columns), (1, 2, 2), Preprocess())


SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=5)


@given(SIZES)
def test_heads(sizes):
    assert make(sizes, "task").head_sizes == tuple(sizes)
    assert make(sizes, "class").head_sizes == (sum(sizes),)
    assert make(sizes, "domain").head_sizes == (max(sizes),)


def test_forgetting_requests_have_no_head():
    stream = make((2, 2), "task")
    request = replace(stream.tasks[1], kind="forget")
    assert replace(stream, tasks=(stream.tasks[0], request)).head_sizes == (2,)


@given(SIZES)
def test_heads_side_by_side_neither_overlap_nor_leave_gaps(sizes):
    stream = make(sizes, "task")
    covered = [o for start, size in zip(stream.offsets, stream.head_sizes) for o in range(start, start + size)]
    assert covered == list(range(sum(sizes)))
    for setting in ("class", "domain"):
        assert make(sizes, setting).offsets == (0,) * len(sizes)


@given(SIZES)
def test_outputs_in_play_grow_with_the_classes_met(sizes):
    stream = make(sizes, "class")
    assert [stream.active_outputs(t) for t in range(len(sizes))] == [sum(sizes[: t + 1]) for t in range(len(sizes))]
    assert stream.active_outputs(-1) == sum(sizes)
    for index in range(len(sizes)):
        seen = torch.cat([task.train.labels for task in stream.tasks[: index + 1]])
        assert int(seen.max()) < stream.active_outputs(index)


@given(SIZES)
def test_all_outputs_are_in_play_when_asked(sizes):
    for t in range(-1, len(sizes)):
        assert make(sizes, "class", "all").active_outputs(t) == sum(sizes)
        assert make(sizes, "domain").active_outputs(t) == max(sizes)


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
@pytest.mark.parametrize("views", [False, True])
@pytest.mark.parametrize("indices", [[0], [2, 0], range(3)])
def test_union_shows_each_sample_as_its_task_does(setting, views, indices):
    stream = make(setting=setting, views=views)
    union = stream.union([stream.tasks[i] for i in indices])
    parts = [stream.tasks[i].train for i in indices]
    assert torch.equal(union.raw(), torch.cat([part.raw() for part in parts]))
    assert torch.equal(union.labels, torch.cat([part.labels for part in parts]))
    assert union.tasks.tolist() == [i for i in indices for _ in range(len(stream.tasks[i].train))]
    backwards = torch.arange(len(union)).flip(0)
    assert torch.equal(union.select(backwards).raw(), union.raw().flip(0))


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
@pytest.mark.parametrize("views", [False, True])
def test_samples_named_by_row_and_task_come_back_as_they_were(setting, views):
    stream = make(setting=setting, views=views)
    union = stream.union([stream.tasks[i] for i in (1, 2, 0)])
    mixed = torch.randperm(len(union), generator=torch.Generator().manual_seed(0))
    wanted = union.select(mixed)
    found = stream.gather(wanted.rows, wanted.tasks)
    assert torch.equal(found.raw(), wanted.raw())
    assert torch.equal(found.labels, wanted.labels)
    assert torch.equal(found.tasks, wanted.tasks)


def test_label_table_marks_classes_that_a_task_lacks():
    table = make((2, 1), "task").label_table
    assert table.tolist() == [[0, 1, -1], [-1, -1, 0]]
    assert make((2, 1), "class").label_table.tolist() == [[0, 1, -1], [-1, -1, 2]]


def digest(stream, data="data", setting=None, **change):
    parts = {"tasks": stream.tasks, "evaluation": stream.evaluation} | change
    return fingerprint(data, setting or stream.setting, parts["tasks"], parts["evaluation"])


def test_fingerprint_is_a_sha256_that_repeats():
    assert digest(make()) == digest(make())
    assert len(digest(make())) == 64
    assert set(digest(make())) <= set("0123456789abcdef")


def changed(task, **change):
    return replace(task, train=replace(task.train, **change))


def swap(tensor):
    return tensor[torch.tensor([1, 0, *range(2, len(tensor))])]


@pytest.mark.parametrize(
    "change",
    [
        lambda task: changed(task, rows=swap(task.train.rows)),
        lambda task: changed(task, rows=task.train.rows[:-1], labels=task.train.labels[:-1]),
        lambda task: changed(task, labels=swap(task.train.labels)),
        lambda task: changed(task, view=swap(task.train.view)),
        lambda task: changed(task, view=None),
        lambda task: replace(task, valid=task.train.select(torch.tensor([0]))),
        lambda task: replace(task, kind="forget"),
        lambda task: replace(task, classes=task.classes[::-1]),
    ],
)
def test_fingerprint_notices_any_change_of_a_task(change):
    stream = make(views=True)
    assert digest(stream, tasks=(change(stream.tasks[0]), *stream.tasks[1:])) != digest(stream)


@pytest.mark.parametrize(
    "change",
    [
        lambda column: replace(column, name="other"),
        lambda column: replace(column, role="retain"),
        lambda column: replace(column, metric="loss"),
        lambda column: replace(column, split=column.split.select(torch.tensor([0]))),
    ],
)
def test_fingerprint_notices_any_change_of_an_evaluation_set(change):
    stream = make()
    assert digest(stream, evaluation=(change(stream.evaluation[0]), *stream.evaluation[1:])) != digest(stream)


def test_fingerprint_notices_data_setting_and_order():
    stream = make()
    assert (
        len(
            {
                digest(stream),
                digest(stream, "other"),
                digest(stream, setting="task"),
                digest(stream, tasks=stream.tasks[::-1]),
                digest(stream, evaluation=stream.evaluation[::-1]),
            }
        )
        == 5
    )


def test_fingerprint_leaves_out_names_of_tasks():
    stream = make()
    assert digest(stream, tasks=tuple(replace(task, name="x") for task in stream.tasks)) == digest(stream)
