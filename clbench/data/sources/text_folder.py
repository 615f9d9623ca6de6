"""A data set of texts as a folder of files that Hugging Face's `datasets` writes, or that anyone can."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clbench.data.deterministic_sampling import held_out, plain
from clbench.data.integrity import find_own
from clbench.data.sources.table_files import Columns, split_columns
from clbench.data.sources.text import Read, Share, Text, Texts
from clbench.errors import ConfigError, DataError

LAYOUT = "train.parquet and test.parquet, or .jsonl, .json, .csv, NAME-*.parquet, data/, or what save_to_disk writes"


@dataclass(kw_only=True)
class TextFolder(Text):
    """Rows with a text and a label, or with a prompt and an answer, in a part to train on and one to test on.

    The files may be of any kind that `data.sources.table_files.split_columns` reads. Official parts are taken as they are.

    Args:
        path: the folder, absolute, or relative to the working folder or the search path.
        layout: what has to be there, for people who lack it.
        text: how a text is made of the columns, such as `{title} {content}`; of several ways the first whose columns exist.
        label: column of the class; of several the first that exists; empty: answers are free text.
        answer: column of the answer where it is free text.
        class_names: of the classes, in the order of their numbers; labels may be names.
        label_names: what the numbers in the column mean, from 0; None: as `class_names`.
        train_split: names of the part to train on, any of which will do.
        test_split: names of the part to test on.
        skip_labels: rows with one of these labels are left out.
        test_share: without such a part, the share of the training part that is held out, by the sha256 of the text.
    """

    path: str | None
    layout: str = LAYOUT
    text: tuple[str, ...]
    label: tuple[str, ...] = ()
    answer: str | None = None
    class_names: tuple[str, ...] = ()
    label_names: tuple[str, ...] | None = None
    train_split: tuple[str, ...] = ("train",)
    test_split: tuple[str, ...] = ("test",)
    skip_labels: tuple[str | int, ...] = ()
    test_share: Share | None = None

    def texts(self, search: Sequence[Path]) -> Read:
        """Return both parts of the folder."""
        if bool(self.label) == (self.answer is not None) or bool(self.label) != bool(self.class_names):
            raise ConfigError(
                f"data set {self.name}: label={list(self.label)}, class_names={list(self.class_names)}, answer={self.answer}",
                "give label and class_names, or answer (a column of free text) alone",
            )
        strange = set(self.label_names or ()) - set(self.class_names) - set(map(str, self.skip_labels))
        if strange:
            raise ConfigError(
                f"data set {self.name}: label_names holds {min(strange)!r}, which class_names lacks", "correct either"
            )
        folder = find_own(self.path, search, self.name, self.layout)
        train = self._part(folder, self.train_split)
        if train is None:
            raise DataError(
                f"data set {self.name}: {folder} holds no part {' or '.join(self.train_split)}", f"put there: {self.layout}"
            )
        test = self._part(folder, self.test_split)
        if test is not None:
            return self._both(train, test)
        if self.test_share is None:
            raise DataError(
                f"data set {self.name}: {folder} holds no part {' or '.join(self.test_split)}",
                f"put there: {self.layout}; or give test_share, the share of the training part that is held out",
            )
        held = [held_out(plain(text), self.test_share) for text in train.texts]
        kept, out = ([row for row, away in enumerate(held) if away is wanted] for wanted in (False, True))
        return self._both(train.take(kept), train.take(out))

    def _both(self, train: Texts, test: Texts) -> Read:
        """Return both parts with the names of the classes."""
        return Read(train, test, self.class_names or (self.name,))

    def _columns(self, folder: Path, names: Sequence[str]) -> Columns | None:
        """Return the columns of a part, any of `names`; None: the folder lacks it."""
        return split_columns(folder, names, self.name)

    def _part(self, folder: Path, names: Sequence[str]) -> Texts | None:
        columns = self._columns(folder, names)
        if columns is None:
            return None
        place = f"data set {self.name}: part {' or '.join(names)} in {folder}"
        texts = _texts(self.text, columns, place)
        if self.answer is not None:
            return self._answered(texts, columns, place)
        column = next((name for name in self.label if name in columns), None)
        if column is None:
            raise DataError(f"{place} has no column {' or '.join(self.label)} (it has {', '.join(columns)})", "correct label")
        labels = columns[column]
        numbered = [number for number, name in enumerate(self.label_names or ()) if name in self.skip_labels]
        skipped = [*numbered, *self.skip_labels]
        kept = [row for row, label in enumerate(labels) if label not in skipped]
        return Texts([texts[row] for row in kept], self._numbers([labels[row] for row in kept], place))

    def _answered(self, texts: list[str], columns: Columns, place: str) -> Texts:
        """Return the texts of a part with their answers in free text."""
        if self.answer not in columns:
            raise DataError(f"{place} has no column {self.answer} (it has {', '.join(columns)})", "correct answer")
        return Texts(texts, [0] * len(texts), [str(value) for value in columns[self.answer]])

    def _numbers(self, labels: list[Any], place: str) -> list[int]:
        """Return the class of each label: a class's name, or a number that `label_names` gives a name."""
        meaning = self.label_names or self.class_names
        own = {name: number for number, name in enumerate(self.class_names)}
        known: dict[Any, int] = {number: own[name] for number, name in enumerate(meaning) if name in own}
        known |= {str(number): label for number, label in known.items()}
        known |= own
        try:
            return [known[label] for label in labels]
        except (KeyError, TypeError):
            strange = ((row, label) for row, label in enumerate(labels) if not isinstance(label, int | str) or label not in known)
            row, label = next(strange)
        raise DataError(
            f"{place}: row {row} has the label {label!r}, which is none of {', '.join(self.class_names)}, and no number from 0 "
            f"to {len(meaning) - 1}",
            "a part whose labels are withheld (-1) cannot be tested on: name another in test_split; else correct class_names, or "
            "leave such rows out with skip_labels",
        )


def _texts(ways: Sequence[str], columns: Columns, place: str) -> list[str]:
    """Return the texts, made in the first way whose columns exist."""
    for way in ways:
        fields = [name for _, name, _, _ in string.Formatter().parse(way) if name is not None]
        if fields and all(name in columns for name in fields):
            rows = zip(*(columns[name] for name in fields), strict=True)
            return [way.format_map({name: _plain(value) for name, value in zip(fields, row, strict=True)}) for row in rows]
    raise DataError(f"{place} has the columns {', '.join(columns)}, which do not suffice for any of {list(ways)}", "correct text")


def _plain(value: Any) -> str:
    return "" if value is None else str(value)
