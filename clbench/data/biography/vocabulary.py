"""A closed vocabulary of words: every word that the generator can write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from clbench.data.biography.people import Biography
from clbench.data.biography.words import DAYS, FIRST_YEAR, MONTHS, NAME, QUESTIONS, SENTENCES, VALUE
from clbench.errors import DataError

PAD, EOS = 0, 1
SPECIAL = ("<pad>", "<eos>")
_TOKEN = re.compile(r"<\w+>|'s|\w+|[^\w\s]")
_TIGHT = frozenset((".", ",", "?", ":", "'s"))
"""Tokens that follow the word before them without a space."""


def split(text: str) -> list[str]:
    """Return the tokens of a text: words, `'s`, and marks of punctuation."""
    return _TOKEN.findall(text)


class Vocabulary:
    """Words and their numbers."""

    def __init__(self, biography: Biography) -> None:
        """Collect all words of the generator's lists, sentences and questions, in their order there."""
        sentences = [way for ways in SENTENCES.values() for way in ways[: biography.sentences]]
        texts: Iterable[str] = (*sentences, *QUESTIONS.values(), *MONTHS, *map(str, range(1, DAYS + 1)))
        texts = (*texts, *map(str, range(FIRST_YEAR, FIRST_YEAR + biography.years)))
        lists = [biography.words(kind) for kind in ("first", "middle", "last", "city", "university", "major", "company")]
        found = dict.fromkeys(token for text in (*texts, ",", *(w for each in lists for w in each)) for token in split(text))
        self.tokens = (*SPECIAL, *(token for token in found if token not in (NAME, VALUE)))
        self.numbers = {token: number for number, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """Return the numbers of the tokens of a text.

        Raises:
            DataError: a word that the vocabulary lacks.
        """
        try:
            return [self.numbers[token] for token in split(text)]
        except KeyError as error:
            raise DataError(
                f"the vocabulary of these biographies has no word {error.args[0]!r}",
                "use only words of the generator's lists (clbench/data/biography/words.py)",
            ) from error

    def decode(self, numbers: Sequence[int]) -> str:
        """Return the text of tokens; padding and the end of a sequence are left out."""
        return joined(self.tokens[number] for number in numbers)


def joined(tokens: Iterable[str]) -> str:
    """Return the text of tokens; padding and the end of a sequence are left out."""
    text = ""
    for token in tokens:
        if token not in SPECIAL:
            text += token if not text or token in _TIGHT else f" {token}"
    return text
