"""Checks that a state can be read back from a checkpoint, made before the checkpoint is written."""

from __future__ import annotations

import io
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from datetime import date
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clbench.errors import RefusedError
from clbench.method import Method, state_of

CONTAINERS = (dict, OrderedDict, Counter, list, tuple, set)
"""Types of containers that come back from a checkpoint as they are; their subclasses do not."""
VALUES = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    Tensor,
    nn.Parameter,
    torch.dtype,
    torch.device,
    torch.Size,
)
"""Types of values that come back as they are. Values of other types are tried."""
PLAIN = (type(None), bool, int, float, str)
"""Types of values in a record."""
ADVICE = "store tensors, numbers, strings, lists, tuples and dictionaries"
ANYWAY = (
    "or override state and load_state; a name with a leading underscore is not saved, so that setup or begin_task must compute it"
)
REMEDIES: tuple[tuple[type, str], ...] = (
    (np.ndarray, "store torch.from_numpy(value)"),
    (np.generic, "store value.item()"),
    (nn.Module, "store value.state_dict(), and load it in load_state"),
    (torch.Generator, "store value.get_state(), or draw from learner.generator('purpose', task.index)"),
    (defaultdict, "store a plain dictionary: dict(value)"),
    (deque, "store list(value)"),
    (frozenset, "store set(value)"),
    (PurePath, "store str(value)"),
    (Enum, "store value.name"),
    (date, "store value.isoformat()"),
    (tuple, "store tuple(value), or a dictionary"),
    (Tensor, "store value.as_subclass(torch.Tensor)"),
)
"""For a type and its subclasses: what to store instead. The first that fits counts."""


def check_state(owner: Any, state: Any) -> None:
    """Check that `state`, the result of `owner.state()`, can be read back from a checkpoint.

    Tensors are not read. Every other value is looked at once; a value of an unusual type is saved and loaded in memory.

    Args:
        owner: a method, a composition, a server rule or an optimiser.
        state: its state.

    Raises:
        RefusedError: a value that would not come back, with the class, the attribute and the type.
    """
    parts = getattr(owner, "parts", None)
    if isinstance(parts, dict) and isinstance(state, dict) and parts and state.keys() == parts.keys():
        for name, part in parts.items():
            check_state(part, state[name])
        return
    for path, value, reason in _faults(
        _start(owner, state, "state_dict()" if isinstance(owner, nn.Module) else "state()"), set()
    ):
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        raise RefusedError(f"{path} is a {kind}, and a checkpoint cannot give it back{reason}", f"{_remedy(value)}; {ANYWAY}")


def checked_state(owner: Any) -> dict[str, Any]:
    """Return `owner.state()` after `check_state`; its errors."""
    state: dict[str, Any] = owner.state()
    check_state(owner, state)
    return state


def check_after_setup(owner: Any) -> None:
    """Check the state of a method or server rule before training, unless it has its own `state`; errors as of `check_state`."""
    parts = getattr(owner, "parts", None)
    if isinstance(parts, dict):
        for part in parts.values():
            check_after_setup(part)
    elif getattr(type(owner), "state", None) in (Method.state, *_default_states(owner)):
        check_state(owner, state_of(owner))


def check_diagnostics(owner: Any, found: Any) -> None:
    """Check that diagnostics are plain values, as a record holds them.

    Raises:
        RefusedError: another value, with its place and its type.
    """
    for path, value in _leaves(_start(owner, found, "diagnostics()")):
        if type(value) not in PLAIN:
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            raise RefusedError(
                f"{path} is a {kind}, and a record holds plain values only",
                "return numbers, strings, lists and dictionaries: float(value), value.item() or value.tolist()",
            )


def _default_states(owner: Any) -> list[Any]:
    """Return the `state` of the class of this package from which a server rule is derived."""
    return [
        vars(base)["state"] for base in type(owner).__mro__ if base.__module__.startswith("clbench.") and "state" in vars(base)
    ]


def _start(owner: Any, tree: Any, call: str) -> list[tuple[str, Any]]:
    """Return the first level of a tree with readable places: `Class.name` for attributes, else `Class.call['name']`."""
    name = type(owner).__qualname__
    if type(tree) is not dict:
        return [(f"{name}.{call}", tree)]
    own = vars(owner) if hasattr(owner, "__dict__") else {}
    return [(f"{name}.{key}" if key in own else f"{name}.{call}[{key!r}]", value) for key, value in tree.items()]


def _children(path: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        keys = [(f"a key of {path}, {key!r},", key) for key in value if type(key) is not str]
        return keys + [(f"{path}[{key!r}]", item) for key, item in value.items()]
    return [(f"{path}[{index}]", item) for index, item in enumerate(value)]


def _faults(items: list[tuple[str, Any]], above: set[int]) -> Iterator[tuple[str, Any, str]]:
    """Yield the place, the value and a further reason of what would not come back; `above`: the containers around."""
    for path, value in items:
        kind = type(value)
        if kind in VALUES:
            continue
        if kind in CONTAINERS:
            if id(value) in above:
                yield path, value, ": it contains itself"
                continue
            if all(type(item) in PLAIN for item in value) and not isinstance(value, dict):
                continue
            yield from _faults(_children(path, value), above | {id(value)})
        elif not _comes_back(value):
            yield path, value, ""


def _leaves(items: list[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    for path, value in items:
        if type(value) in (dict, list, tuple):
            yield from _leaves(_children(path, value))
        else:
            yield path, value


def _comes_back(value: Any) -> bool:
    """Return whether a value keeps its type when it is saved and loaded."""
    data = io.BytesIO()
    try:
        torch.save([value], data)
        data.seek(0)
        return type(torch.load(data, weights_only=True)[0]) is type(value)
    except Exception:  # whatever a foreign class raises: it does not come back
        return False


def _remedy(value: Any) -> str:
    return next((remedy for kind, remedy in REMEDIES if isinstance(value, kind)), ADVICE)
