"""Values of single keys, checked: every error names the key, the value and the remedy. Nothing here needs torch."""

from __future__ import annotations

from typing import Any

from clbench.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda")
RESIDENCES = ("auto", "device", "host", "disk")


def seeds(value: Any) -> tuple[int, ...]:
    """Return the seeds that `seeds=` means: a count n stands for 0 to n - 1, a list for itself.

    Raises:
        ConfigError: no seed, or one that is negative, not an integer, or there twice.
    """
    remedy = "give a count (seeds=5 means 0 to 4) or a list of different seeds (seeds=[3,7])"
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ConfigError(f"seeds={value} asks for no run at all", remedy)
        return tuple(range(value))
    if not isinstance(value, (list, tuple)) or any(isinstance(v, bool) or not isinstance(v, int) for v in value):
        raise ConfigError(f"seeds={value!r} is neither a count nor a list of integers", remedy)
    if not value:
        raise ConfigError("seeds=[] asks for no run at all", remedy)
    if min(value) < 0:
        raise ConfigError(f"seeds={list(value)}: {min(value)} is negative", remedy)
    if len(set(value)) < len(value):
        twice = next(v for v in value if value.count(v) > 1)
        raise ConfigError(f"seeds={list(value)} names {twice} more than once", remedy)
    return tuple(value)


def device(value: Any) -> str:
    """Return the device, checked.

    Raises:
        ConfigError: not one of `DEVICES`.
    """
    if value not in DEVICES:
        raise ConfigError(
            f"unknown device={value}", f"choose one of {', '.join(DEVICES)} (CUDA_VISIBLE_DEVICES selects among GPUs)"
        )
    return str(value)


def residence(value: Any) -> str:
    """Return where data is kept, checked.

    Raises:
        ConfigError: not one of `RESIDENCES`.
    """
    if value not in RESIDENCES:
        raise ConfigError(f"unknown data.residence={value}", f"choose one of {', '.join(RESIDENCES)}")
    return str(value)


def typed(value: Any, kinds: tuple[type, ...], key: str, meaning: str) -> Any:
    """Return `value` if it is of one of `kinds`, else raise a ConfigError that names `key`."""
    if not isinstance(value, kinds):
        raise ConfigError(f"{key}={value!r} is not {meaning}", f"give {key} as {meaning}")
    return value


def count(value: Any, key: str, least: int) -> int:
    """Return `value` if it is an integer of at least `least`, else raise a ConfigError that names `key`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        allowed = "auto or an integer" if key == "runner.workers" else "an integer"
        raise ConfigError(f"{key}={value!r} is not {allowed} of at least {least}", f"give {key}={max(least, 1)} or more")
    return value


def share(value: Any, key: str) -> float:
    """Return `value` if it is a number above 0 and up to 1, else raise a ConfigError that names `key`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise ConfigError(f"{key}={value!r} is not a share", f"give {key} as a number above 0 and up to 1")
    return float(value)


def compile_mode(value: Any) -> str | None:
    """Return `value` if it is a mode of `torch.compile` or null, else raise a ConfigError."""
    modes = ("default", "reduce-overhead", "max-autotune")
    if value is not None and value not in modes:
        raise ConfigError(f"runner.compile={value!r} is no mode of torch.compile", f"give {', '.join(modes)}, or null for none")
    return None if value is None else str(value)


def seconds(value: Any, key: str) -> float:
    """Return `value` if it is a time that can pass, else raise a ConfigError that names `key`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ConfigError(f"{key}={value!r} is not a number of seconds", f"give {key}=60, or null for no limit")
    return float(value)


def one_of(value: Any, allowed: tuple[str, ...], key: str) -> str:
    """Return `value` if it is allowed, else raise a ConfigError that names `key`."""
    if value not in allowed:
        raise ConfigError(f"unknown {key}={value!r}", f"choose one of {', '.join(allowed)}")
    return str(value)
