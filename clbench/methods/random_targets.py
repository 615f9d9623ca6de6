"""Random labels and answers for data to forget."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from clbench.data import answer_tokens
from clbench.data.pool import Split
from clbench.engine.learner.learner import Learner
from clbench.stream import Task

Choice = Literal["any", "other"]


def with_random_targets(split: Split, learner: Learner, task: Task, choice: Choice) -> Split:
    """Return `split` with a random label, or answer, for each sample, drawn once per request.

    Labels are drawn from all active outputs, answers from the label words of the learned tasks. Free-text answers are drawn from
    those of the request's own samples.

    Args:
        split: of one task.
        learner: the source of random numbers.
        task: the request.
        choice: `any`: all targets are equally likely. `other`: all except the right one.
    """
    draws = learner.generator("random_labels", task.index)
    if split.pool.vocabulary is None:
        outputs = learner.stream.active_outputs(task.index)
        return replace(split, labels=_drawn(split.labels, outputs, choice, draws))
    rows, pad = split.raw(), split.pool.pad
    assert pad is not None
    if split.pool.answers is None:
        own = [tuple(part.tolist()) for part in torch.split(answer_tokens.answer_ids(rows), answer_tokens.counts(rows).tolist())]
        known = sorted(set(own))
        places = {text: place for place, text in enumerate(known)}
        right = torch.tensor([places[text] for text in own])
        texts = [rows.new_tensor(known[place]) for place in _drawn(right, len(known), choice, draws).tolist()]
    else:
        words = torch.unique(split.pool.answers, dim=0)
        right = (split.pool.answers[split.pool.right_answers[split.rows]].unsqueeze(1) == words).all(2).int().argmax(1)
        texts = [words[place] for place in _drawn(right, len(words), choice, draws).tolist()]
    changed = [answer_tokens.with_answer(row.unsqueeze(0), text, pad)[0] for row, text in zip(rows, texts, strict=True)]
    width = max(len(row) for row in changed)
    inputs = torch.full((len(changed), width), pad, dtype=rows.dtype, device=rows.device)
    for place, row in enumerate(changed):
        inputs[place, : len(row)] = row
    everywhere = torch.arange(len(rows), device=split.rows.device)
    # each sample keeps its right label word; only the inputs contain the random answer
    answer_of = None if split.pool.answer_of is None else split.pool.answer_of[split.rows]
    pool = replace(split.pool, inputs=inputs, targets=split.pool.targets[split.rows], mapped=False, answer_of=answer_of)
    return Split(pool, everywhere, split.labels, split.tasks)


def _drawn(right: torch.Tensor, n: int, choice: Choice, draws: torch.Generator) -> torch.Tensor:
    """Return for each number in `right` another number below n. It may be the same with `any`, or if n is 1."""
    shift = torch.randint(1 if choice == "other" and n > 1 else 0, n, right.shape, generator=draws).to(right.device)
    return (right + shift) % n
