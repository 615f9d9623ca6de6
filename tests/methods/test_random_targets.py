"""Random labels and answers: drawn from existing ones, never the right one with `other`; nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clbench.data import answer_tokens
from clbench.methods.random_targets import with_random_targets
from tests.methods.test_unlearning import stream_of
from tests.riddles import Riddles, writer_for
from tests.streams import learner_for


def answers_of(split):
    rows = split.raw()
    return [tuple(part.tolist()) for part in torch.split(answer_tokens.answer_ids(rows), answer_tokens.counts(rows).tolist())]


def riddles(free):
    stream = stream_of([{"classes": [1, 4]}], datasets={"riddles": Riddles()})
    task = stream.tasks[1]
    if free:
        task = replace(task, train=replace(task.train, pool=replace(task.train.pool, answers=None)))
    return writer_for(stream), task


@pytest.mark.parametrize("choice", ["any", "other"])
def test_labels(choice):
    stream = stream_of([{"classes": [1]}])
    learner, task = learner_for(stream), stream.tasks[1]
    found = with_random_targets(task.train, learner, task, choice)
    assert torch.equal(found.raw(), task.train.raw())
    assert torch.equal(found.labels, with_random_targets(task.train, learner, task, choice).labels)
    assert set(found.labels.tolist()) == ({0, 1, 2, 3, 4, 5} if choice == "any" else {0, 2, 3, 4, 5})


@pytest.mark.parametrize("free", [False, True])
def test_other_answers_are_never_right_and_prompts_stay(free):
    learner, task = riddles(free)
    own = answers_of(task.train)
    found = with_random_targets(task.train, learner, task, "other")
    pad = task.train.pool.pad
    assert all(a != b for a, b in zip(own, answers_of(found), strict=True))
    assert set(answers_of(found)) <= (set(own) if free else {tuple(w[w >= 0].tolist()) for w in task.train.pool.answers})
    prompts = [[row[row != pad].tolist() for row in answer_tokens.prompt(each.raw(), pad)] for each in (task.train, found)]
    assert prompts[0] == prompts[1]
    assert set(answers_of(with_random_targets(task.train, learner, task, "any"))) & set(own)


def test_where_there_is_one_answer_it_stays():
    learner, task = riddles(free=True)
    alike = [place for place, text in enumerate(answers_of(task.train)) if text == answers_of(task.train)[0]]
    some = task.train.select(torch.tensor(alike))
    assert answers_of(with_random_targets(some, learner, task, "other")) == answers_of(some)
