"""Prompts with answers as one row of tokens: what a language model reads, and what it is to write.

A row holds the prompt's tokens, then the answer's tokens, the end of the sequence included, each as its bitwise complement
(`~token`, a negative number), then padding. So the inputs alone say what the loss is on, and a sample of a memory needs
nothing beside them. Every answer token is one prediction: of a batch of B rows there are M of them, in the order of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clbench.errors import ConfigError


def encode(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], length: int, pad: int) -> Tensor:
    """Return rows `[N, length]` int64 of prompts and answers.

    Args:
        prompts: token ids; those too long are cut at their beginning, so that what stands before the answer stays.
        answers: token ids, with the end of the sequence.
        length: of a row.
        pad: token that fills the rows up.

    Raises:
        ConfigError: an answer that leaves no room for a single token of its prompt, or is empty.
    """
    rows = torch.full((len(prompts), length), pad, dtype=torch.int64)
    for row, prompt, answer in zip(rows, prompts, answers, strict=True):
        room = length - len(answer)
        if not answer or room < 1 or not prompt:
            raise ConfigError(
                f"an answer of {len(answer)} tokens to a prompt of {len(prompt)} does not fit rows of {length}",
                "prompt and answer need a token each: raise the data set's length",
            )
        kept = list(prompt[-room:])
        row[: len(kept) + len(answer)] = torch.tensor(kept + [~token for token in answer])
    return rows


def written(rows: Tensor) -> Tensor:
    """Return the tokens that are to be predicted, int64 `[M]`, of `rows` `[B, L]`, row by row."""
    return ~rows[rows < 0]


def counts(rows: Tensor) -> Tensor:
    """Return how many tokens of each row are to be predicted, int64 `[B]`."""
    return (rows < 0).sum(1)


def tokens(rows: Tensor) -> Tensor:
    """Return `rows` `[B, L]` as plain tokens."""
    return torch.where(rows < 0, ~rows, rows)


def prompt(rows: Tensor, pad: int) -> Tensor:
    """Return `rows` `[B, L]` with `pad` in the place of the answers."""
    return rows.masked_fill(rows < 0, pad)


def answer_table(rows: Tensor, pad: int) -> Tensor:
    """Return the answers alone, int64 `[B, A]`, A the longest one's, filled up with `pad`."""
    sizes = counts(rows)
    table = torch.full((len(rows), int(sizes.max())), pad, dtype=torch.int64, device=rows.device)
    table[torch.arange(table.shape[1], device=rows.device) < sizes.unsqueeze(1)] = written(rows)
    return table


def owners(rows: Tensor) -> Tensor:
    """Return which row each prediction belongs to, int64 `[M]`."""
    return torch.nonzero(rows < 0)[:, 0]


def with_answer(rows: Tensor, answer: Tensor, pad: int) -> Tensor:
    """Return `rows` `[B, L]` with another answer in the place of their own.

    Args:
        rows: as `encode` makes them.
        answer: int64 `[A]`, filled up with -1; where it does not fit behind a prompt, the row becomes longer.
        pad: token that fills the rows up.
    """
    answer = answer[answer >= 0]
    starts = (rows < 0).int().argmax(1)
    width = max(rows.shape[1], int(starts.max()) + len(answer))
    changed = torch.full((len(rows), width), pad, dtype=torch.int64, device=rows.device)
    changed[:, : rows.shape[1]] = prompt(rows, pad)
    places = starts.unsqueeze(1) + torch.arange(len(answer), device=rows.device)
    return changed.scatter(1, places, (~answer).expand(len(rows), -1))
