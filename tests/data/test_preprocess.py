import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

from clbench.data.preprocess import Preprocess, random_crop, random_flip


def images(n, channels=3, height=8, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, channels, height, width), dtype=torch.uint8, generator=generator)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("channels", "mean", "std"),
    [(1, (0.1307,), (0.3081,)), (3, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)), (3, (0.5,), (0.25,))],
)
def test_normalisation_is_torchvisions(channels, mean, std):
    raw = images(16, channels)
    kept = raw.clone()
    expected = v2.functional.normalize(v2.functional.to_dtype(raw, torch.float32, scale=True), list(mean), list(std))
    preprocess = Preprocess(mean, std)
    for _ in range(2):
        torch.testing.assert_close(preprocess(raw), expected, rtol=1e-5, atol=2e-6)
    assert torch.equal(raw, kept)


def test_without_constants_only_the_scale_changes():
    raw = images(4)
    torch.testing.assert_close(Preprocess()(raw), raw / 255)


def test_features_are_normalised_per_feature_and_tokens_pass():
    raw, mean, std = torch.randn(5, 3, generator=generator()), (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)
    torch.testing.assert_close(Preprocess(mean, std)(raw), (raw - torch.tensor(mean)) / torch.tensor(std))
    assert Preprocess()(raw) is raw
    tokens = torch.arange(6).view(2, 3)
    assert Preprocess(mean, std)(tokens) is tokens


def torchvision_crops(image, padding):
    """All crops that torchvision's RandomCrop could make of `image`, by (top, left)."""
    padded = v2.functional.pad(image, [padding])
    height, width = image.shape[-2:]
    return {
        (top, left): v2.functional.crop(padded, top, left, height, width)
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    }


@pytest.mark.parametrize(("channels", "height", "width", "padding"), [(3, 8, 8, 4), (1, 6, 9, 2), (3, 5, 4, 1)])
def test_every_crop_is_one_of_torchvisions(channels, height, width, padding):
    raw = images(40, channels, height, width)
    cropped = random_crop(raw, padding, generator())
    assert cropped.shape == raw.shape
    assert cropped.dtype == torch.uint8
    assert cropped.is_contiguous()
    for before, after in zip(raw, cropped):
        matches = [place for place, crop in torchvision_crops(before, padding).items() if torch.equal(crop, after)]
        assert len(matches) == 1


def test_offsets_of_crops_are_uniform_and_independent_of_each_other():
    padding, n = 2, 25 * 200
    image = images(1, 1, 6, 6)
    places = {crop.numpy().tobytes(): place for place, crop in torchvision_crops(image[0], padding).items()}
    counts = dict.fromkeys(places.values(), 0)
    for crop in random_crop(image.expand(n, -1, -1, -1), padding, generator()):
        counts[places[crop.numpy().tobytes()]] += 1
    assert len(counts) == 25
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


def test_flip_is_torchvisions_and_fair():
    raw = images(2000, 1, 3, 4)
    flipped = random_flip(raw, generator())
    mirrored = [torch.equal(after, v2.functional.horizontal_flip(before)) for before, after in zip(raw, flipped)]
    kept = [torch.equal(after, before) for before, after in zip(raw, flipped)]
    assert all(m != k for m, k in zip(mirrored, kept))
    assert stats.binomtest(sum(mirrored), len(raw), 0.5).pvalue > 1e-4


def test_crop_and_flip_do_not_hang_together():
    padding, n = 1, 9 * 400
    image = images(1, 1, 5, 5)
    places = {}
    for place, crop in torchvision_crops(image[0], padding).items():
        places[crop.numpy().tobytes()] = (*place, 0)
        places[v2.functional.horizontal_flip(crop).contiguous().numpy().tobytes()] = (*place, 1)
    counts = dict.fromkeys(places.values(), 0)
    for sample in Preprocess(crop=padding, flip=True).augment(image.expand(n, -1, -1, -1), generator()):
        counts[places[sample.contiguous().numpy().tobytes()]] += 1
    assert len(counts) == 18
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


def test_the_same_seed_gives_the_same_images_and_another_does_not():
    raw = images(32)
    kept = raw.clone()
    preprocess = Preprocess(crop=4, flip=True)
    assert preprocess.augments
    first, again, other = (preprocess.augment(raw, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(raw, kept)


def test_nothing_declared_changes_nothing_and_draws_nothing():
    raw, drawn = images(4), generator()
    assert not Preprocess().augments
    assert Preprocess().augment(raw, drawn) is raw
    assert torch.equal(drawn.get_state(), generator().get_state())
