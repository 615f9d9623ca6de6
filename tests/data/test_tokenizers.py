"""Tokenizers: what goes in comes out again, cut where it is said, with the special tokens that the files name."""

import json
import subprocess
import sys

import pytest

from clbench.data.content_digest import data_sha256
from clbench.data.tokenizer_lookup import tokenizer
from clbench.data.tokenizers import Bytes, Fast
from clbench.errors import ConfigError, DataError
from tests.data.text_files import write_tokenizer

TEXTS = ["the cat sat on the mat", "näive café ☕ {text}", ""]


def test_bytes_come_back():
    words = tokenizer("bytes", [])
    assert isinstance(words, Bytes)
    for text in TEXTS:
        (tokens,) = words.encode([text])
        assert tokens == [words.bos, *text.encode()]
        assert words.encode([text], specials=False) == [list(text.encode())]
        assert words.decode([*tokens, words.eos, words.pad]) == text
    assert len({words.pad, words.bos, words.eos}) == 3
    assert max(words.pad, words.bos, words.eos) == words.size - 1


def test_bytes_are_cut_to_length_and_half_a_character_does_not_hurt():
    words = Bytes()
    (tokens,) = words.encode(["aé"], length=3)
    assert len(tokens) == 3
    assert words.decode(tokens) == "a�"


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("tokenizers")
    write_tokenizer(tmp_path / "model", TEXTS)
    return tmp_path / "model"


def test_a_folder_is_found_on_the_search_path_and_read_once(folder):
    words = tokenizer("model", [folder.parent / "elsewhere", folder.parent])
    assert isinstance(words, Fast)
    assert words is tokenizer(str(folder), [])
    assert (words.pad, words.eos) == (0, 2)
    for text in TEXTS:
        (tokens,) = words.encode([text])
        assert tokens[0] == 1, "the beginning that the file's own template puts there"
        assert words.decode([*tokens, words.eos, words.pad]) == text
        assert words.encode([text], specials=False) == [tokens[1:]]


def test_the_files_own_padding_and_truncation_do_not_matter(folder):
    words = Fast(folder)
    short, long = words.encode(["a", TEXTS[0] * 10])
    assert len(short) == 2
    assert len(long) > 7


def test_a_cut_text_keeps_its_special_tokens_and_other_calls_are_not_cut(folder):
    words = Fast(folder)
    whole = words.encode([TEXTS[0]])[0]
    cut = words.encode([TEXTS[0]], length=4)[0]
    assert cut == whole[:4]
    assert words.encode([TEXTS[0]])[0] == whole
    assert words.encode([TEXTS[0]], length=100)[0] == whole


def test_a_models_output_may_be_wider_than_its_tokenizer(folder):
    size = Fast(folder).size
    (folder / "config.json").write_text(json.dumps({"vocab_size": size + 8}))
    assert Fast(folder).size == size + 8
    (folder / "config.json").write_text(json.dumps({"vocab_size": 5}))
    assert Fast(folder).size == size


@pytest.mark.parametrize(
    ("config", "pad", "eos"),
    [
        ({"eos_token": "</s>"}, 0, 2),
        ({"sep_token": "</s>", "pad_token": "<s>"}, 1, 2),
        ({"eos_token": "<s>", "sep_token": "</s>"}, 0, 1),
    ],
)
def test_special_tokens_are_those_that_the_files_name(tmp_path, config, pad, eos):
    """Padding that is not named is what tokenizer.json pads with; without an end the separator ends an answer."""
    pytest.importorskip("tokenizers")
    write_tokenizer(tmp_path, TEXTS, config=config)
    assert (Fast(tmp_path).pad, Fast(tmp_path).eos) == (pad, eos)


def test_numbers_in_the_models_own_configuration_serve_where_no_token_is_named(tmp_path):
    pytest.importorskip("tokenizers")
    write_tokenizer(tmp_path, TEXTS, config={})
    with pytest.raises(DataError, match="names no eos_token"):
        Fast(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": [2, 1]}))
    assert Fast(tmp_path).eos == 2


def test_a_missing_folder(tmp_path):
    with pytest.raises(DataError, match="tokenizer nowhere: nowhere was not found") as caught:
        tokenizer("nowhere", [tmp_path])
    assert str(tmp_path) in caught.value.what
    assert "tokenizer=bytes" in caught.value.remedy


def test_a_damaged_file(folder):
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text()[:-40])
    with pytest.raises(DataError, match=r"tokenizer\.json cannot be read"):
        Fast(folder)


def test_a_missing_library_is_named_with_the_extra_that_brings_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match="package tokenizers") as caught:
        Fast(folder)
    assert "clbench[llm]" in caught.value.remedy


def test_a_folder_without_tokenizer_json_is_read_by_transformers(tmp_path):
    pytest.importorskip("transformers")
    names = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}
    (tmp_path / "vocab.txt").write_text("\n".join([*names.values(), "the", "cat", "sat", "##s"]) + "\n")
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, **names})
    )
    words = tokenizer(str(tmp_path), [])
    (tokens,) = words.encode(["The cats sat"])
    assert words.decode(tokens) == "the cats sat"
    assert (tokens[0], tokens[-1], words.eos) == (3, 1, 1)
    assert words.pad == 2
    assert words.encode(["the cat the cat the cat"], length=4) == [[3, 5, 6, 1]]
    assert words.encode(["the cat"], specials=False) == [[5, 6]]
    assert words.size == 9


def test_a_folder_that_holds_no_tokenizer(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(DataError, match="has no readable tokenizer"):
        tokenizer(str(tmp_path), [])


def test_what_a_tokenizer_is_read_from_stands_in_the_digest(folder):
    node = {"name": "x", "tokenizer": "model", "length": 8, "files": {"a": "0" * 64}}
    first = data_sha256(node, [folder.parent])
    assert first == data_sha256({**node, "tokenizer": "model"}, [folder.parent])
    (folder / "model.safetensors").write_bytes(b"weights do not count")
    assert data_sha256(node, [folder.parent]) == first
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<s>"}))
    assert data_sha256(node, [folder.parent]) != first
    with pytest.raises(DataError, match="tokenizer model"):
        data_sha256(node, [folder])


def test_bytes_need_no_library():
    code = "import clbench.data.sources, sys; print({'tokenizers', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
