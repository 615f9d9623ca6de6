import numpy as np
import pytest
from PIL import Image

from clbench.data.sources import Folder
from clbench.errors import ConfigError, DataError
from tests.data.files import write_images


def load(root, **changes):
    return Folder(**{"name": "own", "path": root.name, "channels": 3, **changes}).load([root.parent])


@pytest.fixture
def root(tmp_path):
    return tmp_path / "pictures"


def test_train_and_test_folders(root):
    pixels = {
        (side, name): write_images(root / side / name, n, seed=i)
        for i, (side, name, n) in enumerate([("train", "owl", 3), ("train", "ape", 4), ("test", "ape", 2), ("test", "owl", 1)])
    }
    data = load(root)
    assert data.train.targets.tolist() == [0] * 4 + [1] * 3
    assert data.test.targets.tolist() == [0] * 2 + [1]
    for pool, side in ((data.train, "train"), (data.test, "test")):
        expected = np.concatenate([pixels[side, "ape"], pixels[side, "owl"]]).transpose(0, 3, 1, 2)
        assert (pool.inputs.numpy() == expected).all()


def test_every_fifth_by_name_is_test(root):
    pixels = [write_images(root / name, n, seed=n) for name, n in (("a", 11), ("b", 5))]
    data = load(root, test_every=5)
    assert (data.test.inputs.numpy() == np.stack([pixels[0][4], pixels[0][9], pixels[1][4]]).transpose(0, 3, 1, 2)).all()
    assert data.test.targets.tolist() == [0, 0, 1]
    assert (len(data.train), data.train.targets.tolist()) == (13, [0] * 9 + [1] * 4)


def test_first_and_next_per_class(root):
    pixels = [write_images(root / name, n, seed=n) for name, n in (("a", 6), ("b", 8))]
    data = load(root, per_class=(3, 2))
    assert (data.train.inputs.numpy() == np.concatenate([p[:3] for p in pixels]).transpose(0, 3, 1, 2)).all()
    assert (data.test.inputs.numpy() == np.concatenate([p[3:5] for p in pixels]).transpose(0, 3, 1, 2)).all()


def test_order_does_not_depend_on_the_order_of_writing(root):
    for name in ("c", "a", "b"):
        for stem, value in (("z", 3), ("k", 2), ("a", 1), ("x", 9)):
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((2, 2), value + 50 * ord(name) % 100, dtype=np.uint8)).save(root / name / f"{stem}.png")
    data = load(root, channels=1, per_class=(3, 1))
    values = data.train.inputs[:, 0, 0, 0].reshape(3, 3)
    assert values.tolist() == [[v + 50 * ord(n) % 100 for v in (1, 2, 9)] for n in "abc"]
    assert data.test.inputs[:, 0, 0, 0].tolist() == [3 + 50 * ord(n) % 100 for n in "abc"]


def test_grey_is_pillows_luma_and_colour_repeats_grey(root):
    colour = write_images(root / "a", 5)
    grey = write_images(root / "b", 5, mode="L")
    data = load(root, channels=1, test_every=5)
    assert (data.train.inputs[0, 0].numpy() == np.asarray(Image.fromarray(colour[0]).convert("L"))).all()
    data = load(root, channels=3, test_every=5)
    assert (data.train.inputs[4:].numpy() == grey[:4, None]).all()


def test_resized_as_pillow_does(root):
    pixels = [write_images(root / name, 5, size=size) for name, size in (("a", (9, 12)), ("b", (4, 6)))]
    data = load(root, size=(4, 6), test_every=5)
    assert data.train.inputs.shape == (8, 3, 4, 6)
    resized = np.asarray(Image.fromarray(pixels[0][2]).resize((6, 4), Image.Resampling.BILINEAR))
    assert (data.train.inputs[2].numpy() == resized.transpose(2, 0, 1)).all()
    assert (data.train.inputs[5].numpy() == pixels[1][1].transpose(2, 0, 1)).all()


def test_unequal_sizes_need_a_size(root):
    write_images(root / "a", 5, size=(6, 5))
    write_images(root / "b", 5, size=(5, 6))
    with pytest.raises(DataError, match="is 5x6, the first image is 6x5") as caught:
        load(root, test_every=5)
    assert "scenario.dataset.size" in caught.value.remedy


def test_hidden_files_and_files_beside_the_classes_do_not_count(root):
    write_images(root / "a", 5)
    (root / "a" / ".DS_Store").write_bytes(b"x")
    (root / "README.txt").write_text("about")
    (root / ".git").mkdir()
    data = load(root, test_every=5)
    assert (len(data.train), len(data.test)) == (4, 1)


@pytest.mark.parametrize("suffix", ["jpg", "JPG", "bmp", "jpeg"])
def test_other_formats(root, suffix):
    write_images(root / "a", 5, suffix=suffix)
    assert len(load(root, test_every=5).train) == 4


def test_a_file_that_is_no_image_is_named(root):
    write_images(root / "a", 5)
    (root / "a" / "notes.txt").write_text("about")
    with pytest.raises(DataError, match=r"notes\.txt is not an image"):
        load(root, test_every=5)


@pytest.mark.parametrize("content", [b"", b"not an image", "cut"])
def test_an_image_that_cannot_be_decoded_is_named_and_can_be_skipped(root, content):
    write_images(root / "a", 6, size=(40, 40))
    bad = root / "a" / "002.png"
    bad.write_bytes(bad.read_bytes()[:1000] if content == "cut" else content)
    with pytest.raises(DataError, match=r"002\.png cannot be read as an image") as caught:
        load(root, test_every=5)
    assert "skip" in caught.value.remedy
    data = load(root, test_every=5, skip=("a/002.png",))
    assert (len(data.train), len(data.test)) == (4, 1)


def test_the_first_image_can_be_the_broken_one(root):
    write_images(root / "a", 6)
    (root / "a" / "000.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"000\.png cannot be read as an image"):
        load(root, test_every=5)


def test_more_than_eight_bits_are_refused(root):
    write_images(root / "a", 5)
    Image.fromarray(np.full((6, 5), 40000, dtype=np.uint16)).save(root / "a" / "deep.png")
    with pytest.raises(DataError, match="more than 8 bits"):
        load(root, test_every=5)


def test_folder_without_classes(root):
    root.mkdir()
    (root / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match="has no folders of classes"):
        load(root, test_every=5)


def test_class_without_images(root):
    write_images(root / "a", 5)
    (root / "b").mkdir()
    with pytest.raises(DataError, match="b has no images"):
        load(root, test_every=5)


def test_too_few_images_for_the_rule(root):
    write_images(root / "a", 5)
    write_images(root / "b", 4)
    with pytest.raises(DataError, match="b has 4 images, too few"):
        load(root, test_every=5)
    with pytest.raises(DataError, match=r"b has 4 images, per_class=\[3, 2\] needs 5"):
        load(root, per_class=(3, 2))


def test_train_and_test_must_hold_the_same_classes(root):
    for place in ("train/a", "train/b", "test/a"):
        write_images(root / place, 2)
    with pytest.raises(DataError, match="class b is in only one of train/ and test/"):
        load(root)


def test_exactly_one_rule(root):
    write_images(root / "a", 5)
    for rules in ({}, {"test_every": 5, "per_class": (3, 1)}):
        with pytest.raises(ConfigError, match="test_every="):
            load(root, **rules)


def test_missing_folder_and_file_instead_of_folder(root):
    with pytest.raises(DataError, match="pictures was not found"):
        load(root, test_every=5)
    root.write_bytes(b"")
    with pytest.raises(DataError, match="pictures is not a folder"):
        load(root, test_every=5)


def test_images_that_would_fill_the_memory_are_kept_in_a_file(root, tmp_path, monkeypatch):
    for seed, name in enumerate(("a", "b")):
        write_images(root / name, 10, seed=seed)
    size = 20 * 3 * 6 * 5
    for available, mapped in ((size * 2, False), (size * 2 - 2, True), (None, False)):
        monkeypatch.setattr("clbench.data.sources.folder.available_memory", lambda: available)  # noqa: B023
        data = load(root, test_every=5)
        assert (data.train.mapped, data.test.mapped) == (mapped, mapped)
    plain = load(root, test_every=5, mapped=False)
    assert (data.train.inputs == plain.train.inputs).all()
    assert len(list((tmp_path / "decoded").iterdir())) == 3  # two arrays and the lock


def test_another_image_rule_or_size_is_another_file(root, tmp_path):
    for seed, name in enumerate(("a", "b")):
        write_images(root / name, 10, seed=seed)
    cases = [{"test_every": 5}, {"per_class": (5, 2)}, {"test_every": 5, "size": (4, 4)}, {"test_every": 5, "channels": 1}]
    for case in cases:
        kept, plain = load(root, mapped=True, **case), load(root, mapped=False, **case)
        assert (kept.train.inputs == plain.train.inputs).all()
        assert (kept.test.inputs == plain.test.inputs).all()
    assert len(list((tmp_path / "decoded").glob("*.npy"))) == 2 * len(cases)
    Image.fromarray(np.zeros((6, 5, 3), dtype=np.uint8)).save(root / "a" / "000.png")
    assert (load(root, mapped=True, test_every=5).train.inputs[0] == 0).all()


def test_a_decoded_file_is_whole_or_not_there(root, tmp_path, monkeypatch):
    for seed, name in enumerate(("a", "b")):
        write_images(root / name, 10, seed=seed)
    (root / "b" / "009.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"009\.png cannot be read"):
        load(root, mapped=True, test_every=3)
    assert not list((tmp_path / "decoded").glob("*.*p*"))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    (root / "b" / "009.png").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(DataError, match="No space left on device"):
            load(root, mapped=True, test_every=3)
    assert not list((tmp_path / "decoded").glob("*.*p*"))
    assert load(root, mapped=True, test_every=3).train.mapped
