"""Groups, held-out shares and small choices: rules that depend on nothing but the texts."""

import random

from clbench.data.deterministic_sampling import few, groups, held_out, plain, single_label


def test_rows_that_share_a_key_directly_or_through_others_are_one_group():
    documents = ["a", "a", "b", None, "c"]
    texts = ["x", "y", "y", "z", "z"]
    found = groups(documents, texts)
    assert found[0] == found[1] == found[2]
    assert found[3] == found[4]
    assert found[0] != found[3]


def test_names_of_groups_do_not_depend_on_the_order_of_the_rows():
    rows = [(random.Random(i).choice("abcdef"), f"text {i % 17}") for i in range(60)]
    found = dict(zip(rows, groups(*zip(*rows))))
    shuffled = random.Random(1).sample(rows, len(rows))
    assert found == dict(zip(shuffled, groups(*zip(*shuffled))))


def test_rows_without_any_key_share_nothing():
    assert len(set(groups([None, None], [None, None]))) == 2


def test_the_share_held_out_is_about_the_one_asked_for_and_nested():
    names = [f"group {i}" for i in range(4000)]
    small, large = ({name for name in names if held_out(name, share)} for share in (0.1, 0.3))
    assert small < large
    assert 0.08 < len(small) / 4000 < 0.12
    assert 0.27 < len(large) / 4000 < 0.33


def test_equal_texts_stay_once_and_not_at_all_with_two_labels():
    texts = ["Good  film", "good film", "bad", "BAD", "so so"]
    assert single_label(texts, [1, 1, 0, 1, 0]) == [0, 4]
    assert plain(" Good \n film") == "good film"


def test_few_takes_the_same_texts_whatever_the_order_of_the_file():
    rows = [(f"text {i}", i % 3) for i in range(50)]
    chosen = [rows[i] for i in few(*zip(*rows), 5, None)]
    assert [label for _, label in chosen].count(0) == 5
    assert len(chosen) == 15
    back = rows[::-1]
    assert {back[i] for i in few(*zip(*back), 5, None)} == set(chosen)
    assert few(*zip(*rows), 5, None) == sorted(few(*zip(*rows), 5, None)), "in the order of the file"


def test_few_of_all_classes_together():
    rows = [(f"text {i}", i % 3) for i in range(50)]
    assert len(few(*zip(*rows), None, 10)) == 10
    assert set(few(*zip(*rows), 5, 7)) < set(few(*zip(*rows), 5, None))
    assert few(*zip(*rows), None, None) == list(range(50))
