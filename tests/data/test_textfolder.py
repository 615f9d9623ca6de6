"""Folders of texts in the files that Hugging Face's `datasets` keeps and others write: one data set, however it is stored."""

import csv
import json

import pytest

from clbench.data.content_digest import data_sha256
from clbench.data.sources import TextFolder
from clbench.errors import ConfigError, DataError
from tests.data.text_files import COMMON, write_jsonl

TRAIN = [{"title": 'a "b", c', "content": "line\nline", "label": 0}, {"title": "é", "content": "", "label": 2}] + [
    {"title": f"t{i}", "content": f"c{i}", "label": i % 3} for i in range(7)
]
TEST = [{"title": f"u{i}", "content": f"d{i}", "label": i} for i in range(3)]
WAYS = ("{sentence}", "{title}: {content}")


def source(path, **said):
    own = {"name": "mine", "path": str(path), "text": WAYS, "label": ("label",), "class_names": ("x", "y", "z")}
    return TextFolder(**(COMMON | own | said))


def parquet(folder):
    pytest.importorskip("pyarrow")
    import pyarrow
    import pyarrow.parquet

    folder.mkdir(parents=True)
    half = len(TRAIN) // 2
    for i, rows in enumerate((TRAIN[:half], TRAIN[half:])):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"train-0000{i}-of-00002.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(TEST), folder / "test.parquet")


def hub(folder):
    """The layout of a clone of the hub: a folder data/, or one for each part."""
    parquet(folder / "data")
    (folder / "data" / "test").mkdir()
    (folder / "data" / "test.parquet").rename(folder / "data" / "test" / "0000.parquet")


def arrow(folder):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "title": datasets.Value("string"),
            "content": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["x", "y", "z"]),
        }
    )
    parts = {name: datasets.Dataset.from_list(rows, features=features) for name, rows in (("train", TRAIN), ("test", TEST))}
    datasets.DatasetDict(parts).save_to_disk(str(folder))


def jsonl(folder):
    write_jsonl(folder / "train.jsonl", TRAIN)
    write_jsonl(folder / "test.jsonl", TEST)


def json_list(folder):
    folder.mkdir()
    for name, rows in (("train", TRAIN), ("test", TEST)):
        (folder / f"{name}.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8-sig")


def table(folder):
    folder.mkdir()
    for name, rows in (("train", TRAIN), ("test", TEST)):
        with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["label", "title", "content"])
            writer.writeheader()
            writer.writerows(rows)


@pytest.mark.parametrize("write", [parquet, hub, arrow, jsonl, json_list, table])
def test_every_form_of_the_files_holds_the_same(tmp_path, write):
    write(tmp_path / "set")
    found = source(tmp_path / "set").texts([])
    for part, rows in ((found.train, TRAIN), (found.test, TEST)):
        assert part.texts == [f"{row['title']}: {row['content']}" for row in rows]
        assert part.classes == [row["label"] for row in rows]
    assert found.names == ("x", "y", "z")


def test_the_first_way_to_make_a_text_whose_columns_exist(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", [{"sentence": "{a}", "label": "z"}, {"sentence": None, "label": "x"}])
    write_jsonl(tmp_path / "test.jsonl", [{"title": "t", "content": 3, "label": "1"}])
    found = source(tmp_path).texts([])
    assert (found.train.texts, found.train.classes) == (["{a}", ""], [2, 0])
    assert (found.test.texts, found.test.classes) == (["t: 3"], [1])


def test_numbers_may_mean_the_classes_in_another_order(tmp_path):
    jsonl(tmp_path)
    found = source(tmp_path, label_names=("z", "x", "y"), label=("topic", "label")).texts([])
    assert found.train.classes == [(row["label"] - 1) % 3 for row in TRAIN]
    with pytest.raises(ConfigError, match="label_names has 'w'"):
        source(tmp_path, label_names=("w", "x", "y")).texts([])


def test_free_text(tmp_path):
    for name in ("train", "test"):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"prompt": "p", "answer": "free"}, {"prompt": "q", "answer": "text"}])
    own = {
        "text": ("{prompt}",),
        "label": (),
        "class_names": (),
        "answer": "answer",
        "n_classes": 1,
        "form": "answers",
        "length": 30,
    }
    made = source(tmp_path, **own)
    found = made.texts([])
    assert (found.train.answers, found.train.classes, found.names) == (["free", "text"], [0, 0], ("mine",))
    assert made.load([]).train.answers is None
    with pytest.raises(DataError, match="no column reply"):
        source(tmp_path, **(own | {"answer": "reply"})).texts([])


@pytest.mark.parametrize("said", [{"answer": "label"}, {"label": ()}, {"class_names": ()}])
def test_labels_and_free_text_exclude_each_other(tmp_path, said):
    with pytest.raises(ConfigError, match="give label and class_names, or answer"):
        source(tmp_path, **said).texts([])


def test_other_names_of_the_parts(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", TRAIN)
    write_jsonl(tmp_path / "validation.jsonl", TEST)
    assert source(tmp_path, test_split=("validation_matched", "validation", "test")).texts([]).test.classes == [0, 1, 2]


def test_without_a_part_for_test_a_share_is_held_out(tmp_path):
    rows = [{"sentence": f"text {i % 40}", "label": i % 3} for i in range(200)]
    write_jsonl(tmp_path / "train.jsonl", rows)
    with pytest.raises(DataError, match="has no part test") as caught:
        source(tmp_path).texts([])
    assert "test_share" in caught.value.remedy
    found = source(tmp_path, test_share=0.3).texts([])
    assert not set(found.train.texts) & set(found.test.texts)
    assert len(found.train.texts) + len(found.test.texts) == 200
    assert 20 < len(found.test.texts) < 100


def test_withheld_labels_are_not_taken_for_classes(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", TRAIN)
    write_jsonl(tmp_path / "test.jsonl", [TEST[0], {**TEST[1], "label": -1}])
    with pytest.raises(DataError, match="row 1 has the label -1") as caught:
        source(tmp_path).texts([])
    assert "test_split" in caught.value.remedy
    assert source(tmp_path, skip_labels=(-1,)).texts([]).test.classes == [0]


def test_a_missing_folder_names_the_layout_and_where_it_was_looked_for(tmp_path):
    made = source("nowhere", layout="nowhere/train.jsonl and test.jsonl")
    for find in (made.texts, lambda search: data_sha256(vars(made), search)):
        with pytest.raises(DataError, match="mine: nowhere was not found") as caught:
            find([tmp_path / "one", tmp_path / "two"])
        assert str(tmp_path / "one") in caught.value.what
        assert str(tmp_path / "two") in caught.value.what
        assert "nowhere/train.jsonl and test.jsonl" in caught.value.remedy


def test_an_empty_folder_names_the_layout(tmp_path):
    with pytest.raises(DataError, match="has no part train") as caught:
        source(tmp_path).texts([])
    assert "train.parquet" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.jsonl", '{"title": "a"\n'),
        ("train.json", "[1, 2]"),
        ("train.json", '["a"'),
        ("train.csv", "a,b\n1\n"),
        ("train.csv", ""),
        ("train.parquet", "PAR1"),
        ("train.jsonl", b"\xff\xfe"),
    ],
)
def test_damaged_files(tmp_path, name, content):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=f"{name} cannot be read"):
        source(tmp_path).texts([])


def test_columns_that_do_not_suffice(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", [{"body": "a", "label": 0}])
    with pytest.raises(DataError, match="has the columns body, label, too few for each of"):
        source(tmp_path).texts([])
    with pytest.raises(DataError, match="no column topic"):
        source(tmp_path, text=("{body}",), label=("topic",)).texts([])


def test_shards_of_different_columns(tmp_path):
    write_jsonl(tmp_path / "train-0.jsonl", [{"sentence": "a", "label": 0}])
    write_jsonl(tmp_path / "train-1.jsonl", [{"text": "a", "label": 0}])
    with pytest.raises(DataError, match=r"train-1\.jsonl has other columns"):
        source(tmp_path).texts([])


def test_what_the_files_hold_stands_in_the_digest_and_their_place_does_not(tmp_path):
    for place in ("a", "b", "c"):
        jsonl(tmp_path / place)
    write_jsonl(tmp_path / "c" / "test.jsonl", TEST[::-1])
    digests = [data_sha256(vars(source(tmp_path / place)), []) for place in ("a", "b", "c")]
    assert digests[0] == digests[1] != digests[2]
