"""Two text corpora with their own table formats: sentences with a sentiment, software descriptions in sections."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from clbench.data.deterministic_sampling import groups, held_out, plain, single_label
from clbench.data.integrity import find_all, verify
from clbench.data.sources.text import Positive, Read, Share, Text, Texts
from clbench.errors import ConfigError, DataError

HEAD = re.compile(r"\s+[-–—]+\s+|\s*\(|:\s")
"""Ends the head phrase of a description: `GNU C compiler (cross compiler)`, `office productivity suite -- writer`."""


@dataclass(kw_only=True)
class Sentiment(Text):
    """Sentences of one domain with a mean human score from -4 to 4; class 0 is negative, class 1 positive.

    Each domain is a file of lines id TAB score TAB text. Sentences with a score within the bounds are left out, as are sentences
    with both classes; of equal sentences the first stays. There is no official split: sentences of one document, and equal
    sentences of all domains, go to the same part, by the sha256 of their group.

    Args:
        files: sha256 of the files of all domains, below the folder of the search path.
        domain: the file's name without its ending.
        documents: domains with ids DOCUMENT_NUMBER.
        bounds: scores below the first are negative, scores above the second positive.
        test_share: share of the groups for test.
    """

    files: dict[str, str]
    domain: str
    documents: tuple[str, ...] = ()
    bounds: tuple[float, float]
    test_share: Share

    def texts(self, search: Sequence[Path]) -> Read:
        """Return the sentences of the domain."""
        rows: list[tuple[str, str, float, str]] = []
        for path in _files(self, self.files, search):
            for number, (name, score, text) in _table(path, 3, False):
                try:
                    rows.append((path.stem, name, float(score), text.strip()))
                except ValueError as error:
                    raise DataError(
                        f"{path}, line {number}: {score!r} is not a score", "replace it by the original file"
                    ) from error
        domains = sorted({row[0] for row in rows})
        if self.domain not in domains:
            raise ConfigError(f"data set {self.name}: domain={self.domain!r} has no file", f"choose {', '.join(domains)}")
        by_document = [f"{d} {name.split('_')[0]}" if d in self.documents else None for d, name, _, _ in rows]
        group = groups(by_document, [plain(text) for _, _, _, text in rows])
        low, high = self.bounds
        own = [i for i, (d, _, score, _) in enumerate(rows) if d == self.domain and not low <= score <= high]
        texts, classes = [rows[i][3] for i in own], [int(rows[i][2] > high) for i in own]
        return _divided(texts, classes, [group[i] for i in own], self.test_share, ("negative", "positive"))


@dataclass(kw_only=True)
class Sections(Text):
    """One-line descriptions of Debian's software packages; the section of a package is its class.

    One file of lines section TAB name TAB text; lines that start with a space continue a description and are skipped. Of equal
    descriptions the first stays; a description in two sections is left out. There is no official split: descriptions with
    the same head phrase (before a dash, parenthesis or colon) go to the same part, by the sha256 of their group.

    Args:
        files: sha256 of the file, below the folder of the search path.
        sections: number of sections: the largest in the file (of equal ones the first by name).
        order: of the classes: by `name` or by `size`, the largest first.
        test_share: share of the groups for test.
    """

    files: dict[str, str] = field(default_factory=dict)
    sections: Positive
    order: Literal["name", "size"]
    test_share: Share

    def texts(self, search: Sequence[Path]) -> Read:
        """Return the descriptions of the chosen sections."""
        (path,) = _files(self, self.files, search)
        rows = [(section, text.strip()) for _, (section, _, text) in _table(path, 3, True)]
        counts = Counter(section for section, _ in rows)
        if self.sections > len(counts):
            raise ConfigError(
                f"data set {self.name}: sections={self.sections}, its file has {len(counts)}", f"give at most {len(counts)}"
            )
        largest = sorted(counts, key=lambda name: (-counts[name], name))[: self.sections]
        names = tuple(largest if self.order == "size" else sorted(largest))
        number = {name: place for place, name in enumerate(names)}
        own = [(text, number[section]) for section, text in rows if section in number]
        texts, classes = [text for text, _ in own], [label for _, label in own]
        group = groups([HEAD.split(plain(text), maxsplit=1)[0] for text in texts], [plain(text) for text in texts])
        return _divided(texts, classes, group, self.test_share, names)


def _divided(texts: list[str], classes: list[int], group: list[str], share: float, names: tuple[str, ...]) -> Read:
    everything = Texts(texts, classes)
    kept = single_label(texts, classes)
    test = [row for row in kept if held_out(group[row], share)]
    train = [row for row in kept if not held_out(group[row], share)]
    return Read(everything.take(train), everything.take(test), names)


def _files(source: Text, files: dict[str, str], search: Sequence[Path]) -> list[Path]:
    """Return the verified files."""
    remedy = f"put {', '.join(files)} into a folder of the search path (data.root=FOLDER or CLBENCH_DATA; docs/data.md)"
    place = find_all(search, files, source.name, remedy)
    for relative, expected in files.items():
        verify(place / relative, expected, how_to_get=remedy)
    return [place / relative for relative in files]


def _table(path: Path, columns: int, continued: bool) -> list[tuple[int, list[str]]]:
    """Return the lines of a table as (number, columns); tabs separate columns, lines end with LF or CRLF."""
    found = []
    for number, line in enumerate(path.read_bytes().decode("utf-8").split("\n"), 1):
        if not line.strip() or (continued and line.startswith(" ")):
            continue
        cells = line.rstrip("\r").split("\t")
        if len(cells) != columns:
            raise DataError(
                f"{path}, line {number}: {len(cells)} columns instead of {columns}", "replace it by the original file"
            )
        found.append((number, cells))
    return found
