"""Names of an earlier contract on a plug-in's method: mapped to today's with a warning, or refused with the new spelling."""

from __future__ import annotations

import inspect
import sys
import warnings
from dataclasses import fields, is_dataclass
from typing import Any

from clbench.contract.traits import Trait

HOOKS = {
    "substitutes": "reparametrize",
    "between_epochs": "on_epoch_end",
    "answering": "generation_context",
    "likeness": "forget_score",
}
"""Earlier name of a hook -> name."""
SWITCHES = {"syncs": "host_sync", "answers": "supports_generation"}
"""Earlier name of a declaration -> name; the values are the same."""
REQUESTS = {"met": "handled", "skipped": "ignored"}
"""Earlier value of `requests` -> value."""
FLAGS: dict[str, dict[Any, Trait | None]] = {
    "replays": {True: Trait.REPLAYS, False: None},
    "resets": {True: Trait.RESETS, False: None},
    "accumulates": {True: Trait.STORES_IN_WEIGHTS, False: None},
    "observes": {True: Trait.READ_ONLY_UPDATE, False: None},
    "leans": {True: Trait.NEEDS_FIRST_TASK, False: None},
    "holds": {"trained": Trait.ANCHORS_TRAINED, "layers": Trait.ANCHORS_LAYERS, "nothing": None},
    "renews": {"once": Trait.REPLACES_PARAMETERS_ONCE, "later": Trait.REPLACES_PARAMETERS_LATER, "never": None},
}
"""Earlier flag -> value -> trait."""


ALL = frozenset([*HOOKS, *SWITCHES, *FLAGS])
"""All earlier names."""
_SHOWN: dict[Any, Any] = {}
"""Warnings already shown, as `warnings` notes them."""


def own_names(cls: type, root: type) -> dict[str, tuple[type, Any]]:
    """Return name -> (class, value) for the names that `cls` adds to its bases derived from `root`. Fields are left out.

    The names stand in the body of `cls`, or in that of a mixin that is not itself derived from `root`. The first class in the
    method resolution order wins.
    """
    known = {base for parent in cls.__mro__[1:] if issubclass(parent, root) for base in parent.__mro__}
    found: dict[str, tuple[type, Any]] = {}
    for body in cls.__mro__:
        if body not in known:
            found = {name: (body, value) for name, value in vars(body).items()} | found
    hints = inspect.get_annotations(cls)
    inside = {name for name, hint in hints.items() if "ClassVar" not in str(hint)}
    inside |= {field.name for base in cls.__mro__[1:] if is_dataclass(base) for field in fields(base)}
    return {name: value for name, value in found.items() if name not in inside}


def translate(cls: type, root: type) -> None:
    """Give `cls` today's names for the earlier ones in its body and in its mixins.

    Args:
        cls: a class derived from `Method`.
        root: `Method` itself.

    Raises:
        TypeError: a name that cannot be mapped, because it is computed (a property) or has an unknown value.
    """
    own = own_names(cls, root)
    for old, new in (HOOKS | SWITCHES).items():
        body, value = own.get(old, (cls, None))
        if old not in own or (old in SWITCHES and not isinstance(value, (bool, property))):
            continue
        _warn(f"{body.__qualname__}.{old} is now called {new}", body)
        if new not in own or cls.__mro__.index(body) < cls.__mro__.index(own[new][0]):
            setattr(cls, new, value)
    body, requests = own.get("requests", (cls, None))
    if isinstance(requests, str) and requests in REQUESTS:
        _warn(_respelled(body, requests), body)
        cls.requests = REQUESTS[requests]  # type: ignore[attr-defined]
    elif isinstance(requests, property):
        cls.requests = property(lambda self: _computed(requests.__get__(self), body))  # type: ignore[attr-defined]
    _translate_flags(cls, own)


def refuse_flags(method: Any) -> None:
    """Refuse earlier flags that are set on an object: as traits, they would be lost.

    Raises:
        TypeError: with today's spelling.
    """
    inside = {field.name for field in fields(method)}
    for flag, values in FLAGS.items():
        value = vars(method).get(flag)
        if flag not in inside and isinstance(value, (bool, str)) and value in values:
            raise TypeError(_replaced(type(method).__qualname__, flag))


def _computed(value: str, body: type) -> str:
    """Return today's word for a value of `requests` that a property has returned."""
    if value in REQUESTS:
        _warn(_respelled(body, value), body)
    return REQUESTS.get(value, value)


def _respelled(body: type, value: str) -> str:
    return f"{body.__qualname__}.requests = {value!r} is now spelled requests = {REQUESTS[value]!r}"


def _replaced(path: str, flag: str) -> str:
    names = ", ".join(f"Trait.{trait.name}" for trait in FLAGS[flag].values() if trait is not None)
    return (
        f"{path}.{flag} was replaced by traits: declare traits = frozenset({{...}}) with {names} "
        "(from clbench.method import Trait), or a property `traits` if it depends on hyper-parameters"
    )


def _translate_flags(cls: type, own: dict[str, tuple[type, Any]]) -> None:
    """Turn the earlier flags of a class into traits."""
    found = {flag: own[flag] for flag in FLAGS if flag in own and isinstance(own[flag][1], (bool, str, property))}
    if not found:
        return
    inherited: Any = getattr(cls, "traits", frozenset())
    for flag, (body, value) in found.items():
        if isinstance(value, property) or value not in FLAGS[flag] or not isinstance(inherited, (set, frozenset)):
            raise TypeError(_replaced(body.__qualname__, flag))
        trait = FLAGS[flag][value]
        inherited = frozenset(inherited - set(filter(None, FLAGS[flag].values())) | ({trait} if trait else set()))
        now = f"traits = frozenset({{{f'Trait.{trait.name}' if trait else ''}}})"
        _warn(f"{body.__qualname__}.{flag} = {value!r} is now a trait: {now}", body)
    cls.traits = inherited  # type: ignore[attr-defined]


def missing(kind: str, name: str) -> str:
    """Return the message about the missing attribute `name` of a method of class `kind`."""
    new = (HOOKS | SWITCHES).get(name) or ("traits" if name in FLAGS else None)
    return f"{kind!r} object has no attribute {name!r}" + (f": it is now called {new}" if new else "")


def _warn(message: str, body: type) -> None:
    """Warn at the file and line of the class `body`."""
    file = getattr(sys.modules.get(body.__module__), "__file__", None) or body.__module__
    try:
        line = inspect.findsource(body)[1] + 1
    except (OSError, TypeError):  # a class made by a call
        line = 1
    warnings.warn_explicit(message, FutureWarning, file, line, body.__module__, _SHOWN)
