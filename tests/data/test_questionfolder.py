"""Intents in domains, questions in groups or with choices: the layouts of the public sets, and what is said of a wrong one."""

import json

import pytest
import torch

from clbench.data.sources import ChoiceFolder, DomainFolder, QuestionFolder
from clbench.data.tokenizers import Bytes
from clbench.errors import ConfigError, DataError
from clbench.instantiate import instantiate
from tests.data.question_files import science, write_clinc, write_scienceqa, write_tofu
from tests.data.test_conf import node
from tests.data.text_files import COMMON, write_jsonl

WORDS = Bytes()
DOMAINS = {"money": ("pay", "owe"), "food": ("eat", "cook")}


def clinc(path, **said):
    own = {"name": "clinc", "path": str(path), "text": ("{text}",), "label": ("intent",), "domains": DOMAINS}
    return DomainFolder(
        **(COMMON | own | {"single": "data_full.json", "pair": ("text", "intent"), "skip_labels": ("oos",)} | said)
    )


def questions(path, **said):
    own = {"name": "asked", "path": str(path), "text": ("{question}",), "answer": "answer", "group": "group", "form": "answers"}
    return QuestionFolder(**(COMMON | own | said))


def choices(path, **said):
    own = {"name": "chosen", "path": str(path), "text": ("{context} {question} {options}",), "answer": "answer", "group": "topic"}
    own |= {"choices": "choices", "right": ("answer", "answerKey"), "hint": "hint", "letters": 4, "spoken": "It is {letter}."}
    return ChoiceFolder(**(COMMON | own | {"form": "answers", "length": 200} | said))


def answer_of(pool, row):
    tokens = pool.inputs[row]
    return WORDS.decode((~tokens[tokens < 0]).tolist())


# ---- intents in domains
def test_clinc_in_one_file(tmp_path):
    made = clinc(write_clinc(tmp_path, DOMAINS))
    data = made.load([])
    assert made.names == ("pay", "owe", "eat", "cook")
    assert (made.named["food"], made.named["money"], made.named["eat"]) == ((2, 3), (0, 1), (2,))
    assert data.train.targets.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert len(data.test) == 8


def test_clinc_of_the_hub_has_numbers_and_texts_out_of_scope(tmp_path):
    for part in ("train", "test"):
        rows = [{"text": f"t{i}", "intent": i % 5} for i in range(10)]
        write_jsonl(tmp_path / f"{part}.jsonl", rows)
    found = clinc(tmp_path, label_names=("eat", "oos", "cook", "pay", "owe")).texts([])
    assert found.train.classes == [2, 3, 0, 1] * 2
    assert found.sets == {"money": (0, 1), "food": (2, 3)}
    with pytest.raises(ConfigError, match="label_names has 'oos'"):
        clinc(tmp_path, label_names=("eat", "oos", "cook", "pay", "owe"), skip_labels=()).texts([])


def test_the_shipped_intents_are_ten_times_fifteen():
    made = instantiate(node("clinc"), "scenario.dataset")
    assert [len(names) for names in made.domains.values()] == [15] * 10
    assert set(made.label_names) - {"oos"} == set(made.class_names)
    assert len(made.label_names) == 151


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("{", "cannot be read"), ("[]", "is no JSON object"), ('{"train": [["a"]], "test": []}', r"lists of \[text, label\]")],
)
def test_a_file_that_is_not_clincs(tmp_path, content, complaint):
    (tmp_path / "data_full.json").write_text(content)
    with pytest.raises(DataError, match=complaint):
        clinc(tmp_path).texts([])


def test_clinc_that_lacks_a_part_or_has_another_intent(tmp_path):
    (tmp_path / "data_full.json").write_text(json.dumps({"train": [["a", "pay"]]}))
    with pytest.raises(DataError, match="has no part test"):
        clinc(tmp_path).texts([])
    (tmp_path / "data_full.json").write_text(json.dumps({"train": [["a", "fly"]], "test": []}))
    with pytest.raises(DataError, match="row 0 has the label 'fly'"):
        clinc(tmp_path).texts([])


def test_a_class_is_of_one_domain(tmp_path):
    with pytest.raises(ConfigError, match="domains name 'pay' twice"):
        clinc(tmp_path, domains={"a": ("pay",), "b": ("pay",)})
    with pytest.raises(ConfigError, match="class_names are not those of its domains"):
        clinc(tmp_path, class_names=("pay",))


# ---- questions in groups
def test_rows_that_follow_each_other_are_a_group(tmp_path):
    write_tofu(tmp_path, authors=12, each=3)
    made = questions(tmp_path / "TOFU", group=3, train_split=("full",), test_split=("full",))
    data = made.load([])
    assert made.names == tuple(map(str, range(12)))
    assert data.train.targets.tolist() == [row // 3 for row in range(36)]
    assert torch.equal(data.train.inputs, data.test.inputs)
    assert answer_of(data.train, 35) == " 11.2"
    assert data.train.answers is None
    with pytest.raises(DataError, match="36 rows, no multiple of group=5"):
        questions(tmp_path / "TOFU", group=5, train_split=("full",)).texts([])


def test_a_column_names_the_group(tmp_path):
    for part, groups in (("train", "bcab"), ("test", "dbc")):
        write_jsonl(tmp_path / f"{part}.jsonl", [{"question": "q", "answer": "x", "group": group} for group in groups])
    found = questions(tmp_path).texts([])
    assert found.names == ("b", "c"), "of a and d there is but one part"
    assert (found.train.classes, found.test.classes) == ([0, 1, 0], [0, 1])
    assert questions(tmp_path, group=None).texts([]).names == ("asked",)
    with pytest.raises(DataError, match=r"no column author \(it has question, answer, group\)"):
        questions(tmp_path, group="author").texts([])
    with pytest.raises(DataError, match="no column reply"):
        questions(tmp_path, answer="reply").texts([])


def test_questions_want_a_model_that_writes(tmp_path):
    write_tofu(tmp_path, 2, 2)
    with pytest.raises(ConfigError, match="has written answers, and form=classes"):
        questions(tmp_path / "TOFU", group=2, train_split=("full",), test_split=("full",), form="classes").load([])


# ---- questions with choices
def test_the_class_is_the_topic_and_the_answer_the_choice(tmp_path):
    made = choices(write_scienceqa(tmp_path, topics=("physics", "biology")))
    data = made.load([])
    assert made.names == ("biology", "physics")
    assert data.train.targets.tolist() == [1, 1, 1, 1, 0, 0, 0, 0], "a row with an image is left out"
    assert [answer_of(data.train, row) for row in range(4)] == [f" It is {c}." for c in "ABAB"]
    assert data.train.answer_of.tolist() == [0, 1] * 4
    assert [WORDS.decode(row[row >= 0].tolist()) for row in data.train.answers] == [f" It is {c}." for c in "ABCD"]
    assert made.chance == pytest.approx((1 / 2 + 1 / 3) / 2)
    found = made.texts([])
    assert found.train.texts[:2] == [
        "N/A train: which 0? (A) physics 0 (B) neither",
        "a hint train: which 1? (A) physics 1 (B) neither (C) both",
    ]


def test_scienceqas_own_files_are_the_same(tmp_path):
    folder = write_scienceqa(tmp_path / "hub")
    problems, splits = {}, {}
    for part in ("test", "train"):
        rows = [json.loads(line) for line in (folder / f"{part}.jsonl").read_text().splitlines()]
        splits[part] = [str(len(problems) + i) for i in range(len(rows))]
        problems |= dict(zip(splits[part], rows, strict=True))
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    with pytest.raises(DataError, match=r"has problems\.json but no pid_splits\.json"):
        choices(tmp_path).texts([])
    (tmp_path / "pid_splits.json").write_text(json.dumps(splits))
    assert choices(tmp_path).texts([]) == choices(folder).texts([])
    (tmp_path / "pid_splits.json").write_text(json.dumps(splits | {"train": ["x"]}))
    with pytest.raises(DataError, match=r"problems\.json lacks problem x"):
        choices(tmp_path).texts([])


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"choices": None}, "row 0: the choices are None"),
        ({"choices": ["one"]}, "no list of two or more"),
        ({"answer": 2}, "the right one of 2 choices is 2"),
        ({"answer": ""}, "the right one of 2 choices is ''"),
        ({"choices": list("abcde")}, "5 choices, and letters=4"),
    ],
)
def test_rows_that_are_no_questions_with_choices(tmp_path, row, complaint):
    write_jsonl(tmp_path / "train.jsonl", [science("train", "biology", 0, **row)])
    with pytest.raises(DataError, match=complaint):
        choices(tmp_path).texts([])


@pytest.mark.parametrize("column", ["choices", "answer", "topic", "question"])
def test_a_missing_column_is_named(tmp_path, column):
    row = science("train", "biology", 0)
    del row[column]
    write_jsonl(tmp_path / "train.jsonl", [row])
    with pytest.raises(DataError, match="has the columns" if column == "question" else f"no column {column}"):
        choices(tmp_path).texts([])


@pytest.mark.parametrize("said", [{"letters": 11}, {"spoken": "B"}, {"answer_length": 3}])
def test_values_that_cannot_be_used(tmp_path, said):
    with pytest.raises(ConfigError):
        choices(tmp_path, **said)
