"""Questions about synthetic people: the same facts in both parts, in other words; and what a guess is worth."""

from __future__ import annotations

import pytest

from clbench.data.biography.word_tokenizer import Words
from clbench.data.biography.words import ATTRIBUTES, NAME, PHRASINGS, QUESTIONS
from clbench.data.content_digest import data_sha256
from clbench.data.sources.people_questions import WAYS
from clbench.data.tokenizer_lookup import tokenizer, tokenizer_sha256
from clbench.errors import ConfigError, DataError
from clbench.instantiate import instantiate
from tests.data.test_conf import node


def source(n=6, **said):
    shipped = node("people_tiny")
    own = {"of": shipped["of"] | {"people": [n]}, "n_classes": n, "form": "answers", "tokenizer": "biography"}
    return instantiate(shipped | own | said, "scenario.dataset")


def rows(pool, words):
    """(question, answer, person) of every sample, as text."""
    found = []
    for row, person in zip(pool.inputs.tolist(), pool.targets.tolist(), strict=True):
        asked, answer = [t for t in row if t >= 0], [~t for t in row if t < 0]
        found.append((words.decode(asked), words.decode(answer), person))
    return found


def test_the_same_facts_in_other_words():
    made = source()
    data = made.load([])
    train, test = rows(data.train, made.words), rows(data.test, made.words)
    assert (len(train), len(test)) == (6 * 6 * 4, 6 * 6)
    assert not {question for question, _, _ in train} & {question for question, _, _ in test}
    assert {(answer, person) for _, answer, person in train} == {(answer, person) for _, answer, person in test}
    for question, _, person in train + test:
        assert made.names[person] in question
        assert sum(name in question for name in made.names) == 1
    assert data.train.answers is None, "answers are free text"


def test_a_seed_gives_the_same_people_again():
    def texts(seed):
        made = source(of=node("people_tiny")["of"] | {"people": [6], "seed": seed})
        return made.texts([]).train

    assert texts(0) == texts(0)
    assert not set(texts(0).texts) & set(texts(1).texts)


def test_chance_is_a_guess_of_the_right_kind():
    made = source(12)
    assert made.chance is None
    found = made.texts([])
    ways = {kind: PHRASINGS[kind][-1].split(NAME)[0] for kind in ATTRIBUTES}
    asked = list(zip(found.test.texts, found.test.answers, strict=True))
    by_kind = {kind: {answer for text, answer in asked if text.startswith(way)} for kind, way in ways.items()}
    worth = [1 / len(next(by_kind[kind] for kind, way in ways.items() if text.startswith(way))) for text, _ in asked]
    assert made.chance == pytest.approx(sum(worth) / len(worth))
    everything = {answer for answers in by_kind.values() for answer in answers}
    assert made.chance > 2 / len(everything), "a guess among all answers is worth much less"


def test_chance_of_the_shipped_people():
    made = source(40)
    made.texts([])
    assert made.chance == pytest.approx(0.058, abs=0.001)


def test_phrasings_differ_and_begin_with_that_of_the_experiment():
    for kind, ways in PHRASINGS.items():
        assert ways[0] == QUESTIONS[kind]
        assert len(set(ways)) == len(ways) >= WAYS
        assert all(way.count(NAME) == 1 for way in ways)
    assert len({way for ways in PHRASINGS.values() for way in ways}) == sum(map(len, PHRASINGS.values()))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"generated": 2}, "generated=2"),
        ({"phrasings": 5}, "phrasings=5 and test_phrasings=1"),
        ({"form": "classes"}, "form=classes needs labels"),
    ],
)
def test_what_cannot_be_used_is_refused(said, message):
    with pytest.raises(ConfigError, match=message):
        source(**said).load([])


def test_words_are_all_there_and_no_others():
    words = Words()
    text = "What is the date of birth of Alban Adace Ashacre? Answer: March 4, 1907"
    assert words.decode(words.encode([text])[0]) == text
    assert tokenizer("biography", []).size == words.size
    assert tokenizer_sha256("biography", []) == "biography"
    with pytest.raises(DataError, match="no word 'Nowhere'"):
        words.encode(["Nowhere"])


def test_identity_follows_the_people_and_the_version():
    shipped = node("people_tiny")
    others = [shipped, shipped | {"of": shipped["of"] | {"seed": 1}}, shipped | {"generated": 2}, shipped | {"phrasings": 3}]
    assert len({data_sha256(each, []) for each in others}) == 4
