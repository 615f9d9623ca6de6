"""Texts as samples with labels, and as prompts with answers: what is stored can be read again, and no answer is ever cut."""

from dataclasses import dataclass, field

import pytest
import torch

from clbench.data import answer_tokens
from clbench.data.content_digest import data_sha256
from clbench.data.sources.text import Read, Text, Texts
from clbench.data.tokenizers import Bytes
from clbench.errors import ConfigError, DataError
from tests.data.text_files import COMMON, write_tokenizer

WORDS = Bytes()
TRAIN = Texts(["a short one", "a text that is much longer than all the others are", "b"], [0, 1, 1])
TEST = Texts(["c", "d"], [1, 0])


@dataclass(kw_only=True)
class Given(Text):
    """Texts as the test gives them."""

    train: Texts = field(default_factory=lambda: TRAIN)
    test: Texts = field(default_factory=lambda: TEST)

    def texts(self, search):
        return Read(self.train, self.test, ("bad", "good"))


def source(**said):
    return Given(**({"name": "given"} | COMMON | said))


def read(pool, row):
    """Return (prompt, answer) of a row as people would."""
    tokens = pool.inputs[row]
    return WORDS.decode(tokens[tokens >= 0].tolist()), WORDS.decode((~tokens[tokens < 0]).tolist())


def test_classes_are_tokens_on_the_left_and_padding_on_the_right():
    made = source()
    data = made.load([])
    assert data.train.inputs.dtype == torch.int64
    assert data.train.vocabulary is None
    assert data.train.answers is None
    for pool, part in ((data.train, TRAIN), (data.test, TEST)):
        assert pool.targets.tolist() == part.classes
        assert pool.pad == WORDS.pad
        for row, text in zip(pool.inputs.tolist(), part.texts, strict=True):
            tokens = [WORDS.bos, *text.encode()]
            assert row[: len(tokens)] == tokens
            assert set(row[len(tokens) :]) <= {WORDS.pad}
    assert data.train.inputs.shape[1] == data.test.inputs.shape[1] == len(TRAIN.texts[1]) + 1, "as long as the longest needs"
    assert (made.n_classes, made.names, made.words) == (2, ("bad", "good"), made.words)


def test_tokens_are_not_averaged():
    made = source(mean=None, std=None)
    made.load([])
    assert (made.mean, made.std, made.image) == ((), (), False)


def test_a_long_text_loses_its_end():
    pool = source(length=10).load([]).train
    assert pool.inputs.shape[1] == 10
    assert pool.inputs[1].tolist() == [WORDS.bos, *TRAIN.texts[1].encode()[:9]]


def test_a_prompt_with_its_answer_comes_back():
    made = source(form="answers", length=100, template="Say {options} of: {text}\nIt is")
    data = made.load([])
    assert data.train.vocabulary == data.test.vocabulary == WORDS.size
    assert data.train.pad == data.test.pad == WORDS.pad
    for pool, part in ((data.train, TRAIN), (data.test, TEST)):
        for row, (text, label) in enumerate(zip(part.texts, part.classes, strict=True)):
            assert read(pool, row) == (f"Say bad, good of: {text}\nIt is", [" bad", " good"][label])
            written = ~pool.inputs[row][pool.inputs[row] < 0]
            assert written[-1] == WORDS.eos, "the end is written too"
            assert (written[:-1] != WORDS.eos).all()
    assert torch.equal(answer_tokens.answer_ids(data.test.inputs[1:]), torch.tensor([*b" bad", WORDS.eos]))


def test_the_table_of_answers_has_a_row_per_class():
    table = source(form="answers", length=100).load([]).train.answers
    assert table.tolist() == [[*b" bad", WORDS.eos, -1], [*b" good", WORDS.eos]]
    own = source(form="answers", length=100, label_words=("no", "yes!"), answer_prefix="").load([])
    assert own.test.answers.tolist() == [[*b"no", WORDS.eos, -1, -1], [*b"yes!", WORDS.eos]]
    assert read(own.test, 0)[1] == "yes!"


@pytest.mark.parametrize("length", range(20, 75))
def test_what_is_too_long_loses_the_end_of_its_text_never_of_template_or_answer(length):
    pool = source(form="answers", length=length, template="T: {text} A:").load([]).train
    assert pool.inputs.shape[1] <= length
    for row, (text, label) in enumerate(zip(TRAIN.texts, TRAIN.classes, strict=True)):
        prompt, answer = read(pool, row)
        assert answer == [" bad", " good"][label]
        assert prompt.startswith("T: ")
        assert prompt.endswith(" A:")
        kept = prompt[3:-3]
        assert text.startswith(kept)
        room = length - len(answer) - 1 - len("T:  A:") - 1
        assert len(kept) == min(len(text), room), "a byte is a token: not one more is cut than has to be"


def test_truncation_with_tokens_of_several_letters(tmp_path):
    pytest.importorskip("tokenizers")
    write_tokenizer(tmp_path, [TRAIN.texts[1]] * 5)
    made = source(form="answers", length=16, template="T: {text} A:", tokenizer=str(tmp_path))
    pool = made.load([]).train
    lengths = (pool.inputs != made.words.pad).sum(1)
    assert lengths.max() <= 16
    prompt = pool.inputs[1][pool.inputs[1] >= 0]
    text = made.words.decode(prompt.tolist())
    assert text.startswith("T: a text")
    assert text.endswith(" A:")
    assert made.words.decode((~pool.inputs[1][pool.inputs[1] < 0]).tolist()) == " good"


def test_no_room_for_an_answer_or_a_prompt_is_an_error():
    with pytest.raises(ConfigError, match="no room for the answer 'good'"):
        source(form="answers", length=6).load([])
    with pytest.raises(ConfigError, match="takes 11 tokens without its text"):
        source(form="answers", length=15, template="0123456789{text}").load([])


def test_free_text_for_answers():
    train = Texts(["p", "q"], [0, 0], ["one answer", "another, longer one"])
    made = source(form="answers", length=40, train=train, test=train.take([1]), answer_prefix="")
    data = made.load([])
    assert data.train.answers is None
    assert [read(data.train, row)[1] for row in (0, 1)] == train.answers
    with pytest.raises(ConfigError, match="no room for the answer 'another"):
        source(form="answers", length=20, train=train, test=train).load([])
    cut = source(form="answers", length=20, train=train, test=train, answer_prefix="", answer_length=8).load([]).train
    assert read(cut, 1) == ("q", "another")
    assert int(answer_tokens.answer_ids(cut.inputs[1:])[-1]) == WORDS.eos
    with pytest.raises(ConfigError, match="has written answers"):
        source(train=train, test=train).load([])


def test_braces_in_a_text_are_a_text():
    train = Texts(["{options} {0} {text}"], [0])
    pool = source(form="answers", length=90, template="{text} of {options}:", train=train, test=train, n_classes=1).load([]).train
    assert read(pool, 0)[0] == "{options} {0} {text} of bad, good:"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"template": "no place"}, "lacks {text}"),
        ({"label_words": ("one",), "n_classes": 2}, "1 label_words for n_classes=2"),
    ],
)
def test_wrong_values(said, message):
    with pytest.raises(ConfigError, match=message):
        source(form="answers", **said).load([])


def test_no_samples():
    with pytest.raises(DataError, match="no test samples"):
        source(test=Texts([], [])).load([])


def test_few_samples_of_each_class():
    many = Texts([f"text {i}" for i in range(40)], [i % 2 for i in range(40)])
    data = source(train=many, test=many, train_per_class=3, test_total=5).load([])
    assert torch.bincount(data.train.targets).tolist() == [3, 3]
    assert len(data.test) == 5
    again = source(train=many.take(range(39, -1, -1)), test=many, train_per_class=3).load([]).train
    assert {tuple(row) for row in again.inputs.tolist()} == {tuple(row) for row in data.train.inputs.tolist()}


def test_everything_that_makes_tokens_of_texts_stands_in_the_digest():
    node = {"name": "x", "files": {"a": "0" * 64}, **COMMON}
    first = data_sha256(node, [])
    assert first != data_sha256({key: value for key, value in node.items() if key != "tokenizer"}, [])
    changes = {
        "form": "answers",
        "length": 65,
        "template": "A {text}",
        "label_words": ["x"],
        "train_per_class": 3,
        "test_share": 0.5,
    }
    assert len({first, *(data_sha256(node | {key: value}, []) for key, value in changes.items())}) == len(changes) + 1
    assert data_sha256(node | {"name": "y", "path": "elsewhere", "layout": "z"}, []) == first
