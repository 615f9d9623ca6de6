"""The digest that identifies the content of a data set in a run's identity. Needs neither torch nor a network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clbench.data.integrity import digest, find_own, folder_digest, matching
from clbench.data.tokenizer_lookup import tokenizer_sha256
from clbench.errors import ConfigError, shown

MAKING_OF_FEATURES = ("network", "files", "size", "input_mean", "input_std")
"""Keys of `clbench.data.sources.Features` that determine its content, together with the data set `of`."""
NOT_MAKING_OF_TEXTS = ("path", "name", "_target_", "layout", "mean", "std", "crop", "flip", "image")
"""Keys of a `clbench.data.sources.Text` that do not affect its content."""


def data_sha256(dataset: Mapping[str, Any], search: Sequence[Path]) -> str:
    """Return the digest that identifies a data set in a run's identity: the first of these that applies.

    - the declared `content_sha256`;
    - generated data: the settings of the generator, with its version `generated`;
    - features of another data set (`of`): that set's digest, the network, its weights and the preprocessing;
    - the declared digests of all files (`files`: sha256, `md5`) or folders (`folders`: `folder_digest`), checked at loading;
    - own data: the file or folder at `path`, or the files there that match `pattern`, hashed now.

    Texts (`tokenizer`) add the tokenizer and all settings that shape the tokens.

    Args:
        dataset: the data set's configuration node, or the fields of the source made from it.
        search: folders to search for `path`, after the working folder.

    Raises:
        ConfigError: nothing is declared and no `path` is given.
        DataError: `path` or the tokenizer's folder is missing or cannot be read.
    """
    if dataset.get("tokenizer") is None:
        return _content(dataset, search)
    making: dict[str, Any] = {key: value for key, value in dataset.items() if key not in NOT_MAKING_OF_TEXTS}
    making |= {"content": _content(dataset, search), "tokenizer": tokenizer_sha256(str(dataset["tokenizer"]), search)}
    return hashlib.sha256(json.dumps(making, sort_keys=True, default=str).encode()).hexdigest()


def _content(dataset: Mapping[str, Any], search: Sequence[Path]) -> str:
    """Return the digest of a data set's content without its tokenizer, as `data_sha256` describes."""
    if dataset.get("content_sha256"):
        return str(dataset["content_sha256"])
    if dataset.get("generated"):
        settings = {key: value for key, value in dataset.items() if key not in ("_target_", "name")}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    if dataset.get("of") is not None:
        inner = dataset["of"] if isinstance(dataset["of"], Mapping) else vars(dataset["of"])
        recipe = {key: dataset.get(key) for key in MAKING_OF_FEATURES} | {"of": data_sha256(inner, search)}
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    for key in ("files", "md5", "folders"):
        if dataset.get(key) and not isinstance(dataset[key], Mapping):
            raise ConfigError(
                f"{key}={shown(dataset[key])} of the data set {dataset.get('name')} is no mapping",
                f"give {key} as digests by relative path, or leave {key} out",
            )
    declared = {key: dict(dataset[key]) for key in ("files", "md5", "folders") if dataset.get(key)}
    if declared:
        return hashlib.sha256(json.dumps(declared, sort_keys=True).encode()).hexdigest()
    if "path" not in dataset:
        raise ConfigError(
            f"data set {dataset.get('name')}: its content is not declared",
            "declare content_sha256, or files (sha256 by relative path), or md5, or folders, or give it a path",
        )
    if dataset.get("pattern"):
        read = matching(str(dataset["path"]), str(dataset["pattern"]), search, str(dataset.get("name")))
        return hashlib.sha256("\n".join(digest(path) for path in read).encode()).hexdigest()
    path = find_own(dataset.get("path"), search, str(dataset.get("name", "the data set")), str(dataset.get("layout") or ""))
    return folder_digest(path) if path.is_dir() else digest(path)
