"""Passages of State-of-the-Union addresses; the American president is the class."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clbench.data.deterministic_sampling import least, single_label
from clbench.data.integrity import find, folder_digest, visible_files
from clbench.data.sources.text import Positive, Read, Share, Text, Texts
from clbench.errors import ConfigError, DataError

NAME = re.compile(r"\d{4}_(?P<president>.+)_[a-z]+")
"""File name without its ending: year, president, party."""
END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]]))\s+(?=[\"'(\[]*[A-Z])")
"""Boundary of two sentences; an abbreviation before a capital letter (`Mr. Speaker`) counts, too."""


@dataclass(kw_only=True)
class Addresses(Text):
    """Passages of addresses to the Congress; the president is the class.

    Each address is a file YEAR_PRESIDENT_PARTY.txt. A passage is the shortest run of whole sentences with at least `passage`
    words; a shorter rest at the end of an address is dropped. Passages do not overlap. There is no official split: of each
    president's addresses the share `test_share` (rounded up) is held out, by the least sha256 of the file names. So no
    address is in both parts. Of equal passages the first stays; a passage of two presidents is dropped.

    Args:
        folders: sha256 over names and contents of the files of each folder (`clbench.data.integrity.folder_digest`), by its path
            below the folder of the search path.
        addresses: minimum number of addresses of a president; each part gets at least one.
        passage: minimum number of words of a passage.
        test_share: share of each president's addresses for test.

    Classes are numbered in the order of the first address.
    """

    folders: dict[str, str] = field(default_factory=dict)
    addresses: Positive
    passage: Positive
    test_share: Share

    def texts(self, search: Sequence[Path]) -> Read:
        """Return the passages of the presidents with enough addresses."""
        given = {name: files for name, files in self._given(search).items() if len(files) >= self.addresses}
        if self.addresses < 2 or len(given) < 2:
            raise ConfigError(
                f"data set {self.name}: addresses={self.addresses} leaves {len(given)} presidents",
                "give a smaller number, at least 2: each president needs an address in both parts",
            )
        held: set[Path] = set()
        for files in given.values():
            n = min(len(files) - 1, math.ceil(self.test_share * len(files)))
            held |= {files[row] for row in least([file.stem for file in files])[:n]}
        texts, classes, test = list[str](), list[int](), list[bool]()
        for label, files in enumerate(given.values()):
            for file in files:
                found = passages(_text(file), self.passage)
                texts += found
                classes += [label] * len(found)
                test += [file in held] * len(found)
        whole, kept = Texts(texts, classes), single_label(texts, classes)
        train, out = ([row for row in kept if test[row] is wanted] for wanted in (False, True))
        return Read(whole.take(train), whole.take(out), tuple(given))

    def _given(self, search: Sequence[Path]) -> dict[str, list[Path]]:
        """Return the files of the declared folders by president, sorted by name, which begins with the year."""
        remedy = f"put the folder {', '.join(self.folders)} into a folder of the search path (docs/data.md says how to get it)"
        found: dict[str, list[Path]] = {}
        for relative, expected in self.folders.items():
            folder = find(search, relative, f"data set {self.name}", remedy)
            files = visible_files(folder)
            if (digest := folder_digest(folder)) != expected:
                raise DataError(
                    f"{folder} has other files than declared, or damaged ones: {len(files)} files, the sha256 over names and "
                    f"contents is {digest}, expected {expected}",
                    remedy,
                )
            for file in files:
                if (match := NAME.fullmatch(file.stem)) is None:
                    raise DataError(f"{file}: its name is not YEAR_PRESIDENT_PARTY.txt", remedy)
                found.setdefault(match["president"].replace("_", " ").title(), []).append(file)
        return found


def passages(text: str, words: int) -> list[str]:
    """Split a text into runs of whole sentences of at least `words` words; a shorter rest at the end is dropped."""
    found, run, n = list[str](), list[str](), 0
    for sentence in END.split(text.strip()):
        run.append(sentence)
        n += len(sentence.split())
        if n >= words:
            found.append(" ".join(" ".join(run).split()))
            run, n = [], 0
    return found


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}", "replace it by the original file") from error
