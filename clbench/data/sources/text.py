"""Data sets of texts: from files to rows of tokens, as samples with labels or as prompts with answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench.data import answer_tokens
from clbench.data.deterministic_sampling import few
from clbench.data.pool import Pool
from clbench.data.sources.base import Data, Source
from clbench.data.tokenizer_lookup import tokenizer
from clbench.data.tokenizers import Tokenizer
from clbench.errors import ConfigError, DataError

Form = Literal["classes", "answers"]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]


@dataclass
class Texts:
    """One part of a data set: texts, the class of each text, and the answers if these are free text.

    `groups` names the class of each text if classes get their numbers only after both parts are read.
    """

    texts: list[str]
    classes: list[int]
    answers: list[str] | None = None
    groups: list[str] | None = None

    def take(self, rows: Sequence[int]) -> Texts:
        """Return only `rows`, in that order."""
        answers, groups = (None if each is None else [each[row] for row in rows] for each in (self.answers, self.groups))
        return Texts([self.texts[row] for row in rows], [self.classes[row] for row in rows], answers, groups)


@dataclass
class Read:
    """Content of the files of a data set: both parts, and the name of each class.

    Args:
        train: to learn from.
        test: to measure on.
        names: of the classes.
        sets: further names, each of several classes.
        choices: all possible answers, if each sample has its own choice (`Texts.answers`) instead of the answer of its class.
    """

    train: Texts
    test: Texts
    names: tuple[str, ...]
    sets: dict[str, tuple[int, ...]] = field(default_factory=dict)
    choices: tuple[str, ...] | None = None


@dataclass(kw_only=True)
class Text(Source):
    """Texts in one of two forms; the model chooses the form, and a subclass reads the files.

    `classes`: tokens of the text and its class. `answers`: a prompt with the text in it and, as its answer, the class's
    label word or a free text (`clbench.data.answer_tokens`). Long samples lose the end of their text, never of their answer.

    Args:
        tokenizer: `bytes`, or the folder of a model (`clbench.data.tokenizer_lookup`).
        form: `classes` or `answers`.
        length: maximum tokens of a row, with special tokens and answer. Rows are as long as the longest sample.
        template: the prompt; `{text}` stands for the text, `{options}` for the label words, separated by commas.
        label_words: the answer for each class; None: the classes' names.
        answer_prefix: precedes every answer and is learned with it.
        answer_length: longer free answers are cut to this number of tokens, with the end; None: they are an error.
        train_per_class: maximum training samples of a class, those with the smallest sha256; None: all.
        test_per_class: the same of test samples.
        train_total: maximum training samples of all classes together, after `train_per_class`.
        test_total: the same of test samples.
        metric: how answers are scored (`clbench.stream.EvaluationSet`); None: by exact match. Classes are scored by accuracy.
    """

    tokenizer: str
    form: Form
    length: Annotated[int, Field(ge=2)]
    template: str = "{text}"
    label_words: tuple[str, ...] | None = None
    answer_prefix: str = " "
    answer_length: Positive | None = None
    train_per_class: Positive | None = None
    test_per_class: Positive | None = None
    train_total: Positive | None = None
    test_total: Positive | None = None
    metric: str | None = None
    names: tuple[str, ...] = field(init=False, default=())
    """Names of the classes, known once the data is loaded."""
    named: dict[str, tuple[int, ...]] = field(init=False, default_factory=dict)
    """Names for requests to forget: each class, and sets of classes; known once the data is loaded."""
    words: Tokenizer | None = field(init=False, default=None)
    """The tokenizer, known once the data is loaded."""

    @abstractmethod
    def texts(self, search: Sequence[Path]) -> Read:
        """Return the content of the files; errors as for `load`."""

    def read(self, search: Sequence[Path], download: bool) -> Data:
        """Return both parts as tokens; there is nothing to download."""
        words = self.words = tokenizer(self.tokenizer, search)
        if "{text}" not in self.template:
            raise ConfigError(
                f"data set {self.name}: template={self.template!r} lacks {{text}}", "say where the text goes: template='{text}'"
            )
        if self.label_words is not None and self.n_classes not in (None, len(self.label_words)):
            raise ConfigError(
                f"data set {self.name}: {len(self.label_words)} label_words for n_classes={self.n_classes}", "give one per class"
            )
        found = self.texts(search)
        self.names = found.names
        self.named = {name: (number,) for number, name in enumerate(found.names)} | found.sets
        train = _chosen(found.train, self.train_per_class, self.train_total)
        test = _chosen(found.test, self.test_per_class, self.test_total)
        for place, part in (("training", train), ("test", test)):
            if not part.texts:
                raise DataError(f"data set {self.name}: it has no {place} samples", "check its files (docs/data.md)")
        if self.form == "classes":
            if train.answers is not None:
                raise ConfigError(
                    f"data set {self.name} has written answers, and form=classes needs labels",
                    "choose a model that writes: its model.form is answers",
                )
            return Data(*self._classes(train, test, words))
        return Data(*self._answers(train, test, words, found.choices))

    def _classes(self, train: Texts, test: Texts, words: Tokenizer) -> list[Pool]:
        rows = [words.encode(part.texts, self.length) for part in (train, test)]
        width = max(1, *(len(row) for part in rows for row in part))
        return [
            Pool(padded(part, width, words.pad), torch.tensor(texts.classes), pad=words.pad)
            for part, texts in zip(rows, (train, test), strict=True)
        ]

    def _answers(self, train: Texts, test: Texts, words: Tokenizer, choices: tuple[str, ...] | None) -> list[Pool]:
        label_words = choices or self.label_words or self.names
        table = None
        if train.answers is None or choices:
            table = padded(self._answer_tokens(label_words, words), 1, -1)
        prompt = self.template.replace("{options}", ", ".join(label_words))
        pools = []
        for part in (train, test):
            answers = part.answers if part.answers is not None else [label_words[label] for label in part.classes]
            known = dict.fromkeys(answers)
            ids = dict(zip(known, self._answer_tokens(list(known), words), strict=True))
            tokens = [ids[answer] for answer in answers]
            rooms = [self.length - len(answer) for answer in tokens]
            pools.append((fitted(part.texts, prompt, rooms, words, self.name), tokens))
        width = max(
            len(prompt) + len(answer) for prompts, tokens in pools for prompt, answer in zip(prompts, tokens, strict=True)
        )
        about: dict[str, Any] = {"pad": words.pad, "vocabulary": words.size, "answers": table}
        made = []
        for pool, part in zip(pools, (train, test), strict=True):
            answer_of = torch.tensor([choices.index(answer) for answer in part.answers or ()]) if choices else None
            made.append(
                Pool(answer_tokens.encode(*pool, width, words.pad), torch.tensor(part.classes), answer_of=answer_of, **about)
            )
        return made

    def _answer_tokens(self, answers: Sequence[str], words: Tokenizer) -> list[list[int]]:
        """Return the tokens of answers, with the end."""
        tokens = words.encode([self.answer_prefix + answer for answer in answers], specials=False)
        if self.answer_length is not None:
            tokens = [answer[: self.answer_length - 1] for answer in tokens]
        longest = max(range(len(tokens)), key=lambda row: len(tokens[row]))
        if len(tokens[longest]) + 1 >= self.length:
            raise ConfigError(
                f"data set {self.name}: length={self.length} has no room for the answer {answers[longest][:40]!r}, "
                f"{len(tokens[longest]) + 1} tokens with its end, and a prompt",
                "raise the data set's length, or give answer_length, to which answers are cut",
            )
        return [[*answer, words.eos] for answer in tokens]


def padded(rows: Sequence[Sequence[int]], width: int, pad: int) -> Tensor:
    """Return rows as int64 `[N, L]`, padded with `pad`; L is the length of the longest row, at least `width`."""
    table = torch.full((len(rows), max(width, *map(len, rows))), pad)
    for row, tokens in zip(table, rows, strict=True):
        row[: len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
    return table


def fitted(texts: Sequence[str], template: str, rooms: Sequence[int], words: Tokenizer, name: str) -> list[list[int]]:
    """Return the tokens of prompts. Texts that are too long lose their end, so that each prompt fits into its room.

    Args:
        texts: replace `{text}`.
        template: the prompt.
        rooms: maximum tokens of each prompt.
        words: the tokenizer.
        name: of the data set, for the message.

    Raises:
        ConfigError: a prompt that does not fit even without its text.
    """
    left = list(texts)
    prompts = words.encode([template.replace("{text}", text) for text in left])
    bare = len(words.encode([template.replace("{text}", "")])[0])
    while long := [row for row, prompt in enumerate(prompts) if len(prompt) > rooms[row]]:
        for row in long:
            if not left[row]:
                raise ConfigError(
                    f"data set {name}: a prompt takes {bare} tokens without its text, and the row has room for {rooms[row]}",
                    "raise the data set's length, or shorten its template",
                )
            letters = len(left[row]) * max(0, rooms[row] - bare) // max(1, len(prompts[row]) - bare)
            left[row] = left[row][: min(len(left[row]) - 1, letters)]
        again = words.encode([template.replace("{text}", left[row]) for row in long])
        for row, prompt in zip(long, again, strict=True):
            prompts[row] = prompt
    return prompts


def _chosen(part: Texts, per_class: int | None, total: int | None) -> Texts:
    if per_class is None and total is None:
        return part
    answers = part.answers or [""] * len(part.texts)
    named = [f"{text}\0{answer}" for text, answer in zip(part.texts, answers, strict=True)]
    return part.take(few(named, part.classes, per_class, total))
