"""What can be reached from an object: a walk through attributes, containers, closures and other references."""

from __future__ import annotations

import functools
import gc
import sys
import types
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor

PLAIN = (int, float, complex, str, bytes, bool, type(None), range, types.CodeType, types.ModuleType)
"""Types that hold no other object of interest."""
LIBRARIES = sys.stdlib_module_names | {"torch", "numpy", "pydantic", "transformers", "peft"}
"""Classes of these packages are not looked into; their objects are."""


def reachable(roots: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every object that attributes, containers, closures, weak references and the like lead to, each once, nearest first.

    Global variables of modules are not followed.

    Args:
        roots: name -> object to start from.

    Yields:
        (way from a root in words, object).
    """
    yield from _walk(roots, _references)


def reachable_by_collector(roots: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what Python's garbage collector finds from the roots, as `reachable` does; a second way to look."""
    modules = {id(vars(module)) for module in list(sys.modules.values()) if module is not None}

    def references(value: Any) -> Iterator[tuple[str, Any]]:
        for found in gc.get_referents(value):
            if id(found) not in modules and not isinstance(found, type):
                yield "", found

    yield from _walk(roots, references)


def _walk(roots: Mapping[str, Any], references: Any) -> Iterator[tuple[str, Any]]:
    seen: dict[int, Any] = {}  # the objects stay alive, so that no other object gets their id
    waiting = deque(roots.items())
    while waiting:
        way, value = waiting.popleft()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        yield way, value
        if isinstance(value, PLAIN):
            continue
        for step, found in references(value):
            if id(found) not in seen:
                waiting.append((way + step, found))


def _references(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield (step in words, object) for everything that `value` refers to."""
    if isinstance(value, type):
        yield from _of_class(value)
        return
    yield from _of_function(value)
    if isinstance(value, Mapping):
        for key, item in list(value.items()):
            yield f"[{key!r}]" if isinstance(key, PLAIN) else "[...]", item
            yield ".keys()", key
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        for place, item in enumerate(list(value)):
            yield f"[{place}]", item
    elif isinstance(value, weakref.ref):
        yield "()", value()
    elif isinstance(value, (types.GeneratorType, types.FrameType)):
        frame = value.gi_frame if isinstance(value, types.GeneratorType) else value
        for name, item in dict(frame.f_locals).items() if frame is not None else ():
            yield f".locals[{name!r}]", item
    elif isinstance(value, Tensor):
        for name in ("_base", "grad"):
            if value.is_leaf or name == "_base":
                yield f".{name}", getattr(value, name)
    elif isinstance(value, np.ndarray):
        yield ".base", value.base
    elif not hasattr(value, "__dict__"):
        for found in gc.get_referents(value):  # iterators, variables of closures, slots of builtin types
            yield "", found
    for name, item in _attributes(value):
        yield f".{name}", item
    yield "", type(value)


def _of_function(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a function, a method or a partial call holds, without the globals of its module."""
    if isinstance(value, types.FunctionType):
        for name, variable in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            yield f".closure[{name!r}]", next(iter(gc.get_referents(variable)), None)  # nothing if it is not set yet
        yield ".__defaults__", value.__defaults__
        yield ".__kwdefaults__", value.__kwdefaults__
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    elif isinstance(value, functools.partial):
        yield ".func", value.func
        yield ".args", value.args
        yield ".keywords", value.keywords
    elif isinstance(value, property):
        yield ".fget", value.fget
    elif isinstance(value, (staticmethod, classmethod)):
        yield ".__func__", value.__func__


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes that are stored on an object: those of its dictionary and its slots."""
    try:
        own = dict(object.__getattribute__(value, "__dict__"))
    except AttributeError:
        own = {}
    yield from own.items()
    for kind in type(value).__mro__:
        slots: Iterable[str] = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and (item := getattr(value, name, None)) is not None:
                yield name, item


def _of_class(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a class and of its bases, except for classes of libraries."""
    if kind.__module__.partition(".")[0] in LIBRARIES:
        return
    for base in kind.__mro__[1:]:
        yield f".{base.__name__}", base
    for name, item in list(vars(kind).items()):
        if name != "__abstractmethods__":
            yield f".{name}", item
