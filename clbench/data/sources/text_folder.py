"""A data set of texts in a folder: files of Hugging Face's `datasets`, or plain JSON and CSV."""

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

LAYOUT = "train.parquet and test.parquet, or .jsonl, .json, .csv, NAME-*.parquet, data/, or the folders of save_to_disk"


@dataclass(kw_only=True)
class TextFolder(Text):
    """Rows with a text and a label, or with a prompt and an answer, in a training and a test part.

    `data.sources.table_files.split_columns` lists the file formats. Official parts stay as they are.

    Args:
        path: the folder, absolute, or relative to the working folder or the search path.
        layout: the required files, for the message.
        text: templates of a text from columns, such as `{title} {content}`; the first whose columns exist is used.
        label: columns of the class; the first that exists is used; empty: answers are free text.
        answer: column of the answer if it is free text.
        class_names: of the classes, in the order of their numbers; labels may be names.
        label_names: meaning of the numbers in the column, from 0; None: as `class_names`.
        train_split: possible names of the training part.
        test_split: possible names of the test part.
        skip_labels: rows with one of these labels are left out.
        test_share: without a test part, the share of the training part to hold out, by the sha256 of the text.
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
                f"data set {self.name}: label_names has {min(strange)!r}, which is missing in class_names", "correct either"
            )
        folder = find_own(self.path, search, self.name, self.layout)
        train = self._part(folder, self.train_split)
        if train is None:
            raise DataError(
                f"data set {self.name}: {folder} has no part {' or '.join(self.train_split)}", f"put there: {self.layout}"
            )
        test = self._part(folder, self.test_split)
        if test is not None:
            return self._both(train, test)
        if self.test_share is None:
            raise DataError(
                f"data set {self.name}: {folder} has no part {' or '.join(self.test_split)}",
                f"put there: {self.layout}; or give test_share, the share of the training part to hold out",
            )
        held = [held_out(plain(text), self.test_share) for text in train.texts]
        kept, out = ([row for row, away in enumerate(held) if away is wanted] for wanted in (False, True))
        return self._both(train.take(kept), train.take(out))

    def _both(self, train: Texts, test: Texts) -> Read:
        """Return both parts with the names of the classes."""
        return Read(train, test, self.class_names or (self.name,))

    def _columns(self, folder: Path, names: Sequence[str]) -> Columns | None:
        """Return the columns of the first existing part of `names`; None: the folder has none of them."""
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
        """Return the class of each label. A label is a class name, or a number named by `label_names`."""
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
            f"{place}: row {row} has the label {label!r}, expected {', '.join(self.class_names)}, or a number from 0 "
            f"to {len(meaning) - 1}",
            "if all labels are withheld (-1), name another part in test_split; else correct class_names, or skip such rows with "
            "skip_labels",
        )


def _texts(ways: Sequence[str], columns: Columns, place: str) -> list[str]:
    """Return the texts, by the first template whose columns exist."""
    for way in ways:
        fields = [name for _, name, _, _ in string.Formatter().parse(way) if name is not None]
        if fields and all(name in columns for name in fields):
            rows = zip(*(columns[name] for name in fields), strict=True)
            return [way.format_map({name: _plain(value) for name, value in zip(fields, row, strict=True)}) for row in rows]
    raise DataError(f"{place} has the columns {', '.join(columns)}, too few for each of {list(ways)}", "correct text")


def _plain(value: Any) -> str:
    return "" if value is None else str(value)
