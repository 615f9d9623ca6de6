"""Data sets for requests to forget: intents in domains, questions about people, questions with choices in topics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clbench.data.sources.table_files import Columns
from clbench.data.sources.text import Positive, Read, Texts
from clbench.data.sources.text_folder import TextFolder
from clbench.errors import ConfigError, DataError

LETTERS = "ABCDEFGHIJ"


@dataclass(kw_only=True)
class DomainFolder(TextFolder):
    """Texts with labels, grouped in domains. A request may name a domain and then means all of its classes.

    Reads the files of `TextFolder`, and one file with all parts, {part: [[text, label], ...]}, as in CLINC150.

    Args:
        domains: name -> its classes; classes are numbered in this order.
        single: name of the file with all parts.
        pair: names of its two columns.
    """

    domains: dict[str, tuple[str, ...]]
    single: str
    pair: tuple[str, str]

    def __post_init__(self) -> None:
        own = tuple(name for names in self.domains.values() for name in names)
        if self.class_names and self.class_names != own:
            raise ConfigError(f"data set {self.name}: class_names are not those of its domains", "give domains alone")
        if len(set(own)) < len(own):
            twice = next(name for name in own if own.count(name) > 1)
            raise ConfigError(f"data set {self.name}: domains name {twice!r} twice", "put each class in one domain")
        self.class_names = own

    def _both(self, train: Texts, test: Texts) -> Read:
        number = {name: place for place, name in enumerate(self.class_names)}
        sets = {domain: tuple(number[name] for name in names) for domain, names in self.domains.items()}
        return replace(super()._both(train, test), sets=sets)

    def _columns(self, folder: Path, names: Sequence[str]) -> Columns | None:
        path = folder / self.single
        if not path.is_file():
            return super()._columns(folder, names)
        parts = _object(path, self.name)
        rows = next((parts[name] for name in names if name in parts), None)
        if rows is None:
            return None
        if not isinstance(rows, list) or any(not isinstance(row, list) or len(row) != 2 for row in rows):
            raise DataError(f"data set {self.name}: {path} is no object of lists of [text, label]", "use the original file")
        return {column: [row[place] for row in rows] for place, column in enumerate(self.pair)}


@dataclass(kw_only=True)
class QuestionFolder(TextFolder):
    """Questions with written answers, in groups. The class of a sample is its group; its answer is scored.

    Requests ask to forget groups, such as an author or a topic. Groups that are not in both parts are left out.

    Args:
        group: column with the name of the group; or the number of consecutive rows of a group, named by its number; None: all
            rows are one group.
    """

    group: str | Positive | None

    def _answered(self, texts: list[str], columns: Columns, place: str) -> Texts:
        found = super()._answered(texts, columns, place)
        if isinstance(self.group, int):
            if len(texts) % self.group:
                raise DataError(f"{place} has {len(texts)} rows, no multiple of group={self.group}", "use the complete file")
            return replace(found, groups=[str(row // self.group) for row in range(len(texts))])
        if self.group is not None:
            return replace(found, groups=[str(value) for value in needed(columns, self.group, place)])
        return found

    def _both(self, train: Texts, test: Texts) -> Read:
        if train.groups is None or test.groups is None:
            return Read(train, test, (self.name,))
        shared = set(train.groups) & set(test.groups)
        names = sorted(shared, key=lambda name: (int(name) if isinstance(self.group, int) else 0, name))
        number = {name: place for place, name in enumerate(names)}
        taken = [part.take([row for row, name in enumerate(part.groups or ()) if name in shared]) for part in (train, test)]
        train, test = (replace(part, classes=[number[name] for name in part.groups or ()]) for part in taken)
        return Read(train, test, tuple(names))


@dataclass(kw_only=True)
class ChoiceFolder(QuestionFolder):
    """Questions with choices, one of them right; the answer is its letter.

    Adds two columns for `text`: `{options}`, such as `(A) a gas (B) a liquid`, and `{context}`. Rows with an image are left out.
    Reads the files of `TextFolder`, and ScienceQA's own: problems.json and pid_splits.json.

    Args:
        choices: column of the choices: a list of texts, or an object with the list `text`.
        right: columns of the right choice, as its number from 0 or its letter; the first that exists is used.
        hint: column of the context; if empty or missing, the context is `N/A`.
        letters: maximum number of choices of a question.
        spoken: the answer; `{letter}` is replaced.
    """

    choices: str
    right: tuple[str, ...]
    hint: str
    letters: Positive
    spoken: str

    def __post_init__(self) -> None:
        if self.letters > len(LETTERS) or "{letter}" not in self.spoken:
            raise ConfigError(
                f"data set {self.name}: letters={self.letters}, spoken={self.spoken!r}",
                f"give at most {len(LETTERS)} letters, and {{letter}} in spoken",
            )
        if self.answer_length is not None:
            raise ConfigError(f"data set {self.name}: answer_length={self.answer_length} would cut letters off", "give null")

    def _both(self, train: Texts, test: Texts) -> Read:
        return replace(super()._both(train, test), choices=tuple(self._said(place) for place in range(self.letters)))

    def _columns(self, folder: Path, names: Sequence[str]) -> Columns | None:
        single = folder / "problems.json"
        columns = _problems(folder, names, self.name) if single.is_file() else super()._columns(folder, names)
        if columns is None:
            return None
        place = f"data set {self.name}: part {' or '.join(names)} in {folder}"
        listed = needed(columns, self.choices, place)
        right = needed(columns, next((name for name in self.right if name in columns), self.right[0]), place)
        images = columns.get("image", [None] * len(listed))
        kept = [row for row, image in enumerate(images) if image is None or image == ""]
        made = {name: [values[row] for row in kept] for name, values in columns.items() if name != "image"}
        hints = made.get(self.hint, [None] * len(kept))
        options = [_options(listed[row], f"{place}, row {row}") for row in kept]
        numbers = [self._number(right[row], len(each), f"{place}, row {row}") for row, each in zip(kept, options, strict=True)]
        self.chance = sum(1 / len(each) for each in options) / max(len(options), 1)  # of the part read last, the test part
        made["options"] = [" ".join(f"({letter}) {each}" for letter, each in zip(LETTERS, texts)) for texts in options]
        made["context"] = [str(hint or "").strip() or "N/A" for hint in hints]
        return made | {str(self.answer): [self._said(number) for number in numbers]}

    def _said(self, number: int) -> str:
        return self.spoken.replace("{letter}", LETTERS[number])

    def _number(self, value: Any, n: int, place: str) -> int:
        """Return the number of the right choice."""
        if n > self.letters:
            raise DataError(f"{place}: {n} choices, and letters={self.letters}", f"raise letters, to at most {len(LETTERS)}")
        known = {letter: number for number, letter in enumerate(LETTERS[:n])} | {number: number for number in range(n)}
        if not isinstance(value, int | str) or isinstance(value, bool) or value not in known:
            raise DataError(
                f"{place}: the right one of {n} choices is {value!r}, expected a number from 0 or a letter",
                "if the answers of this part are withheld, name another part in test_split",
            )
        return known[value]


def needed(columns: Columns, name: str, place: str) -> list[Any]:
    """Return a column.

    Raises:
        DataError: no column has that name.
    """
    if name not in columns:
        raise DataError(f"{place} has no column {name} (it has {', '.join(columns)})", "use the original files (docs/data.md)")
    return columns[name]


def _options(value: Any, place: str) -> list[str]:
    listed = value.get("text") if isinstance(value, dict) else value
    if not isinstance(listed, list) or len(listed) < 2:
        raise DataError(f"{place}: the choices are {value!r}, no list of two or more", "use the original files (docs/data.md)")
    return [str(each) for each in listed]


def _problems(folder: Path, names: Sequence[str], source: str) -> Columns | None:
    """Return the problems of a part of ScienceQA's own files, in the order of `pid_splits.json`."""
    splits = folder / "pid_splits.json"
    if not splits.is_file():
        raise DataError(f"data set {source}: {folder} has problems.json but no pid_splits.json", "put both there (docs/data.md)")
    parts, problems = _object(splits, source), _object(folder / "problems.json", source)
    numbers = next((parts[name] for name in names if name in parts), None)
    if numbers is None:
        return None
    lacking = next((number for number in numbers if not isinstance(problems.get(number), dict)), None)
    if lacking is not None:
        raise DataError(f"data set {source}: problems.json lacks problem {lacking} of pid_splits.json", "get both again")
    rows = [problems[number] for number in numbers]
    return {key: [row.get(key) for row in rows] for key in dict.fromkeys(key for row in rows for key in row)}


def _object(path: Path, source: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"data set {source}: {path} cannot be read: {error}", "replace it by the original file") from error
    if not isinstance(found, dict):
        raise DataError(f"data set {source}: {path} is no JSON object", "replace it by the original file")
    return found
