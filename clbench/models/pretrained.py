"""Models of transformers: from a folder, from the hub, or new from a configuration."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from clbench.data.integrity import verify
from clbench.errors import ClbenchError, ConfigError, DataError, shown


def _transformers() -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise ConfigError(f"this model needs transformers: {error}", "pip install 'clbench[llm]'") from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def _place(weights: str, search: Sequence[Path], download: bool) -> str:
    """Return the folder of `weights`, or with `download` their name on the hub."""
    for folder in (*search, *([Path()] if Path(weights).is_absolute() else [])):
        if (folder / weights / "config.json").is_file():
            return str(folder / weights)
    if download:
        return weights
    places = ", ".join(str(folder / weights) for folder in search) or "no folder"
    raise DataError(
        f"model.weights={weights}: no config.json in {places}",
        "put the model's folder below a folder of data.root (docs/data.md), or allow the hub: data.download=true",
    )


def configured(
    weights: str | None,
    architecture: Mapping[str, Any] | None,
    overrides: Mapping[str, Any],
    search: Sequence[Path],
    download: bool,
) -> Any:
    """Return the configuration of transformers that the keys describe."""
    transformers = _transformers()
    if (weights is None) == (architecture is None):
        raise ConfigError(
            f"model.weights={weights!r} and model.architecture={architecture!r}", "give one of the two, and null for the other"
        )
    if architecture is not None:
        return of_architecture({**architecture, **overrides})
    assert weights is not None
    try:
        return transformers.AutoConfig.from_pretrained(_place(weights, search, download), **overrides)
    except (OSError, ValueError) as error:
        raise DataError(f"model.weights={weights}: {error}", "check the name, the folder and the network") from error


def of_architecture(keys: Mapping[str, Any]) -> Any:
    """Return the configuration of transformers with `model_type` and further keys.

    Raises:
        ConfigError: an unknown type, or a value that transformers refuses.
    """
    transformers, rest = _transformers(), dict(keys)
    kind = rest.pop("model_type", None)
    if not isinstance(kind, str) or kind not in transformers.CONFIG_MAPPING:
        raise ConfigError(
            f"model.architecture.model_type={shown(kind)} is unknown to transformers",
            "give a model type such as gpt2, gpt_neox, llama, t5, bert",
        )
    with explained_architecture(keys):
        return transformers.AutoConfig.for_model(kind, **rest)


@contextmanager
def explained_architecture(keys: Mapping[str, Any]) -> Iterator[None]:
    """Turn any exception within the block into one that names the key of `model.architecture`, if the exception tells.

    Each version of transformers raises other classes for values that it refuses, or that torch refuses later.

    Raises:
        ConfigError: there was an exception.
    """
    try:
        yield
    except ClbenchError:
        raise
    except Exception as error:
        text = re.sub(r"<class '([^']+)'>", r"\1", " ".join(str(error).split())).replace("NoneType", "null")
        named = [key for key in keys if re.search(rf"\b{re.escape(key)}\b", text)]
        place = f"model.architecture.{named[0]}={shown(keys[named[0]])}" if named else f"model.architecture={shown(dict(keys))}"
        raise ConfigError(
            f"{place} is refused by transformers: {text}",
            "give sizes and numbers as positive integers, as in the shipped files below conf/model",
        ) from error


def made(
    kind: str,
    weights: str | None,
    sha256: Mapping[str, str],
    architecture: Mapping[str, Any] | None,
    overrides: Mapping[str, Any],
    search: Sequence[Path],
    download: bool,
) -> Any:
    """Return a model of the class `kind` of transformers, in float32."""
    loader = getattr(_transformers(), kind)
    config = configured(weights, architecture, overrides, search, download)
    if weights is None:
        with explained_architecture({**(architecture or {}), **overrides}):
            return loader.from_config(config)
    try:
        place = _place(weights, search, download)
        for name, digest in sha256.items():
            if Path(place, name).is_file():
                verify(Path(place, name), digest, how_to_get="replace it by the original file (docs/data.md)")
        return loader.from_pretrained(place, config=config, dtype=torch.float32, local_files_only=not download)
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"model.weights={weights}: {error}", "check the folder's files and the network") from error


def prepared(model: Any, checkpointing: bool) -> Any:
    """Return the model; with `checkpointing` it recomputes activations in the backward pass."""
    if checkpointing:
        new = getattr(model, "activation_checkpointing_enable", None)  # transformers 6 removes the older name
        enable = new or model.gradient_checkpointing_enable
        enable(**{f"{'activation' if new else 'gradient'}_checkpointing_kwargs": {"use_reentrant": False}})
    return model
