"""Questions about synthetic people with free text as answers; the person is the class."""

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
"""Version of the phrasings: raised by every change that gives other texts for the same settings."""
WAYS = min(len(ways) for ways in PHRASINGS.values())
"""Number of ways to phrase a question."""


@dataclass(kw_only=True)
class Questions(Text):
    """Six questions about each synthetic person, in several phrasings, with written answers.

    Both parts hold the same facts. Test questions use phrasings that no training sample has, so they test the fact and not the
    wording. The facts of different people are independent. A person is a class: a request to forget people names their class
    numbers.

    After `load`, `chance` is the accuracy of a guess among the answers of the right kind: the mean over test questions of
    1 / number of different answers to the questions about the same attribute.

    Args:
        of: the people of all groups, and the lists of names and values.
        phrasings: number of phrasings of each question in training, from the first of `clbench.data.biography.words.PHRASINGS`.
        test_phrasings: number of phrasings in the test part, from the last.
        generated: version of the phrasings, `VERSION`: runs with different texts get different identities.
    """

    of: Biography
    phrasings: Positive
    test_phrasings: Positive
    generated: int

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: another version, or too many phrasings.
        """
        if self.generated != VERSION:
            raise ConfigError(
                f"data set {self.name}: generated={self.generated}: this version of clbench writes version {VERSION}",
                f"give generated={VERSION}, or use the version of clbench for generated={self.generated}",
            )
        if self.phrasings + self.test_phrasings > WAYS:
            raise ConfigError(
                f"data set {self.name}: phrasings={self.phrasings} and test_phrasings={self.test_phrasings} are more than the "
                f"{WAYS} phrasings of a question",
                f"give at most {WAYS} together: no phrasing may be in both parts",
            )

    def texts(self, search: Sequence[Path]) -> Read:
        """Return the questions, person by person; no file is read."""
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
