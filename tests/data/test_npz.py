import numpy as np
import pytest
import torch

from clbench.data.sources import Npz
from clbench.data.sources.base import content_sha256
from clbench.errors import ConfigError, DataError
from tests.data.files import labelled_images


def parts(shape=(4, 3), **changes):
    x_train, y_train = labelled_images(12, shape)
    x_test, y_test = labelled_images(6, shape, seed=1)
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test, **changes}
    return {key: value for key, value in arrays.items() if value is not None}


def load(tmp_path, test_every=None, **arrays):
    np.savez_compressed(tmp_path / "own.npz", **arrays)
    return Npz(name="own", path="own.npz", test_every=test_every).load([tmp_path])


def test_grey_images(tmp_path):
    arrays = parts()
    data = load(tmp_path, **arrays)
    for pool, side in ((data.train, "train"), (data.test, "test")):
        assert torch.equal(pool.inputs, torch.from_numpy(arrays[f"x_{side}"])[:, None])
        assert torch.equal(pool.targets, torch.from_numpy(arrays[f"y_{side}"]))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_with_channels_last(tmp_path, channels):
    arrays = parts((4, 5, channels))
    data = load(tmp_path, **arrays)
    assert data.train.inputs.shape == (12, channels, 4, 5)
    for i in range(12):
        for c in range(channels):
            assert (data.train.inputs[i, c].numpy() == arrays["x_train"][i, :, :, c]).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_features(tmp_path, dtype):
    x = np.random.default_rng(0).normal(size=(12, 5)).astype(dtype)
    data = load(tmp_path, **parts(x_train=x, x_test=x[:6]))
    assert data.train.inputs.dtype == torch.float32
    assert (data.train.inputs.numpy() == x.astype("float32")).all()


def test_labels_in_any_order_are_numbered_by_the_sorted_training_labels(tmp_path):
    y_train, y_test = np.tile([40, -7, 9], 4), np.array([9, 9, -7, 40, 40, -7], dtype=np.int16)
    data = load(tmp_path, **parts(y_train=y_train, y_test=y_test))
    assert data.train.targets.tolist() == [2, 0, 1] * 4
    assert data.test.targets.tolist() == [1, 1, 0, 2, 2, 0]


def test_one_part_is_divided_by_the_rule(tmp_path):
    x, y = labelled_images(30, (4, 4))
    data = load(tmp_path, test_every=5, x=x, y=y + 10)
    test = [i for i in range(30) if (y[: i + 1] == y[i]).sum() % 5 == 0]
    train = [i for i in range(30) if i not in test]
    assert (data.test.inputs[:, 0].numpy() == x[test]).all()
    assert data.train.targets.tolist() == y[train].tolist()
    assert np.bincount(data.test.targets.numpy()).tolist() == [2, 2, 2]


def test_path_is_relative_to_the_working_folder_first(tmp_path, monkeypatch):
    for name, value in (("here", 1), ("there", 2)):
        (tmp_path / name).mkdir()
        np.savez(
            tmp_path / name / "own.npz",
            **parts(x_train=np.full((12, 2, 2), value, dtype=np.uint8), x_test=np.zeros((6, 2, 2), dtype=np.uint8)),
        )
    source = Npz(name="own", path="own.npz")
    monkeypatch.chdir(tmp_path / "here")
    assert source.load([tmp_path / "there"]).train.inputs.unique().tolist() == [1]
    monkeypatch.chdir(tmp_path)
    assert source.load([tmp_path / "there"]).train.inputs.unique().tolist() == [2]
    assert Npz(name="own", path=str(tmp_path / "here" / "own.npz")).load([]).train.inputs.unique().tolist() == [1]


@pytest.mark.parametrize("key", ["x_train", "y_train", "x_test", "y_test"])
def test_missing_array_is_named(tmp_path, key):
    with pytest.raises(DataError, match=rf"own\.npz lacks the array {key}"):
        load(tmp_path, **parts(**{key: None}))


def test_a_file_of_x_and_y_says_how_to_divide_it(tmp_path):
    x, y = labelled_images(30, (4, 4))
    with pytest.raises(DataError) as caught:
        load(tmp_path, x=x, y=y)
    assert "test_every=5" in caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"x_train": np.zeros((12, 3, 8, 8), dtype=np.uint8)},
            r"x_train is uint8 \[12, 3, 8, 8\](.|\n)*channels come last",
        ),
        ({"x_train": np.zeros((12, 8, 8, 5), dtype=np.uint8)}, "x_train is uint8"),
        ({"x_train": np.zeros((12, 8), dtype=np.uint8)}, "x_train is uint8"),
        ({"x_train": np.zeros((12, 8, 8), dtype=np.float32)}, "x_train is float32"),
        ({"x_train": np.zeros((12, 8, 8), dtype=np.int64)}, "x_train is int64"),
        ({"x_train": np.zeros((0, 4, 3), dtype=np.uint8), "y_train": np.zeros(0, dtype=int)}, "x_train is uint8"),
        ({"x_train": np.array([[1, np.nan]] * 12)}, "x_train has numbers that are not finite"),
        ({"x_train": np.array([[1, 1e300]] * 12)}, "x_train has numbers that are not finite"),
        ({"y_train": np.zeros(11, dtype=int)}, r"y_train is int64 \[11\] for 12 samples"),
        ({"y_train": np.zeros((12, 1), dtype=int)}, "y_train is int64"),
        ({"y_test": np.zeros(6)}, "y_test is float64"),
        (
            {"x_test": np.zeros((6, 4, 4), dtype=np.uint8)},
            r"x_train is uint8 \[12, 4, 3\], x_test is uint8 \[6, 4, 4\]",
        ),
        ({"x_test": np.zeros((6, 12))}, "one shape and type"),
        ({"y_test": np.array([0, 1, 2, 0, 1, 8])}, "y_test has label 8"),
        ({"y_test": np.array([0, 1, 1, 0, 1, 0])}, "test part has no sample of class 2"),
    ],
)
def test_other_layouts_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        load(tmp_path, **parts(**changes))


def test_python_objects_are_never_read(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read as \.npz"):
        load(tmp_path, **parts(y_train=np.array([print] * 12, dtype=object)))


def test_truncated_file(tmp_path):
    path = tmp_path / "own.npz"
    np.savez_compressed(path, **parts((30, 30)))
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cannot be read as \.npz"):
            Npz(name="own", path="own.npz").load([tmp_path])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_altered_byte_is_noticed_or_harmless(tmp_path, save):
    path, source = tmp_path / "own.npz", Npz(name="own", path="own.npz")

    def loaded():
        try:
            return content_sha256(source.load([tmp_path]))
        except DataError as error:
            return error.what

    save(path, **parts())
    whole, original = path.read_bytes(), loaded()
    outcomes = []
    for position in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        outcomes.append(loaded())
    assert all(outcome == original or "own.npz" in outcome for outcome in outcomes)
    assert sum(outcome != original for outcome in outcomes) > len(outcomes) / 2


def test_single_array_and_missing_file_and_folder(tmp_path):
    np.save(tmp_path / "own.npy", np.zeros(3))
    (tmp_path / "folder.npz").mkdir()
    for path, message in (
        ("own.npy", "has a single array"),
        ("no.npz", "was not found"),
        ("folder.npz", "cannot be read"),
    ):
        with pytest.raises(DataError, match=message):
            Npz(name="own", path=path).load([tmp_path])


def test_no_path_given():
    with pytest.raises(ConfigError, match="path=None"):
        Npz(name="own", path=None).load([])


def save(folder, arrays):
    folder.mkdir(exist_ok=True)
    for key, value in arrays.items():
        np.save(folder / f"{key}.npy", value)
    return folder


@pytest.mark.parametrize("shape", [(4, 3), (4, 5, 3), None])
def test_a_folder_of_npy_files_is_mapped_and_says_what_an_npz_says(tmp_path, shape):
    x = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    arrays = parts(shape) if shape else parts(x_train=x, x_test=x[:6])
    save(tmp_path / "mine", arrays)
    sources = [Npz(name="own", path=path) for path in ("own.npz", "mine")]
    packed, mapped = load(tmp_path, **arrays), sources[1].load([tmp_path])
    sources[0].load([tmp_path])
    for a, b in ((packed.train, mapped.train), (packed.test, mapped.test)):
        assert (a.mapped, b.mapped) == (False, True)
        assert a.inputs.dtype == b.inputs.dtype
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.targets, b.targets)
    assert sources[1].mean == pytest.approx(sources[0].mean)
    assert sources[1].std == pytest.approx(sources[0].std)


def test_what_is_written_into_a_mapped_pool_stays_out_of_the_file(tmp_path):
    arrays = parts()
    save(tmp_path / "mine", arrays)
    Npz(name="own", path="mine").load([tmp_path]).train.inputs.zero_()
    assert (np.load(tmp_path / "mine" / "x_train.npy") == arrays["x_train"]).all()


def test_a_folder_of_npy_files_divided_by_the_rule(tmp_path):
    x, y = labelled_images(30, (4, 4))
    save(tmp_path / "mine", {"x": x, "y": y})
    (packed, divided) = (load(tmp_path, test_every=5, x=x, y=y), Npz(name="own", path="mine", test_every=5).load([tmp_path]))
    assert torch.equal(packed.test.inputs, divided.test.inputs)


def test_npy_files_that_are_damaged_or_missing(tmp_path):
    folder = save(tmp_path / "mine", parts())
    (folder / "x_test.npy").write_bytes((folder / "x_test.npy").read_bytes()[:-20])
    with pytest.raises(DataError, match=r"x_test\.npy cannot be mapped"):
        Npz(name="own", path="mine").load([tmp_path])
    (folder / "x_test.npy").unlink()
    with pytest.raises(DataError, match=r"lacks x_test\.npy"):
        Npz(name="own", path="mine").load([tmp_path])
    np.save(folder / "x_test.npy", np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"x_test\.npy cannot be mapped"):
        Npz(name="own", path="mine").load([tmp_path])


def test_mapped_features_that_are_not_finite_are_found_in_any_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr("clbench.data.sources.npz.CHUNK", 5)
    x = np.zeros((12, 5), dtype=np.float32)
    x[11, 4] = np.inf
    save(tmp_path / "mine", parts(x_train=x, x_test=np.zeros((6, 5), dtype=np.float32)))
    with pytest.raises(DataError, match="not finite"):
        Npz(name="own", path="mine").load([tmp_path])
