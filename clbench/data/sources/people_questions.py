"""Questions about synthetic people with free text as answers; who is asked about is the class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clbench.data.biography.people import Biography, draw, full_name, value
from clbench.data.biography.words import ATTRIBUTES, NAME, PHRASINGS
from clbench.data.sources.text import Positive, Read, Text, Texts
from clbench.errors import ConfigError

VERSION = 1
"""Of the phrasings: raised by every change after which the same settings give other texts."""
WAYS = min(len(ways) for ways in PHRASINGS.values())
"""Ways there are to put a question."""


@dataclass(kw_only=True)
class Questions(Text):
    """Six questions about each of a number of synthetic people, put in several ways; answers are written.

    The same facts are in both parts. What is tested is put in ways that are in no training sample, so that it asks for the fact,
    and not for the wording. Nobody's facts say anything about another's. A person is a class: a request to forget people names
    them as classes, by number.

    After `load`, `chance` is the accuracy of who knows what kind of answer is wanted, and guesses among those of that kind: the
    mean over test questions of 1 / number of different answers to the questions about the same attribute.

    Args:
        of: the people, all groups of them, and the lists that names and values are drawn from.
        phrasings: ways to put each question in training, from the first of `clbench.data.biography.words.PHRASINGS`.
        test_phrasings: ways in the test part, from the last.
        generated: version of the phrasings, `VERSION`: a trial is not to be taken for one of other texts.
    """

    of: Biography
    phrasings: Positive
    test_phrasings: Positive
    generated: int

    def __post_init__(self) -> None:
        """Refuse what there is not.

        Raises:
            ConfigError: another version, or more ways to put a question than there are.
        """
        if self.generated != VERSION:
            raise ConfigError(
                f"data set {self.name}: generated={self.generated}: this version of clbench writes those of {VERSION}",
                f"give generated={VERSION}, or the version of clbench that wrote the others",
            )
        if self.phrasings + self.test_phrasings > WAYS:
            raise ConfigError(
                f"data set {self.name}: phrasings={self.phrasings} and test_phrasings={self.test_phrasings} are more than the "
                f"{WAYS} ways there are to put a question",
                f"give at most {WAYS} together: none is to be in both parts",
            )

    def texts(self, search: Sequence[Path]) -> Read:
        """Return the questions, person by person; nothing is read."""
        people = draw(self.of)
        names = tuple(full_name(self.of, people, person) for person in range(len(people)))
        answers = [{kind: value(self.of, people, person, kind) for kind in ATTRIBUTES} for person in range(len(people))]
        known = {kind: len(Counter(each[kind] for each in answers)) for kind in ATTRIBUTES}
        self.chance = sum(1 / n for n in known.values()) / len(known)
        parts = []
        for ways in (slice(None, self.phrasings), slice(-self.test_phrasings, None)):
            asked = [
                (way.replace(NAME, name), person, answers[person][kind])
                for person, name in enumerate(names)
                for kind in ATTRIBUTES
                for way in PHRASINGS[kind][ways]
            ]
            parts.append(Texts(*(list(column) for column in zip(*asked))))
        return Read(parts[0], parts[1], names)
