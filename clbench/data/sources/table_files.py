"""Reads the parts of a data set as columns from the file formats of Hugging Face's `datasets`: parquet, Arrow, JSON, CSV."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clbench.errors import ConfigError, DataError

Columns = dict[str, list[Any]]
SUFFIXES = (".parquet", ".jsonl", ".json", ".csv")


def split_columns(folder: Path, names: Sequence[str], source: str) -> Columns | None:
    """Return the columns of the first part of `names` in the folder, or None.

    Search order: the folder NAME/ of `DatasetDict.save_to_disk` or `Dataset.save_to_disk`; NAME with one of `SUFFIXES`; all
    files NAME-* and NAME/* with one suffix, by name. The last two are searched in the folder, then in its subfolder data/.

    Args:
        folder: of the data set.
        names: possible names of the part.
        source: name of the data set, for messages.

    Raises:
        DataError: a file cannot be read.
        ConfigError: the library that reads it is not installed.
    """
    for name in names:
        if (folder / name / "dataset_info.json").is_file():
            return _arrow(folder / name, source)
        for place in (folder, folder / "data"):
            for suffix in SUFFIXES:
                single = place / f"{name}{suffix}"
                files = (
                    [single] if single.is_file() else sorted([*place.glob(f"{name}-*{suffix}"), *place.glob(f"{name}/*{suffix}")])
                )
                if files:
                    return _joined([_read(file, suffix, source) for file in files], files, source)
    return None


def _joined(parts: list[Columns], files: list[Path], source: str) -> Columns:
    for part, file in zip(parts, files, strict=True):
        if part.keys() != parts[0].keys():
            raise DataError(f"{source}: {file} has other columns than {files[0]}", "put files of one data set into its folder")
    return {key: [value for part in parts for value in part[key]] for key in parts[0]}


def _read(file: Path, suffix: str, source: str) -> Columns:
    readers: dict[str, Callable[[Path], Columns]] = {".parquet": _parquet, ".jsonl": _json, ".json": _json, ".csv": _csv}
    try:
        return readers[suffix](file)
    except (OSError, ValueError, KeyError, csv.Error) as error:  # pyarrow's errors are ValueErrors and OSErrors
        raise DataError(f"{source}: {file} cannot be read: {error}", "replace it by the original file") from error


def _arrow(folder: Path, source: str) -> Columns:
    library = _library("datasets")
    try:
        columns = library.load_from_disk(str(folder)).with_format(None).to_dict()
    except Exception as error:  # it has many types
        raise DataError(f"{source}: {folder} cannot be read: {error}", "write it again with save_to_disk") from error
    return dict(columns)


def _parquet(file: Path) -> Columns:
    columns = _library("pyarrow.parquet").read_table(file).to_pydict()
    return dict(columns)


def _json(file: Path) -> Columns:
    """Read a list of objects, or an object per line."""
    text = file.read_bytes().decode("utf-8-sig")
    rows = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.split("\n") if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("it is neither a list of objects nor one object per line")
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return {key: [row.get(key) for row in rows] for key in keys}


def _csv(file: Path) -> Columns:
    with open(file, encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.reader(opened))
    if not rows:
        raise ValueError("it is empty: the first line names the columns")
    header, *rest = rows
    short = next((number for number, row in enumerate(rest, 2) if len(row) != len(header)), None)
    if short is not None:
        raise ValueError(f"row {short} does not have the {len(header)} columns of the first line")
    return {key: [row[place] for row in rest] for place, key in enumerate(header)}


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"the package {name.partition('.')[0]}, which reads these files, is not installed",
            "pip install 'clbench[llm]', or bring the data set as .jsonl or .csv",
        ) from error
