"""Synthetic people and what is written about them."""

import hashlib
import json
import re
from dataclasses import replace

import pytest
import torch

from clbench.config.hydra_compose import new_composer
from clbench.data.biography import person_texts
from clbench.data.biography.people import Biography, draw, full_name, value
from clbench.data.biography.vocabulary import EOS, PAD, Vocabulary
from clbench.data.biography.words import ATTRIBUTES, N_COMPANIES, QUESTIONS, SENTENCES, SIZES, words
from clbench.errors import ConfigError, DataError

SMALL = Biography(
    people=(60, 20, 20),
    familiar=1,
    variants=3,
    sentences=6,
    first=9,
    middle=8,
    last=11,
    cities=7,
    universities=23,
    majors=9,
    companies=12,
    years=5,
    seed=3,
    generated=1,
)


def written(row):
    return [token for token in row.tolist() if token != person_texts.NOTHING]


def test_the_lists_have_the_sizes_of_the_source_and_no_word_twice():
    for kind, size in SIZES.items():
        assert len(set(words(kind, size))) == size, kind
    assert (SIZES["first"], SIZES["last"], SIZES["university"], N_COMPANIES) == (400, 1000, 300, 263)
    for kind in ("first", "middle", "last", "city", "company"):
        assert all(re.fullmatch(r"\w+", word) for word in words(kind, SIZES[kind])), f"{kind}: more than one token"


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_sentence_names_the_person_and_the_value_once_and_no_question_is_one_of_them(attribute):
    ways = SENTENCES[attribute]
    assert len(set(ways)) == len(ways) == 10
    assert all(way.count("<name>") == way.count("<value>") == 1 for way in ways)
    assert QUESTIONS[attribute].count("<name>") == 1
    assert QUESTIONS[attribute].endswith("Answer:")
    everything = " ".join(way for each in SENTENCES.values() for way in each)
    assert "Answer" not in everything
    assert "?" not in everything


def test_people_depend_on_the_seed_alone_and_have_names_of_their_own():
    people, again, other = draw(SMALL), draw(replace(SMALL)), draw(replace(SMALL, seed=4))
    assert torch.equal(people.names, again.names)
    assert torch.equal(people.values, again.values)
    assert not torch.equal(people.names, other.names)
    assert len({full_name(SMALL, people, i) for i in range(100)}) == 100


@pytest.mark.parametrize("later", [(60,), (60, 20, 20, 3000)])
def test_the_first_people_are_the_same_whoever_comes_after_them(later):
    """What a model was pre-trained on does not change with the groups that follow."""
    other = replace(SMALL, people=later, first=40, last=60)
    base = replace(SMALL, first=40, last=60)
    vocabulary = Vocabulary(base)
    ours, theirs = (draw(each).take(range(60)) for each in (base, other))
    for field in ("names", "birthdays", "values"):
        assert torch.equal(getattr(ours, field), getattr(theirs, field))
    pairs = zip(
        person_texts.biographies(base, vocabulary, ours), person_texts.biographies(other, vocabulary, theirs), strict=True
    )
    assert all(torch.equal(one, two) for one, two in pairs)


def test_a_name_drawn_twice_is_passed_over():
    crowded = replace(SMALL, people=(190,), first=5, middle=8, last=10)  # 190 of 400 names
    assert len(torch.unique(draw(crowded).names, dim=0)) == 190


def test_the_company_says_where_people_work():
    people = draw(SMALL)
    found = {}
    for company, city in people.values[:, [3, 4]].tolist():
        assert found.setdefault(company, city) == city
    assert len(set(found.values())) > 1


def test_biographies_state_all_attributes_once_in_other_words_and_orders():
    people, vocabulary = draw(SMALL), Vocabulary(SMALL)
    variants = person_texts.biographies(SMALL, vocabulary, people)
    assert len(variants) == 3
    orders = set()
    for person in range(30):
        name, stories = full_name(SMALL, people, person), []
        for variant in variants:
            tokens = written(variant[person])
            assert tokens[-1] == EOS
            assert tokens.count(EOS) == 1
            stories.append(vocabulary.decode(tokens))
        used = {attribute: set() for attribute in ATTRIBUTES}
        for story in stories:
            sentences = [f"{part}." for part in story.removesuffix(".").split(". ")]
            assert len(sentences) == 6
            assert all(name in sentence for sentence in sentences)
            order = []
            for sentence in sentences:
                hits = [
                    (attribute, way)
                    for attribute in ATTRIBUTES
                    for way in SENTENCES[attribute][:6]
                    if way.replace("<name>", name).replace("<value>", value(SMALL, people, person, attribute)) == sentence
                ]
                assert hits, sentence
                order.append(hits[0][0])
                used[hits[0][0]].add(hits[0][1])
            assert sorted(order) == sorted(ATTRIBUTES)
            orders.add(tuple(order))
        assert all(len(ways) == 3 for ways in used.values()), "a variant repeats another's sentence"
    assert len(orders) > 20


def test_questions_hold_what_is_true_as_tokens_to_be_predicted():
    people, vocabulary = draw(SMALL), Vocabulary(SMALL)
    rows, kinds = person_texts.questions(SMALL, vocabulary, people)
    assert rows.shape[0] == 600
    assert kinds[:7].tolist() == [0, 1, 2, 3, 4, 5, 0]
    for row in range(0, 600, 7):
        person, attribute = row // 6, ATTRIBUTES[row % 6]
        tokens = rows[row].tolist()
        answer = [~token for token in tokens if token < 0]
        first = next(i for i, token in enumerate(tokens) if token < 0)
        assert vocabulary.decode(tokens[:first]) == QUESTIONS[attribute].replace("<name>", full_name(SMALL, people, person))
        assert answer[-1] == EOS
        assert vocabulary.decode(answer) == value(SMALL, people, person, attribute)
        assert all(token < 0 for token in tokens[first : first + len(answer)])
        assert all(token == PAD for token in tokens[first + len(answer) :])


def test_the_vocabulary_is_closed_and_goes_both_ways():
    people, vocabulary = draw(SMALL), Vocabulary(SMALL)
    everything = torch.cat([each.flatten() for each in person_texts.biographies(SMALL, vocabulary, people)])
    assert int(everything.max()) < len(vocabulary)
    for variant in person_texts.biographies(SMALL, vocabulary, people):
        for row in variant[:20]:
            tokens = written(row)
            assert vocabulary.encode(vocabulary.decode(tokens)) == tokens[:-1]
    assert len(set(vocabulary.tokens)) == len(vocabulary)
    with pytest.raises(DataError, match="Timbuktu"):
        vocabulary.encode("It was in Timbuktu that he was born.")


def test_packed_rows_leave_out_nothing_and_add_only_padding_at_the_end():
    people, vocabulary = draw(SMALL), Vocabulary(SMALL)
    stories = person_texts.biographies(SMALL, vocabulary, people)[0][:5]
    rows = person_texts.packed(stories, 32)
    flat = [token for story in stories for token in written(story)]
    assert rows.flatten().tolist() == flat + [PAD] * (-len(flat) % 32)


def test_a_version_of_the_generator_stands_for_the_very_same_texts():
    """Change `VERSION` with the texts, and then the digest here: old records must not be taken for new ones."""
    people, vocabulary = draw(SMALL), Vocabulary(SMALL)
    stories = [vocabulary.decode(written(row)) for row in person_texts.biographies(SMALL, vocabulary, people)[1]]
    rows, _ = person_texts.questions(SMALL, vocabulary, people)
    found = hashlib.sha256(json.dumps([stories, rows.tolist(), vocabulary.tokens]).encode()).hexdigest()
    assert (SMALL.generated, found[:16]) == (1, "d82dfa5fb3dc3bc4")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cities": 201}, "dataset.cities=201 exceeds the 200"),
        ({"sentences": 11}, "dataset.sentences=11"),
        ({"variants": 7}, "dataset.variants=7 exceeds the 6"),
        ({"familiar": 4}, "dataset.familiar=4 exceeds the 3"),
        ({"first": 2, "middle": 5, "last": 10}, "too few full names"),
        ({"generated": 2}, "generated=2"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        replace(SMALL, **change)


def test_the_papers_size_is_drawn_in_a_moment():
    node = new_composer()(["scenario=biography"]).config["scenario"]["dataset"]
    fields = {key: value for key, value in node.items() if key != "_target_"} | {"people": tuple(node["people"])}
    people = draw(Biography(**fields))
    assert len(people) == 200_000
    assert len(torch.unique(people.names, dim=0)) == 200_000
