"""A tokenizer of the words of questions about synthetic people. Needs no file; for models made from a configuration."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from clbench.data.biography.vocabulary import EOS, PAD, SPECIAL, joined, split
from clbench.data.biography.words import ATTRIBUTES, DAYS, FIRST_YEAR, MONTHS, NAME, PHRASINGS, SIZES, YEARS, words
from clbench.data.tokenizers import Tokenizer
from clbench.errors import DataError


class Words(Tokenizer):
    """One token for each word of all possible questions about synthetic people and of their answers."""

    pad, eos = PAD, EOS

    def __init__(self) -> None:
        """Collect the words of all full lists and of all phrasings of the questions."""
        texts: Iterable[str] = (*(way for kind in ATTRIBUTES for way in PHRASINGS[kind]), *MONTHS, ",")
        texts = (*texts, *map(str, range(1, DAYS + 1)), *map(str, range(FIRST_YEAR, FIRST_YEAR + YEARS)))
        texts = (*texts, *(word for kind, size in SIZES.items() for word in words(kind, size)))
        found = dict.fromkeys(token for text in texts for token in split(text) if token != NAME)
        self.tokens = (*SPECIAL, *found)
        self.numbers = {token: number for number, token in enumerate(self.tokens)}
        self.size = len(self.tokens)

    def encode(self, texts: Sequence[str], length: int | None = None, specials: bool = True) -> list[list[int]]:
        """Return the words of each text as numbers; there are no special tokens around a text.

        Raises:
            DataError: a text has an unknown word.
        """
        try:
            return [[self.numbers[token] for token in split(text)][:length] for text in texts]
        except KeyError as error:
            raise DataError(
                f"the tokenizer biography has no word {error.args[0]!r}: it knows only questions about synthetic people",
                "choose a model with a tokenizer for all texts, such as model=tiny_gpt (bytes)",
            ) from error

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens; padding and the end are left out."""
        return joined(self.tokens[number] for number in tokens)


@functools.cache
def all_words() -> Words:
    """Return the tokenizer; it is made once per process."""
    return Words()
