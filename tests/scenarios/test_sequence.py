"""Sequences of data sets: disjoint labels, one size, nothing mixed up."""

import pytest
import torch
from torchvision.transforms import functional as tv

from clbench.data.pool import Pool
from clbench.errors import ConfigError, DataError, RefusedError
from clbench.scenarios.sequence import align, join


@pytest.fixture
def three(fake):
    """Return three data sets of unlike sizes, channels and numbers of classes."""
    return {
        "grey": fake("grey", 4, shape=(1, 5, 6), draw=1),
        "colour": fake("colour", 3, shape=(3, 8, 8), draw=2),
        "small": fake("small", 5, shape=(1, 4, 4), draw=3),
    }


@pytest.mark.parametrize(("setting", "heads"), [("class", (12,)), ("task", (4, 3, 5))])
def test_one_task_per_data_set_with_disjoint_classes(stream_of, three, setting, heads):
    stream = stream_of("sequence", datasets=three, setting=setting, n_tasks=None)
    assert [task.name for task in stream.tasks] == ["grey", "colour", "small"]
    assert [task.classes for task in stream.tasks] == [(0, 1, 2, 3), (4, 5, 6), (7, 8, 9, 10, 11)]
    assert stream.head_sizes == heads
    assert stream.input_shape == (3, 8, 8)
    assert stream.evaluation[2].name == "task 2: small"
    for task, column, source in zip(stream.tasks, stream.evaluation, three.values()):
        data = source.load([], False)
        for split, pool in ((task.train, data.train), (column.split, data.test)):
            assert torch.equal(split.labels, pool.targets + (task.classes[0] if setting == "class" else 0))
            assert (
                len(
                    {
                        split.pool.inputs.data_ptr(),
                        stream.tasks[0].train.pool.inputs.data_ptr(),
                        stream.evaluation[0].split.pool.inputs.data_ptr(),
                    }
                )
                == 2
            )  # one train pool, one test pool
            if source.name == "colour":
                assert torch.equal(split.raw(), pool.inputs)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (5, 6), (32, 31), (32, 32)])
def test_padding_as_torchvision(height, width):
    images = torch.randint(1, 256, (3, 1, height, width), dtype=torch.uint8)
    out = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    align(images, out, "pad", "x")
    top, left = (32 - height) // 2, (32 - width) // 2
    expected = tv.pad(images, [left, top, 32 - width - left, 32 - height - top])
    assert torch.equal(out, expected.expand(3, 3, 32, 32))


@pytest.mark.parametrize(("height", "width"), [(28, 28), (8, 8), (84, 84), (32, 32), (40, 20)])
def test_resizing_as_torchvision(height, width):
    images = torch.randint(256, (10, 3, height, width), dtype=torch.uint8)
    out = torch.zeros(10, 3, 32, 32, dtype=torch.uint8)
    align(images, out, "resize", "x", chunk=4)
    expected = tv.resize(images.float(), [32, 32], tv.InterpolationMode.BILINEAR, antialias=True)
    assert torch.equal(out, expected.round().to(torch.uint8))
    library = tv.resize(images, [32, 32], tv.InterpolationMode.BILINEAR, antialias=True)
    assert (out.int() - library.int()).abs().max() <= 1  # on uint8 it may round between its two passes


def test_pools_stay_in_bytes_and_order():
    a, b = (Pool(torch.full((n, 1, 4, 4), n, dtype=torch.uint8), torch.arange(n)) for n in (2, 3))
    pool = join([("a", a, 0), ("b", b, 2)], 4, 3, "pad")
    assert pool.inputs.dtype == torch.uint8
    assert pool.inputs[:, :, 0, 0].tolist() == [[2] * 3] * 2 + [[3] * 3] * 3
    assert pool.targets.tolist() == [0, 1, 2, 3, 4]


def test_shared_normalisation_is_the_sequences_own(stream_of, three):
    stream = stream_of("sequence", datasets=three, n_tasks=3, mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 3.0], crop=2, flip=True)
    assert (stream.preprocess.mean, stream.preprocess.std) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert (stream.preprocess.crop, stream.preprocess.flip) == (2, True)


def test_only_the_first_are_loaded(stream_of, three):
    def load(search, download):
        raise AssertionError("not asked for")

    three["small"].load = load
    stream = stream_of("sequence", datasets=three, n_tasks=2)
    assert [task.name for task in stream.tasks] == ["grey", "colour"]


def test_order(stream_of, three):
    orders = {}
    for seed in range(6):
        stream = stream_of("sequence", datasets=three, n_tasks=None, order_seed=seed)
        names = [task.name for task in stream.tasks]
        orders[tuple(names)] = stream.fingerprint
        assert [len(task.classes) for task in stream.tasks] == [three[name].n_classes for name in names]
        assert stream.tasks[0].classes[0] == 0
    assert len(orders) > 1
    assert len(set(orders.values())) == len(orders)
    by_seed = stream_of("sequence", datasets=three, n_tasks=None, order_seed="seed", seed=5)
    assert [task.name for task in by_seed.tasks] == names


@pytest.mark.parametrize("change", [{"size": 9}, {"fit": "resize"}, {"n_tasks": 2}])
def test_alignment_belongs_to_the_fingerprint(stream_of, three, change):
    plain = {"datasets": three, "n_tasks": 3}
    assert stream_of("sequence", **plain).fingerprint == stream_of("sequence", **plain).fingerprint
    assert stream_of("sequence", **plain).fingerprint != stream_of("sequence", **(plain | change)).fingerprint


def test_validation(stream_of, three):
    for task in stream_of("sequence", datasets=three, n_tasks=3, valid_fraction=0.5).tasks:
        assert len(task.train) == len(task.valid) == 3 * len(task.classes)
        assert not set(task.train.rows.tolist()) & set(task.valid.rows.tolist())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"setting": "domain"}, RefusedError, "labels are unrelated"),
        ({"datasets": {}}, ConfigError, "scenario.datasets is empty"),
        ({"n_tasks": 4}, ConfigError, "n_tasks=4 is more than the 3 data sets"),
        ({"n_tasks": 0}, ConfigError, "n_tasks=0"),
        ({"size": 7}, ConfigError, "images of colour are 8x8, larger than scenario.size=7"),
        ({"size": 0}, ConfigError, "scenario.size=0"),
        ({"channels": 2}, ConfigError, "images of colour have 3 channels, scenario.channels=2"),
        ({"channels": True}, ConfigError, "scenario.channels=True"),
        ({"crop": -1}, ConfigError, "scenario.crop=-1"),
        ({"fit": "crop"}, ConfigError, "scenario.fit='crop'"),
        ({"mean": [0.1, 0.2], "std": [1.0, 1.0]}, ConfigError, "3 channels"),
    ],
)
def test_refusals(stream_of, three, change, error, words):
    with pytest.raises(error) as caught:
        stream_of("sequence", **({"datasets": three, "n_tasks": None} | change))
    assert words in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("change", "words"), [({"image": False}, "holds no images"), ({"crop": 4}, r"colour\.crop=4"), ({"flip": True}, "flip=True")]
)
def test_what_one_data_set_cannot_bring(stream_of, three, change, words):
    for key, value in change.items():
        setattr(three["colour"], key, value)
    with pytest.raises(RefusedError, match=words):
        stream_of("sequence", datasets=three, n_tasks=None)


def test_labels_cannot_run_into_the_next_data_set(stream_of, three, fake):
    class Strange(fake):
        def load(self, search, download):
            data = super().load(search, download)
            data.train.targets[0] = 4
            return data

    three["grey"] = Strange("grey", 4, shape=(1, 5, 6))
    with pytest.raises(DataError, match="train labels of grey go from 0 to 4, but n_classes=4"):
        stream_of("sequence", datasets=three, n_tasks=None)


def test_images_that_are_not_bytes():
    images = Pool(torch.rand(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ConfigError, match="uint8"):
        join([("x", images, 0)], 4, 1, "pad")
