"""The tokenizer that a configuration names: a built-in one, or the files of a model's folder. Needs no torch."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from clbench.data.integrity import digest, find
from clbench.data.tokenizers import Bytes, Fast, Tokenizer, Transformers

BYTES = "bytes"
"""The tokenizer that needs no files (`Bytes`)."""
BIOGRAPHY = "biography"
"""The words of questions about synthetic people (`clbench.data.biography.word_tokenizer.Words`); needs no files either."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "config.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
"""Files of a tokenizer; any may be missing. A model's config.json gives its number of outputs."""


def tokenizer(name: str, search: Sequence[Path]) -> Tokenizer:
    """Return a tokenizer; the same folder is read once per process.

    Args:
        name: `bytes`, `biography`, or a folder of a Hugging Face model: absolute, or relative to the working folder or the search
            path.
        search: folders to search.

    Raises:
        DataError: the folder is missing or has no tokenizer.
        ConfigError: the library that reads it is not installed.
    """
    if name == BIOGRAPHY:
        from clbench.data.biography.word_tokenizer import all_words

        return all_words()
    return Bytes() if name == BYTES else _read(find_tokenizer(name, search))


def find_tokenizer(name: str, search: Sequence[Path]) -> Path:
    """Return the folder of a tokenizer: absolute, or relative to the working folder, then to the search path.

    Raises:
        DataError: the folder does not exist.
    """
    return find(
        [Path.cwd(), *search],
        os.path.expanduser(name),
        f"tokenizer {name}",
        "put a model's folder with its tokenizer.json there (docs/data.md says how to get minilm and smollm2/hf), "
        f"or choose tokenizer={BYTES}, which needs no files",
    )


def tokenizer_sha256(name: str, search: Sequence[Path]) -> str:
    """Return the identity of a tokenizer: its name if it needs no files, else a digest of its files.

    Raises:
        DataError: the folder is missing, or a file cannot be read.
    """
    if name in (BYTES, BIOGRAPHY):
        return name
    folder = find_tokenizer(name, search)
    there = {file: digest(folder / file) for file in TOKENIZER_FILES if (folder / file).is_file()}
    return hashlib.sha256(json.dumps(there, sort_keys=True).encode()).hexdigest()


@functools.cache
def _read(folder: Path) -> Tokenizer:
    return Fast(folder) if (folder / "tokenizer.json").is_file() else Transformers(folder)
