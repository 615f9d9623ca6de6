"""Models of transformers: from a folder, from the hub, or new from a configuration."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clbench.data.integrity import verify
from clbench.errors import ConfigError, DataError


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
        keys = {**architecture, **overrides}
        kind = keys.pop("model_type", None)
        if kind not in transformers.CONFIG_MAPPING:
            raise ConfigError(
                f"model.architecture.model_type={kind!r} is unknown to transformers",
                "give a model type such as gpt2, llama, t5, bert",
            )
        return transformers.AutoConfig.for_model(kind, **keys)
    assert weights is not None
    try:
        return transformers.AutoConfig.from_pretrained(_place(weights, search, download), **overrides)
    except (OSError, ValueError) as error:
        raise DataError(f"model.weights={weights}: {error}", "check the name, the folder and the network") from error


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
    try:
        if weights is None:
            return loader.from_config(config)
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
