"""Rotated: the same images in every task, turned as torchvision turns them."""

import pytest
import torch
from torchvision.transforms.functional import InterpolationMode, rotate

from clbench.data.pool import see
from clbench.errors import ConfigError, RefusedError
from clbench.scenarios.rotated import choose_angles, rotation


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (28, 28), (32, 32), (9, 6)])
@pytest.mark.parametrize("angle", [0.0, 13.7, 45.0, 57.3, 90.0, 179.9, 180.0, -30.0, 271.0])
def test_pixel_for_pixel_as_torchvision(size, angle):
    images = torch.randint(1, 256, (4, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    turned = see(images, rotation(*size, angle))
    assert turned.dtype == torch.uint8
    assert torch.equal(turned, rotate(images, angle, interpolation=InterpolationMode.NEAREST))


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize(("angle", "quarters"), [(90.0, 1), (180.0, 2), (270.0, 3), (360.0, 0), (-90.0, -1)])
def test_quarter_turns_go_counter_clockwise_about_the_centre(size, angle, quarters):
    image = torch.arange(1, size * size + 1, dtype=torch.uint8).view(1, 1, size, size)
    assert torch.equal(see(image, rotation(size, size, angle)), torch.rot90(image, quarters, (2, 3)))


def test_corners_are_filled_with_zero():
    view = rotation(9, 9, 45.0)
    assert view.view(9, 9)[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [-1] * 4
    assert view.view(9, 9)[4, 4] == 4 * 9 + 4
    assert see(torch.full((1, 1, 9, 9), 255, dtype=torch.uint8), view)[0, 0, 0, 0] == 0


def test_train_and_test_are_turned_alike(stream_of, fake):
    source = fake(shape=(3, 9, 9))
    stream = stream_of("rotated", dataset=source, setting="domain", n_tasks=2, angles=[0, 57.3])
    data = source.load([], False)
    assert [task.name for task in stream.tasks] == ["rotation 0.0°", "rotation 57.3°"]
    assert torch.equal(stream.tasks[0].train.raw(), data.train.inputs)
    turned = stream.evaluation[1].split
    assert torch.equal(turned.raw(), rotate(data.test.inputs, 57.3, interpolation=InterpolationMode.NEAREST))
    assert torch.equal(turned.labels, data.test.targets)
    assert torch.equal(stream.tasks[1].train.view, turned.view)


def test_drawn_angles_follow_the_seed_alone():
    angles = choose_angles(None, 0.0, 180.0, 50, 0)
    assert angles == choose_angles(None, 0.0, 180.0, 50, 0)
    assert angles[:7] == choose_angles(None, 0.0, 180.0, 7, 0)
    assert not set(angles) & set(choose_angles(None, 0.0, 180.0, 50, 1))
    assert len(set(angles)) == 50
    assert all(0 <= angle < 180 for angle in angles)
    assert min(angles) < 45 < 135 < max(angles)
    assert all(-10 <= angle < 10 for angle in choose_angles(None, -10, 10, 50, 0))


@pytest.mark.parametrize(("setting", "heads"), [("domain", (10,)), ("task", (10, 10)), ("class", (20,))])
def test_outputs_of_each_setting(stream_of, setting, heads):
    stream = stream_of("rotated", setting=setting, n_tasks=2)
    assert stream.head_sizes == heads
    assert all(len(task.train) == 60 and task.classes == tuple(range(10)) for task in stream.tasks)


def test_another_order_holds_the_same_angles(stream_of):
    plain, mixed = (stream_of("rotated", setting="domain", n_tasks=8, order_seed=order) for order in (None, 1))
    names = [[task.name for task in stream.tasks] for stream in (plain, mixed)]
    assert sorted(names[0]) == sorted(names[1])
    assert names[0] != names[1]
    assert plain.fingerprint != mixed.fingerprint


def test_union_shows_each_sample_as_its_task_does(stream_of):
    stream = stream_of("rotated", setting="domain", n_tasks=3)
    assert torch.equal(stream.union(stream.tasks[:3]).raw(), torch.cat([task.train.raw() for task in stream.tasks]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"angles": [0.0, 10.0]}, "2 angles for scenario.n_tasks=5"),
        ({"angles": []}, "0 angles"),
        ({"angles": [0, 1, 2, 3, "x"]}, "'x'"),
        ({"angles": [0, 1, 2, 3, float("inf")]}, "inf"),
        ({"min_angle": 90.0, "max_angle": 90.0}, "min_angle=90.0"),
        ({"max_angle": None}, "None"),
    ],
)
def test_bad_angles(stream_of, change, words):
    with pytest.raises(ConfigError, match=words) as caught:
        stream_of("rotated", **change)
    assert caught.value.remedy


def test_nothing_to_rotate(stream_of, fake):
    with pytest.raises(RefusedError, match="no images"):
        stream_of("rotated", dataset=fake(image=False, shape=(7,)))
