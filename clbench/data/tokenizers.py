"""From texts to token numbers and back: bytes, or a tokenizer from the files of a model's folder."""

from __future__ import annotations

import importlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clbench.errors import ConfigError, DataError


class Tokenizer(ABC):
    """What data sets and models need of a tokenizer.

    Attributes:
        size: number of tokens, and of outputs of a model that predicts tokens.
        pad: padding token.
        eos: token that ends an answer.
    """

    size: int
    pad: int
    eos: int

    @abstractmethod
    def encode(self, texts: Sequence[str], length: int | None = None, specials: bool = True) -> list[list[int]]:
        """Return the tokens of each text, not padded.

        Args:
            texts: any number of them.
            length: maximum tokens; longer texts lose their end but keep special tokens; None: no maximum.
            specials: whether to add the tokenizer's special tokens around a text.
        """

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens; special tokens are left out."""


class Bytes(Tokenizer):
    """The 256 bytes of UTF-8, then padding, beginning and end. Needs no file."""

    pad, bos, eos, size = 256, 257, 258, 259

    def encode(self, texts: Sequence[str], length: int | None = None, specials: bool = True) -> list[list[int]]:
        """Return the bytes of each text; with `specials` a beginning token comes first."""
        start = [self.bos] if specials else []
        return [(start + list(text.encode()))[:length] for text in texts]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text; an incomplete character becomes U+FFFD."""
        return bytes(token for token in tokens if token < 256).decode(errors="replace")


class Fast(Tokenizer):
    """A tokenizer.json, read by the `tokenizers` library; the files beside it name the special tokens."""

    def __init__(self, folder: Path) -> None:
        """Read the folder's tokenizer.json.

        Raises:
            DataError: a file cannot be read, or no token ends a text.
            ConfigError: the library is not installed.
        """
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not outlive a fork, and results are the same
        library = _library("tokenizers")
        try:
            self._plain = library.Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._cut = library.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises plain Exception
            raise DataError(f"{folder / 'tokenizer.json'} cannot be read: {error}", "replace it by the original file") from error
        padding = self._plain.padding
        for each in (self._plain, self._cut):
            each.no_truncation()
            each.no_padding()
        names = _special_tokens(folder)
        numbers = {name: self._plain.token_to_id(token) for name, token in names.items()}
        ends = [numbers.get("eos_token"), numbers.get("sep_token"), _number(folder, "eos_token_id")]
        pads = [numbers.get("pad_token"), padding and padding["pad_id"], _number(folder, "pad_token_id"), *ends]
        self.eos, self.pad = _first(ends, folder, "eos_token"), _first(pads, folder, "pad_token")
        self.size = max(self._plain.get_vocab_size(), _number(folder, "vocab_size") or 0)

    def encode(self, texts: Sequence[str], length: int | None = None, specials: bool = True) -> list[list[int]]:
        """Return the tokens; arguments as of `Tokenizer.encode`."""
        if length is None:
            found = self._plain.encode_batch_fast(list(texts), add_special_tokens=specials)
        else:
            self._cut.enable_truncation(length)
            found = self._cut.encode_batch_fast(list(texts), add_special_tokens=specials)
        return [list(one.ids) for one in found]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens."""
        return str(self._plain.decode(list(tokens), skip_special_tokens=True))


class Transformers(Tokenizer):
    """A folder without tokenizer.json, read by `transformers.AutoTokenizer`."""

    def __init__(self, folder: Path) -> None:
        """Read the folder.

        Raises:
            DataError: the folder has no tokenizer, or no token ends a text.
            ConfigError: the library is not installed.
        """
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        library = _library("transformers")
        try:
            self._own = library.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        except Exception as error:  # its type depends on the tokenizer
            raise DataError(
                f"{folder} has no readable tokenizer: {str(error).splitlines()[0]}",
                "add a tokenizer.json, or the files that transformers.AutoTokenizer reads",
            ) from error
        ends = [self._own.eos_token_id, self._own.sep_token_id]
        self.eos = _first(ends, folder, "eos_token")
        self.pad = _first([self._own.pad_token_id, *ends], folder, "pad_token")
        self.size = max(len(self._own), _number(folder, "vocab_size") or 0)

    def encode(self, texts: Sequence[str], length: int | None = None, specials: bool = True) -> list[list[int]]:
        """Return the tokens; arguments as of `Tokenizer.encode`."""
        options: dict[str, Any] = {"add_special_tokens": specials, "truncation": length is not None, "max_length": length}
        return [list(self._own(text, verbose=False, **options)["input_ids"]) for text in texts]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens."""
        return str(self._own.decode(list(tokens), skip_special_tokens=True))


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"the package {name}, which reads this tokenizer, is not installed",
            "pip install 'clbench[llm]', or choose tokenizer=bytes",
        ) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", "replace it by the original file") from error
    return found if isinstance(found, dict) else {}


def _special_tokens(folder: Path) -> dict[str, str]:
    """Return the special tokens by name (`eos_token`, ...), from the two files that may name them."""
    found: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        for name, token in _json(folder / file).items():
            content = token.get("content") if isinstance(token, dict) else token
            if name.endswith("_token") and isinstance(content, str):
                found[name] = content
    return found


def _number(folder: Path, key: str) -> int | None:
    """Return an entry of the model's config.json; a model may have more outputs than its tokenizer has tokens."""
    value = _json(folder / "config.json").get(key)
    value = value[0] if isinstance(value, list) and value else value
    return value if isinstance(value, int) else None


def _first(candidates: Sequence[Any], folder: Path, name: str) -> int:
    for number in candidates:
        if number is not None:
            return int(number)
    raise DataError(f"{folder} names no {name}", "name it in tokenizer_config.json beside the tokenizer")
