"""Evaluation of generated answers: the metrics, and how they are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clbench.contract.protocols import has_generation_context
from clbench.data import answer_tokens
from clbench.data.pool import Pool
from clbench.data.prefetch import prefetch
from clbench.engine.learner.learner import Learner
from clbench.engine.learner.precision import full
from clbench.errors import RefusedError
from clbench.method import Method
from clbench.stream import EvaluationSet, Stream

Entry = tuple[int | float, int]
Measure = Callable[["Asked"], Iterator[Tensor]]


class Asked:
    """One evaluation set, given to a model batch by batch.

    Args:
        learner: in evaluation mode.
        method: its `predict` gives the scores.
        column: the evaluation set.
        batch_size: samples per forward pass.
    """

    def __init__(self, learner: Learner, method: Method, column: EvaluationSet, batch_size: int) -> None:
        self.learner, self.method, self.column, self.batch_size = learner, method, column, batch_size
        split = column.split
        self.task_id = split.tasks if learner.stream.setting == "task" and isinstance(split.tasks, int) else None
        self.pool: Pool = split.pool
        self.pad = split.pool.pad or 0

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield rows `[B, L]` and the number `[B]` of each row's label word, if there are label words."""
        split = self.column.split
        places = torch.split(torch.arange(len(split), device=split.rows.device), self.batch_size)
        for positions, rows in zip(places, prefetch(split, places), strict=True):
            yield rows, self.pool.right_answers.index_select(0, split.rows.index_select(0, positions))

    def scores(self, rows: Tensor) -> Tensor:
        """Return the logits `[M, V]` of the answers' tokens."""
        scores: Tensor = self.method.predict(self.learner, rows, self.task_id)
        return scores

    @property
    def choices(self) -> Tensor:
        """The distinct label words to choose from, as tokens `[K, A]` padded with -1."""
        if self.pool.answers is None:
            raise RefusedError(
                f"{self.column.name} is measured by {self.column.metric}, but its answers are free text",
                "scenario.metric=exact_match (or rouge_l) needs no label words",
            )
        numbers = _classes(self.learner, self.column)
        if self.pool.answer_of is not None:
            numbers = _distinct(self.pool.answer_of[torch.isin(self.pool.targets, numbers)])
        return _distinct(self.pool.answers[numbers])


def _distinct(rows: Tensor) -> Tensor:
    distinct: Tensor = torch.unique(rows, dim=0)
    return distinct


def _classes(learner: Learner, column: EvaluationSet) -> Tensor:
    """Return the pool's numbers of the classes whose label words are candidates for samples of `column`."""
    stream, device = learner.stream, column.split.rows.device
    if stream.setting != "class":
        return _distinct(column.split.pool.targets.index_select(0, column.split.rows))
    seen = learner.task + 1 if stream.outputs == "seen" and learner.task >= 0 else len(stream)
    return torch.tensor(sorted({c for task in stream.tasks[:seen] for c in task.classes}), device=device)


def evaluate(learner: Learner, method: Method, columns: tuple[EvaluationSet, ...], batch_size: int) -> list[Entry]:
    """Return (sum, n) for each evaluation set by its own metric; the sum is a count unless the metric is a value.

    Args:
        learner: in evaluation mode.
        method: its `predict` gives the scores.
        columns: the evaluation sets.
        batch_size: samples per forward pass.
    """
    found: list[Entry] = []
    for column in columns:
        values = torch.cat(list(METRICS[column.metric](Asked(learner, method, column, batch_size))))
        total = float(values.sum(dtype=torch.float64))
        found.append((total if column.metric in VALUES else round(total), len(values)))
    return found


def _exact_match(asked: Asked) -> Iterator[Tensor]:
    """True for rows where every token of the answer, its end included, is the likeliest after the right tokens before it.

    This holds exactly if greedy decoding generates the answer.
    """
    for rows, _ in asked.batches():
        yield _all_right(rows, asked.scores(rows))


def _first_token(asked: Asked) -> Iterator[Tensor]:
    """True for rows where the answer's first token is the likeliest one (Zheng et al., ICLR 2025, biography)."""
    for rows, _ in asked.batches():
        right = asked.scores(rows).argmax(1) == answer_tokens.answer_ids(rows)
        yield right[_firsts(rows)]


def _label_words(asked: Asked) -> Iterator[Tensor]:
    """True for rows where the right label word is the likeliest of all, by the sum of its tokens' log-probabilities."""
    for rows, right in asked.batches():
        likeliest = torch.stack([_log_likelihood(asked, rows, choice) for choice in asked.choices]).argmax(0)
        assert asked.pool.answers is not None
        yield (asked.choices[likeliest] == asked.pool.answers[right]).all(1)


def _format(asked: Asked) -> Iterator[Tensor]:
    """True for rows where greedy decoding generates one of the label words, right or wrong.

    A word is checked only in rows whose decoding begins with its first token: with many words few passes remain.
    """
    choices = asked.choices
    for rows, _ in asked.batches():
        spelled = answer_tokens.with_answer(rows, choices[0], asked.pad)
        begun = asked.scores(spelled).argmax(1)[_firsts(spelled)]
        found = torch.zeros_like(begun, dtype=torch.bool)
        for choice in choices:
            alike = (begun == choice[0]).nonzero().squeeze(1)
            if len(alike):
                spelled = answer_tokens.with_answer(rows[alike], choice, asked.pad)
                found[alike] |= _all_right(spelled, asked.scores(spelled))
        yield found


def _loss(asked: Asked) -> Iterator[Tensor]:
    """Negative log-likelihood of each token of the answers, in nats."""
    for rows, _ in asked.batches():
        yield F.cross_entropy(full(asked.scores(rows)), answer_tokens.answer_ids(rows), reduction="none")


def _rouge_l(asked: Asked) -> Iterator[Tensor]:
    """ROUGE-L F1 of greedy decoding (Lin, 2004), by the package `rouge-score`, with stemming."""
    from clbench.engine.evaluation.generation import rouge_l

    method = asked.method
    if method.overrides("predict") and not has_generation_context(method):
        raise RefusedError(
            f"the metric rouge_l needs generated text, and {type(method).__name__} only scores given text",
            "choose another metric",
        )
    for rows, _ in asked.batches():
        with method.generation_context(asked.learner, rows) if has_generation_context(method) else nullcontext():
            yield rouge_l(asked.learner, rows, asked.task_id)


def _firsts(rows: Tensor) -> Tensor:
    """Return the mask `[M]` of tokens that are the first of their answers."""
    owner = answer_tokens.owners(rows)
    first = torch.ones_like(owner, dtype=torch.bool)
    first[1:] = owner[1:] != owner[:-1]
    return first


def _all_right(rows: Tensor, scores: Tensor) -> Tensor:
    """Return the mask `[B]` of rows with all answer tokens right."""
    wrong = scores.argmax(1) != answer_tokens.answer_ids(rows)
    return (
        torch.zeros(len(rows), dtype=torch.int64, device=rows.device).index_add_(0, answer_tokens.owners(rows), wrong.long()) == 0
    )


def _log_likelihood(asked: Asked, rows: Tensor, choice: Tensor) -> Tensor:
    """Return the log-probability `[B]` of `choice` as the answer to the prompts of `rows`."""
    spelled = answer_tokens.with_answer(rows, choice, asked.pad)
    each = F.log_softmax(full(asked.scores(spelled)), dim=1).gather(1, answer_tokens.answer_ids(spelled).unsqueeze(1)).squeeze(1)
    return torch.zeros(len(rows), dtype=each.dtype, device=rows.device).index_add_(0, answer_tokens.owners(spelled), each)


METRICS: dict[str, Measure] = {
    "exact_match": _exact_match,
    "first_token": _first_token,
    "label_words": _label_words,
    "format": _format,
    "rouge_l": _rouge_l,
    "loss": _loss,
}
"""By name: the value of each sample (loss: of each token) of an evaluation set."""
VALUES = ("rouge_l", "loss")
"""Metrics whose values are not counts."""


def row_of(stream: Stream, values: list[list[Any]]) -> list[list[Any]]:
    """Return one row of the matrix as records store it: counts as integers, also after a checkpoint."""
    return [
        [value if column.metric in VALUES else int(value), int(n)]
        for column, (value, n) in zip(stream.evaluation, values, strict=True)
    ]
