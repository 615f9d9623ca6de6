"""Prompts with answers as rows of tokens: a language model reads the prompt and writes the answer.

A row holds the prompt's tokens, then the answer's tokens with the end of the sequence, then padding. Each answer token is stored
as its bitwise complement (`~token`, a negative number). So the inputs alone define the tokens of the loss, and a replay memory
stores the inputs only. Every answer token is one prediction: a batch of B rows has M predictions, in the order of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clbench.errors import ConfigError


def encode(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], length: int, pad: int) -> Tensor:
    """Return rows `[N, length]` int64 of prompts and answers.

    Args:
        prompts: token ids; long prompts lose their beginning, so the end before the answer stays.
        answers: token ids, with the end of the sequence.
        length: of a row.
        pad: padding token.

    Raises:
        ConfigError: an empty answer, or an answer that leaves no room for any token of its prompt.
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


def answer_ids(rows: Tensor) -> Tensor:
    """Return the answer tokens, int64 `[M]`, of `rows` `[B, L]`, row by row."""
    return ~rows[rows < 0]


def counts(rows: Tensor) -> Tensor:
    """Return the number of answer tokens of each row, int64 `[B]`."""
    return (rows < 0).sum(1)


def tokens(rows: Tensor) -> Tensor:
    """Return `rows` `[B, L]` as plain tokens."""
    return torch.where(rows < 0, ~rows, rows)


def prompt(rows: Tensor, pad: int) -> Tensor:
    """Return `rows` `[B, L]` with `pad` in place of the answers."""
    return rows.masked_fill(rows < 0, pad)


def answer_table(rows: Tensor, pad: int) -> Tensor:
    """Return the answers alone, int64 `[B, A]`, A the longest answer's length, padded with `pad`."""
    sizes = counts(rows)
    table = torch.full((len(rows), int(sizes.max())), pad, dtype=torch.int64, device=rows.device)
    table[torch.arange(table.shape[1], device=rows.device) < sizes.unsqueeze(1)] = answer_ids(rows)
    return table


def owners(rows: Tensor) -> Tensor:
    """Return the row of each prediction, int64 `[M]`."""
    return torch.nonzero(rows < 0)[:, 0]


def with_answer(rows: Tensor, answer: Tensor, pad: int) -> Tensor:
    """Return `rows` `[B, L]` with another answer in place of their own.

    Args:
        rows: from `encode`.
        answer: int64 `[A]`, padded with -1; rows become longer if it does not fit after a prompt.
        pad: padding token.
    """
    answer = answer[answer >= 0]
    starts = (rows < 0).int().argmax(1)
    width = max(rows.shape[1], int(starts.max()) + len(answer))
    changed = torch.full((len(rows), width), pad, dtype=torch.int64, device=rows.device)
    changed[:, : rows.shape[1]] = prompt(rows, pad)
    places = starts.unsqueeze(1) + torch.arange(len(answer), device=rows.device)
    return changed.scatter(1, places, (~answer).expand(len(rows), -1))
