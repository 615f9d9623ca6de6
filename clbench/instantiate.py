"""From a configuration node to an object, checked: every error names the key, the value and the remedy."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from clbench.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

META = ("_target_", "name", "version")
"""Keys that describe a node. They are no arguments, unless the target has a field of that name."""


def instantiate(node: Mapping[str, Any], path: str, **given: Any) -> Any:
    """Make the object that `node` describes: `_target_` names a class or function, the other keys are its arguments.

    Nested nodes with a `_target_` are made first. Fields of dataclasses are checked against their type hints (and
    `Annotated[..., pydantic.Field(...)]` bounds).

    Args:
        node: plain dictionary.
        path: dotted key of the node, for messages (`method`, `scenario.dataset`).
        given: further arguments, from the program instead of the configuration.

    Raises:
        ConfigError: no such target, unknown or missing key, wrong type or value.
    """
    target = locate(node.get("_target_"), path)
    accepted, _ = parameters(target)
    values = {key: value for key, value in node.items() if key not in META or (key != "_target_" and key in accepted)}
    return make(target, {key: _nested(value, f"{path}.{key}") for key, value in values.items()}, path, node["_target_"], given)


def make(
    target: Callable[..., Any],
    values: Mapping[str, Any],
    path: str,
    name: str,
    given: Mapping[str, Any] | None = None,
    keys: Mapping[str, str] | None = None,
) -> Any:
    """Call `target` with `values`, checked as in `instantiate`.

    Args:
        target: a class or function.
        values: arguments from the configuration.
        path: their node, for messages.
        name: of the target, for messages.
        given: further arguments from the program; those that `target` does not take are left out.
        keys: dotted keys of arguments that stand outside the node.

    Raises:
        ConfigError: unknown or missing key, wrong type or value.
    """
    accepted, open_ended = parameters(target)
    given, keys = given or {}, keys or {}
    unknown = [key for key in values if key not in accepted and not open_ended]
    if unknown:
        key = unknown[0]
        near = difflib.get_close_matches(key, accepted, n=1)
        hint = f"did you mean {keys.get(near[0], f'{path}.{near[0]}')}? " if near else ""
        known = ", ".join(sorted(set(accepted) - set(given) - set(keys))) or "none"
        raise ConfigError(f"unknown key {path}.{key}={values[key]!r} for {name}", f"{hint}it takes: {known}")
    arguments = {**values, **{key: value for key, value in given.items() if key in accepted or open_ended}}
    missing = [keys.get(key, f"{path}.{key}") for key, required in accepted.items() if required and key not in arguments]
    if missing:
        raise ConfigError(f"missing key {missing[0]} for {name}", f"give {missing[0]}=VALUE")
    if is_dataclass(target) and isinstance(target, type):
        for key, value in arguments.items():
            plain = value is None or isinstance(value, (bool, int, float, str, list, dict, tuple))
            if plain and key in _hints(target):
                arguments[key] = _checked(value, *_field(target, key), keys.get(key, f"{path}.{key}"))
    try:
        return target(**arguments)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} ({name}) cannot be made from {_short(arguments)}: {error}", f"change the values under {path}"
        ) from error


def check(value: Any, hint: Any, key: str) -> Any:
    """Return `value`, converted to the type `hint` where nothing is lost.

    Raises:
        ConfigError: the value is of another type, or out of bounds; the message names `key`.
    """
    return _checked(value, hint, _adapter(hint), key)


def locate(name: Any, path: str) -> Callable[..., Any]:
    """Return the class or function of a dotted name.

    Raises:
        ConfigError: the module cannot be imported or has no such member.
    """
    if not isinstance(name, str) or "." not in name:
        raise ConfigError(f"{path}._target_={name!r} is not a dotted name", f"give {path}._target_=package.module.Name")
    if ".<locals>." in name:
        raise ConfigError(
            f"{path}._target_={name} is defined within a function, where no other part of a run can find it",
            "define it at the top level of its module, script or notebook",
        )
    module_name, _, member = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"{path}._target_={name}: {error}",
            "check the spelling, or install the package that holds it (a plug-in's folder is importable "
            "when it is the working folder or the one given to --config-dir)",
        ) from error
    if not hasattr(module, member):
        near = difflib.get_close_matches(member, dir(module), n=1)
        place = getattr(module, "__file__", None) or f"the module {module_name}"
        raise ConfigError(
            f"{path}._target_={name}: module {module_name} has no {member}",
            f"did you mean {module_name}.{near[0]}?" if near else f"define {member} in {place}",
        )
    found = getattr(module, member)
    if not callable(found):
        raise ConfigError(f"{path}._target_={name} is not a class or function", "name something that can be called")
    return found  # type: ignore[no-any-return]


def parameters(target: Callable[..., Any]) -> tuple[dict[str, bool], bool]:
    """Return ({parameter: is it required}, does it take any keyword) of a class or function."""
    if is_dataclass(target) and isinstance(target, type):
        return {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(target) if f.init}, False
    signature = inspect.signature(target).parameters.values()
    named = {p.name: p.default is p.empty for p in signature if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return named, any(p.kind is p.VAR_KEYWORD for p in signature)


def _nested(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return instantiate(value, path)
        return {key: _nested(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_nested(item, f"{path}.{i}") for i, item in enumerate(value)]
    return value


@cache
def _hints(target: type) -> dict[str, Any]:
    """Return the type hints of a dataclass; {} if some are imported for a type checker alone."""
    try:
        return get_type_hints(target, include_extras=True)
    except NameError:
        return {}


@cache
def _field(target: type, key: str) -> tuple[Any, TypeAdapter[Any]]:
    """Return a field's type hint, and what checks values by it."""
    hint = _hints(target)[key]
    return hint, _adapter(hint)


def _adapter(hint: Any) -> TypeAdapter[Any]:
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:
        return TypeAdapter(hint)


def _checked(value: Any, hint: Any, adapter: TypeAdapter[Any], key: str) -> Any:
    from pydantic import ValidationError

    try:
        return adapter.validate_python(value, strict=None if isinstance(value, (list, tuple, dict)) else True)
    except ValidationError as error:
        first, *others = error.errors()
        place = ".".join([key, *(str(part) for part in first["loc"] if isinstance(part, int))])
        alternatives = [each["msg"] for each in others if each["input"] is value]  # of a union
        reason = ", or ".join([first["msg"], *(message.removeprefix("Input should be ") for message in alternatives)])
        reason = reason[:1].lower() + reason[1:]
        raise ConfigError(f"{place}={value!r}: {reason}", f"give {key} as {spelled(hint)}") from error


WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "text", type(None): "null", dict: "a mapping"}
"""Types in words."""
BOUNDS = {"ge": "at least", "gt": "above", "le": "up to", "lt": "below", "min_length": "length at least"}
"""Bounds of `pydantic.Field` in words."""


def spelled(hint: Any) -> str:
    """Return a type hint in words: `auto or an integer (at least 0)`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        found = [bound for each in arguments[1:] for bound in getattr(each, "metadata", [each])]
        bounds = [f"{word} {getattr(bound, name)}" for bound in found for name, word in BOUNDS.items() if hasattr(bound, name)]
        notes = [each.description for each in arguments[1:] if getattr(each, "description", None)]
        return spelled(arguments[0]) + (f" ({', '.join([*bounds, *notes])})" if bounds or notes else "")
    if origin is Literal:
        return " or ".join(str(value) for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(spelled(part) for part in arguments)
    if origin in (list, tuple):
        return f"a list with entries {' or '.join(spelled(part) for part in arguments if part is not ...)}"
    if origin is dict:
        return f"a mapping from {spelled(arguments[0])} to {spelled(arguments[1])}"
    return WORDS.get(hint) or (hint.__name__ if isinstance(hint, type) else str(hint))


def _short(values: Mapping[str, Any]) -> str:
    text = ", ".join(f"{key}={value!r}" for key, value in values.items())
    return text if len(text) <= 200 else text[:200] + "…"
