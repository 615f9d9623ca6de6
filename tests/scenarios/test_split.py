"""Split: classes and samples are shared out, none twice, none lost."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.errors import ConfigError, DataError, RefusedError
from clbench.scenarios.stream_builder import format_classes

SETTINGS = ("task", "domain", "class")


@st.composite
def streams(draw):
    """Draw the arguments of a split whose numbers fit: (per task, tasks, setting, order_seed, seed)."""
    setting = draw(st.sampled_from(SETTINGS))
    size = draw(st.integers(1 if setting == "class" else 2, 5))
    order_seed = draw(st.one_of(st.none(), st.integers(0, 99), st.just("seed")))
    return size, draw(st.integers(1, 6)), setting, order_seed, draw(st.integers(0, 99))


@settings(max_examples=60, deadline=None)
@given(streams(), st.sampled_from([0.0, 0.25]))
def test_every_sample_and_class_belongs_to_exactly_one_task(stream_of, fake, drawn, fraction):
    size, n_tasks, setting, order_seed, seed = drawn
    source = fake(n_classes=size * n_tasks, train=4, test=2)
    stream = stream_of(
        "split", dataset=source, n_tasks=n_tasks, setting=setting, order_seed=order_seed, seed=seed, valid_fraction=fraction
    )
    assert sorted(c for task in stream.tasks for c in task.classes) == list(range(source.n_classes))
    learned = [part.rows for task in stream.tasks for part in (task.train, task.valid) if part is not None]
    assert torch.cat(learned).sort().values.tolist() == list(range(4 * source.n_classes))
    measured = torch.cat([column.split.rows for column in stream.evaluation])
    assert measured.sort().values.tolist() == list(range(2 * source.n_classes))
    assert len(stream) == len(stream.evaluation) == n_tasks


@settings(max_examples=60, deadline=None)
@given(streams())
def test_labels_are_positions_in_the_task_or_in_the_stream(stream_of, fake, drawn):
    size, n_tasks, setting, order_seed, seed = drawn
    stream = stream_of(
        "split", dataset=fake(n_classes=size * n_tasks), n_tasks=n_tasks, setting=setting, order_seed=order_seed, seed=seed
    )
    met = 0
    for task, column in zip(stream.tasks, stream.evaluation):
        first = met if setting == "class" else 0
        for split in (task.train, column.split):
            assert split.tasks == task.index
            expected = [first + task.classes.index(c) for c in split.pool.targets[split.rows].tolist()]
            assert split.labels.tolist() == expected
        met += len(task.classes)
        if setting == "class":  # the classes met so far are a prefix of the outputs
            seen = torch.cat([t.train.labels for t in stream.tasks[: task.index + 1]])
            assert seen.unique().tolist() == list(range(stream.active_outputs(task.index)))
    assert stream.head_sizes == {"task": (size,) * n_tasks, "domain": (size,), "class": (size * n_tasks,)}[setting]


def test_the_test_split_is_the_test_pool(stream_of, fake):
    stream = stream_of("split", valid_fraction=0.5)
    test = fake().load([], False).test
    assert all(torch.equal(column.split.pool.inputs, test.inputs) for column in stream.evaluation)
    assert {column.role for column in stream.evaluation} == {"task"}


def test_canonical_order_whatever_the_seed(stream_of):
    first, second = (stream_of("split", seed=seed) for seed in (0, 7))
    assert [task.classes for task in first.tasks] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert first.fingerprint == second.fingerprint
    assert [task.name for task in first.tasks][:2] == ["fake 0-1", "fake 2-3"]
    assert [column.name for column in first.evaluation][:2] == ["task 0: fake 0-1", "task 1: fake 2-3"]


def test_order_by_an_integer_is_the_same_for_every_run(stream_of):
    first, second, other = (stream_of("split", order_seed=order, seed=seed) for order, seed in ((3, 0), (3, 7), (4, 0)))
    assert first.fingerprint == second.fingerprint != other.fingerprint
    assert first.tasks[0].classes != (0, 1)


def test_order_by_seed_follows_the_run(stream_of):
    drawn = [stream_of("split", order_seed="seed", seed=seed) for seed in range(5)]
    orders = [tuple(task.classes for task in stream.tasks) for stream in drawn]
    assert len(set(orders)) == 5
    assert orders[3] == tuple(task.classes for task in stream_of("split", order_seed=3, seed=0).tasks)


GROUPS = [[4, 0], [9, 1], [8, 3], [2, 7], [5, 6]]


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(10)), st.sampled_from([1, 2, 5]), st.sampled_from(["task", "class"]), st.data())
def test_groups_say_which_classes_a_task_has(stream_of, order, size, setting, data):
    groups = [list(order[i : i + size]) for i in range(0, 10, size)]
    n_tasks = data.draw(st.integers(1, len(groups)))
    if size == 1 and setting == "task":
        return
    stream = stream_of("split", groups=groups, n_tasks=n_tasks, setting=setting)
    assert [list(task.classes) for task in stream.tasks] == groups[:n_tasks]
    for task, column in zip(stream.tasks, stream.evaluation):
        for split in (task.train, column.split):
            found = split.pool.targets[split.rows]
            assert len(found) == size * {True: 6, False: 3}[split is task.train], "all samples of its classes, no others"
            first = task.index * size if setting == "class" else 0
            assert split.labels.tolist() == [first + task.classes.index(c) for c in found.tolist()]


def test_canonical_groups_are_the_canonical_stream(stream_of):
    pairs = [[c, c + 1] for c in range(0, 10, 2)]
    assert stream_of("split", groups=pairs).fingerprint == stream_of("split").fingerprint


def test_order_seed_moves_whole_groups(stream_of):
    orders = {tuple(t.classes for t in stream_of("split", groups=GROUPS, order_seed="seed", seed=s).tasks) for s in range(5)}
    assert len(orders) == 5
    assert all(sorted(map(list, order)) == sorted(GROUPS) for order in orders)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"groups": 3}, ConfigError, ["groups=3", "null"]),
        ({"groups": []}, ConfigError, ["groups=[]"]),
        ({"groups": [[], []]}, ConfigError, ["groups=[[], []]", "one length"]),
        ({"groups": [0, 1]}, ConfigError, ["groups=[0, 1]", "lists"]),
        ({"groups": [[0, 1], [2]]}, ConfigError, ["one length"]),
        ({"groups": [[0, 1], [2, 10]], "n_tasks": 2}, ConfigError, ["10, which is no class", "0 to 9"]),
        ({"groups": [[0, 1], [2, "3"]], "n_tasks": 2}, ConfigError, ["'3', which is no class"]),
        ({"groups": [[0, 1], [2, 1]], "n_tasks": 2}, ConfigError, ["class 1 twice"]),
        ({"groups": GROUPS, "n_tasks": 6}, ConfigError, ["n_tasks=6", "5 groups", "at most"]),
        ({"groups": [[1], [2]], "n_tasks": 2, "setting": "task"}, RefusedError, ["single class", "setting=class"]),
    ],
)
def test_groups_that_cannot_be_used(stream_of, change, error, words):
    with pytest.raises(error) as caught:
        stream_of("split", **change)
    assert caught.value.remedy
    for word in words:
        assert word in str(caught.value)


def test_same_seed_same_stream(stream_of):
    first, second = (stream_of("split", order_seed="seed", valid_fraction=0.3, seed=4) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    for a, b in zip(first.tasks, second.tasks):
        assert torch.equal(a.train.rows, b.train.rows)
        assert torch.equal(a.valid.labels, b.valid.labels)


@pytest.mark.parametrize("change", [{"setting": "task"}, {"n_tasks": 2}, {"data_sha256": "e" * 64}, {"valid_fraction": 0.5}])
def test_another_stream_another_fingerprint(stream_of, change):
    assert stream_of("split").fingerprint != stream_of("split", **change).fingerprint


def test_what_does_not_change_the_stream_leaves_the_fingerprint(stream_of):
    assert stream_of("split").fingerprint == stream_of("split", online=True, download=True).fingerprint


@pytest.mark.parametrize("setting", SETTINGS)
def test_union_shows_the_inputs_of_each_task(stream_of, setting):
    stream = stream_of("split", setting=setting, order_seed=1)
    union = stream.union(stream.tasks)
    assert torch.equal(union.raw(), torch.cat([task.train.raw() for task in stream.tasks]))
    assert torch.equal(union.labels, torch.cat([task.train.labels for task in stream.tasks]))
    assert union.tasks.tolist() == [task.index for task in stream.tasks for _ in range(len(task.train))]


def test_preprocessing_is_the_data_sets(stream_of, fake):
    source = fake(crop=4, flip=True, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0), shape=(3, 8, 8))
    stream = stream_of("split", dataset=source)
    assert (stream.preprocess.mean, stream.preprocess.std) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert (stream.preprocess.crop, stream.preprocess.flip, stream.input_shape) == (4, True, (3, 8, 8))


def test_features_split_too(stream_of, fake):
    assert stream_of("split", dataset=fake(shape=(7,), image=False)).input_shape == (7,)


def test_classes_counted_only_on_loading(stream_of, fake):
    class Own(fake):
        def load(self, search, download):
            self.n_classes = 10
            data = super().load(search, download)
            self.mean = self.std = (0.5,)
            return data

    source = Own(n_classes=None, mean=None, std=None)
    stream = stream_of("split", dataset=source)
    assert stream.fingerprint == stream_of("split").fingerprint
    assert stream.preprocess.mean == (0.5,)
    with pytest.raises(ConfigError, match="n_tasks=3"):
        stream_of("split", dataset=Own(n_classes=None), n_tasks=3)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"n_tasks": 3}, ConfigError, ["n_tasks=3", "10 classes", "1, 2, 5, 10"]),
        ({"n_tasks": 11}, ConfigError, ["n_tasks=11", "more than the 10 classes"]),
        ({"n_tasks": 0}, ConfigError, ["n_tasks=0"]),
        ({"n_tasks": True}, ConfigError, ["n_tasks=True"]),
        ({"n_tasks": "5"}, ConfigError, ["n_tasks='5'"]),
        ({"n_tasks": 10, "setting": "task"}, RefusedError, ["single class", "1, 2, 5", "setting=class"]),
        ({"n_tasks": 10, "setting": "domain"}, RefusedError, ["single class"]),
        ({"setting": "Task"}, ConfigError, ["setting='Task'", "task", "domain", "class"]),
        ({"outputs": "none"}, ConfigError, ["outputs='none'", "seen", "all"]),
        ({"order_seed": "random"}, ConfigError, ["order_seed='random'", "seed"]),
        ({"order_seed": 1.5}, ConfigError, ["order_seed=1.5"]),
        ({"valid_fraction": 1.0}, ConfigError, ["valid_fraction=1.0"]),
        ({"valid_fraction": -0.1}, ConfigError, ["valid_fraction=-0.1"]),
        ({"valid_fraction": "a"}, ConfigError, ["valid_fraction='a'"]),
        ({"valid_fraction": float("nan")}, ConfigError, ["valid_fraction=nan"]),
    ],
)
def test_refusals_name_the_key_the_value_and_the_remedy(stream_of, fake, change, error, words):
    class Unloaded(fake):
        def load(self, search, download):
            raise AssertionError("refused only after loading")

    with pytest.raises(error) as caught:
        stream_of("split", dataset=Unloaded(), **change)
    assert caught.value.remedy
    for word in words:
        assert word in str(caught.value)


def test_one_class_per_task_is_fine_with_one_head(stream_of):
    assert stream_of("split", n_tasks=10).active_outputs(3) == 4


def test_labels_beyond_the_declared_classes(stream_of, fake):
    class Strange(fake):
        def load(self, search, download):
            data = super().load(search, download)
            data.test.targets[0] = 10
            return data

    with pytest.raises(DataError, match=r"test labels of fake go from 0 to 10, but n_classes=10"):
        stream_of("split", dataset=Strange())


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_task_without_samples(stream_of, fake, part):
    class Lacking(fake):
        def load(self, search, download):
            data = super().load(search, download)
            pool = getattr(data, part)
            pool.targets[pool.targets >= 8] = 0
            return data

    with pytest.raises(DataError, match=rf"task 4 \(fake 8-9\) has no {part} samples"):
        stream_of("split", dataset=Lacking())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean": (0.1, 0.2)}, "mean"),
        ({"mean": (0.1, 0.2), "std": (1.0, 1.0)}, "1 channels"),
        ({"std": (0.0,)}, "std"),
        ({"shape": (7,), "image": False, "flip": True}, "not images"),
    ],
)
def test_normalisation_must_fit(stream_of, fake, change, words):
    with pytest.raises(ConfigError, match=words):
        stream_of("split", dataset=fake(**change))


@pytest.mark.parametrize(
    ("classes", "name"),
    [
        ((4,), "4"),
        ((0, 1, 2), "0-2"),
        ((3, 1), "3 1"),
        ((9, 8), "9 8"),
        (tuple(range(19, -1, -1)), "19 18 17 16 15 14 13 12 … (20 classes)"),
    ],
)
def test_classes_format_classes_for_people(classes, name):
    assert format_classes(classes) == name
