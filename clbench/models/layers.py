"""Shared parts of the networks: normalisation with explicit statistics, initialisation, and checked sizes."""

from __future__ import annotations

from typing import Any

from torch import nn

from clbench.errors import ConfigError

NORMS = ("running", "batch", "none")
INITIALISATIONS = ("default", "kaiming", "xavier")


def norm_layer(kind: str, width: int, dimensions: int) -> nn.Module:
    """Return the normalisation layer that follows a layer of `width` channels.

    Args:
        kind: `running` (BatchNorm; evaluation uses the running mean and variance), `batch` (BatchNorm that always
            normalises by the statistics of the batch at hand, also at evaluation: transductive), or `none`.
        width: channels or features.
        dimensions: 1 for features `[B, width]`, 2 for maps `[B, width, H, W]`.

    Raises:
        ConfigError: no such kind.
    """
    choice(kind, "norm", NORMS)
    if kind == "none":
        return nn.Identity()
    layer = nn.BatchNorm1d if dimensions == 1 else nn.BatchNorm2d
    return layer(width, track_running_stats=kind == "running")


def initialise(module: nn.Module, kind: str, key: str = "init") -> None:
    """Draw the weights of all linear and convolutional layers of `module`, in place, from the global generator.

    Args:
        module: any module.
        kind: `default` (PyTorch's own, drawn when the layers were made; no change), `kaiming` (uniform,
            fan-in, gain of ReLU: He et al., ICCV 2015, eq. 10; biases are unchanged), or `xavier` (uniform: Glorot
            & Bengio, AISTATS 2010, eq. 16; biases 0).
        key: the configuration's key, for messages.

    Raises:
        ConfigError: no such kind.
    """
    choice(kind, key, INITIALISATIONS)
    if kind == "default":
        return
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Conv2d)):
            if kind == "kaiming":
                nn.init.kaiming_uniform_(part.weight, mode="fan_in", nonlinearity="relu")
                continue
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def choice(value: Any, key: str, known: tuple[str, ...]) -> None:
    """Refuse a value that is not one of `known`.

    Raises:
        ConfigError: it is not.
    """
    if value not in known:
        raise ConfigError(f"model.{key}={value!r} is not known", f"choose one of: {', '.join(known)}")


def whole(value: Any, key: str, minimum: int) -> int:
    """Return `value` if it is an integer of at least `minimum`.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ConfigError(
            f"model.{key}={value!r} is not an integer of at least {minimum}", f"for example model.{key}={max(minimum, 1)}"
        )
    return value


def sizes(value: Any, key: str, empty: bool = False) -> list[int]:
    """Return `value` if it is a list of positive integers (`empty`: it may have none).

    Raises:
        ConfigError: it is not.
    """
    remedy = f"for example model.{key}=[100,100]"
    listed = list(value) if isinstance(value, (list, tuple)) else [value]
    wrong = [v for v in listed if isinstance(v, bool) or not isinstance(v, int) or v < 1]
    if wrong or not isinstance(value, (list, tuple)):
        raise ConfigError(f"model.{key}={value!r} is not a list of positive integers", remedy)
    if not value and not empty:
        raise ConfigError(f"model.{key}={value!r} is empty", remedy)
    return listed


def rates(value: Any, key: str, count: int) -> list[float]:
    """Return `count` dropout rates; a single number applies to all.

    Raises:
        ConfigError: not numbers in [0, 1), or a number of rates that differs from the number of layers.
    """
    listed = list(value) if isinstance(value, (list, tuple)) else [value] * count
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) or not 0 <= v < 1 for v in listed):
        raise ConfigError(
            f"model.{key}={value!r}: a dropout rate must be in [0, 1)", f"for example model.{key}=0.5, or 0 for none"
        )
    if len(listed) != count:
        raise ConfigError(
            f"model.{key}={value!r} has {len(listed)} rates for {count} layers",
            f"give one number for all layers or a list of {count}",
        )
    return [float(v) for v in listed]


def flag(value: Any, key: str) -> bool:
    """Return `value` if it is true or false.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"model.{key}={value!r} is neither true nor false", f"give model.{key}=true or false")
    return value


def image_shape(shape: Any, network: str) -> tuple[int, int, int]:
    """Return `shape` as (channels, height, width).

    Raises:
        ConfigError: the stream's inputs are not images.
    """
    if len(shape) != 3:
        raise ConfigError(
            f"model: {network} takes images [channels, height, width]; the scenario's inputs have shape {list(shape)}",
            "choose model=mlp, or a scenario of images",
        )
    return int(shape[0]), int(shape[1]), int(shape[2])
