"""Biographies and questions as tokens, for all people at once: patterns with slots for names and values."""

from __future__ import annotations

import torch
from torch import Tensor

from clbench.data.biography.people import Biography, People
from clbench.data.biography.vocabulary import EOS, PAD, Vocabulary, split
from clbench.data.biography.words import ATTRIBUTES, DAYS, FIRST_YEAR, MONTHS, NAME, QUESTIONS, SENTENCES, VALUE
from clbench.utils.rng import generator

NOTHING = -1
"""Marks an empty place in a row of tokens; removed before rows are used."""
NAME_TOKENS, VALUE_TOKENS = 3, 4
"""Tokens of a full name, and of the longest value (a birthday)."""


def tokens_of(biography: Biography, vocabulary: Vocabulary, people: People) -> tuple[Tensor, Tensor]:
    """Return (names int64 `[n, 3]`, values int64 `[n, 6, 4]`, padded with `NOTHING`) of people as tokens."""

    def table(texts: list[str]) -> Tensor:
        rows = [vocabulary.encode(text) for text in texts]
        return torch.tensor([row + [NOTHING] * (VALUE_TOKENS - len(row)) for row in rows])

    kinds = ("first", "middle", "last")
    names = [table(list(biography.words(kind)))[people.names[:, i], 0] for i, kind in enumerate(kinds)]
    month, day, year = people.birthdays.unbind(1)
    comma = torch.full_like(month, vocabulary.numbers[","])
    dates = (list(MONTHS), [str(d + 1) for d in range(DAYS)], [str(FIRST_YEAR + y) for y in range(biography.years)])
    months, days, years = (table(texts)[:, 0] for texts in dates)
    values = [torch.stack([months[month], days[day], comma, years[year]], dim=1)]
    lists = ("city", "university", "major", "company", "city")
    values += [table(list(biography.words(kind)))[people.values[:, i]] for i, kind in enumerate(lists)]
    return torch.stack(names, dim=1), torch.stack(values, dim=1)


def biographies(biography: Biography, vocabulary: Vocabulary, people: People) -> list[Tensor]:
    """Return the biographies of `people` (the first ones drawn), by variant: tokens int64 `[n, up to longest]`.

    Each states the six attributes once, in a random order. A person's variants use different sentences for an
    attribute. A row ends with `EOS`. `NOTHING` can occur anywhere in a row; `packed` removes it.
    """
    names, values = tokens_of(biography, vocabulary, people)
    patterns = _patterns(vocabulary, [list(SENTENCES[a][: biography.sentences]) for a in ATTRIBUTES])
    chosen, orders = _choices(biography)
    found = []
    for variant in range(biography.variants):
        ways, order = chosen[: len(people), :, variant], orders[: len(people), :, variant]
        sentences = _filled(patterns[torch.arange(len(ATTRIBUTES)), ways], names, values)
        permuted = sentences.gather(1, order.unsqueeze(2).expand_as(sentences))
        found.append(torch.cat([permuted.flatten(1), torch.full((len(people), 1), EOS)], dim=1))
    return found


def _choices(biography: Biography) -> tuple[Tensor, Tensor]:
    """Return the sentence and the place of each attribute, both int64 `[n, 6, variants]`."""
    n, random = biography.total, generator(biography.seed, "sentences")
    ways = torch.rand(n, len(ATTRIBUTES), biography.sentences, generator=random).argsort(2)[:, :, : biography.variants]
    places = torch.rand(n, len(ATTRIBUTES), biography.variants, generator=generator(biography.seed, "orders")).argsort(1)
    return ways, places


def questions(biography: Biography, vocabulary: Vocabulary, people: People) -> tuple[Tensor, Tensor]:
    """Return (rows int64 `[6n, L]`, attribute of each int64 `[6n]`): a person's six questions follow one another.

    A row holds the question's tokens, the complements (`~token`) of the answer's and of `EOS`, then `PAD`.
    """
    names, values = tokens_of(biography, vocabulary, people)
    n, kinds = len(people), len(ATTRIBUTES)
    prompts = _filled(_patterns(vocabulary, [[QUESTIONS[a]] for a in ATTRIBUTES])[:, 0].expand(n, -1, -1), names, values)
    ends = torch.full((n, kinds, 1), EOS)
    rows = torch.cat([prompts, values, ends], dim=2).flatten(0, 1)
    predicted = torch.zeros(rows.shape[1], dtype=torch.bool)
    predicted[prompts.shape[2] :] = True
    kept = rows != NOTHING
    rows = torch.where(predicted & kept, ~rows, rows)
    place = (~kept).to(torch.int8).argsort(dim=1, stable=True)  # tokens move left, in their order
    rows, kept = rows.gather(1, place), kept.gather(1, place)
    rows = torch.where(kept, rows, PAD)[:, : int(kept.sum(1).max())]
    return rows, torch.arange(kinds).repeat(n)


def packed(texts: Tensor, length: int) -> Tensor:
    """Return biographies one after another, cut into rows `[m, length]`; the last row is padded with `PAD`."""
    flat = texts[texts != NOTHING]
    missing = -len(flat) % length
    return torch.cat([flat, torch.full((missing,), PAD)]).view(-1, length)


def _patterns(vocabulary: Vocabulary, ways: list[list[str]]) -> Tensor:
    """Return sentences as tokens, int64 `[attributes, ways, L]`; numbers below `NOTHING` are slots for names and values."""
    slots = {NAME: [NOTHING - 1 - i for i in range(NAME_TOKENS)]}
    slots[VALUE] = [NOTHING - 1 - NAME_TOKENS - i for i in range(VALUE_TOKENS)]
    rows = [
        [[x for token in split(way) for x in slots.get(token) or [vocabulary.numbers[token]]] for way in each] for each in ways
    ]
    longest = max(len(row) for each in rows for row in each)
    return torch.tensor([[row + [NOTHING] * (longest - len(row)) for row in each] for each in rows])


def _filled(patterns: Tensor, names: Tensor, values: Tensor) -> Tensor:
    """Return patterns `[n, 6, L]` with the slots filled from names `[n, 3]` and values `[n, 6, 4]`."""
    known = torch.cat([names.unsqueeze(1).expand(-1, values.shape[1], -1), values], dim=2)
    slot = NOTHING - 1 - patterns
    return torch.where(slot >= 0, known.gather(2, slot.clamp(min=0)), patterns)
