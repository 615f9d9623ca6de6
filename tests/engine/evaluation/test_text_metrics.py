"""Learning and measuring where answers are written."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from clbench.data import answer_tokens
from clbench.engine.evaluation.generation import generated
from clbench.engine.evaluation.text_metrics import METRICS, VALUES, Asked, evaluate, row_of
from clbench.errors import RefusedError
from clbench.methods.naive import Naive
from tests.riddles import EOS, PAD, WORDS, riddle_stream, writer_for
from tests.streams import learn, trainer

pytest.importorskip("transformers")
STREAM = riddle_stream()


@pytest.fixture(scope="module", params=["gpt2", "t5"])
def taught(request):
    """A model that has learned the first two of three tasks, somewhat."""
    learner, _ = learn(Naive(), STREAM, writer_for(STREAM, request.param), tasks=2, how=trainer(3, 8))
    learner.model.eval()
    return learner


def measured(learner, metric, column=1, batch_size=5):
    with torch.inference_mode():
        asked = Asked(learner, Naive(), replace(STREAM.evaluation[column], metric=metric), batch_size)
        return torch.cat(list(METRICS[metric](asked)))


def spelled(split):
    """Prompts and answers of a split, one by one."""
    for row in split.raw():
        yield [t for t in row[row >= 0].tolist() if t != PAD], answer_tokens.answer_ids(row.unsqueeze(0)).tolist()


def greedy(learner, prompt, longest):
    """Greedy decoding from the definition: the likeliest token after all before it, one forward pass each."""
    tokens = []
    while len(tokens) < longest and (not tokens or tokens[-1] != EOS):
        row = answer_tokens.encode([prompt], [[*tokens, EOS]], 20, PAD)
        with torch.no_grad():
            tokens.append(int(learner.model(row)[-1].argmax()))
    return tokens


@pytest.mark.parametrize("column", [0, 1, 2])
def test_exact_match_is_what_greedy_decoding_writes(taught, column):
    split = STREAM.evaluation[column].split
    expected = [greedy(taught, prompt, len(answer)) == answer for prompt, answer in spelled(split)]
    assert measured(taught, "exact_match", column).tolist() == expected


def test_generation_agrees_with_greedy_decoding_from_the_definition(taught):
    split = STREAM.evaluation[1].split
    longest = int(answer_tokens.counts(split.raw()).max())
    expected = [greedy(taught, prompt, longest) for prompt, _ in spelled(split)]
    found = generated(taught, split.raw(), None)
    assert [[t for t in tokens if t != EOS] for tokens in expected] == found


def test_rouge_compares_what_is_written_with_what_should_be(taught):
    pytest.importorskip("rouge_score")
    taught.stream = replace(STREAM, decode=lambda tokens: " ".join(f"w{token}" for token in tokens if token != EOS))
    try:
        wrote = generated(taught, STREAM.evaluation[1].split.raw(), None)
        values = measured(taught, "rouge_l")
    finally:
        taught.stream = STREAM
    for value, tokens, (_, answer) in zip(values.tolist(), wrote, spelled(STREAM.evaluation[1].split), strict=True):
        if [*tokens, EOS] == answer:
            assert value == 1
        if not set(tokens) & set(answer):
            assert value == 0
    with pytest.raises(RefusedError, match="needs text"):
        measured(taught, "rouge_l")


def test_label_words_are_chosen_by_their_likelihood(taught):
    split = STREAM.evaluation[1].split
    words = [WORDS[2], WORDS[3]]
    expected = []
    for prompt, answer in spelled(split):
        rows = answer_tokens.encode([prompt, prompt], words, 20, PAD)
        with torch.no_grad():
            each = F.log_softmax(taught.model(rows), 1).gather(1, answer_tokens.answer_ids(rows)[:, None])[:, 0]
        sums = torch.split(each, [len(word) for word in words])
        expected.append(words[int(torch.stack([part.sum() for part in sums]).argmax())] == answer)
    assert measured(taught, "label_words").tolist() == expected


def test_the_setting_says_among_which_label_words():
    stream = riddle_stream("class")
    learner = writer_for(stream)
    for task, size in ((-1, 6), (0, 2), (1, 4), (2, 6)):
        learner.task = task
        assert len(Asked(learner, Naive(), stream.evaluation[0], 8).choices) == size
    assert len(Asked(writer_for(STREAM), Naive(), STREAM.evaluation[2], 8).choices) == 2


def test_free_text_has_no_label_words():
    stream = riddle_stream(free=True)
    with pytest.raises(RefusedError, match=r"(?s)answers are free text.*exact_match"):
        _ = Asked(writer_for(stream), Naive(), replace(stream.evaluation[0], metric="label_words"), 8).choices


def test_format_and_first_token_and_loss_from_the_definition(taught):
    split = STREAM.evaluation[0].split
    pairs = list(spelled(split))
    writes = [greedy(taught, prompt, 3) for prompt, _ in pairs]
    assert measured(taught, "format", 0).tolist() == [tokens in (WORDS[0], WORDS[1]) for tokens in writes]
    assert measured(taught, "first_token", 0).tolist() == [w[0] == a[0] for w, (_, a) in zip(writes, pairs, strict=True)]
    rows = split.raw()
    with torch.no_grad():
        loss = F.cross_entropy(taught.model(rows), answer_tokens.answer_ids(rows))
    torch.testing.assert_close(measured(taught, "loss", 0).mean(), loss)


def test_format_spells_out_only_words_that_begin_as_decoding_does(taught):
    class Counting(Naive):
        scored = 0

        def predict(self, learner, inputs, task_id):
            self.scored += len(inputs)
            return super().predict(learner, inputs, task_id)

    method, column = Counting(), replace(STREAM.evaluation[0], metric="format")
    with torch.inference_mode():
        list(METRICS["format"](Asked(taught, method, column, 5)))
    firsts = [greedy(taught, prompt, 1)[0] for prompt, _ in spelled(column.split)]
    assert method.scored == len(firsts) + sum(word[0] == first for first in firsts for word in (WORDS[0], WORDS[1]))


def test_counts_are_integers_and_values_are_not_whatever_a_checkpoint_made_of_them(taught):
    columns = tuple(replace(STREAM.evaluation[0], metric=metric) for metric in ("exact_match", "loss"))
    with torch.inference_mode():
        row = evaluate(taught, Naive(), columns, 8)
    assert isinstance(row[0][0], int)
    assert isinstance(row[1][0], float)
    assert row[1][1] == int(answer_tokens.counts(columns[1].split.raw()).sum())
    stored = torch.tensor(row, dtype=torch.float64).tolist()
    again = row_of(replace(STREAM, evaluation=columns), stored)
    assert again == [list(entry) for entry in row]
    assert isinstance(again[0][0], int)
    assert set(VALUES) < set(METRICS)
