"""Checks of a method's declarations, made once when its class is defined: values, and names that are nearly right."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from dataclasses import Field
from typing import Any, Literal, get_args

from clbench.contract import old_names
from clbench.contract.protocols import OPTIONAL_HOOKS
from clbench.contract.traits import DERIVED, Trait

Access = Literal["current", "seen", "all", "retained"]
Requests = Literal["refused", "ignored", "handled"]
SETTINGS = ("task", "domain", "class")
INTERNAL = ("state", "load_state", "overrides", "owners")
"""Public names of `Method` that are neither hooks nor declarations."""


def check(cls: type, root: type) -> None:
    """Check what `cls` declares.

    Args:
        cls: a class derived from `Method`.
        root: `Method` itself.

    Raises:
        TypeError: a value that is not allowed, or a name that is nearly that of a hook or declaration.
    """
    for name, known in (("access", get_args(Access)), ("requests", get_args(Requests))):
        value = inspect.getattr_static(cls, name)
        if not _is_computed(value) and value not in known:
            _refuse(cls, name, value, f"declare one of {', '.join(map(repr, known))}")
    settings = inspect.getattr_static(cls, "settings")
    if not _is_computed(settings) and (not isinstance(settings, (set, frozenset)) or not settings <= set(SETTINGS)):
        _refuse(cls, "settings", settings, f"declare a set of {', '.join(map(repr, SETTINGS))}")
    traits = inspect.getattr_static(cls, "traits")
    if not _is_computed(traits):
        check_traits(cls.__qualname__, traits)
    _check_names(cls, root)


def check_traits(path: str, traits: Any, forbidden: frozenset[Trait] = DERIVED) -> None:
    """Check that `traits` is a set of `Trait` members.

    Args:
        path: name of the class, for messages.
        traits: the declared value.
        forbidden: members that must not be declared.

    Raises:
        TypeError: the value is something else, or has a forbidden member.
    """
    if not isinstance(traits, (set, frozenset)) or not all(isinstance(trait, Trait) for trait in traits):
        raise TypeError(
            f"{path}.traits = {traits!r} is not a set of traits: declare traits = frozenset({{Trait.NAME, ...}}) "
            "(from clbench.method import Trait)"
        )
    if traits & forbidden:
        names = ", ".join(sorted(f"Trait.{trait.name}" for trait in traits & forbidden))
        raise TypeError(f"{path}.traits declares {names}, which follows from hooks and access: leave it out")


def _check_names(cls: type, root: type) -> None:
    """Refuse new public names in the body of `cls` that are nearly those of hooks or declarations."""
    public = {name: value for name, value in vars(root).items() if name[0] != "_" and name not in INTERNAL}
    hooks = [name for name, value in public.items() if callable(value)] + list(OPTIONAL_HOOKS)
    declarations = [name for name, value in public.items() if not callable(value)]
    own = old_names.own_names(cls, root)
    for name, (_, value) in own.items():
        if name[0] == "_" or name in hooks + declarations or hasattr(root, name) or name in old_names.ALL:
            continue
        known = hooks if callable(value) or isinstance(value, (staticmethod, classmethod)) else declarations
        near = [other for other in _near(name, known) if abs(len(other) - len(name)) <= 1]
        if near:
            kind = "hook" if near[0] in hooks else "declaration"
            raise TypeError(
                f"{cls.__qualname__}.{name} is no {kind} of a method: did you mean {near[0]}? Otherwise choose a name that is "
                "less similar, or begin it with an underscore"
            )


def _near(name: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, list(known), n=1, cutoff=0.85)


def _is_computed(value: Any) -> bool:
    """Return whether a declaration has its value only on an object: a property, or a field without a plain default."""
    return hasattr(value, "__get__") or isinstance(value, Field)


def _refuse(cls: type, name: str, value: Any, remedy: str) -> None:
    raise TypeError(f"{cls.__qualname__}.{name} = {value!r} is not allowed: {remedy}")
