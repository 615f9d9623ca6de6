import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clbench.data import answer_tokens
from clbench.errors import ConfigError

TOKENS = st.lists(st.integers(1, 30), min_size=1, max_size=6)


@given(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=5))
def test_rows_say_what_is_asked_and_what_is_to_be_written(pairs):
    prompts, wanted = zip(*pairs, strict=True)
    rows = answer_tokens.encode(prompts, wanted, 12, 0)
    assert answer_tokens.answer_ids(rows).tolist() == [token for answer in wanted for token in answer]
    assert answer_tokens.counts(rows).tolist() == [len(answer) for answer in wanted]
    assert answer_tokens.owners(rows).tolist() == [i for i, answer in enumerate(wanted) for _ in answer]
    for row, plain, prompt, answer in zip(rows, answer_tokens.tokens(rows), prompts, wanted, strict=True):
        assert plain[: len(prompt) + len(answer)].tolist() == [*prompt, *answer]
        assert (plain[len(prompt) + len(answer) :] == 0).all()
        assert answer_tokens.prompt(row.unsqueeze(0), 0)[0, : len(prompt)].tolist() == list(prompt)
    table = answer_tokens.answer_table(rows, 0)
    assert [row[: len(answer)].tolist() for row, answer in zip(table, wanted, strict=True)] == [list(answer) for answer in wanted]


def test_a_prompt_that_is_too_long_loses_its_beginning_never_its_answer():
    rows = answer_tokens.encode([[5, 6, 7, 8]], [[9, 1]], 4, 0)
    assert rows.tolist() == [[7, 8, ~9, ~1]]


@pytest.mark.parametrize("answer", [[], [1, 2, 3, 4]])
def test_an_answer_that_does_not_fit_is_refused(answer):
    with pytest.raises(ConfigError, match="does not fit rows of 4"):
        answer_tokens.encode([[5, 6]], [answer], 4, 0)


def test_another_answer_takes_the_place_of_the_own_one_and_may_be_longer():
    rows = answer_tokens.encode([[5, 6], [7]], [[9, 1], [8, 1]], 4, 0)
    changed = answer_tokens.with_answer(rows, torch.tensor([2, 3, 1, -1]), 0)
    assert changed.tolist() == [[5, 6, ~2, ~3, ~1], [7, ~2, ~3, ~1, 0]]
    assert rows.tolist() == [[5, 6, ~9, ~1], [7, ~8, ~1, 0]]
